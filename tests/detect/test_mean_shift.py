import numpy as np
import pytest
from blobs import ball, scattered
from hypothesis import given, settings
from hypothesis import strategies as st

from voxpick.detect.mean_shift import VoxelBalls, bin_seeds, count_bits, mean_shift, nearest_mode

SHAPE = (28, 40, 52)


def touching(seed: int) -> np.ndarray:
    return scattered(SHAPE, 12, (3, 6), np.random.default_rng(seed))[0] > 0


@settings(max_examples=30, deadline=None)
@given(
    radius=st.floats(0.5, 9), center=st.tuples(*(st.floats(-4, n + 4) for n in SHAPE)), weighted=st.booleans()
)  # fmt: skip
def test_ball_sums_are_those_of_brute_force(radius, center, weighted):
    mask = touching(1)
    weights = np.random.default_rng(2).random(SHAPE) if weighted else np.ones(SHAPE)
    mean, mass = VoxelBalls(mask, weights=weights if weighted else None).means(np.array([center]), radius)
    inside = mask & (ball(SHAPE, center, radius))
    np.testing.assert_allclose(mass[0], weights[inside].sum(), rtol=1e-9, atol=1e-9)
    points = np.argwhere(inside)
    expected = np.average(points, axis=0, weights=weights[inside]) if len(points) else center
    np.testing.assert_allclose(mean[0], expected, atol=1e-9)


@pytest.mark.parametrize("bandwidth", [3.0, 4.7, 6.0])
def test_modes_and_clusters_are_scikit_learns(bandwidth):
    cluster = pytest.importorskip("sklearn.cluster")
    mask = touching(3)
    voxels = np.argwhere(mask)
    seeds = bin_seeds(voxels, bandwidth=bandwidth)
    modes, mass = mean_shift(mask, seeds, bandwidth=bandwidth)
    theirs = cluster.MeanShift(bandwidth=bandwidth, seeds=seeds).fit(voxels)
    assert len(modes) == len(theirs.cluster_centers_) > 5
    np.testing.assert_allclose(modes, theirs.cluster_centers_, atol=1e-3)
    assert (np.diff(mass) <= 0).all()
    assert (nearest_mode(voxels, modes) == theirs.labels_).mean() > 0.999


def test_a_weighted_mode_moves_to_the_weight():
    mask = ball(SHAPE, (12, 18, 20), 4)
    weights = np.where(np.arange(SHAPE[2]) > 20, 3.0, 1.0) * np.ones(SHAPE)
    modes, mass = mean_shift(mask, [[12, 18, 20]], bandwidth=8, weights=weights)
    np.testing.assert_allclose(modes, [np.average(np.argwhere(mask), axis=0, weights=weights[mask])], atol=1e-9)
    np.testing.assert_allclose(mass, weights[mask].sum())


def test_two_touching_spheres_have_two_modes_at_their_centres():
    mask = ball(SHAPE, (14, 20, 18), 5) | ball(SHAPE, (14, 20, 29), 5)
    modes, _ = mean_shift(mask, bin_seeds(np.argwhere(mask), bandwidth=5), bandwidth=5)
    np.testing.assert_allclose(modes[np.argsort(modes[:, 2])], [[14, 20, 18], [14, 20, 29]], atol=0.5)


def test_nothing_comes_of_nothing():
    empty = np.zeros(SHAPE, dtype=bool)
    assert mean_shift(empty, [[1, 2, 3]], bandwidth=4)[0].shape == (0, 3)
    assert mean_shift(touching(1), np.empty((0, 3)), bandwidth=4)[0].shape == (0, 3)
    assert bin_seeds(np.empty((0, 3)), bandwidth=4).shape == (0, 3)
    one_voxel = np.zeros(SHAPE, dtype=bool)
    one_voxel[27, 39, 51] = True
    far, _ = mean_shift(one_voxel, [[0, 0, 0], [27, 38, 51]], bandwidth=3)
    np.testing.assert_allclose(far, [[27, 39, 51]])


def test_bits_are_counted_as_python_counts_them():
    words = np.array([0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF], dtype=np.uint64)
    assert count_bits(words).tolist() == [int(word).bit_count() for word in words]
    assert count_bits(words[:4].reshape(2, 2)).shape == (2, 2)
