"""Weighted points on a grid."""

from __future__ import annotations

from itertools import product

import numpy as np


def trilinear_histogram(points: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each weight (n,) spread over the 8 grid points around its position (n, 3), in grid units: float64 of `shape`.

    What falls on grid points outside is left out.
    """
    low = np.floor(points).astype(np.int64)
    fraction = points - low
    grid = np.zeros(int(np.prod(shape)))
    whole = len(low) == 0 or bool((low.min(axis=0) >= 0).all() and (low.max(axis=0) + 1 < shape).all())
    parts = [(1 - part, part) for part in np.ascontiguousarray(fraction.T)]
    for corner in product((0, 1), repeat=3):
        z, y, x = (part[side] for part, side in zip(parts, corner, strict=True))
        cell, share = low + corner, weights * (z * y * x)
        if not whole:
            inside = ((cell >= 0) & (cell < shape)).all(axis=1)
            cell, share = cell[inside], share[inside]
        grid += np.bincount(np.ravel_multi_index(tuple(cell.T), shape), weights=share, minlength=len(grid))
    return grid.reshape(shape)
