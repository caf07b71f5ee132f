"""What the training of every method shares: settings from presets, an untrained model, names of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.shrec_classes import CLASS_IDS, SHREC20_CLASSES
from voxpick.train.settings import TrainSettings, make_settings
from voxpick.train.targets import TrainingVolume, classes_by_number

BUDGETS = ("minutes", "steps", "epochs")


def preset_settings(
    stage: str,
    values: dict[str, Any],
    presets: dict[str, dict[str, Any]],
    preset: str,
    changes: dict[str, Any] | None,
) -> TrainSettings:
    """A stage's own `values`, then the preset's, then changes; a budget among the changes replaces the preset's.

    network_settings and options of the changes replace single entries. Raises VoxpickError for an unknown preset.
    """
    if preset not in presets:
        raise VoxpickError(f"preset is {preset!r}; one of {', '.join(presets)}")
    changes = dict(changes or {})
    result = {"stage": stage, **values, **presets[preset]}
    if any(changes.get(name) is not None for name in BUDGETS):
        result = {key: value for key, value in result.items() if key not in BUDGETS}
    for name, example in (("network_settings", "depth=20"), ("options", "NAME=VALUE")):
        if name not in changes:
            continue
        if not isinstance(changes[name], dict):
            raise VoxpickError(f"{name} is {changes[name]!r}; set its parts, such as {name}.{example}")
        changes[name] = {**result.get(name, {}), **changes[name]}
    return make_settings({**result, **changes})


def new_model(settings: TrainSettings, outputs: Sequence[str], *, voxel_size: float) -> Model:
    """An untrained model, drawn from the seed, with one input channel and the classes `outputs`; voxel_size: A."""
    torch.manual_seed(settings.seed)
    network_settings = {"in_channels": 1, "classes": len(outputs), **settings.network_settings}
    try:
        return Model.create(settings.network, network_settings, classes=list(outputs), voxel_size=voxel_size)
    except TypeError as error:
        raise VoxpickError(f"network_settings {settings.network_settings}: {error}") from error


def class_names(volumes: Sequence[TrainingVolume]) -> list[str]:
    """Names of the particle classes in the order of their numbers in the class masks.

    Data numbered as SHREC'20 give its twelve classes, even if one of them does not occur.
    Raises VoxpickError for other data in which a number has no particle.
    """
    found = classes_by_number(volumes)
    if all(CLASS_IDS.get(name) == number for number, name in found.items()):
        return list(SHREC20_CLASSES)
    missing = [number for number in range(1, max(found) + 1) if number not in found]
    if missing:
        raise VoxpickError(f"no particle has class number {missing[0]}, so its name is unknown; add data that hold it")
    return [found[number] for number in sorted(found)]


def require_voxel_size(volumes: Sequence[TrainingVolume], model: Model) -> None:
    """Raise VoxpickError for tomograms of another voxel size than the model's."""
    for volume in volumes:
        if abs(volume.tomogram.voxel_size / model.voxel_size - 1) > 0.01:
            raise VoxpickError(
                f"{volume.tomogram.name}: voxels of {volume.tomogram.voxel_size:g} A, but the model is made for "
                f"{model.voxel_size:g} A; train on tomograms of one voxel size"
            )
