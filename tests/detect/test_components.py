import numpy as np
from blobs import ball
from scipy.ndimage import binary_opening

from voxpick.detect.components import labelled, opened

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
    assert labelled(thread).max() == 1
    assert labelled(opened(thread)).max() == 2


def test_diagonal_neighbours_are_joined_only_if_asked():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 3, 4] = mask[3, 4, 5] = mask[9, 9, 9] = True
    assert [labelled(mask, connectivity=n).max() for n in (6, 18, 26)] == [3, 3, 2]
    assert labelled(np.zeros(SHAPE, dtype=bool)).max() == 0
