"""What a training run is judged by: F1 of picks, or class accuracy, on a tomogram kept out of training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from voxpick.detect.components import components, labelled, opened
from voxpick.detect.segment import probabilities, softmax_map
from voxpick.errors import VoxpickError
from voxpick.evaluate.shrec import occupancy_ids, score_shrec
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MINIMUM_SIZE = 30
"""Voxels of the smallest component taken for a particle while validating."""

Validate = Callable[[torch.nn.Module], dict[str, float]]


def make_validation(held_out: TrainingVolume, model: Model, settings: TrainSettings, *, side: int) -> Validate:
    """The validation of a stage on the middle of a tomogram, `side` voxels along y and x (0: all of it)."""
    if settings.stage == "localizer":
        return localizer_validation(held_out, side=side)
    return classifier_validation(held_out, model.classes, size=settings.patch)


def localizer_validation(held_out: TrainingVolume, *, side: int) -> Validate:
    """SHREC F1 of localisation at the best threshold: components of P(particle) above it, opened.

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

    def validate(network: torch.nn.Module) -> dict[str, float]:
        mean, deviation = held_out.intensity
        found = probabilities(image, network, mean=mean, deviation=deviation, device=_device(network))
        best = {"score": -1.0}
        for threshold in THRESHOLDS:
            centers = components(opened(found > threshold), weights=found, minimum_size=MINIMUM_SIZE).centroids
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


def classifier_validation(
    held_out: TrainingVolume, classes: list[str], *, size: int, per_class: int = 15, batch: int = 8
) -> Validate:
    """Mean over classes of the share of subtomograms at true centres that are named rightly.

    The name is the majority among the particle voxels of the component at the centre (within 2 voxels of it).
    """
    names, rng = held_out.particles.classes, np.random.default_rng(0)
    groups = [np.flatnonzero(names == name) for name in classes[1:]]
    rows = np.concatenate([rng.permutation(group)[:per_class] for group in groups])
    centers = held_out.centers()[rows]
    truth = np.array([classes.index(name) for name in names[rows]])
    window = (size,) * 3

    def validate(network: torch.nn.Module) -> dict[str, float]:
        given = np.zeros(len(rows), dtype=np.int64)
        for first in range(0, len(rows), batch):
            images = [
                held_out.image((center - size // 2).tolist(), window) for center in centers[first : first + batch]
            ]
            maps = softmax_map(torch.from_numpy(np.stack(images))[:, None], network, device=_device(network))
            for k, best in enumerate(maps.argmax(1).cpu().numpy()):
                given[first + k] = majority(best)
        right = {name: float((given[truth == k] == k).mean()) for k, name in enumerate(classes) if (truth == k).any()}
        unnamed = float((given == 0).mean())
        accuracy = {f"accuracy_{name}": value for name, value in right.items()}
        return {"score": float(np.mean(list(right.values()))), "unnamed": unnamed, **accuracy}

    return validate


def majority(classes: np.ndarray, *, reach: int = 2) -> int:
    """The most frequent class of the component [z, y, x] nearest the centre; 0 where none is within `reach` voxels."""
    labels = labelled(classes > 0)
    middle = tuple(slice(n // 2 - reach, n // 2 + reach + 1) for n in classes.shape)
    near = labels[middle]
    if not near.any():
        return 0
    offsets = np.stack(np.indices(near.shape), axis=-1) - reach
    distance = np.where(near > 0, (offsets**2).sum(axis=-1), 10**6)
    target = near.ravel()[int(distance.argmin())]
    return int(np.bincount(classes[labels == target]).argmax())


def _whole_particles(held_out: TrainingVolume, occupancy: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Rows of the particles with their centre and every voxel inside the crop."""
    assert held_out.occupancy is not None
    n = len(held_out.particles) + 1
    inside = np.bincount(occupancy.ravel(), minlength=n)[:n]
    total = sum(np.bincount(np.asarray(section).ravel(), minlength=n)[:n] for section in held_out.occupancy)
    rows = np.flatnonzero((inside == total)[1:] & (inside[1:] > 0))
    centers = held_out.centers()[rows]
    for axis, part in zip((1, 2), window, strict=True):
        keep = (centers[:, axis] >= part.start) & (centers[:, axis] < part.stop)
        rows, centers = rows[keep], centers[keep]
    return rows


def _middle(n: int, side: int) -> slice:
    if side <= 0 or side >= n:
        return slice(0, n)
    return slice((n - side) // 2, (n - side) // 2 + side)


def _device(network: torch.nn.Module) -> torch.device:
    return next(network.parameters()).device
