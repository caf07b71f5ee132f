"""voxpick zoo: models that come with voxpick, how they were made, and how to make them anew."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.cli import options as option
from voxpick.errors import VoxpickError
from voxpick.train.seeds import MOST_SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from voxpick.cli.zoo_specimens import Specimens
    from voxpick.cli.zoo_training import Plan
    from voxpick.networks.model import Model

ZOO = ("voxpick", "vp-detector", "deepfinder", "umc")
"""Methods that `zoo train` makes a model of, each under its own name."""

MEBIBYTE = 2**20

app = typer.Typer(no_args_is_help=True, help="Models that come with voxpick: list them, read their cards, train them.")


def register(parent: typer.Typer) -> None:
    """Add this command group."""
    parent.add_typer(app, name="zoo", short_help="Models that come with voxpick: list, show, train them.")


@app.callback()
def _group() -> None:
    """Models that come with voxpick: list them, read their cards, train them."""


@app.command("list", short_help="List the models in the package, with their scores.")
def list_command() -> None:
    """List the models in the package, with their scores on tomograms kept out of training."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Models in the package")
    columns = ("name", "method", "stages", "classes", "voxel (A)", "MB", "F1", "mean class F1", "best validation")
    for column in columns:
        table.add_column(column, no_wrap=column == "name")
    shipped = []
    for name, path, models in _shipped():
        shipped.append(name)
        table.add_row(*_listed(name, path, models))
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
    typer.echo("Detect with one by 'voxpick detect --model NAME'; 'voxpick zoo card NAME' tells how it was made.")
    if missing := [name for name in ZOO if name not in shipped]:
        typer.echo(f"Not in the package, to be made by 'voxpick zoo train NAME': {', '.join(missing)}")


@app.command("card", short_help="Show a model card: data, seeds, minutes, scores, licence.")
def card_command(
    name: Annotated[str, typer.Argument(help="A model in the package, by name, or a model file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default="print")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Show the model card: data, seeds, device, minutes, scores, licence."""
    from voxpick.cli.detect_models import read_parts
    from voxpick.cli.outputs import keep_existing, keep_inputs
    from voxpick.cli.zoo_card import card_of
    from voxpick.io.atomic import write_text

    path, models = read_parts(name)
    if output is not None:
        keep_inputs([output], [path])
        keep_existing([output], overwrite=overwrite)
    text = card_of(path.stem, models)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
        typer.echo(f"{output}: card of {path}")


@app.command("train", short_help="Make a model of the zoo from nothing.")
def train_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"What to train: {', '.join(ZOO)}.")],
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Minutes of training, shared by the stages.", show_default="the preset's"),
    ] = None,
    preset: Annotated[str, typer.Option(help="'minutes' fits a time budget; 'paper' trains as published.")] = "minutes",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Receives NAME.pt, its card NAME.md and the run.")
    ] = Path("zoo"),
    data: Annotated[
        Path | None, typer.Option(help="Folder of the specimens, kept for later runs.", show_default="OUTPUT/specimens")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run stopped.")] = False,
    stop_after: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many minutes, simulation included; go on with --resume.")
    ] = None,
    specimens: Annotated[
        int | None, typer.Option(min=1, help="Specimens to train on.", show_default="8, or 9 with 'paper'")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Voxels of a specimen, z,y,x.", show_default="200,128,512, or 200,512,512 with 'paper'"),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Train on an endless stream of specimens instead.")] = False,
    checkpoint_limit: Annotated[float, typer.Option(min=0.01, help="Largest size of a checkpoint in MiB.")] = 16.0,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of weights, patches and augmentation.")] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A training setting of every stage, key=value; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: option.Threads = None,
) -> None:
    """Make a model of the zoo from nothing: simulate, train every stage, calibrate, test, write the model and its card.

    Seeds are fixed for each role of the specimens. It needs no network. Ctrl-C, or --stop-after, ends it at any time;
    the same command with --resume goes on, on another machine too if the folder's checkpoints came along.
    """
    from voxpick.cli.assignments import read_assignments
    from voxpick.cli.given import is_given
    from voxpick.cli.simulate import three_sides
    from voxpick.cli.threads import set_threads
    from voxpick.cli.zoo_specimens import SIZES, TRAINING
    from voxpick.cli.zoo_training import Plan

    if minutes == 0:
        raise VoxpickError("--minutes 0: nothing would be trained; leave it out for the preset's")
    begun = time.monotonic()
    set_threads(threads)
    if name not in ZOO:
        raise VoxpickError(f"no zoo model {name!r}; one of {', '.join(ZOO)}")
    given = read_assignments(changes or [], example="batch=2", nested=("network_settings", "options", "stream"))
    plan = Plan(name, preset, minutes, seed, int(checkpoint_limit * MEBIBYTE), stream or "stream" in given, given)
    if plan.stream and is_given(context, "specimens"):
        raise VoxpickError(
            f"--specimens {specimens}: has nothing to do with --stream, which simulates them as it trains"
        )
    _check(plan)
    nz, ny, nx = SIZES[preset] if size is None else three_sides(size)
    training = 0 if plan.stream else specimens or TRAINING[preset]
    _make(
        plan, output, data or output / "specimens", training=training, size=(nz, ny, nx), resume=resume, device=device,
        late=lambda: stop_after is not None and time.monotonic() - begun > 60 * stop_after,
    )  # fmt: skip


def _check(plan: Plan) -> None:
    """Raise VoxpickError for settings that a stage refuses, before anything is simulated."""
    from voxpick.methods.catalogue import find_method

    for stage in find_method(plan.method).STAGES:
        plan.settings(stage)


def _make(
    plan: Plan, output: Path, data: Path, *, training: int, size: tuple[int, int, int], resume: bool, device: str,
    late: Callable[[], bool],
) -> None:  # fmt: skip
    """Simulate, train, finish."""
    from voxpick.cli.training_stop import stopping_on_signals
    from voxpick.cli.zoo_specimens import make_specimens
    from voxpick.cli.zoo_training import train_stages
    from voxpick.io.alone import alone_in
    from voxpick.io.atomic import require_writable
    from voxpick.precision import choose_device

    require_writable(output)
    require_writable(data)
    work = output / plan.method
    _keep_other_models(plan.method, output, work, resume=resume)
    where = choose_device(device)
    specimens = make_specimens(data, training=training, size=size, device=str(where), stop=late)
    if specimens is None:
        typer.echo(f"{data}: stopped before all specimens were made; go on with --resume")
        raise typer.Exit(0)
    with alone_in(work, use="trains"), stopping_on_signals() as asked:
        trained = train_stages(plan, specimens, work, resume=resume, device=where, stop=lambda: asked() or late())
    if not trained:
        raise typer.Exit(0 if late() else 130)
    if late():
        typer.echo(f"{work}: trained; stopped before calibration and tests; go on with --resume")
        raise typer.Exit(0)
    _finish(plan, specimens, output, str(where))


def _keep_other_models(name: str, output: Path, work: Path, *, resume: bool) -> None:
    """Raise VoxpickError for a model or card that exists, unless it may come from the run in `work` to be resumed.

    A run makes them from `work`/model.pt, so without that file they are of another origin.
    """
    from voxpick.cli.outputs import keep_existing

    way_out = "go on with its run by --resume, or give another --output"
    if resume:
        way_out = f"and no run in {work} made it; move it, or give another --output"
    made = [output / f"{name}{suffix}" for suffix in (".pt", ".md")]
    keep_existing(made, overwrite=resume and (work / "model.pt").is_file(), way_out=way_out)


def _finish(plan: Plan, specimens: Specimens, output: Path, device: str) -> None:
    """Calibrate and test the weights as they are stored, and write model and card once both are done."""
    from voxpick.cli.calibrate import calibrate, print_fit
    from voxpick.cli.fit_confidence import NothingFound
    from voxpick.cli.zoo_card import card_of
    from voxpick.cli.zoo_scores import machine, summary, tested
    from voxpick.io.atomic import write_text
    from voxpick.io.model import compact_dtype, load_models, save_models
    from voxpick.networks.model import pack, unpack

    file, trained = output / f"{plan.method}.pt", load_models(output / plan.method / "model.pt")
    dtype = compact_dtype(trained)
    models = unpack(pack(trained, dtype=dtype), source=str(file))
    try:
        print_fit(calibrate(models, specimens.validation, device=device))
    except NothingFound as error:
        typer.secho(f"WARNING: scores are not calibrated: {error}", err=True, fg=typer.colors.YELLOW)
    rows = tested(models, specimens.test, device=device)
    last = models[list(models)[-1]]
    about = [*specimens.about]
    if plan.stream:
        about.insert(0, "training: an endless stream of simulated specimens, none seen twice")
    last.provenance = {
        **last.provenance,
        "evaluation": {"tests": rows, "summary": summary(rows), "data": about, "machine": machine(device)},
    }
    save_models(file, models, dtype=dtype)
    write_text(output / f"{plan.method}.md", card_of(plan.method, models))
    f1, named = (_with_spread(summary(rows)[key]) for key in ("F1", "mean class F1"))
    typer.echo(f"{file}: F1 {f1}, mean class F1 {named} over {len(rows)} test specimens; card in {plan.method}.md")


def _shipped() -> Iterator[tuple[str, Path, dict[str, Model]]]:
    """Name, file and parts of every model in the package."""
    from voxpick.io.model import builtin_models, load_models

    for name, path in builtin_models().items():
        yield name, path, load_models(path)


def _listed(name: str, path: Path, models: dict[str, Model]) -> list[str]:
    """The cells of a model's row."""
    from voxpick.cli.zoo_card import evaluation
    from voxpick.methods.catalogue import method_of

    last = models[list(models)[-1]]
    scores: dict[str, Any] = evaluation(models).get("summary", {})
    best = [f"{v:.3f}" for m in models.values() if (v := _validation_score(m.provenance)) is not None]
    return [
        name, method_of(models), ", ".join(models), str(len(last.classes) - 1), f"{last.voxel_size:g}",
        f"{path.stat().st_size / 1e6:.1f}", *(_with_spread(scores.get(key)) for key in ("F1", "mean class F1")),
        ", ".join(best) or "-",
    ]  # fmt: skip


def _validation_score(made: dict[str, Any]) -> float | None:
    """The best score while a part was trained, or that of its detection settings, tuned afterwards."""
    found = made.get("best_validation_score")
    return made.get("validation_f1") if found is None else found


def _with_spread(value: dict[str, float | None] | None) -> str:
    if not value or value["mean"] is None:
        return "-"
    return f"{value['mean']:.3f}" + (f" ± {value['spread']:.3f}" if value["spread"] is not None else "")
