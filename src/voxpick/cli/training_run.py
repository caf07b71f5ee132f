"""The run of `voxpick train`: one stage read, trained in its run folder, and written into its model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.cli.training_data import read_training_volume
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxpick.cli.training_data import TrainingData
    from voxpick.cli.training_stage import HeldOut, StageTraining
    from voxpick.io.run_directory import RunDirectory
    from voxpick.networks.model import Model
    from voxpick.train.settings import TrainSettings


@dataclass(frozen=True)
class Writing:
    """Where a training writes its model and its run, and what it may go on from or replace there."""

    output: Path
    run_dir: Path
    resume: bool
    overwrite: bool
    tensorboard: bool


def keep_foreign(writing: Writing, config: Path | None) -> None:
    """Raise VoxpickError where the run would write over its --config, or over files that no earlier run made."""
    from voxpick.cli.outputs import keep_existing, keep_inputs
    from voxpick.io.run_directory import is_run, written_files

    if writing.resume or writing.overwrite:
        return
    files = written_files(writing.run_dir)
    keep_inputs(files, [config], option="--run-dir")
    keep_existing(
        files, overwrite=is_run(writing.run_dir),
        way_out="add --overwrite to replace it, or give another --run-dir",
    )  # fmt: skip


def train_stage(
    data: list[Path], read: Callable[[Any], TrainingData], settings: TrainSettings, preset: str, writing: Writing,
    *, validation: Path | None, side: int, start: Model | None, device: str,
) -> None:  # fmt: skip
    """Read, train, write. read: the training data, made on the device given; side: as `HeldOut`'s."""
    from voxpick.cli.training_marks import require_other_place
    from voxpick.cli.training_model import other_stages
    from voxpick.cli.training_stage import StageTraining
    from voxpick.io.alone import alone_in
    from voxpick.io.atomic import require_file_place
    from voxpick.precision import choose_device

    if validation is not None:
        require_other_place(validation, data)
    earlier = other_stages(
        writing.output, settings.method, settings.stage, replace=writing.resume or writing.overwrite
    )  # fmt: skip
    require_file_place(writing.output)
    where = choose_device(device)
    source = read(where)
    model = _untrained(settings, source, start)
    held_out = _held_out(validation, side, data, source)
    stage = StageTraining(settings, preset, source, model, earlier, held_out, where, start)
    if held_out is not None and stage.validate is None:
        typer.echo(f"the {settings.stage} finds no particles by itself, so it is not validated")

    with alone_in(writing.run_dir, use="trains"):
        _run(stage, writing)


def _run(stage: StageTraining, writing: Writing) -> None:
    """Train in the run folder, and write the model once the budget is spent."""
    from voxpick.cli.training_stop import stopping_on_signals

    run, state = _opened(stage, writing)
    typer.echo(_network(stage.model))
    if stage.validate is not None or (stage.settings.steps or stage.settings.log_steps) >= stage.settings.log_steps:
        typer.echo(f"Losses and validation scores go to {writing.run_dir / 'log.csv'}")
    name = stage.settings.stage
    with stopping_on_signals() as stop:
        fitted = stage.run(run, state, title=f"the {name}", stop=stop, save=run.save_checkpoint)
    run.write_settings(stage.written)
    if fitted.interrupted:
        begun = run.checkpoint_path.exists()
        way_on = "go on with the same command and --resume" if begun else "the same command begins anew"
        typer.echo(f"stopped at step {fitted.step}; {way_on}", err=True)
        raise typer.Exit(130)
    replace = writing.resume or writing.overwrite
    typer.echo(stage.write(writing.output, fitted, held=writing.run_dir, replace=replace))


def _untrained(settings: TrainSettings, source: TrainingData, start: Model | None) -> Model:
    """A model of the stage, with the weights of `start` where there is one."""
    from voxpick.detect.rescale import same_voxel_size
    from voxpick.methods.catalogue import find_method
    from voxpick.train.fine_tuning import take_weights

    model = find_method(settings.method).create_model(settings, source.classes, voxel_size=source.voxel_size)
    if start is not None and (new := take_weights(start, model)):
        typer.echo(f"new to the network: {', '.join(new)}; {_kept(model.classes, new)}")
    if start is not None and not same_voxel_size(start.voxel_size, model.voxel_size):
        typer.echo(
            f"voxpick: warning: the weights to begin with learned in voxels of {start.voxel_size:g} A, and these "
            f"tomograms have {model.voxel_size:g} A, so that all they know has another size here; bin or resample the "
            f"tomograms to {start.voxel_size:g} A, or leave --from out",
            err=True,
        )
    elif start is not None and not settings.keep_spectrum:
        model.spectrum = start.spectrum
    return model


def _held_out(validation: Path | None, side: int, data: list[Path], source: TrainingData) -> HeldOut | None:
    """The tomogram to validate on. Raises VoxpickError for one that is trained on."""
    from voxpick.cli.training_marks import require_other_content
    from voxpick.cli.training_stage import HeldOut

    if validation is None:
        return None
    volume = read_training_volume(validation)
    require_other_content(validation, volume, data, source.tomograms)
    return HeldOut(volume, validation, side)


def _opened(stage: StageTraining, writing: Writing) -> tuple[RunDirectory, dict[str, Any] | None]:
    """The run folder, and the checkpoint to go on from. Raises VoxpickError where an earlier run is in the way."""
    from voxpick.io.run_directory import RunDirectory, is_run

    run = RunDirectory(writing.run_dir, tensorboard=writing.tensorboard)
    if not writing.resume and run.checkpoint_path.exists() and not writing.overwrite:
        raise VoxpickError(
            f"{writing.run_dir}: holds the checkpoint of an earlier run; go on from it with --resume, drop it by "
            "--overwrite, or give another --run-dir"
        )
    if not writing.resume and is_run(run.path):
        run.remove_earlier()
    state = run.load_checkpoint() if writing.resume else None
    if state is None:
        run.write_settings(stage.written)
    stage.note_data(run, resumed=state is not None)
    if state is not None and stage.validate is None and state["progress"].get("best_weights") is not None:
        typer.echo("resumed without --validation: the run's best score so far is dropped", err=True)
    return run, state


def _kept(classes: list[str], new: list[str]) -> str:
    """What is left of given weights, of whose classes `new` are none."""
    known = [name for name in classes if name not in ("background", *new)]
    return f"it goes on with what it knows of {', '.join(known)}" if known else "it knows none of these classes yet"


def _network(model: Model) -> str:
    """The network in one line."""
    parameters = sum(weights.numel() for weights in model.network.parameters())
    told = model.network.extra_repr().split(", ")
    details = ", ".join(each for each in told if each != f"parameters={parameters:,}")
    return f"Network: {model.name}, {parameters:,} parameters{f' ({details})' if details else ''}"
