"""voxpick report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from voxpick.cli import options as option
from voxpick.errors import VoxpickError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", short_help="Write one HTML file: slices with picks, and charts.")(report_command)


def report_command(
    context: typer.Context,
    volume: option.Tomogram,
    picks: option.Picks,
    truth: Annotated[
        Path | None,
        typer.Option(help="A SHREC model folder: adds scores, charts and the true particles to the report."),
    ] = None,
    benchmark: Annotated[str, typer.Option(help="Whose rules to score by: shrec19, shrec20 or shrec21.")] = "shrec20",
    frame: Annotated[
        str,
        typer.Option(help="What the z of the picks counts from: tomogram, specimen, or auto, the organisers' guess."),
    ] = "tomogram",
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is no page of voxpick's.")] = False,
    title: Annotated[str | None, typer.Option(help="Headline.", show_default="the tomogram's name")] = None,
    voxel_size: option.VoxelSize = None,
) -> None:
    """Write one HTML file to look at: slices with the picks on them, a score slider, and charts.

    It opens in any browser, without a server and without a network.
    """
    from voxpick.cli.given import is_given
    from voxpick.cli.outputs import files_of, keep_inputs, keep_other_pages
    from voxpick.cli.pick_files import read_picks, warn_of_strays
    from voxpick.cli.progress import progress_bar
    from voxpick.cli.tomograms import read_tomogram
    from voxpick.cli.truth import check_rules, read_truth, scored, told
    from voxpick.io.atomic import require_file_place, write_text
    from voxpick.report.page import build_report

    keep_inputs([output], [volume, picks, *files_of(truth)])
    keep_other_pages(output, overwrite=overwrite)
    require_file_place(output)
    check_rules(benchmark, frame)
    if truth is None and is_given(context, "frame"):
        raise VoxpickError(f"--frame {frame}: goes with --truth, which says where in the tomogram the specimen lies")
    year = 2019 if benchmark == "shrec19" else 2020
    known = None if truth is None else read_truth(truth, benchmark=benchmark, voxel_size=voxel_size)
    tomogram = read_tomogram(volume, voxel_size if known is None else known.voxel_size)
    particles = read_picks(
        picks,
        tomogram=tomogram.name if known is None else known.directory.resolve().name,
        also=tomogram.name,
        voxel_size=tomogram.voxel_size,
        shape=tomogram.shape,
        year=year,
        allow_empty=True,
        place=known is None,
    )
    if frame == "tomogram":
        warn_of_strays(picks, particles, tomogram, volume)
    settings: dict[str, Any] = {"tomogram": volume, "picks": picks}
    options: dict[str, Any] = {}
    if known is not None:
        settings |= {"truth": truth, "scoring": benchmark, "frame of the picks": frame}
        if tomogram.shape != known.tomogram_shape:
            raise VoxpickError(
                f"{volume}: has shape {tomogram.shape} (z, y, x), but the tomogram of {truth} has "
                f"{known.tomogram_shape}; give the volume that belongs to this truth"
            )
        score = scored(particles, known, picks_path=picks, benchmark=benchmark, frame=frame)
        options = {"truth": known.tomogram_particles, "score": told(score, particles, known), "hits": score.hit_ids > 0}
        shift = [score.z_shift * known.voxel_size, 0, 0]
        particles = particles.with_columns(centers_zyx=particles.centers_zyx + shift)
    with progress_bar("Reading the tomogram") as progress:
        page = build_report(
            tomogram, particles, title=title or tomogram.name, settings=settings, progress=progress, **options
        )
    write_text(output, page)
    typer.echo(f"{output}: {len(particles)} picks, {len(page) / 2**20:.1f} MB; open it in a browser")
