"""voxpick targets"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxpick.cli import options as option
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.average.pasted import Outline

SHAPES = ("pasted", "sphere", "point")
POOR = 1.5
"""Times the volume of a particle in the outline of its average beyond which a person is told."""
SPARSE = 0.3
"""The same, below which."""
WRITING_SECONDS = 60.0
"""How long masks wait for those that another process writes into the same folder."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("targets", short_help="Make training masks from positions.")(targets_command)


def targets_command(
    tomogram: Annotated[Path, typer.Argument(help="The tomogram (MRC) that the picks lie in.")],
    picks: option.Picks,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the masks into.")],
    shape: Annotated[
        str, typer.Option(help="pasted (an average's outline, as DeepFinder does), sphere, or point.")
    ] = "sphere",
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="For pasted: CLASS=map.mrc, once a class; the map of `voxpick average`."),
    ] = None,
    radius: Annotated[
        list[str] | None,
        typer.Option(help="In A, for all classes, or CLASS=radius once a class: of spheres, or where maps end."),
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Of the maps.", show_default="Otsu's of each map")] = None,
    volume_nm3: Annotated[
        list[str] | None,
        typer.Option(
            "--volume",
            help="For pasted: in nm3, for all classes, or CLASS=volume once a class: what an outline holds at most, "
            "before it is moved out; a higher threshold is taken. Protein has 1.21 nm3 a kDa.",
        ),
    ] = None,
    extend: Annotated[
        float | None, typer.Option(help="For pasted: voxels by which outlines of maps are moved out.", show_default="1")
    ] = None,
    voxel_size: option.VoxelSize = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks and particle list that exist.")] = False,
) -> None:
    """Make training masks from positions: class_mask.mrc and occupancy_mask.mrc, and the list of particles.

    Put the tomogram beside them as reconstruction.mrc, and the folder is training data for `voxpick train`. Classes are
    numbered by all that the file of picks names, of other tomograms too, so that folders made from one go together.
    """
    import numpy as np

    from voxpick.average.pasted import paste
    from voxpick.cli.class_values import BACKGROUND, require_known_classes
    from voxpick.cli.corner_picks import warn_of_a_corner
    from voxpick.cli.outputs import keep_existing, keep_inputs
    from voxpick.cli.pick_files import read_picks, warn_of_another
    from voxpick.cli.tomograms import read_tomogram
    from voxpick.io.alone import alone_in
    from voxpick.io.atomic import atomic_paths, require_writable
    from voxpick.io.formats import read_particles
    from voxpick.io.mrc import write_mrc
    from voxpick.io.shrec import require_plain_names, write_locations
    from voxpick.shrec_classes import CLASS_IDS

    if shape not in SHAPES:
        raise VoxpickError(f"--shape is {shape!r}; choose one of {', '.join(SHAPES)}")
    _refuse_what_is_ignored(shape, maps=maps, radius=radius, threshold=threshold, volume=volume_nm3, extend=extend)
    written = [output / name for name in ("class_mask.mrc", "occupancy_mask.mrc", "particle_locations.txt")]
    keep_inputs(written, [tomogram, picks])
    keep_existing(written, overwrite=overwrite)
    require_writable(output)
    volume = read_tomogram(tomogram, voxel_size)
    particles = read_picks(
        picks, tomogram=volume.name, voxel_size=volume.voxel_size, shape=volume.shape, purpose="mark"
    )
    warn_of_a_corner(picks, particles, volume)
    warn_of_another(picks, particles, volume.name)
    particles = particles[particles.classes != BACKGROUND]
    if not len(particles):
        raise VoxpickError(f"{picks}: holds no particle, only {BACKGROUND}; there is nothing to mark")
    require_plain_names(output / "particle_locations.txt", particles)
    every = read_particles(picks, voxel_size=volume.voxel_size, shape=volume.shape)  # of all tomograms
    known = sorted({str(name) for name in every.classes} - {BACKGROUND})
    numbers = CLASS_IDS if all(name in CLASS_IDS for name in known) else {n: k for k, n in enumerate(known, start=1)}
    require_known_classes(radius or [], known, "--radius")
    require_known_classes(maps or [], known, "--map")
    require_known_classes(volume_nm3 or [], known, "--volume")
    names = sorted({str(name) for name in particles.classes})
    outlines = _outlines(
        names, shape, radius=radius or [], maps=maps or [], volume=volume_nm3 or [], threshold=threshold,
        extend=extend, voxel_size=volume.voxel_size, widest=max(volume.shape) * volume.voxel_size,
    )  # fmt: skip
    made = paste(particles, outlines, numbers, shape=volume.shape, voxel_size=volume.voxel_size)
    if len(made.hidden) == len(particles):
        raise VoxpickError(
            f"{picks}: none of the {len(particles)} picks lies within {tomogram} {volume.shape} (z, y, x) of "
            f"{volume.voxel_size:g} A; check their unit and frame"
        )
    if particles.rotations is None:
        particles = particles.with_columns(rotations=np.tile(np.eye(3), (len(particles), 1, 1)))
    with alone_in(output, use="writes masks", patience=WRITING_SECONDS):
        keep_existing(written, overwrite=overwrite)  # another process may have written them meanwhile
        with atomic_paths(written) as (class_mask, occupancy_mask, locations):
            write_mrc(class_mask, made.class_mask, voxel_size=volume.voxel_size)
            write_mrc(occupancy_mask, made.occupancy, voxel_size=volume.voxel_size)
            write_locations(locations, particles, voxel_size=volume.voxel_size)
    share = float((made.class_mask > 0).mean())
    typer.echo(
        f"{output}: {len(particles) - len(made.hidden)} of {len(particles)} particles marked, {share:.2%} of the voxels"
    )


def _refuse_what_is_ignored(
    shape: str, *, maps: list[str] | None, radius: list[str] | None, threshold: float | None,
    volume: list[str] | None, extend: float | None,
) -> None:  # fmt: skip
    if maps and shape != "pasted":
        raise VoxpickError(f"--map {maps[0]}: has nothing to do with --shape {shape}; add --shape pasted")
    if threshold is not None and shape != "pasted":
        raise VoxpickError(f"--threshold {threshold:g}: is that of maps; add --shape pasted, or leave it out")
    if threshold is not None and not math.isfinite(threshold):
        raise VoxpickError(f"--threshold {threshold:g}: give a number, in the units of the maps")
    if volume and shape != "pasted":
        raise VoxpickError(f"--volume {volume[0]}: is that of outlines of maps; add --shape pasted, or leave it out")
    if volume and threshold is not None:
        raise VoxpickError(
            f"--volume {volume[0]}: chooses the threshold, as --threshold does; leave one of the two out"
        )
    if extend is not None and shape != "pasted":
        raise VoxpickError(f"--extend {extend:g}: is that of outlines of maps; add --shape pasted, or leave it out")
    if extend is not None and not 0 <= extend < float("inf"):
        raise VoxpickError(f"--extend is {extend:g}; it must be 0 or a positive number of voxels")
    if radius and shape == "point":
        raise VoxpickError(f"--radius {radius[0]}: points have none; take --shape sphere, or leave it out")


def _outlines(
    names: list[str], shape: str, *, radius: list[str], maps: list[str], volume: list[str], threshold: float | None,
    extend: float | None, voxel_size: float, widest: float,
) -> dict[str, Outline]:  # fmt: skip
    """The outline of each class, by what the options say of it. widest: the tomogram's longest side, in A."""
    from voxpick.average.pasted import EXTEND, POINT, ball
    from voxpick.cli.class_values import of_class, require_sensible_radius

    if shape == "point":
        return dict.fromkeys(names, POINT)
    lengths = {name: _length(name, shape, of_class(radius, name, "--radius")) for name in names}
    for name, length in lengths.items():
        require_sensible_radius(
            name, length, voxel_size=voxel_size, widest=widest, otherwise=", or take --shape point"
        )  # fmt: skip
    if shape == "sphere":
        return {name: ball(lengths[name], voxel_size=voxel_size) for name in names}
    return {
        name: _outline(
            name, of_class(maps, name, "--map"), of_class(volume, name, "--volume"), radius=lengths[name],
            threshold=threshold, extend=EXTEND if extend is None else extend, voxel_size=voxel_size,
        )
        for name in names
    }  # fmt: skip


def _length(name: str, shape: str, radius: str | None) -> float:
    """The radius of a class, in A."""
    length = _number(radius, "--radius", "A") if radius is not None else float("nan")
    if not 0 < length < float("inf"):
        raise VoxpickError(f"class {name!r}: --shape {shape} needs a positive --radius in A, or --radius {name}=A")
    return length


def _outline(
    name: str, file: str | None, volume: str | None, *, radius: float, threshold: float | None, extend: float,
    voxel_size: float,
) -> Outline:  # fmt: skip
    """The outline of a class's map. radius: A; volume: nm3; extend: voxels."""
    from voxpick.average.pasted import central_part, level_of_volume, outline_of_map
    from voxpick.io.mrc import read_mrc

    if file is None:
        raise VoxpickError(f"class {name!r}: --shape pasted needs its average, --map {name}=map.mrc")
    average = read_mrc(Path(file))
    if abs(average.voxel_size - voxel_size) > 0.01 * voxel_size:
        raise VoxpickError(f"{file}: has voxels of {average.voxel_size:g} A, the tomogram {voxel_size:g} A; rescale it")
    if volume is not None:
        most = 1000 * _number(volume, "--volume", "nm3")
        if not voxel_size**3 <= most < float("inf"):
            raise VoxpickError(f"class {name!r}: --volume {volume} nm3 is less than a voxel, or no volume; give nm3")
        threshold = level_of_volume(average, most, radius=radius)
        held = central_part(average, radius=radius)[0].sum() * voxel_size**3 / most
        if held > POOR:
            typer.echo(
                f"voxpick: warning: {file}: at Otsu's threshold its outline holds {held:.1f} times the --volume of "
                f"{name}, as that of a poor average does; --shape sphere may make better masks of it",
                err=True,
            )
        held = central_part(average, radius=radius, threshold=threshold)[0].sum() * voxel_size**3 / most
        if held < SPARSE:
            typer.echo(
                f"voxpick: warning: {file}: its outline holds {held:.2f} of the --volume of {name}, before it is moved "
                "out; look at the map, and at whether --radius reaches round the particle",
                err=True,
            )
    return outline_of_map(average, radius=radius, threshold=threshold, extend=extend)


def _number(text: str, option: str, unit: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise VoxpickError(f"{option} {text}: is not a number of {unit}") from error
