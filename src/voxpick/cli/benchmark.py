"""voxpick benchmark"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxpick.benchmark.runner import Runner

app = typer.Typer(no_args_is_help=True, help="Train and score methods side by side.")


def register(parent: typer.Typer) -> None:
    """Add this command group."""
    parent.add_typer(app, name="benchmark")


@app.callback()
def _group() -> None:
    """Train and score methods side by side."""


@app.command(short_help="Train methods, score them on unseen tomograms, compare.")
def shrec20(
    settings_dir: Annotated[
        Path, typer.Argument(help="Folder with benchmark.yaml and one YAML file per entry, as in benchmarks/shrec20/.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of data, models, picks, results and tables.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Run this entry only, and those it needs; may be repeated.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Minutes of training per method.", show_default="benchmark.yaml's"),
    ] = None,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Run nothing; write the tables of the results there are.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run nothing; check all settings and say what would be trained and run.")
    ] = False,
) -> None:
    """Train methods on equal terms, score them on unseen tomograms, and write the papers' tables and figures.

    Give the same command again to go on after Ctrl-C, to try failed entries again, or after a change of settings: what
    is done stays. OUTPUT receives tables.json, tables.md and report.html. Template matching and other methods that
    learn nothing take part without training.
    """
    from voxpick.benchmark.abilities import abilities
    from voxpick.benchmark.datasets import require_folders
    from voxpick.benchmark.plan import check, described
    from voxpick.benchmark.runner import Runner
    from voxpick.benchmark.settings import load_settings
    from voxpick.errors import VoxpickError
    from voxpick.io.alone import alone_in
    from voxpick.io.atomic import require_writable

    settings = load_settings(settings_dir)
    if minutes is not None:
        settings = settings.model_copy(update={"benchmark": settings.benchmark.model_copy(update={"minutes": minutes})})
    methods = abilities()
    try:
        check(settings, methods, settings_dir)
    except VoxpickError as error:
        raise VoxpickError(f"{settings_dir / str(error)}") from error
    if not tables_only:
        require_folders(settings.benchmark.data, settings_dir)
    runner = Runner(settings, settings_dir, output.absolute(), methods, score_picks, say=typer.echo)
    if dry_run:
        typer.echo("\n".join(described(settings, methods, only or [])))
        if done := [f"{name} (seed {seed})" for name, seed in runner.finished(only or [])]:
            typer.echo(f"of these done already, and kept: {', '.join(done)}")
        return
    require_writable(output)
    _keep_foreign_tables(output)
    if tables_only:
        write_tables(runner, outdated=runner.outdated())
    else:
        with alone_in(output, use="runs a benchmark"):
            _run(runner, only or [])


def _keep_foreign_tables(output: Path) -> None:
    """Raise VoxpickError for tables or a report that no benchmark wrote: tables.json is the first it writes."""
    import json

    from voxpick.errors import VoxpickError

    try:
        own = "tables" in json.loads((output / "tables.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        own = False
    for name in () if own else ("tables.json", "tables.md", "report.html"):
        if (output / name).exists():
            raise VoxpickError(
                f"{output / name}: was not made by this command; move it elsewhere, or give another --output"
            )


def _run(runner: Runner, only: list[str]) -> None:
    """Run, and write the tables of what there is in any case; ends with code 1 when an entry that was run failed."""
    import signal

    from voxpick.benchmark.plan import with_needed

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        runner.run(only)
    finally:
        signal.signal(signal.SIGTERM, before)
        write_tables(runner, outdated=runner.outdated())
    entries = runner.settings.entries
    wanted = with_needed(only or list(entries), entries)
    if any(result["status"] != "done" for result in runner.results() if result["entry"] in wanted):
        raise typer.Exit(1)


def score_picks(picks: Path, truth_folder: Path) -> dict[str, Any]:
    """The organisers' numbers for a file of picks in the tomogram's frame, with the strict ones under 'strict'."""
    from voxpick.cli.pick_files import read_picks
    from voxpick.cli.truth import read_truth
    from voxpick.evaluate.shrec import score_shrec

    truth = read_truth(truth_folder)
    particles = read_picks(
        picks,
        tomogram=truth_folder.name,
        voxel_size=truth.voxel_size,
        shape=truth.tomogram_shape,
        allow_empty=True,
        place=False,
    )
    lenient, strict = (
        score_shrec(
            particles, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset,
            thickness=truth.thickness, frame="tomogram", strict=mode,
        ).to_dict()
        for mode in (False, True)
    )  # fmt: skip
    return {**lenient, "strict": {key: strict[key] for key in ("localisation", "class_f1", "mean_class_f1")}}


def write_tables(runner: Runner, *, outdated: Sequence[tuple[str, int]] = ()) -> None:
    """tables.json, tables.md and report.html from the results in the output folder.

    outdated: entries and seeds whose results were made under other settings than those given now.
    """
    import json

    from voxpick.benchmark.claims import claims_table
    from voxpick.benchmark.completed import complete
    from voxpick.benchmark.curves import training_curves
    from voxpick.benchmark.tables import build_tables, confusions
    from voxpick.benchmark.writing import remarks_on, tables_to_dict, tables_to_markdown
    from voxpick.io.atomic import write_text
    from voxpick.report.benchmark_page import build_benchmark_report

    results, entries, benchmark = runner.results(), runner.settings.entries, runner.settings.benchmark
    built = build_tables(results, entries)
    if benchmark.claims:
        built.append(claims_table(benchmark.claims, results))
    tables, matrices = complete(tables_to_dict(built), benchmark.claims), confusions(results, entries)
    failed = [
        {"title": entries[r["entry"]].title or r["entry"], "seed": r["seed"], "error": r["error"], "log": r["log"]}
        for r in results
        if r["status"] != "done"
    ]
    done = len(results) - len(failed)
    old = [{"title": entries[name].title or name, "seed": seed} for name, seed in outdated]
    other = [
        {"title": entries[r["entry"]].title or r["entry"], "seed": r["seed"],
         "commit": r.get("machine", {}).get("commit")}
        for r in runner.of_other_code()
    ]  # fmt: skip
    content = {
        "title": benchmark.title, "tables": tables, "confusion": matrices, "failed": failed, "outdated": old,
        "other_code": other,
    }  # fmt: skip
    write_text(runner.output / "tables.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text(runner.output / "tables.md", tables_to_markdown(benchmark.title, tables, remarks_on(content), matrices))
    subtitle = f"{done} of {len(runner.runs())} runs done · {budget_of(results)} · device {benchmark.device}"
    if old:
        subtitle += f" · {len(old)} made under other settings or data, named in tables.md"
    if other:
        subtitle += f" · {len(other)} made by other code, named in tables.md"
    curves = training_curves(runner.output, results, entries)
    page = build_benchmark_report(benchmark.title, tables, matrices, subtitle=subtitle, failed=failed, curves=curves)
    write_text(runner.output / "report.html", page)
    typer.echo(f"{runner.output / 'report.html'}: {done} results; tables.json and tables.md beside it")


def budget_of(results: Sequence[dict[str, Any]]) -> str:
    """Minutes of training that finished results were given, borrowed stages included, in words."""
    given = [[stage["minutes"] for stage in result["stages"]] for result in results if result["status"] == "done"]
    totals = sorted({round(sum(minutes), 3) for minutes in given if minutes and None not in minutes})
    own = any(None in minutes for minutes in given)
    if not totals:
        return "budgets of their own" if own else "no training"
    most = f"{totals[0]:g}" if len(totals) == 1 else f"{totals[0]:g} to {totals[-1]:g}"
    return f"{most} minutes of training each" + (", some with budgets of their own" if own else "")
