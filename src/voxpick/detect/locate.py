"""From a probability map to particle centres: threshold, opening, components, splitting of touching particles."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from voxpick.detect.components import Components, centroids, components, opened
from voxpick.detect.mean_shift import bin_seeds, mean_shift, nearest_mode
from voxpick.detect.watershed import split_component
from voxpick.errors import VoxpickError

SPLITS = ("watershed", "mean-shift", "components")


@dataclass(frozen=True)
class Located:
    """n particles found in a map, in voxels.

    centers: (n, 3) z, y, x. sizes: n voxel counts. scores: n confidences in [0, 1].
    voxels, owner: flat index of every foreground voxel and the particle 0..n-1 it belongs to.
    """

    centers: np.ndarray
    sizes: np.ndarray
    scores: np.ndarray
    voxels: np.ndarray
    owner: np.ndarray
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.centers)

    def painted(self, values: np.ndarray) -> np.ndarray:
        """A map [z, y, x] with values[k] at the voxels of particle k and 0 elsewhere, in the dtype of `values`."""
        canvas = np.zeros(int(np.prod(self.shape)), dtype=values.dtype)
        canvas[self.voxels] = values[self.owner]
        return canvas.reshape(self.shape)


def locate(
    probability: np.ndarray,
    *,
    threshold: float = 0.5,
    split: str = "watershed",
    bandwidth: float = 6.0,
    minimum_size: int = 30,
    opening: int = 0,
    neck: float = 0.6,
    smoothing: float = 0.5,
    connectivity: int = 6,
) -> Located:
    """Particles in a probability map or boolean mask [z, y, x].

    threshold: foreground is above it (ignored for a mask). opening: iterations. minimum_size: voxels; smaller
    components and clusters are dropped. split, how touching particles are told apart:
    'mean-shift' as VP-Detector (centroids of components as seeds, and in components larger than the kernel the
    well-filled bins; `bandwidth`, voxels, is its one parameter), 'watershed' for particles of many sizes (`neck`,
    `smoothing`, see watershed.split_component), 'components' not at all.
    Centres are modes for 'mean-shift', else centroids weighted with the probability. The confidence is the mean
    probability of the particle's voxels within a bandwidth of its centre (1 for a mask).
    Raises VoxpickError for an unknown split or a bandwidth that is not positive.
    """
    if split not in SPLITS:
        raise VoxpickError(f"detect: unknown split {split!r}; one of {', '.join(SPLITS)}")
    if not bandwidth > 0:
        raise VoxpickError(f"detect: the bandwidth is {bandwidth} voxels; it must be positive")
    is_mask = probability.dtype == bool
    mask = probability if is_mask else probability > threshold
    parts = components(opened(mask, iterations=opening), minimum_size=minimum_size, connectivity=connectivity)
    voxels = np.flatnonzero(parts.labels)
    weights = None if is_mask else probability.reshape(-1)[voxels].astype(np.float64)
    points = np.stack(np.unravel_index(voxels, mask.shape), axis=1)
    modes = None
    if split == "components" or not len(voxels):
        owner = parts.labels.reshape(-1)[voxels].astype(np.int64) - 1
    elif split == "mean-shift":
        modes, owner = _mean_shift_split(parts, points, bandwidth)
    else:
        owner = _watershed_split(parts, voxels, neck=neck, smoothing=smoothing, minimum_size=minimum_size)
    return _collected(voxels, points, owner, weights, modes, mask.shape, bandwidth, minimum_size)


def _mean_shift_split(parts: Components, points: np.ndarray, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    ball = 4 / 3 * np.pi * bandwidth**3
    large = np.concatenate([[False], parts.sizes > ball])
    crowded = large[parts.labels[tuple(points.T)]]
    seeds = np.concatenate([parts.centroids, bin_seeds(points[crowded], bandwidth=bandwidth)])
    modes, _ = mean_shift(parts.labels > 0, seeds, bandwidth=bandwidth)
    return modes, nearest_mode(points, modes)


def _watershed_split(
    parts: Components, voxels: np.ndarray, *, neck: float, smoothing: float, minimum_size: int
) -> np.ndarray:
    particle = np.full(parts.labels.size, -1, dtype=np.int32).reshape(parts.labels.shape)
    number = 0
    boxes = cc3d.statistics(parts.labels)["bounding_boxes"]
    for label, size in enumerate(parts.sizes, start=1):
        box = tuple(slice(int(side.start), int(side.stop)) for side in boxes[label])
        inside = parts.labels[box] == label
        if size < 2 * minimum_size:
            particle[box][inside] = number
            number += 1
            continue
        pieces = split_component(inside, neck=neck, smoothing=smoothing)
        particle[box][inside] = pieces[inside] + number
        number += int(pieces.max()) + 1
    return particle.reshape(-1)[voxels].astype(np.int64)


def _collected(
    voxels: np.ndarray,
    points: np.ndarray,
    owner: np.ndarray,
    weights: np.ndarray | None,
    modes: np.ndarray | None,
    shape: tuple[int, ...],
    bandwidth: float,
    minimum_size: int,
) -> Located:
    """Drop small clusters, number the rest from 0 and compute their centres and confidences."""
    sizes = np.bincount(owner) if len(owner) else np.zeros(0, dtype=np.int64)
    keep = sizes >= minimum_size
    renumber = np.where(keep, np.cumsum(keep) - 1, -1)
    stays = keep[owner]
    voxels, points, owner = voxels[stays], points[stays], renumber[owner[stays]]
    weights = None if weights is None else weights[stays]
    n = int(keep.sum())
    axes = tuple(points.T)
    centers = centroids(axes, owner, n, weights=weights) if modes is None else modes[keep]
    scores = np.ones(n)
    if weights is not None and n:
        near = np.square(points - centers[owner]).sum(axis=1) <= bandwidth**2
        inside = np.bincount(owner[near], minlength=n)
        core = np.bincount(owner[near], weights[near], n) / np.maximum(inside, 1)
        whole = np.bincount(owner, weights, n) / sizes[keep]
        scores = np.clip(np.where(inside > 0, core, whole), 0, 1)
    return Located(centers, sizes[keep], scores, voxels, owner, tuple(shape))
