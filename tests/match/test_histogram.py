"""The histogram of best scores, and what noise alone would give."""

import re

import numpy as np
import pytest

from voxpick.match.histogram import ScoreHistogram, score_histogram
from voxpick.match.peaks import chance_threshold
from voxpick.report.matching_charts import score_charts


def test_the_curve_of_noise_is_that_of_the_best_of_many():
    rng = np.random.default_rng(0)
    best = 0.03 * rng.normal(size=(50, 12, 20, 28)).max(axis=0)
    best[3, 4, 5] = 0.6
    found = score_histogram(best, 0.03, 400, lowest=0.2)
    assert found.counts.sum() == best.size and found.expected.sum() == pytest.approx(best.size, rel=0.01)
    assert found.independent == pytest.approx(50, rel=0.1)
    busy = found.counts > 100
    assert (np.abs(found.expected - found.counts)[busy] < 6 * np.sqrt(found.counts[busy])).all()
    assert found.expected[-1] < 1e-6 and found.counts[-1] == 1 and (found.expected >= 0).all()
    assert 0.14 < found.chance < 0.18
    page = score_charts({"1bxn": found})
    assert page.count("<svg") == 1 and "once by chance" in page and "kept from here" in page


def test_places_without_a_score_are_left_out_and_rotations_are_the_most_that_can_be_independent():
    rng = np.random.default_rng(1)
    best = 0.03 * rng.normal(size=(50, 6, 10, 14)).max(axis=0)
    found, padded = score_histogram(best, 0.03, 400), score_histogram(np.pad(best, 9), 0.03, 400)
    assert np.array_equal(found.counts, padded.counts) and found.independent == padded.independent
    assert found.chance == padded.chance == chance_threshold(0.03, best.size * 400)
    assert score_histogram(best, 0.03, 20).independent == 20


def test_without_noise_or_scores_there_is_no_curve():
    assert score_histogram(np.random.default_rng(0).normal(size=(4, 5, 6)), None, 9).expected is None
    empty = score_histogram(np.zeros((4, 5, 6)), 0.1, 9)
    assert empty.edges.tolist() == [0, 1] and empty.counts.sum() == 0 and "<svg" in score_charts({"empty": empty})
    assert score_charts({}) == ""


@pytest.mark.parametrize(("chance", "anchored"), [(0.3, False), (0.95, True)])
def test_the_text_of_a_mark_ends_within_the_chart(chance, anchored):
    """Near the right edge it was cut off."""
    found = ScoreHistogram(np.linspace(0, 1, 11), np.full(10, 50), None, None, chance, 0.0)
    mark = re.search("<text[^>]*>once by chance", score_charts({"1bxn": found}))
    assert mark and ('text-anchor="end"' in mark[0]) == anchored
