"""Splitting a component into particles of any size: basins of the distance to the background, merged over high passes.

Mean-shift has one bandwidth, and particles differ thirty-fold in volume: a kernel that separates small ones breaks
large ones up. Here the measure is relative. Every voxel climbs to a local maximum of its distance to the background;
two neighbouring maxima belong to one particle when the pass between them is nearly as high as the lower of them
(Vincent & Soille 1991 for watersheds; the merge is persistence relative to height).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

LARGE_BOX = 1 << 22
BLOCK, BLOCK_HALO = 96, 32
NEIGHBOURS = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]


def split_points(points: np.ndarray, *, neck: float = 0.6, smoothing: float = 0.5) -> np.ndarray:
    """Particle 0..n-1 of every voxel of one component, given by its coordinates (3, n), sorted by z first.

    A component whose box has more than 4 million voxels is split in blocks of 96 voxels with 32 more at each side; a
    particle is taken from the block that its centroid lies in, so only particles wider than that may differ.
    """
    points = points - points.min(axis=1, keepdims=True)
    shape = points.max(axis=1) + 1
    if np.prod(shape, dtype=np.int64) <= LARGE_BOX:
        return _split_inside(points, np.zeros(3, dtype=np.int64), shape, neck, smoothing)
    particle = np.full(points.shape[1], -1, dtype=np.int32)
    fallback = np.zeros(points.shape[1], dtype=np.int32)
    number = 0
    for corner in product(*(range(0, int(n), BLOCK) for n in shape)):
        start = np.maximum(np.array(corner) - BLOCK_HALO, 0)
        stop = np.minimum(np.array(corner) + BLOCK + BLOCK_HALO, shape)
        first, last = np.searchsorted(points[0], [start[0], stop[0]])
        layer = points[:, first:last]
        inside = ((layer[1:] >= start[1:, None]) & (layer[1:] < stop[1:, None])).all(axis=0)
        chosen = first + np.flatnonzero(inside)
        if not len(chosen):
            continue
        here = points[:, chosen]
        piece = _split_inside(here, start, stop - start, neck, smoothing)
        centers = np.stack([np.bincount(piece, axis) for axis in here]) / np.bincount(piece)
        owned = _within(centers, corner)
        take = owned[piece] & (particle[chosen] < 0)
        particle[chosen[take]] = piece[take] + number
        core = _within(here, corner)
        fallback[chosen[core]] = piece[core] + number
        number += len(owned)
    particle = np.where(particle < 0, fallback + number, particle)
    return np.unique(particle, return_inverse=True)[1].astype(np.int32)


def _split_inside(
    points: np.ndarray, start: np.ndarray, shape: np.ndarray, neck: float, smoothing: float
) -> np.ndarray:
    """`split_component` of points (3, n) within the box at `start`; the particle of each of them."""
    place = tuple(points - start[:, None])
    mask = np.zeros(shape, dtype=bool)
    mask[place] = True
    return split_component(mask, neck=neck, smoothing=smoothing)[place]


def _within(points: np.ndarray, corner: tuple[int, ...]) -> np.ndarray:
    low = np.array(corner)[:, None]
    return np.asarray(((points >= low) & (points < low + BLOCK)).all(axis=0))


def split_component(mask: np.ndarray, *, neck: float = 0.6, smoothing: float = 0.5) -> np.ndarray:
    """Particle of every voxel of one component's mask [z, y, x]: -1 background, 0..n-1.

    neck: two maxima are two particles when the pass between them is lower than this part of the lower maximum; for
    touching spheres the radius of the neck over that of the smaller sphere. smoothing: standard deviation in voxels
    of a Gaussian over the distances, against ragged surfaces.
    """
    padded = np.pad(mask, 1)
    height = distance_transform_edt(padded)
    if smoothing > 0:
        height = gaussian_filter(height, smoothing)
    height = np.where(padded, height, 0.0)
    basins, peaks = _basins(padded, height)
    if len(peaks) > 1:
        owner = _merged(peaks, _passes(basins, height, len(peaks)), neck)
        basins = np.where(basins >= 0, owner[basins], -1)
    return basins[1:-1, 1:-1, 1:-1]


def _basins(mask: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Basin of every voxel (-1 background) and the height of every basin's maximum, by steepest ascent."""
    flat = height.ravel()
    voxels = np.flatnonzero(mask)
    strides = np.array([mask.shape[1] * mask.shape[2], mask.shape[2], 1])
    best, target = flat[voxels], voxels.copy()
    for step in NEIGHBOURS:
        for direction in (1, -1):
            neighbour = voxels + direction * int(strides @ np.array(step))
            higher = flat[neighbour] > best
            best = np.where(higher, flat[neighbour], best)
            target = np.where(higher, neighbour, target)
    rank = np.full(flat.size, -1, dtype=np.int64)
    rank[voxels] = np.arange(len(voxels))
    parent = rank[target]
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            break
        parent = above
    roots, basin = np.unique(parent, return_inverse=True)
    rank[voxels] = basin
    return rank.reshape(mask.shape), flat[voxels[roots]]


def _passes(basins: np.ndarray, height: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every pair of touching basins a < b: a, b, and the height of the highest pass between them."""
    keys, heights = [], []
    for step in NEIGHBOURS:
        here = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, basins.shape, strict=True))
        there = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, basins.shape, strict=True))
        first, second = basins[here], basins[there]
        meet = (first != second) & (first >= 0) & (second >= 0)
        low, high = np.minimum(first[meet], second[meet]), np.maximum(first[meet], second[meet])
        keys.append(low * number + high)
        heights.append(np.minimum(height[here][meet], height[there][meet]))
    key, value = np.concatenate(keys), np.concatenate(heights)
    pairs, where = np.unique(key, return_inverse=True)
    best = np.zeros(len(pairs))
    np.maximum.at(best, where, value)
    return pairs // number, pairs % number, best


def _merged(peaks: np.ndarray, passes: tuple[np.ndarray, np.ndarray, np.ndarray], neck: float) -> np.ndarray:
    """New number of every basin after joining those whose pass reaches `neck` times the lower maximum."""
    parent = np.arange(len(peaks))
    top = peaks.astype(np.float64).copy()

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = int(parent[basin])
        return basin

    first, second, height = passes
    for k in np.argsort(-height, kind="stable"):
        a, b = root(int(first[k])), root(int(second[k]))
        if a != b and height[k] >= neck * min(top[a], top[b]):
            parent[b] = a
            top[a] = max(top[a], top[b])
    roots = np.array([root(basin) for basin in range(len(peaks))])
    return np.unique(roots, return_inverse=True)[1]
