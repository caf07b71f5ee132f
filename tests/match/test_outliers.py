"""Voxels far from the median are set to it, and no others."""

import warnings

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.match.outliers import fill_outliers


def test_only_extreme_voxels_are_filled_whatever_they_do_to_the_deviation():
    data = np.random.default_rng(0).normal(5, 2, size=(12, 20, 28)).astype(np.float32)
    gilded, gold = data.copy(), (slice(3, 5), slice(4, 7), slice(8, 12))
    gilded[gold] = -1e6
    gilded[9, 9, 9] = 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = fill_outliers(gilded, np.empty_like(data), deviations=6)
    expected = data.copy()
    expected[gold] = expected[9, 9, 9] = np.median(gilded)
    np.testing.assert_array_equal(filled, expected)


def test_what_is_taken_may_be_particles_and_where_nothing_is_usual_it_is_refused():
    data = np.random.default_rng(0).normal(size=(12, 20, 28)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"TS_1: outliers = 2 takes out 4\.\d% of the voxels, more than gold"):
        fill_outliers(data, np.empty_like(data), deviations=2, name="TS_1")
    data[:7] = 3
    with pytest.raises(VoxpickError, match=r"half of the voxels or more are 3, .* crop what is padded"):
        fill_outliers(data, np.empty_like(data), deviations=5)
