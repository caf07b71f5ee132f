"""voxpick demo"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from voxpick.cli import options as option
from voxpick.cli.simulation_folders import MOST_SEED
from voxpick.default_method import DEFAULT_METHOD
from voxpick.errors import VoxpickError

DEMO_SIZE = (128, 160, 192)
PARTICLES_PER_VOXEL = 2600 / (200 * 512 * 512)
RESULTS = ("picks.star", "picks.csv", "picks.txt", "report.html")
MADE_BY = "demo"
FIRST_SEED = 1_000_000_000
"""Fresh seeds are drawn from here up; by that, demos of versions that did not note their name are known."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", short_help="Simulate a tomogram, pick it, score it, write a report.")(demo)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all results.")] = Path("voxpick-demo"),
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="Repeat an earlier demo.", show_default="a fresh seed")
    ] = None,
    threads: option.Threads = None,
    device: option.Device = "auto",
) -> None:
    """Simulate a tomogram never seen in training, find and name its particles, score them, and write a report."""
    from voxpick.cli.threads import set_threads
    from voxpick.io.alone import alone_in
    from voxpick.io.atomic import require_writable

    set_threads(threads)
    require_writable(output)
    with alone_in(output, use="runs a demo"):
        _keep_other_data(output)
        _demo(output, seed, device)


def _demo(output: Path, seed: int | None, device: str) -> None:
    from voxpick.cli.detect_output import write_picks
    from voxpick.cli.progress import step_bars
    from voxpick.cli.score_tables import print_shrec
    from voxpick.cli.truth import read_truth, told
    from voxpick.evaluate.shrec import score_shrec
    from voxpick.io.atomic import write_text
    from voxpick.io.model import builtin_model_path, load_models
    from voxpick.io.shrec_model import open_model
    from voxpick.methods.catalogue import find_method, method_of
    from voxpick.precision import choose_device
    from voxpick.report.page import build_report

    start = time.perf_counter()
    models = load_models(builtin_model_path(DEFAULT_METHOD))
    where = str(choose_device(device))
    seed = FIRST_SEED + time.time_ns() % FIRST_SEED if seed is None else seed
    folder = output / "model_0"
    typer.echo(f"Simulating a tomogram (seed {seed}) in {folder}")
    simulate_tomogram(folder, seed=seed, device=where)
    truth = read_truth(folder)
    tomogram = open_model(folder).reconstruction
    with step_bars("demo") as report:
        detection = find_method(method_of(models)).detect(tomogram, models, device=where, progress=report)
    write_picks(output / "picks", detection.particles, ["star", "csv", "shrec"], tomogram.voxel_size, tomogram.shape)
    score = score_shrec(
        detection.particles, truth.particles, truth.occupancy,
        voxel_size=truth.voxel_size, z_offset=truth.z_offset, thickness=truth.thickness, frame="tomogram",
    )  # fmt: skip
    print_shrec(score)
    page = build_report(
        tomogram,
        detection.particles,
        truth=truth.tomogram_particles,
        score=told(score, detection.particles, truth),
        title="voxpick demo",
        hits=score.hit_ids > 0,
        settings={"seed": seed, "model": DEFAULT_METHOD, "seconds": round(time.perf_counter() - start, 1)},
    )
    write_text(output / "report.html", page)
    typer.echo(
        f"Found {score.true_positives} of {score.particles} particles, F1 {score.f1:.3f}, "
        f"in {time.perf_counter() - start:.0f} s. Open {output / 'report.html'}"
    )


def simulate_tomogram(folder: Path, *, seed: int, device: str) -> None:
    """Write a model_N folder of the built-in structures, replacing what an earlier demo left there."""
    from voxpick.cli.progress import step_bars
    from voxpick.cli.simulation_folders import model_seed, provenance, write_simulation
    from voxpick.simulate.bank import load_bank
    from voxpick.simulate.shrec20 import Recipe, simulate_shrec20

    bank = load_bank()
    nz, ny, nx = DEMO_SIZE
    recipe = Recipe(size_zyx=DEMO_SIZE, thickness=nz + 32, particles=round(PARTICLES_PER_VOXEL * nz * ny * nx))
    with step_bars("demo") as report:
        simulation = simulate_shrec20(bank, recipe, seed=model_seed(seed, 0), device=device, progress=report)
    ids = {name: k for k, name in enumerate(bank, start=1)}
    record = {**provenance(recipe, bank, seed, 0, device=device), "made_by": MADE_BY}
    write_simulation(folder, simulation, ids, provenance=record, overwrite=True)


def _keep_other_data(output: Path) -> None:
    """Refuse to replace a folder model_0 that no demo made, or results where no demo made one."""
    from voxpick.cli.outputs import keep_existing
    from voxpick.cli.simulation_notes import read_simulation
    from voxpick.io.abandoned import restore_folder

    folder = output / "model_0"
    restore_folder(folder)
    if not folder.exists():
        way_out = "no demo made it, as there is no model_0 beside it; give another --output"
        keep_existing([output / name for name in RESULTS], overwrite=False, way_out=way_out)
        return
    found = read_simulation(folder)
    seed = found.get("seed")
    if found.get("made_by") != MADE_BY and not (isinstance(seed, int) and seed >= FIRST_SEED):
        raise VoxpickError(f"{folder}: is not of an earlier demo and would be replaced; give another --output")
