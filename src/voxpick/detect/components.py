"""Binary masks: opening and connected components."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np


@dataclass(frozen=True)
class Components:
    """Connected components of a mask.

    labels: [z, y, x], 0 background, 1..n. sizes: n voxel counts. centroids: (n, 3) in voxels (z, y, x), weighted.
    """

    labels: np.ndarray
    sizes: np.ndarray
    centroids: np.ndarray


def labelled(mask: np.ndarray, *, connectivity: int = 6) -> np.ndarray:
    """Component of every voxel of a boolean mask [z, y, x]: 0 background, 1..n."""
    return np.asarray(cc3d.connected_components(np.asarray(mask, dtype=bool), connectivity=connectivity))  # type: ignore[call-overload]


def opened(mask: np.ndarray, *, iterations: int = 1) -> np.ndarray:
    """Morphological opening of a boolean mask [z, y, x] with the 3-D cross: erode n times, then dilate n times.

    Outside the volume counts as foreground for the erosion, so a particle cut by the volume's face keeps its face.
    """
    result = np.asarray(mask, dtype=bool)
    for _ in range(iterations):
        result = _eroded(result)
    for _ in range(iterations):
        result = _dilated(result)
    return result


def components(
    mask: np.ndarray, *, weights: np.ndarray | None = None, minimum_size: int = 1, connectivity: int = 6
) -> Components:
    """Components of a boolean mask [z, y, x] of at least minimum_size voxels, largest label = number kept.

    weights: non-negative map [z, y, x], e.g. probabilities, for the centroids; absent counts voxels alike.
    connectivity: 6, 18 or 26 neighbours.
    """
    labels = labelled(mask, connectivity=connectivity)
    counts = np.bincount(labels.ravel(), minlength=1) if labels.size else np.zeros(1, dtype=np.int64)
    keep = counts >= minimum_size
    keep[0] = False
    renumber = np.zeros(len(counts), dtype=labels.dtype)
    renumber[keep] = np.arange(1, int(keep.sum()) + 1)
    if not keep[1:].all():
        labels = renumber[labels]
    voxels = np.flatnonzero(labels)
    owner = labels.ravel()[voxels].astype(np.int64) - 1
    weight = None if weights is None else np.asarray(weights).ravel()[voxels].astype(np.float64)
    centers = centroids(np.unravel_index(voxels, labels.shape), owner, int(keep.sum()), weights=weight)
    return Components(labels=labels, sizes=counts[keep], centroids=centers)


def centroids(
    coordinates: tuple[np.ndarray, ...], owner: np.ndarray, number: int, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """(number, 3) weighted mean coordinates (z, y, x) of the points of each owner 0..number-1, in voxels.

    An owner without weight gets the plain mean of its points.
    """
    plain = np.ones(len(owner)) if weights is None else weights + 1e-12
    total = np.bincount(owner, weights=plain, minlength=number)
    sums = [np.bincount(owner, weights=plain * axis, minlength=number) for axis in coordinates]
    return np.stack(sums, axis=1) / np.maximum(total, 1e-300)[:, None]


def _eroded(mask: np.ndarray) -> np.ndarray:
    result = mask.copy()
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(result, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
    return result


def _dilated(mask: np.ndarray) -> np.ndarray:
    result = mask.copy()
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(result, axis, 0)
        target[1:] |= source[:-1]
        target[:-1] |= source[1:]
    return result
