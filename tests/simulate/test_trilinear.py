"""Weights on a grid: what is kept, where it goes, and what falls outside."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from voxpick.simulate.trilinear import trilinear_histogram


def test_a_point_between_two_voxels_is_shared_by_its_nearness() -> None:
    grid = trilinear_histogram(np.array([[1.0, 2.25, 3.0]]), np.array([8.0]), (3, 5, 6))
    assert (grid[1, 2, 3], grid[1, 3, 3], grid.sum()) == (6, 2, 8)


def test_weight_and_centre_of_mass_are_kept() -> None:
    rng = np.random.default_rng(0)
    points, weights = rng.uniform(1, 8, (50, 3)), rng.uniform(1, 5, 50)
    grid = trilinear_histogram(points, weights, (10, 12, 14))
    assert grid.sum() == pytest.approx(weights.sum())
    center = (np.indices(grid.shape) * grid).sum(axis=(1, 2, 3)) / grid.sum()
    assert center == pytest.approx((points * weights[:, None]).sum(axis=0) / weights.sum())


def test_what_reaches_over_an_edge_is_left_out_and_the_rest_stays() -> None:
    points = np.array([[-0.5, 1, 1], [2.5, 3, 4], [9, 9, 9], [1, 1, 1]], dtype=float)
    grid = trilinear_histogram(points, np.array([4.0, 2.0, 7.0, 1.0]), (3, 4, 5))
    assert (grid[0, 1, 1], grid[2, 3, 4], grid[1, 1, 1], grid.sum()) == (2, 1, 1, 4)
    assert trilinear_histogram(points[:0], np.empty(0), (3, 4, 5)).sum() == 0


def by_cells(points, weights, shape):
    """What earlier versions computed: the cell of every point and corner."""
    low = np.floor(points).astype(np.int64)
    grid = np.zeros(int(np.prod(shape)))
    parts = [(1 - part, part) for part in np.ascontiguousarray((points - low).T)]
    for corner in product((0, 1), repeat=3):
        z, y, x = (part[side] for part, side in zip(parts, corner, strict=True))
        cell, share = low + corner, weights * (z * y * x)
        inside = ((cell >= 0) & (cell < shape)).all(axis=1)
        cell, share = cell[inside], share[inside]
        grid += np.bincount(np.ravel_multi_index(tuple(cell.T), shape), weights=share, minlength=len(grid))
    return grid.reshape(shape)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("reach", [4.9, 9.0])
def test_every_bit_is_that_of_a_sum_over_cells(kind, reach):
    rng = np.random.default_rng(5)
    points = (6 + reach * (2 * rng.random((5000, 3)) - 1)).astype(kind)
    weights = rng.uniform(1, 9, size=5000).astype(kind)
    found = trilinear_histogram(points, weights, (12, 14, 17))
    assert np.array_equal(found, by_cells(points, weights, (12, 14, 17))) and found.sum() > 0
