import numpy as np
from blobs import ball
from scipy.ndimage import binary_opening

from voxpick.detect.components import centroids, components, opened

SHAPE = (12, 20, 28)


def test_opening_is_scipys_away_from_the_faces_and_spares_particles_cut_by_a_face():
    mask = np.random.default_rng(0).random(SHAPE) < 0.75
    for n in (1, 2):
        inner = tuple(slice(2 * n, -2 * n) for _ in SHAPE)
        np.testing.assert_array_equal(opened(mask, iterations=n)[inner], binary_opening(mask, iterations=n)[inner])
    cut = ball(SHAPE, (0, 10, 10), 3)
    assert opened(cut)[0].sum() == opened(ball(SHAPE, (6, 10, 10), 3))[6].sum()
    np.testing.assert_array_equal(opened(mask, iterations=0), mask)


def test_opening_removes_a_thread_between_particles():
    mask = ball(SHAPE, (6, 10, 6), 4) | ball(SHAPE, (6, 10, 20), 4)
    thread = mask.copy()
    thread[6, 10, 6:20] = True
    assert len(components(thread).sizes) == 1
    assert len(components(opened(thread)).sizes) == 2


def test_sizes_and_weighted_centroids_of_the_components_that_are_large_enough():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 3, 4:8] = mask[9, 9, 9] = True
    mask[9:11, 15:17, 20:22] = True
    weights = np.ones(SHAPE)
    weights[2, 3, 7] = 5
    found = components(mask, weights=weights, minimum_size=2)
    assert found.sizes.tolist() == [4, 8]
    np.testing.assert_allclose(found.centroids, [[2, 3, (4 + 5 + 6 + 35) / 8], [9.5, 15.5, 20.5]])
    assert found.labels[9, 9, 9] == 0 and found.labels.max() == 2


def test_an_empty_mask_has_no_components():
    found = components(np.zeros(SHAPE, dtype=bool))
    assert found.sizes.shape == (0,) and found.centroids.shape == (0, 3)


def test_an_owner_without_weight_gets_the_plain_mean():
    axes = tuple(np.array([[0.0, 2.0], [1.0, 1.0], [4.0, 8.0]]))
    np.testing.assert_allclose(centroids(axes, np.zeros(2, int), 1, weights=np.zeros(2)), [[1, 1, 6]])
