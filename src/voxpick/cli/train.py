"""voxpick train: teach a network to find or to name particles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.networks.model import Model
    from voxpick.train.settings import TrainSettings
    from voxpick.train.targets import TrainingVolume

HELP = """Teach a network to find particles (stage 'localizer') or to name them (stage 'classifier').

Both stages go into one model file, which 'voxpick detect' uses. Press Ctrl-C to stop; the same command with --resume
goes on from there. Example: voxpick train data/model_0 data/model_1 --validation data/model_2 --minutes 60
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("train", help=HELP)
    def train_command(
        data: list[Path] = typer.Argument(
            ..., help="Folders model_N: tomograms with truth, made by 'voxpick simulate'."
        ),
        stage: str = typer.Option("localizer", help="'localizer' finds particles, 'classifier' names them."),
        method: str = typer.Option("vp-detector", help="The published method to train."),
        validation: Path | None = typer.Option(
            None, help="A model_N folder kept out of training, to choose the best network."
        ),
        validation_side: int = typer.Option(
            192, min=0, help="Validate on the tomogram's middle, so many voxels in y and x (0: all)."
        ),
        preset: str = typer.Option(
            "minutes", help="'minutes' fits a time budget; 'paper' trains 500 epochs as published."
        ),
        minutes: float | None = typer.Option(None, help="Train for so many minutes, validation included."),
        steps: int | None = typer.Option(None, help="Train for so many steps, repeatable with seed and threads."),
        output: Path = typer.Option(Path("model.pt"), help="Model file; the other stage is kept if the file holds it."),
        run_dir: Path | None = typer.Option(
            None, help="Folder of settings, log, checkpoint.", show_default="OUTPUT_STAGE_run"
        ),
        resume: bool = typer.Option(False, "--resume", help="Go on from the checkpoint in the run folder."),
        start_from: Path | None = typer.Option(
            None, help="Begin with the weights of this model file instead of random ones."
        ),
        config: Path | None = typer.Option(None, help="YAML file with settings."),
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

        if method != "vp-detector":
            raise VoxpickError(f"method is {method!r}; the method that can be trained is 'vp-detector'")
        set_threads(threads)
        set_ = read_assignments(changes, example="batch=2", nested=("network_settings",))
        given = {"minutes": minutes, "steps": steps, "seed": seed}
        wanted = {**_read_config(config), **set_, **{k: v for k, v in given.items() if v is not None}}
        _train(
            data, stage, preset, wanted, validation=validation, validation_side=validation_side, output=output,
            run_dir=run_dir or output.with_name(f"{output.stem}_{stage}_run"), resume=resume, start_from=start_from,
            device=device, tensorboard=tensorboard,
        )  # fmt: skip


def _train(
    data: list[Path], stage: str, preset: str, wanted: dict[str, Any], *, validation: Path | None, validation_side: int,
    output: Path, run_dir: Path, resume: bool, start_from: Path | None, device: str, tensorboard: bool,
) -> None:  # fmt: skip
    """Read, train, write."""
    from voxpick.cli.progress import progress_bar
    from voxpick.cli.training_stop import stopping_on_signals
    from voxpick.cli.training_validation import make_validation
    from voxpick.io.atomic import require_writable
    from voxpick.io.model import load_models
    from voxpick.io.run_directory import RunDirectory
    from voxpick.methods.recipe import class_names
    from voxpick.methods.vp_detector import create_model, train, training_settings
    from voxpick.precision import choose_device

    settings = training_settings(stage, preset, wanted)
    if validation is not None and any(validation.resolve() == path.resolve() for path in data):
        raise VoxpickError(f"{validation}: is also training data; validate on a tomogram kept out of training")
    if output.is_dir():
        raise VoxpickError(f"{output}: is a folder; name the model file to write with --output")
    require_writable(output.parent)
    where = choose_device(device)
    others = load_models(output) if output.is_file() else {}
    volumes = [read_training_volume(path) for path in data]
    classes = class_names(volumes)
    model = create_model(settings, classes, voxel_size=volumes[0].tomogram.voxel_size)
    origin = None
    if start_from is not None:
        origin = _copy_weights(load_models(start_from), model, stage, start_from)
    held_out = None if validation is None else read_training_volume(validation)
    validate = None if held_out is None else make_validation(held_out, model, settings, side=validation_side)

    run = RunDirectory(run_dir, tensorboard=tensorboard)
    if not resume and run.checkpoint_path.exists():
        raise VoxpickError(
            f"{run_dir}: holds the checkpoint of an earlier run; go on from it with --resume, or give another --run-dir"
        )
    state = run.load_checkpoint() if resume else None
    run.write_settings({"method": "vp-detector", "preset": preset, **settings.model_dump()})
    typer.echo(f"Network: {settings.network}, {model.network.extra_repr()}")
    typer.echo(f"Losses and validation scores go to {run_dir / 'log.csv'}")
    what = f"training the {stage}, {'steps' if settings.minutes is None else 'seconds'}"
    with stopping_on_signals() as stop, progress_bar(what) as progress:
        fitted = train(
            volumes, model, settings, classes=classes, validate=validate, log=run.log, save=run.save_checkpoint,
            resume=state, stop=stop, device=where, progress=progress,
        )  # fmt: skip
    run.close()
    if fitted.interrupted:
        typer.echo(f"stopped at step {fitted.step}; go on with the same command and --resume", err=True)
        raise typer.Exit(130)
    if "threshold" in fitted.best_validation:
        model.detection = {**model.detection, "threshold": fitted.best_validation["threshold"]}
    if stage == "classifier":
        model.detection = {**model.detection, "subtomogram": settings.patch}
    _describe(model, settings, preset, data, validation, fitted, str(where))
    if origin is not None:
        model.provenance["started_from"] = origin
    _write(output, others, stage, model)
    best = f", best {fitted.best_score:.4f} at step {fitted.best_step}" if validate else ""
    typer.echo(f"{output}: {stage} after {fitted.step} steps, {fitted.minutes:.1f} minutes{best}")


def read_training_volume(directory: Path) -> TrainingVolume:
    """A model_N folder as training data; the tomogram stays on disk and is normalised patch by patch."""
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
    )  # fmt: skip


def _copy_weights(found: dict[str, Model], model: Model, stage: str, source: Path) -> dict[str, Any]:
    """Take over the weights; where they came from."""
    if stage not in found or found[stage].settings != model.settings:
        raise VoxpickError(f"{source}: holds no {stage} with the settings {model.settings}; leave --start-from out")
    model.network.load_state_dict(found[stage].network.state_dict())
    return found[stage].provenance


def _describe(
    model: Model, settings: TrainSettings, preset: str, data: list[Path], validation: Path | None, fitted: Any,
    device: str,
) -> None:  # fmt: skip
    """Put into the model where it came from."""
    import platform

    import torch

    model.provenance = {
        "method": "vp-detector",
        "preset": preset,
        "settings": settings.model_dump(),
        "training_data": [path.name for path in data],
        "validation_data": None if validation is None else validation.name,
        "steps": fitted.step,
        "minutes": round(fitted.minutes, 3),
        "best_validation_score": fitted.best_score if validation else None,
        "best_step": fitted.best_step,
        "best_validation": fitted.best_validation,
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def _write(output: Path, others: dict[str, Model], stage: str, model: Model) -> None:
    """Update the model file; a part the other stage's training has written meanwhile is kept."""
    from voxpick.io.model import load_models, save_models

    latest = load_models(output) if output.is_file() else others
    save_models(output, {**latest, stage: model})


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
    return {key: value for key, value in values.items() if key not in ("method", "preset", "stage")}
