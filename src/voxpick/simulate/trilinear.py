"""Weighted points on a grid."""

from __future__ import annotations

import math
from itertools import product

import numpy as np


def trilinear_histogram(points: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each weight (n,) spread over the 8 grid points around its position (n, 3), in grid units: float64 of `shape`.

    What falls on grid points outside is left out.
    """
    low = np.floor(points).astype(np.int64)
    near = np.ascontiguousarray((points - low).T)
    parts = [(1 - part, part) for part in near]
    size = math.prod(shape)
    grid = np.zeros(size)
    whole = len(low) == 0 or bool((low.min(axis=0) >= 0).all() and (low.max(axis=0) + 1 < shape).all())
    first = np.ravel_multi_index(tuple(low.T), shape) if whole else None
    for corner in product((0, 1), repeat=3):
        z, y, x = (part[side] for part, side in zip(parts, corner, strict=True))
        share = weights * (z * y * x)
        if first is not None:  # all points lie as far from their first grid point in memory
            ahead = (corner[0] * shape[1] + corner[1]) * shape[2] + corner[2]
            counted = np.bincount(first, weights=share)
            grid[ahead : ahead + len(counted)] += counted
            continue
        cell = low + corner
        inside = ((cell >= 0) & (cell < shape)).all(axis=1)
        cell = cell[inside]
        grid += np.bincount(np.ravel_multi_index(tuple(cell.T), shape), weights=share[inside], minlength=size)
    return grid.reshape(shape)
