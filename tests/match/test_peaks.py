"""Local maxima, distances and thresholds."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.match.peaks import chance_threshold, local_maxima, peaks_of, spaced_apart


def landscape():
    score = np.zeros((12, 20, 28), np.float32)
    for place, value in {(3, 4, 5): 0.9, (3, 4, 8): 0.8, (9, 15, 20): 0.7, (0, 0, 27): 0.6, (9, 16, 20): 0.65}.items():
        score[place] = value
    return score


def test_local_maxima_are_found_best_first():
    found = local_maxima(landscape(), above=0.1)
    assert found.tolist() == [[3, 4, 5], [3, 4, 8], [9, 15, 20], [0, 0, 27]]
    assert local_maxima(landscape(), above=0.75).tolist() == [[3, 4, 5], [3, 4, 8]]


@pytest.mark.parametrize(("distance", "kept"), [(0, 4), (3, 4), (3.1, 3), (1000, 1)])
def test_a_better_peak_drops_those_nearer_than_the_distance(distance, kept):
    assert len(peaks_of(landscape(), distance=distance, above=0.1)) == kept


def test_a_dropped_peak_drops_nothing():
    places = np.array([[0, 0, 0], [0, 0, 3], [0, 0, 6]])
    assert spaced_apart(places, 4).tolist() == [0, 2]
    assert spaced_apart(places, 4, number=1).tolist() == [0]
    assert len(spaced_apart(np.zeros((0, 3)), 4)) == 0


def test_the_number_is_reached_also_where_good_peaks_crowd():
    score = np.zeros((4, 4, 400), np.float32)
    score[2, 2, :200:2] = np.linspace(1, 0.9, 100)
    score[2, 2, 250::50] = [0.3, 0.2, 0.1]
    found = peaks_of(score, distance=150, number=3)
    assert found.tolist() == [[2, 2, 0], [2, 2, 150], [2, 2, 300]]


def test_peaks_beyond_the_sections_asked_for_do_not_count_but_keep_others_away():
    score = np.zeros((30, 8, 40), np.float32)
    score[4, 2, ::4], score[20, 2, ::4], score[19, 6, 16] = np.linspace(1, 0.9, 10), np.linspace(0.5, 0.4, 10), 0.3
    assert (peaks_of(score, distance=3, number=5)[:, 0] == 4).all()
    inside = peaks_of(score, distance=3, number=5, sections=(18, 22))
    assert inside.tolist() == [[20, 2, x] for x in (0, 4, 8, 12, 16)]
    assert peaks_of(score, distance=5, sections=(19, 20)).tolist() == []
    assert peaks_of(score, distance=3, sections=(19, 20)).tolist() == [[19, 6, 16]]


def test_noise_exceeds_the_threshold_as_often_as_expected():
    rng = np.random.default_rng(0)
    draws = rng.normal(scale=0.07, size=1_000_000)
    assert chance_threshold(0.07, draws.size, false_positives=100) == pytest.approx(0.07 * 3.719, rel=1e-3)
    above = (draws > chance_threshold(0.07, draws.size, false_positives=100)).sum()
    assert 70 < above < 130
    assert chance_threshold(0.07, 1e12) > chance_threshold(0.07, 1e6)
    assert chance_threshold(0.07, 10, false_positives=10) == 0 or chance_threshold(0.07, 10, false_positives=10) < 0
    with pytest.raises(VoxpickError, match="false positives"):
        chance_threshold(0.07, 10, false_positives=0)
