"""Exact scores at single places."""

from functools import partial

import numpy as np

from voxpick.match.rescore import at_places, climb
from voxpick.match.tiles import TiledVolume


def test_scores_at_places_are_those_of_the_definition(bank, noisy, slow):
    places = np.array([*noisy[1], (0, 0, 0), (16, 23, 29), (5, 23, 1)])
    score, row = at_places(TiledVolume(noisy[0]), bank, places, batch=4, together=4)
    best = slow.max(axis=0)[tuple(places.T)]
    assert np.abs(score - best).max() < 1e-5
    assert np.abs(slow[(row, *places.T)] - best).max() < 1e-5


def test_a_place_beside_a_particle_climbs_onto_it(bank, noisy, slow):
    truth = np.array([*noisy[1]])
    beside = truth + [[1, 0, 0], [0, -1, 1], [0, 0, 0]]
    peaks = climb(partial(at_places, TiledVolume(noisy[0]), bank), slow.max(axis=0), beside)
    assert np.array_equal(peaks.places, truth) and peaks.rows.tolist() == [*noisy[1].values()]
    assert np.abs(peaks.scores - slow.max(axis=0)[tuple(truth.T)]).max() < 1e-5
    assert np.array_equal(beside[0], truth[0] + [1, 0, 0])  # its argument is left alone


def test_nothing_climbs_out_of_the_volume(bank, noisy, slow):
    corners = np.array([(z, y, x) for z in (0, 16) for y in (0, 23) for x in (0, 29)])
    places = climb(partial(at_places, TiledVolume(noisy[0]), bank), slow.max(axis=0), corners, steps=3).places
    assert (places >= 0).all() and (places < noisy[0].shape).all()
    assert (np.abs(places - corners) <= 3).all()


def test_a_rough_map_asks_more_neighbours(bank, noisy, slow):
    rough = slow.max(axis=0) + np.random.default_rng(1).normal(scale=0.05, size=noisy[0].shape)
    beside = np.array([*noisy[1]]) + [0, 1, 0]
    assert np.array_equal(climb(partial(at_places, TiledVolume(noisy[0]), bank), rough, beside).places, [*noisy[1]])


def test_where_nothing_varies_the_score_is_0(bank):
    data = np.zeros((60, 20, 20), np.float32)
    data[:10] = np.random.default_rng(0).normal(size=(10, 20, 20))
    data -= data.mean()
    data[30:] = data.mean()
    score, _ = at_places(TiledVolume(data), bank, np.array([(45, 10, 10)]))
    assert score[0] == 0
