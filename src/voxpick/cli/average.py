"""voxpick average"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.cli import options as option
from voxpick.cli.given import is_given, shown
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxpick.average.parts import Averaging
    from voxpick.average.refinement import Refined
    from voxpick.particles import Particles
    from voxpick.volume import Volume

WRITTEN = ("map.mrc", "half1.mrc", "half2.mrc", "fsc.csv", "picks.star", "report.html")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("average", short_help="Align and average picks; half maps and their FSC.")(average_command)


OF_ALIGNMENT = ("reference", "step", "finest", "low_pass", "max_shift", "local")
"""Options that say how to align."""


def average_command(
    context: typer.Context,
    picks: option.Picks,
    tomograms: Annotated[list[Path], typer.Argument(help="Tomograms (MRC) that the picks lie in, of one voxel size.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("average"),
    only: Annotated[str | None, typer.Option("--class", help="Average only the picks of this class.")] = None,
    radius: Annotated[float, typer.Option(help="Radius of the particle in A: of the masks.")] = 100.0,
    box: Annotated[int | None, typer.Option(help="Voxels along a box.", show_default="3 radii, even")] = None,
    edges: Annotated[str, typer.Option(help="Boxes over the tomogram's edge: drop, or pad with their mean.")] = "drop",
    reference: Annotated[
        str | None,
        typer.Option(help="To start from: a map (MRC), PDB or mmCIF file, or a built-in structure; else from nothing."),
    ] = None,
    iterations: Annotated[
        int, typer.Option(min=0, help="Alignments; 0 averages at the orientations the picks have.")
    ] = 6,
    local: Annotated[bool, typer.Option("--local", help="Search only near the orientations the picks have.")] = False,
    step: Annotated[float, typer.Option(help="Degrees between the orientations searched first.")] = 20.0,
    finest: Annotated[float, typer.Option(help="Degrees at which refining orientations ends.")] = 3.0,
    low_pass: Annotated[
        float | None,
        typer.Option(
            help="Finest detail, in A, of the first alignment.", show_default="half the radius, at least 3 voxels"
        ),
    ] = None,
    max_shift: Annotated[
        float | None,
        typer.Option(help="How far, in A, a centre may move.", show_default="a quarter of the radius, 1 to 3 voxels"),
    ] = None,
    tilts: Annotated[tuple[float, float], typer.Option(help="Lowest and highest tilt (deg): -60 60.")] = (-60.0, 60.0),
    bright: Annotated[bool, typer.Option("--bright", help="Particles are brighter than what is around them.")] = False,
    mask: Annotated[
        str, typer.Option(help="Where half maps are compared: sphere (--radius), or map (the map's own outline).")
    ] = "sphere",
    seed: Annotated[int, typer.Option(min=0, help="Deals particles to the half-sets, and starts from nothing.")] = 0,
    voxel_size: option.VoxelSize = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an average that exists.")] = False,
    device: option.Device = "cpu",
) -> None:
    """Align and average picks: a map, half maps that never met, their Fourier shell correlation, and orientations.

    Density is positive in the maps. With a reference, agreement coarser than --low-pass may be the reference's own.
    """
    from voxpick.cli.averaging import make_averaging
    from voxpick.cli.outputs import keep_existing, keep_inputs
    from voxpick.cli.tomograms import read_tomogram, require_unicode
    from voxpick.io.alone import alone_in
    from voxpick.io.atomic import require_writable

    if mask not in ("sphere", "map"):
        raise VoxpickError(f"--mask is {mask!r}; choose sphere or map")
    keep_inputs([output / name for name in WRITTEN], [picks, *tomograms, *([Path(reference)] if reference else [])])
    for name in OF_ALIGNMENT:
        if iterations == 0 and is_given(context, name):
            raise VoxpickError(f"{shown(context, name)}: --iterations 0 aligns nothing; leave one of the two out")
    require_unicode([picks, *tomograms])
    require_writable(output)
    with alone_in(output, use="averages"):
        keep_existing([output / name for name in WRITTEN], overwrite=overwrite)
        volumes = [read_tomogram(path, voxel_size) for path in tomograms]
        how = make_averaging(
            volumes[0].voxel_size, radius=radius, box=box, edges=edges, iterations=iterations, local=local, step=step,
            finest=finest, low_pass=low_pass, max_shift=max_shift, tilts=tilts, bright=bright, device=device,
        )  # fmt: skip
        _average(output, picks, volumes, how, only=only, reference=reference, mask=mask, seed=seed)


def _average(
    output: Path, picks: Path, volumes: list[Volume], how: Averaging, *, only: str | None, reference: str | None,
    mask: str, seed: int,
) -> None:  # fmt: skip
    """Cut, align and average, write and say how fine it is."""
    import numpy as np

    from voxpick.average.own_mask import with_own_mask
    from voxpick.average.refinement import refine
    from voxpick.cli.averaging import cut_boxes, read_reference
    from voxpick.cli.progress import step_bars
    from voxpick.io.star import require_star_names

    boxes = cut_boxes(picks, volumes, how, only=only)
    require_star_names(output / "picks.star", boxes.particles)
    classes = {str(name) for name in boxes.particles.classes}
    if len(classes) > 1:
        typer.echo(
            f"voxpick: warning: {picks}: picks of {len(classes)} classes go into one map; --class NAME takes one",
            err=True,
        )
    _warn_of_twins(picks, boxes.particles, within=how.alignment.radius / 2)
    if boxes.particles.rotations is not None and how.rotations is None:
        typer.echo(
            f"voxpick: warning: {picks}: its orientations are kept or only refined. If a template gave them, both half "
            "maps follow it, and what the FSC says is worth nothing up to the template's own resolution",
            err=True,
        )
    start = None if reference is None else read_reference(reference, volumes[0], how.box)
    with step_bars("Average") as report:
        refined = refine(
            boxes, how.alignment, iterations=how.iterations, rng=np.random.default_rng(seed), reference=start,
            rotations=how.rotations, report=report,
        )  # fmt: skip
    if mask == "map":
        refined = with_own_mask(refined, radius=how.alignment.radius, rng=np.random.default_rng(seed))
    told = {
        "picks": picks, "tomograms": ", ".join(volume.name for volume in volumes), "class": only or "all",
        "reference": reference or "none", "radius (A)": how.alignment.radius, "box (voxels)": how.box,
        "tilts (degrees)": how.alignment.tilt_range_deg, "iterations": how.iterations, "mask": mask, "seed": seed,
        "boxes over an edge": f"{boxes.dropped} dropped, {boxes.padded} padded",
    }  # fmt: skip
    _write(output, refined, volumes, told)
    counted = f"{len(boxes)} particles ({boxes.dropped} dropped, {boxes.padded} padded at edges)"
    reached = {t: refined.fsc.resolution(t) for t in (0.143, 0.5)}
    at = [f"agree to {value:.1f} A at FSC {t:g}" for t, value in reached.items() if np.isfinite(value)]
    typer.echo(f"{output}: {counted}; half maps {', '.join(at) or _no_resolution(refined)}")


def _no_resolution(refined: Refined) -> str:
    """Why half maps have no resolution."""
    if not refined.fsc.inconclusive():
        return "do not agree, not even in the coarsest detail"
    return (
        f"agree on nothing finer than {refined.fsc.conclusive:.0f} A; one was laid onto the other, on detail down to "
        f"{refined.fsc.registered:.0f} A, and what agrees may come from that alone, as it does for noise"
    )


def _warn_of_twins(source: Path, particles: Particles, *, within: float) -> None:
    """Say how many picks lie within some A of another one: one particle in both half-sets raises the FSC."""
    import numpy as np
    from scipy.spatial import cKDTree

    twins = 0
    for name in set(np.asarray(particles.tomograms)):
        centers = particles.centers_zyx[np.asarray(particles.tomograms) == name]
        twins += len(np.unique(cKDTree(centers).query_pairs(within, output_type="ndarray")))
    if twins:
        typer.echo(
            f"voxpick: warning: {source}: {twins} picks lie within {within:g} A, half of --radius, of another one; "
            "where they are one particle it is in both half-sets, and the FSC promises too much: keep one of each",
            err=True,
        )


def _write(folder: Path, refined: Refined, volumes: list[Volume], told: dict[str, Any]) -> None:
    """Write the files of WRITTEN together, so that no map of one average lies beside the picks of another."""
    from voxpick.io.atomic import write_text, write_together
    from voxpick.io.mrc import write_mrc
    from voxpick.io.star import write_star
    from voxpick.report.average_page import build_average_report

    one = len(volumes) == 1  # whatever tomogram its picks name
    shapes = volumes[0].shape if one else {volume.name: volume.shape for volume in volumes}
    table = refined.fsc.to_frame().to_csv(index=False, float_format="%.6g")
    star = partial(write_star, particles=refined.particles, voxel_size=volumes[0].voxel_size, shape=shapes)
    maps = [partial(write_mrc, data=each) for each in (refined.map, *refined.halves)]
    page = partial(write_text, text=build_average_report(refined, settings=told))
    writers: list[Callable[[Path], object]] = [*maps, partial(write_text, text=table), star, page]
    write_together({folder / name: write for name, write in zip(WRITTEN, writers, strict=True)})
