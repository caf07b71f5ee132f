"""voxpick average"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.average.refinement import Refined
    from voxpick.average.subtomograms import Subtomograms
    from voxpick.volume import Volume


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("average")(average_command)


def average_command(
    picks: Annotated[Path, typer.Argument(help="Picks as .star or .csv (A), or as SHREC text .txt (voxels).")],
    tomograms: Annotated[list[Path], typer.Argument(help="Tomograms (MRC) that the picks lie in, of one voxel size.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("average"),
    only: Annotated[str | None, typer.Option("--class", help="Average only the picks of this class.")] = None,
    radius: Annotated[float, typer.Option(help="Radius of the particle in A: of the masks.")] = 100.0,
    box: Annotated[int | None, typer.Option(help="Voxels along a box.", show_default="3 radii, even")] = None,
    edges: Annotated[str, typer.Option(help="Boxes over the tomogram's edge: drop, or pad with their mean.")] = "drop",
    reference: Annotated[Path | None, typer.Option(help="A map (MRC) to start from; without it, from nothing.")] = None,
    iterations: Annotated[
        int, typer.Option(min=0, help="Alignments; 0 averages at the orientations the picks have.")
    ] = 6,
    local: Annotated[bool, typer.Option("--local", help="Search only near the orientations the picks have.")] = False,
    step: Annotated[float, typer.Option(help="Degrees between the orientations searched first.")] = 20.0,
    finest: Annotated[float, typer.Option(help="Degrees at which refining orientations ends.")] = 3.0,
    low_pass: Annotated[
        float | None, typer.Option(help="Finest detail, in A, of the first alignment.", show_default="half the radius")
    ] = None,
    max_shift: Annotated[
        float | None, typer.Option(help="How far, in A, a centre may move.", show_default="3 voxels")
    ] = None,
    tilts: Annotated[tuple[float, float], typer.Option(help="Lowest and highest tilt in degrees.")] = (-60.0, 60.0),
    bright: Annotated[bool, typer.Option("--bright", help="Particles are brighter than what is around them.")] = False,
    seed: Annotated[int, typer.Option(help="Deals particles to the half-sets, and starts from nothing.")] = 0,
    voxel_size: Annotated[float | None, typer.Option(help="Voxel size in A, where the file's header is wrong.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Align and average picks: a map, half maps that never met, their Fourier shell correlation, and orientations.

    Density is positive in the maps. With a reference, agreement coarser than --low-pass may be the reference's own.
    """
    import numpy as np

    from voxpick.average.align import Alignment
    from voxpick.average.refinement import refine
    from voxpick.cli.progress import step_bars
    from voxpick.io.atomic import require_writable
    from voxpick.io.mrc import read_mrc
    from voxpick.match.rotations import rotation_grid

    if edges not in ("drop", "pad"):
        raise VoxpickError(f"--edges is {edges!r}; choose drop or pad")
    require_writable(output)
    volumes = [read_mrc(path, voxel_size=voxel_size) for path in tomograms]
    size = volumes[0].voxel_size
    box = box or 2 * int(np.ceil(1.5 * radius / size))
    boxes = _boxes(picks, volumes, only=only, box=box, edges=edges, dark=not bright)
    settings = Alignment(
        radius=radius,
        low_pass=low_pass or max(radius / 2, 3 * size),
        max_shift=3 * size if max_shift is None else max_shift,
        step_deg=step,
        finest_deg=finest,
        tilt_range_deg=tilts,
        device=device,
    )
    start = None
    if reference is not None:
        given = read_mrc(reference)
        if abs(given.voxel_size - size) > 0.01 * size or given.shape != (box,) * 3:
            raise VoxpickError(
                f"{reference}: has shape {given.shape} and voxels of {given.voxel_size:g} A; the boxes are "
                f"{(box,) * 3} of {size:g} A voxels; cut or rescale the map, or set --box"
            )
        start = np.asarray(given.data)
    with step_bars("Average") as report:
        refined = refine(
            boxes, settings, iterations=iterations, rng=np.random.default_rng(seed), reference=start,
            rotations=None if local or iterations == 0 else rotation_grid(step), report=report,
        )  # fmt: skip
    _write(output, refined, volumes[0])
    counted = f"{len(boxes)} particles ({boxes.dropped} dropped, {boxes.padded} padded at edges)"
    at = ", ".join(f"{refined.fsc.resolution(t):.1f} A at FSC {t:g}" for t in (0.143, 0.5))
    typer.echo(f"{output}: {counted}; half maps agree to {at}")


def _boxes(path: Path, volumes: list[Volume], *, only: str | None, box: int, edges: str, dark: bool) -> Subtomograms:
    """The picks' boxes in all tomograms; a tomogram without picks of its name counts only when it is the only one."""
    from typing import Literal, cast

    from voxpick.average.subtomograms import extract, join
    from voxpick.cli.truth import read_picks

    parts = []
    for volume in volumes:
        picks = read_picks(path, tomogram=volume.name, voxel_size=volume.voxel_size, shape=volume.shape)
        assert picks.tomograms is not None
        if len(volumes) > 1 and set(picks.tomograms) != {volume.name}:
            raise VoxpickError(f"{path}: holds no picks of {volume.name}; with several tomograms, picks name theirs")
        if only is not None:
            known = sorted({str(name) for name in picks.classes})
            picks = picks[picks.classes == only]
            if len(picks) == 0:
                raise VoxpickError(f"{path}: holds no picks of class {only!r} in {volume.name}, but {', '.join(known)}")
        edge = cast("Literal['drop', 'pad']", edges)
        parts.append(extract(volume, picks, box=box, edges=edge, dark=dark))
    return join(parts)


def _write(folder: Path, refined: Refined, volume: Volume) -> None:
    from voxpick.io.atomic import write_text
    from voxpick.io.formats import write_particles
    from voxpick.io.mrc import write_mrc

    write_mrc(folder / "map.mrc", refined.map)
    for k, half in enumerate(refined.halves, start=1):
        write_mrc(folder / f"half{k}.mrc", half)
    write_text(folder / "fsc.csv", refined.fsc.to_frame().to_csv(index=False, float_format="%.6g"))
    write_particles(folder / "picks.star", refined.particles, voxel_size=volume.voxel_size, shape=volume.shape)
