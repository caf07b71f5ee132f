"""voxpick train: teach a network to find or to name particles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.networks.model import Model
    from voxpick.train.fit import Validate
    from voxpick.train.settings import TrainSettings
    from voxpick.train.targets import TrainingVolume

HELP = """Teach a network to find particles, to name them, or both, as one of the published methods does.

A method has one stage or several ('voxpick methods' lists them), trained one after another into one model file, which
'voxpick detect' uses. VP-Detector has 'localizer' and 'classifier'. Press Ctrl-C to stop; the same command with
--resume goes on from there.
Example: voxpick train data/model_0 data/model_1 --validation data/model_2 --minutes 60
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("train", help=HELP)
    def train_command(
        data: list[Path] = typer.Argument(
            ..., help="Folders model_N: tomograms with truth, made by 'voxpick simulate'."
        ),
        method: str | None = typer.Option(
            None, help="The published method to train; see 'voxpick methods'.", show_default="vp-detector"
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
        output: Path = typer.Option(Path("model.pt"), help="Model file; other stages that the file holds are kept."),
        run_dir: Path | None = typer.Option(
            None, help="Folder of settings, log, checkpoint.", show_default="OUTPUT_STAGE_run"
        ),
        resume: bool = typer.Option(False, "--resume", help="Go on from the checkpoint in the run folder."),
        start_from: Path | None = typer.Option(
            None, help="Begin with the weights of this model file instead of random ones."
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
        from voxpick.cli.assignments import read_assignments
        from voxpick.cli.threads import set_threads

        set_threads(threads)
        set_ = read_assignments(changes, example="batch=2", nested=("network_settings", "options"))
        given = {
            "method": method, "stage": stage, "preset": preset, "minutes": minutes, "steps": steps, "seed": seed,
        }  # fmt: skip
        settings, chosen_preset = _settings(_read_config(config), set_, given)
        _train(
            data, settings, chosen_preset, validation=validation, validation_side=validation_side, output=output,
            run_dir=run_dir or output.with_name(f"{output.stem}_{settings.stage}_run"), resume=resume,
            start_from=start_from, device=device, tensorboard=tensorboard,
        )  # fmt: skip


def _settings(config: dict[str, Any], set_: dict[str, Any], given: dict[str, Any]) -> tuple[TrainSettings, str]:
    """What to train, and the preset it began with; the options win over --set, and that over --config."""
    from voxpick.methods.catalogue import find_method

    wanted = {**config, **set_, **{key: value for key, value in given.items() if value is not None}}
    name, preset = str(wanted.pop("method", "vp-detector")), str(wanted.pop("preset", "minutes"))
    method = find_method(name)
    if not method.STAGES:
        raise VoxpickError(f"{name} learns nothing, so there is nothing to train")
    stage = str(wanted.pop("stage", method.STAGES[0]))
    if stage not in method.STAGES:
        raise VoxpickError(f"stage is {stage!r}; {name} has {' and '.join(method.STAGES)}")
    return method.training_settings(stage, preset, wanted), preset


def _train(
    data: list[Path], settings: TrainSettings, preset: str, *, validation: Path | None, validation_side: int,
    output: Path, run_dir: Path, resume: bool, start_from: Path | None, device: str, tensorboard: bool,
) -> None:  # fmt: skip
    """Read, train, write."""
    from voxpick.cli.progress import progress_bar
    from voxpick.cli.training_model import copy_weights, describe, other_stages, write_stage
    from voxpick.cli.training_stop import stopping_on_signals
    from voxpick.io.atomic import require_writable
    from voxpick.io.run_directory import RunDirectory
    from voxpick.methods.catalogue import find_method
    from voxpick.methods.recipe import class_names
    from voxpick.precision import choose_device

    method, stage = find_method(settings.method), settings.stage
    if validation is not None and any(validation.resolve() == path.resolve() for path in data):
        raise VoxpickError(f"{validation}: is also training data; validate on a tomogram kept out of training")
    earlier = other_stages(output, settings.method, stage)
    require_writable(output.parent)
    where = choose_device(device)
    volumes = [read_training_volume(path) for path in data]
    classes = class_names(volumes)
    model = method.create_model(settings, classes, voxel_size=volumes[0].tomogram.voxel_size)
    origin = None if start_from is None else copy_weights(start_from, model, stage)
    validate = _validation(validation, model, settings, earlier, side=validation_side)

    run = RunDirectory(run_dir, tensorboard=tensorboard)
    if not resume and run.checkpoint_path.exists():
        raise VoxpickError(
            f"{run_dir}: holds the checkpoint of an earlier run; go on from it with --resume, or give another --run-dir"
        )
    state = run.load_checkpoint() if resume else None
    run.write_settings({"preset": preset, **settings.model_dump()})
    typer.echo(_network(model))
    typer.echo(f"Losses and validation scores go to {run_dir / 'log.csv'}")
    what = f"training the {stage}, {'steps' if settings.minutes is None else 'seconds'}"
    with stopping_on_signals() as stop, progress_bar(what) as progress:
        fitted = method.train(
            volumes, model, settings, classes=classes, earlier=earlier, validate=validate, log=run.log,
            save=run.save_checkpoint, resume=state, stop=stop, device=where, progress=progress,
        )  # fmt: skip
    run.close()
    if fitted.interrupted:
        typer.echo(f"stopped at step {fitted.step}; go on with the same command and --resume", err=True)
        raise typer.Exit(130)
    describe(model, settings, preset, data, validation, fitted, str(where), origin)
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


def read_training_volume(directory: Path) -> TrainingVolume:
    """A model_N folder as training data; its volumes stay on disk and are read, and normalised, patch by patch."""
    from voxpick.io.shrec_model import open_model
    from voxpick.train.targets import TrainingVolume
    from voxpick.volume import intensity_statistics

    files = open_model(directory)
    tomogram, largest = files.reconstruction, int(files.occupancy_mask.max())
    if largest > len(files.particles):
        raise VoxpickError(
            f"{directory}: occupancy_mask.mrc holds particle {largest}, but particle_locations.txt lists "
            f"{len(files.particles)}; take both from one data set"
        )
    return TrainingVolume(
        tomogram, files.class_mask, files.tomogram_particles, files.occupancy_mask, z_offset=files.z_offset,
        intensity=intensity_statistics(tomogram),
        density=files.grandmodel.data if files.path("grandmodel").is_file() else None,
    )  # fmt: skip


def _network(model: Model) -> str:
    """The network in one line."""
    parameters = sum(weights.numel() for weights in model.network.parameters())
    details = model.network.extra_repr()
    return f"Network: {model.name}, {parameters:,} parameters{f' ({details})' if details else ''}"


def _read_config(path: Path | None) -> dict[str, Any]:
    """Settings from YAML."""
    import yaml

    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise VoxpickError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise VoxpickError(f"{path}: expected lines of 'key: value'")
    return values
