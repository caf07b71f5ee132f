"""voxpick agreement, and `voxpick evaluate --agreement`: two pickings against each other."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.cli import options as option
from voxpick.cli.agreement_picks import (
    check_tomograms,
    frame_of,
    of_class,
    read_picking,
    require_inside_mask,
    require_mask_of,
)
from voxpick.cli.given import is_given, shown
from voxpick.cli.outputs import OVERWRITE, keep_existing, keep_inputs
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from voxpick.cli.agreement_averages import AverageOptions
    from voxpick.evaluate.agreement import Agreement
    from voxpick.particles import Particles

WRITTEN = ("both.csv", "only_picks.csv", "only_other.csv", "agreement.json", "report.html")
"""The files of every comparison."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("agreement", short_help="Compare two pickings: both, either alone, and their overlap.")(
        agreement_command
    )


WITH_TOMOGRAM = ("particle_radius", "edges", "reference", "iterations", "tilts", "bright", "seed", "device")
"""Options that say how to average, which needs tomograms."""


def agreement_command(
    context: typer.Context,
    picks: option.Picks,
    other: Annotated[Path, typer.Argument(help="Other picks of the same tomograms, such as an expert's.")],
    radius: Annotated[float, typer.Option(help="How far apart, in A, two picks of one particle may lie.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("agreement"),
    only: Annotated[str | None, typer.Option("--class", help="Compare only the picks of this class.")] = None,
    near: Annotated[
        Path | None, typer.Option(help="A mask (MRC), such as a membrane, to which distances are counted.")
    ] = None,
    tomograms: Annotated[
        list[Path] | None,
        typer.Option(
            "--tomogram", help="A tomogram (MRC) of the picks; averages each part beside what chance would give."
        ),
    ] = None,
    particle_radius: Annotated[float, typer.Option(help="With --tomogram: radius of the particle in A.")] = 100.0,
    edges: Annotated[
        str,
        typer.Option(help="With --tomogram: boxes over its edge: drop, or pad with their mean."),
    ] = "drop",
    reference: Annotated[
        str | None,
        typer.Option(
            help="With --tomogram: what averages start from, as in `voxpick average`.",
            show_default="the average of the picks in both",
        ),
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, help="With --tomogram: alignments of each average.")] = 4,
    tilts: Annotated[
        tuple[float, float], typer.Option(help="With --tomogram: lowest and highest tilt (deg): -60 60.")
    ] = (-60.0, 60.0),
    bright: Annotated[
        bool, typer.Option("--bright", help="With --tomogram: particles are brighter than what is around them.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="With --tomogram: draws random positions and half-sets.")] = 0,
    voxel_size: option.VoxelSize = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a comparison that exists.")] = False,
    device: option.Device = "cpu",
) -> None:
    """Compare two pickings: the picks of both and of one alone, their overlap, distances to a mask, and averages.

    With --tomogram, each part is averaged beside as many picks of both and as many random positions: a part of false
    picks looks like the random ones. Everything is in report.html.
    """
    options = None
    for name in WITH_TOMOGRAM:
        if not tomograms and is_given(context, name):
            raise VoxpickError(f"{shown(context, name)}: is for averages, which need the --tomogram of the picks")
    if tomograms:
        from voxpick.cli.agreement_averages import AverageOptions

        options = AverageOptions(
            tuple(tomograms), particle_radius, reference, edges=edges, iterations=iterations, tilts=tilts,
            bright=bright, seed=seed, device=device,
        )  # fmt: skip
    compare_pickings(
        picks, other, output, radius=radius, near=near, voxel_size=voxel_size, only=only, averages=options,
        overwrite=overwrite,
    )  # fmt: skip


def compare_pickings(
    picks_path: Path,
    other_path: Path,
    folder: Path,
    *,
    radius: float | None,
    near: Path | None,
    voxel_size: float | None,
    only: str | None = None,
    averages: AverageOptions | None = None,
    overwrite: bool = False,
    way_out: str = OVERWRITE,
) -> dict[str, Any]:
    """Write both.csv, only_picks.csv, only_other.csv, agreement.json and report.html; the numbers.

    near: a mask; the distance of each part's picks to its nearest voxel is added as a histogram. averages: how to
    average the parts, which writes a map and a column of fsc.csv for each. overwrite: an earlier comparison, all files
    of which are removed once the new one is there; else files that exist are refused, with the way out.
    """
    from voxpick.cli.agreement_averages import files_of_averages
    from voxpick.cli.tomograms import require_unicode
    from voxpick.io.alone import alone_in
    from voxpick.io.atomic import require_writable

    if not other_path.is_file():
        reason = "is a folder" if other_path.is_dir() else "no such file"
        raise VoxpickError(f"{other_path}: {reason}; agreement is that of two pick files")
    if radius is None:
        raise VoxpickError("--agreement needs --radius: how far apart, in A, two picks of one particle may lie")
    if not 0 < radius < float("inf"):
        raise VoxpickError(f"--radius is {radius:g}; give how far apart, in A, two picks may lie")
    written = [*(folder / name for name in WRITTEN), *files_of_averages(folder)]
    given = [] if averages is None else averages.inputs()
    keep_inputs(written, [picks_path, other_path, near, *given])
    require_unicode(path for path in (picks_path, other_path, near, *given) if path is not None)
    require_writable(folder)
    with alone_in(folder, use="compares pickings"):
        keep_existing(written, overwrite=overwrite, way_out=way_out)
        return _compare(
            picks_path, other_path, folder, written, radius=radius, near=near, voxel_size=voxel_size, only=only,
            averages=averages,
        )  # fmt: skip


def _compare(
    picks_path: Path, other_path: Path, folder: Path, written: Sequence[Path], *, radius: float, near: Path | None,
    voxel_size: float | None, only: str | None, averages: AverageOptions | None,
) -> dict[str, Any]:  # fmt: skip
    """Read, compare, and write in place of what an earlier comparison has written; the numbers."""
    import json

    from voxpick.cli.agreement_averages import average_numbers, writers_of_averages
    from voxpick.evaluate.agreement import compare
    from voxpick.io.atomic import write_text
    from voxpick.io.formats import write_particles
    from voxpick.report.agreement_page import build_agreement_report

    volumes = [] if averages is None else averages.read(voxel_size)
    mask, size, shape = frame_of(near, volumes, voxel_size)
    if near is not None and not volumes and size is not None and shape is not None:
        for path in (picks_path, other_path):
            require_mask_of(path, near, size, shape)
    read = [read_picking(path, volumes, size, shape) for path in (picks_path, other_path)]
    picks, other = (of_class(path, all_of, only) for path, all_of in zip((picks_path, other_path), read, strict=True))
    check_tomograms(picks, other, picks_path, other_path, near)
    all_picks = dict(zip((picks_path, other_path), read, strict=True))
    if near is not None and mask is not None and size is not None and not volumes:
        require_inside_mask(near, mask, size, all_picks)
    plan = None if averages is None else averages.plan(volumes, all_picks)
    found = compare(other, picks, radius=radius)
    parts = {"both": found.both, "only_picks": found.only_b, "only_other": found.only_a}
    called = _told_apart(picks_path, other_path)
    result = _numbers(found, *called)
    if mask is not None and size is not None:
        result["distance_to_mask"] = _distances(parts, mask, size)
    maps = {} if plan is None else plan.average(parts)
    without = {}
    if plan is not None:
        result["averages"] = {name: average_numbers(refined) for name, refined in maps.items()}
        result["without_box"] = without = plan.without_box(parts)
    report = build_agreement_report(result, maps)
    writers: dict[Path, Callable[[Path], object]] = {
        **{folder / f"{name}.csv": partial(write_particles, particles=part) for name, part in parts.items()},
        **writers_of_averages(folder, maps),
        folder / "agreement.json": partial(write_text, text=json.dumps(result, indent=1, allow_nan=False) + "\n"),
        folder / "report.html": partial(write_text, text=report),
    }
    _replace(writers, written, folder / "averages")
    _tell(found, folder, *called)
    if any(without.values()):
        listed = ", ".join(f"{count} of {len(parts[name])} in {name}.csv" for name, count in without.items() if count)
        way = "" if averages is not None and averages.edges == "pad" else "; --edges pad keeps those at edges"
        typer.echo(f"{folder}: averages leave out picks without a whole box in their tomogram: {listed}{way}")
    return result


def _replace(writers: Mapping[Path, Callable[[Path], object]], earlier: Sequence[Path], averages: Path) -> None:
    """Write the files, then remove those of an earlier comparison that are not among them, so that none is left."""
    from voxpick.io.atomic import write_together

    try:
        write_together(writers)
        for path in earlier:
            if path not in writers:
                path.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # it holds maps
            averages.rmdir()


def _distances(parts: Mapping[str, Particles], mask: np.ndarray, size: float) -> dict[str, dict[str, list[float]]]:
    """The histogram of each part's distances to the mask, whose field of distances is computed once."""
    import numpy as np

    from voxpick.evaluate.agreement import distances_to_mask, histogram
    from voxpick.particles import joined

    found = distances_to_mask(joined(list(parts.values())), mask, voxel_size=size)
    ends = np.cumsum([len(part) for part in parts.values()])
    return {name: histogram(mine) for name, mine in zip(parts, np.split(found, ends[:-1]), strict=True)}


def _told_apart(picks: Path, other: Path) -> tuple[str, str]:
    """The names of two files, with as many of their folders as tell them apart: run1/TS_01.csv and run2/TS_01.csv."""
    a, b = picks.resolve().parts, other.resolve().parts
    for n in range(1, max(len(a), len(b)) + 1):
        if a[-n:] != b[-n:]:
            return "/".join(a[-n:]), "/".join(b[-n:])
    return picks.name, f"{other.name} again"


def _numbers(found: Agreement, picks: str, other: str) -> dict[str, Any]:
    """The comparison with the names of the two files in place of b and a."""
    result: dict[str, Any] = {"picks": picks, "other": other, **found.to_dict()}
    result["only_picks"], result["only_other"] = result.pop("only_b"), result.pop("only_a")
    result["picks_against_other"] = result.pop("b_against_a")
    return result


def _tell(found: Agreement, folder: Path, picks: str, other: str) -> None:
    counts = found.counts
    typer.echo(
        f"{folder}: {len(found.both)} picks in both, {len(found.only_b)} only in {picks}, {len(found.only_a)} only in "
        f"{other}; with {other} as the truth precision {counts.precision:.3f}, recall {counts.recall:.3f}, "
        f"F1 {counts.f_beta:.3f}"
    )
