"""What a training run is judged by: F1 of picks, or class accuracy, on a tomogram kept out of training."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from voxpick.cli.held_out import middle_of, particle_sizes
from voxpick.detect.classify import classify
from voxpick.detect.locate import locate
from voxpick.detect.memory import resident_bytes
from voxpick.detect.remembered import Remembered
from voxpick.detect.segment import probabilities
from voxpick.detect.settings import LOCATE_SETTINGS, make_settings
from voxpick.errors import TooMuchForeground, VoxpickError
from voxpick.methods.catalogue import Method
from voxpick.methods.recipe import require_voxel_size
from voxpick.methods.traits import finds
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.train.fit import Loss, Validate
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import IGNORE, TrainingVolume, binary_target, classes_by_number

THRESHOLDS = (0.5, 0.6, 0.4, 0.7, 0.3, 0.8, 0.9, 0.95)
"""Tried in this order; the first of equals wins."""

DETECTION_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Those that detection is tried at, the first of equals wins; a method's VALIDATION_THRESHOLDS instead, if any."""

DETECTION_MEMORY = 6 * 2**30
"""Bytes that a validation may take for its detection."""

SECTIONS = 16
"""Of a map of probabilities that the loss is measured on at a time."""

LEAST = 1e-7
"""Probabilities below it count as it, in the logarithm."""


def make_validation(
    held_out: TrainingVolume, model: Model, settings: TrainSettings, *, method: Method, earlier: dict[str, Model],
    side: int,
) -> Validate | None:  # fmt: skip
    """The validation of a stage on the middle of a tomogram, `side` voxels along y and x (0: all of it).

    A 'localizer' is judged by where it finds particles; a 'classifier' by the names it gives, unless it finds by
    itself; the last stage of other methods by all that the method finds with it and the `earlier` ones. Any other
    stage, such as one that removes noise, has None.
    Raises VoxpickError for a tomogram of another voxel size than the model's.
    """
    require_voxel_size([held_out], model, use="validate on a tomogram of the same")
    stage = settings.stage
    if stage == "localizer":
        defaults = getattr(method, "DETECTION", {})
        return localizer_validation(held_out, model, side=side, defaults=defaults, touching=settings.touching)
    if stage == "classifier" and not (finds(method) and (stage,) == method.STAGES):
        return classifier_validation(held_out, model.classes, size=settings.patch, touching=settings.touching)
    if stage == method.STAGES[-1]:
        return detection_validation(held_out, model, method=method, stage=stage, earlier=earlier, side=side)
    return None


def localizer_validation(
    held_out: TrainingVolume, model: Model, *, side: int, defaults: dict[str, Any] | None = None,
    touching: str = "keep",
) -> Validate:  # fmt: skip
    """SHREC F1 of localisation by stage 1, at the best of several thresholds, and the loss of all the voxels asked.

    defaults: of the method's detection; the model's own settings win. touching: of the labels, as in training.
    Only the sections of the specimen are looked at. Particles that are cut by the crop count neither way.
    """
    crop, voxel_size = middle_of(held_out, side=side), held_out.tomogram.voxel_size
    settings = make_settings([model], defaults=defaults)
    chosen = {name: getattr(settings, name) for name in LOCATE_SETTINGS}

    def validate(network: torch.nn.Module, loss: Loss) -> dict[str, float]:
        mean, deviation = held_out.intensity
        exact = probabilities(
            crop.specimen, network, tile=settings.tile, halo=settings.halo, mean=mean, deviation=deviation,
            device=_device(network), store=np.float32,
        )  # fmt: skip
        held_out_loss = _loss_of_map(exact, held_out, crop.start, loss, touching=touching)
        found = exact.astype(np.float16)  # as detection keeps them
        best = {"score": -1.0}
        for threshold in THRESHOLDS:
            chosen["threshold"] = threshold
            centers = locate(found, bandwidth=settings.bandwidth / voxel_size, **chosen).centers
            score = crop.score(Particles(centers * voxel_size))
            if score.f1 > best["score"]:
                best = {
                    "score": score.f1, "recall": score.recall, "precision": score.precision, "threshold": threshold,
                    "particles": float(score.particles), "distance": score.average_distance,
                }  # fmt: skip
        return {**best, "loss": held_out_loss}

    return validate


def _loss_of_map(
    probability: np.ndarray, held_out: TrainingVolume, start: tuple[int, int, int], loss: Loss, *, touching: str
) -> float:
    """The loss of P(particle) [z, y, x] from voxel `start` of the tomogram on, as a mean over the labelled voxels."""
    total, counted = 0.0, 0
    for z in range(0, len(probability), SECTIONS):
        part = torch.from_numpy(probability[z : z + SECTIONS])[None]
        first, size = (start[0] + z, *start[1:]), part.shape[1:]
        labels = torch.from_numpy(binary_target(held_out.labels(first, size, touching=touching)))[None]
        number = int((labels != IGNORE).sum())
        total += number * float(loss(torch.stack([1 - part, part], dim=1).clamp_min(LEAST).log(), labels))
        counted += number
    return total / max(counted, 1)


def classifier_validation(
    held_out: TrainingVolume, classes: list[str], *, size: int, per_class: int = 15, touching: str = "keep"
) -> Validate:
    """Mean over classes of the share of particles that stage 2 names rightly, given their true centres, and the loss.

    The loss is that of the training on the same subtomograms, mean over batches; there is none where the tomogram's
    masks do not tell the classes. per_class: of each class at most so many, always the same ones. touching: of the
    labels, as in training.
    """
    names, rng = held_out.particles.classes, np.random.default_rng(0)
    groups = [np.flatnonzero(names == name) for name in classes[1:]]
    rows = np.concatenate([rng.permutation(group)[:per_class] for group in groups])
    if len(rows) == 0:
        raise VoxpickError(
            f"{held_out.tomogram.name}: no particle of the classes {', '.join(classes[1:])} to validate on"
        )
    centers = held_out.centers()[rows]
    truth = np.array([classes.index(name) for name in names[rows]])
    radii = None
    if held_out.occupancy is not None:
        radii = np.cbrt(particle_sizes(held_out.occupancy, len(names))[rows] * 0.75 / np.pi)
    mean, deviation = held_out.intensity
    outputs = cache(lambda: _outputs_by_number(held_out, classes))
    touching = "keep" if held_out.occupancy is None else touching

    def labels_of(chosen: range, whole: bool) -> torch.Tensor | None:
        """(b,) of subtomograms that are named as a whole, else (b, z, y, x)."""
        if whole:
            return torch.from_numpy(truth[chosen])
        if (known := outputs()) is None:
            return None
        starts = [(centers[k] - size // 2).tolist() for k in chosen]
        patches = np.stack([held_out.labels(start, (size,) * 3, touching=touching) for start in starts])
        named = known[np.clip(patches, 0, len(known) - 1)]
        return torch.from_numpy(np.where((patches < 0) | (patches >= len(known)), IGNORE, named))

    def validate(network: torch.nn.Module, loss: Loss) -> dict[str, float]:
        losses: list[float] = []

        def measure(chosen: range, probability: torch.Tensor) -> None:
            labels = labels_of(chosen, probability.ndim == 2)
            if labels is not None:  # a softmax of the logarithms gives the probabilities again
                value = loss(probability.clamp_min(LEAST).log(), labels.to(probability.device))
                losses.extend([float(value)] * len(chosen))

        named = classify(
            held_out.tomogram.data, centers, network, size=size, radii=radii, mean=mean, deviation=deviation,
            device=_device(network), seen=measure,
        )  # fmt: skip
        right = named.class_index == truth
        each = {name: float(right[truth == k].mean()) for k, name in enumerate(classes) if (truth == k).any()}
        return (
            {"score": float(np.mean(list(each.values())))}
            | ({"loss": float(np.mean(losses))} if losses else {})
            | {f"accuracy_{name}": share for name, share in each.items()}
        )

    return validate


def _outputs_by_number(held_out: TrainingVolume, classes: list[str]) -> np.ndarray | None:
    """Output of the network by number in the class mask, IGNORE for a class it lacks; None where they do not tell."""
    try:
        names = classes_by_number([held_out])
    except VoxpickError:
        return None
    outputs = np.full(1 + max(names, default=0), IGNORE, dtype=np.int64)
    outputs[0] = 0
    for number, name in names.items():
        if name in classes:
            outputs[number] = classes.index(name)
    return outputs


def detection_validation(
    held_out: TrainingVolume, model: Model, *, method: Method, stage: str, earlier: dict[str, Model], side: int
) -> Validate:
    """Mean of the F1 of localisation and the mean class F1 (SHREC'20) of what the method finds at its best threshold.

    Where the particles have no names, the F1 of localisation alone.
    Only the sections of the specimen are looked at. Particles that are cut by the crop count neither way. A threshold
    at which the method gives up, as nearly all is foreground, counts as nothing found; any other error is raised.
    The network is asked once, for the lowest threshold at which the method does not give up.
    Detection may take as much memory as by itself, beside what the training holds (mapped specimens count). A method's
    VALIDATION are changes to its detection settings here; None among its VALIDATION_THRESHOLDS: it has no threshold.
    """
    crop = middle_of(held_out, side=side)
    last = crop.z_offset + len(crop.occupancy)
    shift = np.array([crop.z_offset * crop.tomogram.voxel_size, 0, 0])
    slab = f"{crop.z_offset}:{last}"

    changes_here = getattr(method, "VALIDATION", {})
    thresholds = getattr(method, "VALIDATION_THRESHOLDS", DETECTION_THRESHOLDS)

    def found(models: dict[str, Model], threshold: float | None, memory: int, **options: Any) -> dict[str, float]:
        changes = {**changes_here, "slab": slab, **({} if threshold is None else {"threshold": threshold})}
        changes["max_memory"] = str(memory)
        try:
            picks = method.detect(crop.tomogram, models, changes=changes, **options).particles
        except TooMuchForeground:
            picks = Particles(np.zeros((0, 3)))
        score = crop.score(picks.with_columns(centers_zyx=picks.centers_zyx - shift))
        nameless = math.isnan(score.mean_class_f1)  # no class to name
        named = 0.0 if nameless else score.mean_class_f1
        return {
            "score": score.f1 if nameless else (score.f1 + named) / 2, "f1": score.f1, "class_f1": named,
            "recall": score.recall, "precision": score.precision, "picks": float(score.reported),
            **({} if threshold is None else {"threshold": threshold}),
        }  # fmt: skip

    def validate(network: torch.nn.Module, loss: Loss) -> dict[str, float]:
        models = {**earlier, stage: replace(model, network=network)}
        memory = resident_bytes() + DETECTION_MEMORY
        options: dict[str, Any] = {"device": str(_device(network))}
        if len(thresholds) > 1:
            options["remembered"] = Remembered()
        tried = {threshold: found(models, threshold, memory, **options) for threshold in sorted(thresholds)}
        return max((tried[threshold] for threshold in thresholds), key=lambda numbers: numbers["score"])

    return validate


def _device(network: torch.nn.Module) -> torch.device:
    return next(network.parameters()).device
