"""What a training run is judged by: F1 of picks, or class accuracy, on a tomogram kept out of training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from voxpick.detect.classify import classify
from voxpick.detect.locate import locate
from voxpick.detect.pipeline import LOCATE_SETTINGS, make_settings
from voxpick.detect.segment import probabilities
from voxpick.errors import VoxpickError
from voxpick.evaluate.shrec import occupancy_ids, score_shrec
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume

THRESHOLDS = (0.5, 0.6, 0.4, 0.7, 0.3, 0.8, 0.9, 0.95)
"""Tried in this order; the first of equals wins."""

Validate = Callable[[torch.nn.Module], dict[str, float]]


def make_validation(held_out: TrainingVolume, model: Model, settings: TrainSettings, *, side: int) -> Validate:
    """The validation of a stage on the middle of a tomogram, `side` voxels along y and x (0: all of it)."""
    if settings.stage == "localizer":
        return localizer_validation(held_out, model, side=side)
    return classifier_validation(held_out, model.classes, size=settings.patch)


def localizer_validation(held_out: TrainingVolume, model: Model, *, side: int) -> Validate:
    """SHREC F1 of localisation by stage 1 with the model's own settings, at the best of several thresholds.

    Only the sections of the specimen are looked at. Particles that are cut by the crop count neither way.
    """
    if held_out.occupancy is None:
        raise VoxpickError(f"{held_out.tomogram.name}: validation of picks needs the occupancy mask")
    nz, ny, nx = held_out.class_mask.shape
    y, x = _middle(ny, side), _middle(nx, side)
    image = held_out.tomogram.data[held_out.z_offset : held_out.z_offset + nz, y, x]
    occupancy = np.ascontiguousarray(held_out.occupancy[:, y, x])
    voxel_size = held_out.tomogram.voxel_size
    origin = np.array([held_out.z_offset, y.start, x.start])
    whole = _whole_particles(held_out, occupancy, (y, x))
    if len(whole) == 0:
        raise VoxpickError(f"{held_out.tomogram.name}: no whole particle in its middle; use a larger --validation-side")
    renumber = np.zeros(len(held_out.particles) + 1, dtype=np.int32)
    renumber[whole + 1] = np.arange(1, len(whole) + 1)
    truth = held_out.particles[whole]
    truth = truth.with_columns(centers_zyx=truth.centers_zyx - origin * voxel_size)
    kept = renumber[occupancy]
    settings = make_settings([model])
    chosen = {name: getattr(settings, name) for name in LOCATE_SETTINGS}

    def validate(network: torch.nn.Module) -> dict[str, float]:
        mean, deviation = held_out.intensity
        found = probabilities(
            image, network, tile=settings.tile, halo=settings.halo, mean=mean, deviation=deviation,
            device=_device(network),
        )  # fmt: skip
        best = {"score": -1.0}
        for threshold in THRESHOLDS:
            chosen["threshold"] = threshold
            centers = locate(found, bandwidth=settings.bandwidth / voxel_size, **chosen).centers
            ids = occupancy_ids(occupancy, np.rint(centers).astype(np.int64), dilate=True)
            centers = centers[(ids == 0) | (renumber[ids] > 0)]
            score = score_shrec(
                Particles(centers * voxel_size), truth, kept, voxel_size=voxel_size, z_offset=0, frame="specimen"
            )
            if score.f1 > best["score"]:
                best = {
                    "score": score.f1, "recall": score.recall, "precision": score.precision, "threshold": threshold,
                    "particles": float(score.particles), "distance": score.average_distance,
                }  # fmt: skip
        return best

    return validate


def classifier_validation(held_out: TrainingVolume, classes: list[str], *, size: int, per_class: int = 15) -> Validate:
    """Mean over classes of the share of particles that stage 2 names rightly, given their true centres.

    per_class: of each class at most so many, always the same ones.
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
    radii = None if held_out.occupancy is None else np.cbrt(_sizes(held_out.occupancy, len(names))[rows] * 0.75 / np.pi)
    mean, deviation = held_out.intensity

    def validate(network: torch.nn.Module) -> dict[str, float]:
        named = classify(
            held_out.tomogram.data, centers, network, size=size, radii=radii, mean=mean, deviation=deviation,
            device=_device(network),
        )  # fmt: skip
        right = named.class_index == truth
        each = {name: float(right[truth == k].mean()) for k, name in enumerate(classes) if (truth == k).any()}
        return {"score": float(np.mean(list(each.values())))} | {
            f"accuracy_{name}": share for name, share in each.items()
        }

    return validate


def _whole_particles(held_out: TrainingVolume, occupancy: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Rows of the particles with their centre and every voxel inside the crop."""
    assert held_out.occupancy is not None
    n = len(held_out.particles)
    inside, total = _sizes(occupancy, n), _sizes(held_out.occupancy, n)
    rows = np.flatnonzero((inside == total) & (inside > 0))
    centers = held_out.centers()[rows]
    for axis, part in zip((1, 2), window, strict=True):
        keep = (centers[:, axis] >= part.start) & (centers[:, axis] < part.stop)
        rows, centers = rows[keep], centers[keep]
    return rows


def _sizes(occupancy: np.ndarray, n: int) -> np.ndarray:
    """Voxels of the particles 1..n."""
    counts = np.zeros(n + 1, dtype=np.int64)
    for section in occupancy:
        counts += np.bincount(np.asarray(section).ravel(), minlength=n + 1)[: n + 1]
    return counts[1:]


def _middle(n: int, side: int) -> slice:
    if side <= 0 or side >= n:
        return slice(0, n)
    return slice((n - side) // 2, (n - side) // 2 + side)


def _device(network: torch.nn.Module) -> torch.device:
    return next(network.parameters()).device
