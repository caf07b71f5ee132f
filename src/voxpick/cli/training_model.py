"""The model file of a training run: what it holds already, and what is written about the new part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.networks.model import Model
    from voxpick.train.fit import Fitted
    from voxpick.train.settings import TrainSettings


def other_stages(output: Path, method: str, stage: str) -> dict[str, Model]:
    """The parts but `stage` that the file holds already. Raises VoxpickError when another method made them."""
    from voxpick.io.model import load_models
    from voxpick.methods.catalogue import method_of

    if output.is_dir():
        raise VoxpickError(f"{output}: is a folder; name the model file to write with --output")
    if not output.is_file():
        return {}
    parts = load_models(output)
    made_by = method_of(parts, source=str(output))
    if parts and made_by != method:
        raise VoxpickError(f"{output}: holds a model of {made_by}; write that of {method} to another --output")
    return {name: model for name, model in parts.items() if name != stage}


def copy_weights(source: Path, model: Model, stage: str) -> dict[str, Any]:
    """Take over the weights of the same stage in a model file; where they came from."""
    from voxpick.io.model import load_models

    found = load_models(source)
    if stage not in found or (found[stage].name, found[stage].settings) != (model.name, model.settings):
        raise VoxpickError(f"{source}: holds no {stage} with the settings {model.settings}; leave --start-from out")
    model.network.load_state_dict(found[stage].network.state_dict())
    return found[stage].provenance


def describe(
    model: Model, settings: TrainSettings, preset: str, data: list[Path], validation: Path | None, fitted: Fitted,
    device: str, started_from: dict[str, Any] | None,
) -> None:  # fmt: skip
    """Put into the model what validation chose and where it came from."""
    import platform

    import torch

    if "threshold" in fitted.best_validation:
        model.detection = {**model.detection, "threshold": fitted.best_validation["threshold"]}
    if settings.stage == "classifier":
        model.detection = {**model.detection, "subtomogram": settings.patch}
    model.provenance = {
        "method": settings.method,
        "preset": preset,
        "settings": settings.model_dump(),
        "training_data": [path.name for path in data],
        "validation_data": None if validation is None else validation.name,
        "steps": fitted.step,
        "minutes": round(fitted.minutes, 3),
        "best_validation_score": fitted.best_score if fitted.best_validation else None,
        "best_step": fitted.best_step,
        "best_validation": fitted.best_validation,
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    if started_from is not None:
        model.provenance["started_from"] = started_from


def write_stage(output: Path, stage: str, model: Model) -> None:
    """Update the model file; a part that another stage's training has written meanwhile is kept."""
    from voxpick.io.model import load_models, save_models

    latest = load_models(output) if output.is_file() else {}
    save_models(output, {**latest, stage: model})
