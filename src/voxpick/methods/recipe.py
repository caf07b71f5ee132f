"""What the training of every method shares: settings from presets, an untrained model, names of the classes; and all
of it for methods that name boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.shrec_classes import CLASS_IDS, SHREC20_CLASSES
from voxpick.train.centred import box_loss, box_options, make_box_sampler
from voxpick.train.fit import Fitted, fit
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


def require_stage(stage: str, stages: Sequence[str], *, title: str) -> None:
    """Raise VoxpickError for a stage that the method called `title` does not have."""
    if stage not in stages:
        has = f"has one, {stages[0]!r}" if len(stages) == 1 else f"has {' and '.join(stages)}"
        raise VoxpickError(f"stage is {stage!r}; {title} {has}")


def require_options(settings: TrainSettings, known: Mapping[str, Any]) -> None:
    """Raise VoxpickError for an option that the method does not know, and for a value of another kind than `known` has.

    known: the options with their defaults; numbers are finite and not below 0.
    """
    unknown = sorted(set(settings.options) - set(known))
    if unknown:
        raise VoxpickError(
            f"{settings.method}: unknown option {unknown[0]!r} of the {settings.stage}; "
            f"known: {', '.join(known) or 'none'}"
        )
    for name, value in settings.options.items():
        switch = isinstance(known[name], bool)
        if switch != isinstance(value, bool) or not (switch or _is_amount(value)):
            wanted = "true or false" if switch else "a number from 0 on"
            raise VoxpickError(f"{settings.method}: options.{name} is {value!r}; it is {wanted}, as {known[name]!r} is")


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < float("inf")


def part_of(models: Mapping[str, Model], stage: str, *, title: str) -> Model:
    """A trained stage. Raises VoxpickError where the models hold none of this name."""
    if stage not in models:
        raise VoxpickError(f"the model holds {', '.join(models) or 'nothing'}; {title} needs a {stage!r}")
    return models[stage]


def create_class_model(settings: TrainSettings, classes: Sequence[str], *, voxel_size: float) -> Model:
    """An untrained model, drawn from the seed. classes: of the particles, without background; voxel_size: A."""
    return new_model(settings, ["background", *classes], voxel_size=voxel_size)


def create_box_model(settings: TrainSettings, classes: Sequence[str], *, voxel_size: float) -> Model:
    """As `create_class_model`, of a network that names boxes as large as the patch."""
    sided = {**settings.network_settings, "box": settings.patch}
    return create_class_model(
        settings.model_copy(update={"network_settings": sided}), classes, voxel_size=voxel_size
    )  # fmt: skip


def box_settings(
    stage: str, values: dict[str, Any], presets: dict[str, dict[str, Any]], preset: str,
    changes: dict[str, Any] | None, *, title: str,
) -> TrainSettings:  # fmt: skip
    """Settings of the one stage, 'classifier', of a method that names boxes.

    Raises VoxpickError for unknown names and for options or patches that the network cannot take.
    """
    require_stage(stage, ("classifier",), title=title)
    settings = preset_settings(stage, values, presets, preset, changes)
    box_options(settings)
    return settings


def train_boxes(
    volumes: Sequence[TrainingVolume], model: Model, settings: TrainSettings, *, classes: Sequence[str], **options: Any
) -> Fitted:
    """Train in place on tomograms with positions and classes of their particles. classes: without background.

    options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    """
    require_voxel_size(volumes, model)
    sampler = make_box_sampler(volumes, settings, classes)
    return fit(model.network, sampler, box_loss(settings, len(model.classes)), settings, **options)


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


def without_gaps(volumes: Sequence[TrainingVolume]) -> list[TrainingVolume]:
    """The volumes with classes numbered from 1 on where some numbers occur in no mask, as of structures left out.

    Data numbered as SHREC'20 stay; so do numbers that masks hold, but no particle names.
    """
    found = classes_by_number(volumes)
    largest = max(found, default=0)
    gaps = set(range(1, largest + 1)) - set(found)
    if not gaps or all(CLASS_IDS.get(name) == number for number, name in found.items()):
        return list(volumes)
    held = {int(k) for volume in volumes for section in volume.class_mask for k in np.unique(section)}
    if held & gaps or max(held) > largest:
        return list(volumes)
    numbers = np.zeros(largest + 1, dtype=np.int16)
    numbers[sorted(found)] = np.arange(1, len(found) + 1)
    return [replace(volume, class_mask=numbers[np.asarray(volume.class_mask)]) for volume in volumes]


def require_voxel_size(
    volumes: Sequence[TrainingVolume], model: Model, *, use: str = "train on tomograms of one voxel size"
) -> None:
    """Raise VoxpickError for tomograms of another voxel size than the model's. use: the way out."""
    for volume in volumes:
        if abs(volume.tomogram.voxel_size / model.voxel_size - 1) > 0.01:
            raise VoxpickError(
                f"{volume.tomogram.name}: voxels of {volume.tomogram.voxel_size:g} A, but the model is made for "
                f"{model.voxel_size:g} A; {use}"
            )
