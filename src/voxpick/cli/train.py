"""voxpick train: teach a network to find or to name particles."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.cli import training_data
from voxpick.cli.training_data import read_training_volume
from voxpick.default_method import DEFAULT_METHOD
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxpick.cli.training_data import TrainingData
    from voxpick.networks.model import Model
    from voxpick.train.fit import Validate
    from voxpick.train.settings import TrainSettings

HELP = """Teach a network to find particles, to name them, or both, as one of the methods does.

Without --method it is voxpick's own. A method has one stage or several ('voxpick methods' lists them), trained one
after another into one model file, which 'voxpick detect' uses. VP-Detector has 'localizer' and 'classifier'.
Press Ctrl-C to stop; the same command with --resume goes on from there.
Example: voxpick train data/model_0 data/model_1 --validation data/model_2 --minutes 60
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("train", help=HELP)
    def train_command(
        data: list[Path] = typer.Argument(
            None, help="Folders model_N, made by 'voxpick simulate'; or tomograms (MRC), with --picks."
        ),
        picks: list[Path] = typer.Option(
            [],
            help="Particles of the tomograms (.star, .csv, .json, ...): one file for all, or one for each, in order.",
        ),
        radius: list[str] = typer.Option(
            [], help="With --picks, radius of the particles in A: one for all, or CLASS=A; may be repeated."
        ),
        voxel_size: float | None = typer.Option(
            None, help="With --picks: voxel size in A, where the tomograms' headers are wrong."
        ),
        partial: float | None = typer.Option(
            None, help="Not all particles are labelled: learn from labelled ones and so many A around, ignore the rest."
        ),
        stream: bool = typer.Option(
            False, "--stream", help="Simulate specimens on the fly, no volume seen twice; --set stream.size=..., ..."
        ),
        structures: Path | None = typer.Option(
            None, help="With --stream, your own bank of structures.", show_default="the built-in one"
        ),
        method: str | None = typer.Option(
            None, help="The method to train; see 'voxpick methods'.", show_default=DEFAULT_METHOD
        ),
        stage: str | None = typer.Option(
            None, help="The part of the method to train.", show_default="the method's first"
        ),
        validation: Path | None = typer.Option(
            None, help="A model_N folder kept out of training, to choose the best network."
        ),
        validation_side: int = typer.Option(
            192, min=0, help="Validate on the tomogram's middle, so many voxels in y and x (0: all)."
        ),
        preset: str | None = typer.Option(
            None, help="'minutes' fits a time budget; 'paper' trains as published.", show_default="minutes"
        ),
        minutes: float | None = typer.Option(None, help="Train for so many minutes, validation included."),
        steps: int | None = typer.Option(None, help="Train for so many steps, repeatable with seed and threads."),
        output: Path = typer.Option(
            Path("model.pt"), "--output", "-o", help="Model file; other stages that the file holds are kept."
        ),
        run_dir: Path | None = typer.Option(
            None, help="Folder of settings, log, checkpoint.", show_default="OUTPUT_STAGE_run"
        ),
        resume: bool = typer.Option(False, "--resume", help="Go on from the checkpoint in the run folder."),
        start_from: str | None = typer.Option(
            None,
            "--from",
            "--start-from",
            help="Begin with the weights of this model file, or with the 'shipped' ones; other classes are allowed.",
        ),
        config: Path | None = typer.Option(None, help="YAML file with settings, such as a run's settings.yaml."),
        changes: list[str] = typer.Option(
            [], "--set", help="One setting, key=value; may be repeated; wins over --config."
        ),
        seed: int | None = typer.Option(
            None, min=0, help="Seed of weights, patches and augmentation.", show_default="0"
        ),
        threads: int = typer.Option(0, min=0, help="CPU threads (0: all)."),
        device: str = typer.Option("auto", help="'auto', 'cpu' or 'cuda'."),
        tensorboard: bool = typer.Option(True, help="Write TensorBoard events into the run folder, beside log.csv."),
    ) -> None:
        from voxpick.cli.assignments import read_assignments, read_config
        from voxpick.cli.threads import set_threads
        from voxpick.cli.training_model import given_stage, with_network_of

        set_threads(threads)
        set_ = read_assignments(changes, example="batch=2", nested=("network_settings", "options", "stream"))
        given = {
            "method": method, "stage": stage, "preset": preset, "minutes": minutes, "steps": steps, "seed": seed,
        }  # fmt: skip
        written = {**read_config(config), **set_}
        if partial is not None:
            written = {"centred_fraction": 1.0, **written}
        settings, chosen_preset = _settings(written, given)
        settings = _streaming(
            settings, stream, data, structures,
            {"picks": picks, "radius": radius, "partial": partial, "voxel-size": voxel_size},
        )  # fmt: skip
        start = None if start_from is None else given_stage(start_from, settings.method, settings.stage)
        if start is not None and not {"network", "network_settings"} & set(written):
            settings = with_network_of(settings, start)

        def read(where: Any) -> TrainingData:
            if settings.stream:
                return training_data.stream(settings, structures, device=where)
            return training_data.gather(
                data or [], picks=picks, radius=radius, partial=partial, voxel_size=voxel_size
            )  # fmt: skip

        _train(
            data or [], read, settings, chosen_preset, validation=validation, validation_side=validation_side,
            output=output, run_dir=run_dir or output.with_name(f"{output.stem}_{settings.stage}_run"), resume=resume,
            start=start, device=device, tensorboard=tensorboard,
        )  # fmt: skip


def _settings(written: dict[str, Any], given: dict[str, Any]) -> tuple[TrainSettings, str]:
    """What to train, and the preset it began with; the options win over what was `written`, --set over --config."""
    from voxpick.methods.catalogue import find_method

    wanted = {**written, **{key: value for key, value in given.items() if value is not None}}
    name, preset = str(wanted.pop("method", DEFAULT_METHOD)), str(wanted.pop("preset", "minutes"))
    method = find_method(name)
    if not method.STAGES:
        raise VoxpickError(f"{name} learns nothing, so there is nothing to train")
    stage = str(wanted.pop("stage", method.STAGES[0]))
    if stage not in method.STAGES:
        raise VoxpickError(f"stage is {stage!r}; {name} has {' and '.join(method.STAGES)}")
    return method.training_settings(stage, preset, wanted), preset


def _streaming(
    settings: TrainSettings, asked: bool, data: list[Path] | None, structures: Path | None, picking: dict[str, Any]
) -> TrainSettings:
    """The settings with all of their stream, if there is one. Raises VoxpickError for what does not go with it."""
    from voxpick.train.stream import stream_settings

    if asked or settings.stream:
        if data:
            raise VoxpickError(f"{data[0]}: --stream simulates its training data; leave out one of the two")
        for option, value in picking.items():
            if value not in (None, []):
                raise VoxpickError(f"--{option}: --stream simulates its training data; leave out one of the two")
        return settings.model_copy(update={"stream": stream_settings(settings).model_dump(mode="json")})
    if structures is not None:
        raise VoxpickError(f"--structures {structures}: what a stream is simulated from; add --stream")
    return settings


def _train(
    data: list[Path], read: Callable[[Any], TrainingData], settings: TrainSettings, preset: str,
    *, validation: Path | None, validation_side: int, output: Path, run_dir: Path, resume: bool, start: Model | None,
    device: str, tensorboard: bool,
) -> None:  # fmt: skip
    """Read, train, write."""
    from voxpick.cli.progress import progress_bar
    from voxpick.cli.training_model import describe, other_stages, write_stage
    from voxpick.cli.training_stop import stopping_on_signals
    from voxpick.io.atomic import require_writable
    from voxpick.io.run_directory import RunDirectory
    from voxpick.methods.catalogue import find_method
    from voxpick.precision import choose_device
    from voxpick.train.fine_tuning import take_weights

    method, stage = find_method(settings.method), settings.stage
    if validation is not None and any(validation.resolve() == path.resolve() for path in data):
        raise VoxpickError(f"{validation}: is also training data; validate on a tomogram kept out of training")
    earlier = other_stages(output, settings.method, stage)
    require_writable(output.parent)
    where = choose_device(device)
    source = read(where)
    model = method.create_model(settings, source.classes, voxel_size=source.voxel_size)
    if start is not None and (new := take_weights(start, model)):
        typer.echo(f"new to the network: {', '.join(new)}; what it knows of the other classes is kept")
    validate = _validation(validation, model, settings, earlier, side=validation_side)

    run = RunDirectory(run_dir, tensorboard=tensorboard)
    if not resume and run.checkpoint_path.exists():
        raise VoxpickError(
            f"{run_dir}: holds the checkpoint of an earlier run; go on from it with --resume, or give another --run-dir"
        )
    state = run.load_checkpoint() if resume else None
    written = {"preset": preset, **settings.model_dump()}
    if state is None:
        run.write_settings(written)
        run.write_data(source.mark, source.names)
    else:
        run.require_same_data(source.mark)
    typer.echo(_network(model))
    typer.echo(f"Losses and validation scores go to {run_dir / 'log.csv'}")
    what = f"training the {stage}, {'steps' if settings.minutes is None else 'seconds'}"
    with stopping_on_signals() as stop, progress_bar(what) as progress:
        fitted = source.run(
            partial(method.train, model=model, settings=settings, classes=source.classes, earlier=earlier),
            checkpoint_seconds=settings.checkpoint_seconds, validate=validate, log=run.log, save=run.save_checkpoint,
            resume=state, stop=stop, device=where, progress=progress,
        )  # fmt: skip
    run.close()
    run.write_settings(written)
    if fitted.interrupted:
        typer.echo(f"stopped at step {fitted.step}; go on with the same command and --resume", err=True)
        raise typer.Exit(130)
    describe(model, settings, preset, source.names, validation, fitted, str(where), start)
    write_stage(output, stage, model)
    best = f", best {fitted.best_score:.4f} at step {fitted.best_step}" if validate else ""
    typer.echo(f"{output}: {stage} after {fitted.step} steps, {fitted.minutes:.1f} minutes{best}")


def _validation(
    held_out: Path | None, model: Model, settings: TrainSettings, earlier: dict[str, Model], *, side: int
) -> Validate | None:
    """What the stage is judged by, if it can be."""
    from voxpick.cli.training_validation import make_validation
    from voxpick.methods.catalogue import find_method

    if held_out is None:
        return None
    volume, method = read_training_volume(held_out), find_method(settings.method)
    validate = make_validation(volume, model, settings, method=method, earlier=earlier, side=side)
    if validate is None:
        typer.echo(f"the {settings.stage} finds no particles by itself, so it is not validated")
    return validate


def _network(model: Model) -> str:
    """The network in one line."""
    parameters = sum(weights.numel() for weights in model.network.parameters())
    details = model.network.extra_repr()
    return f"Network: {model.name}, {parameters:,} parameters{f' ({details})' if details else ''}"
