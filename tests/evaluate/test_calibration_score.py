"""Reliability, calibration error and which picks are right."""

import json

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.evaluate.calibration import confidence, reliability, right_picks, wilson_interval
from voxpick.particles import Particles


@pytest.mark.filterwarnings("error")
def test_bins_of_a_worked_example():
    scores = np.array([0.05, 0.1, 0.12, 0.95, 1.0])
    found = reliability(scores, np.array([0, 0, 1, 1, 1]), bins=10)
    assert found.counts.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.mean_score[[0, 1, 9]] == pytest.approx([0.05, 0.11, 0.975])
    assert found.share_right[[0, 1, 9]].tolist() == [0, 0.5, 1] and np.isnan(found.share_right[5])
    assert found.ece == pytest.approx((0.05 + 2 * 0.39 + 2 * 0.025) / 5)
    assert found.brier == pytest.approx((0.05**2 + 0.1**2 + 0.88**2 + 0.05**2) / 5)
    assert (found.picks, found.right) == (5, 3)


@pytest.mark.parametrize("shape", [(1, 1), (0.5, 0.5), (5, 2)])
def test_scores_that_are_the_chance_of_being_right_have_no_error(shape):
    rng = np.random.default_rng(3)
    scores = rng.beta(*shape, size=20_000)
    right = rng.random(20_000) < scores
    found = reliability(scores, right)
    assert found.ece < 0.02 and found.ece_equal_count < 0.02
    held = found.counts > 30
    assert ((found.lower <= found.mean_score) & (found.mean_score <= found.upper))[held].mean() > 0.6
    overconfident = reliability(np.sqrt(scores), right)
    assert overconfident.ece > 0.1 and overconfident.brier > found.brier


def test_the_error_of_few_calibrated_picks_is_the_one_expected_by_chance():
    rng = np.random.default_rng(0)
    tried = []
    for _ in range(60):
        scores = rng.beta(2, 1, size=400)
        tried.append(reliability(scores, rng.random(400) < scores))
    mean, expected = (np.mean([getattr(one, name) for one in tried]) for name in ("ece", "ece_by_chance"))
    assert mean == pytest.approx(expected, rel=0.08) and expected > 0.02


def test_equal_scores_share_a_bin_of_equal_counts():
    scores = np.repeat([0.2, 0.8], [90, 10])
    right = np.concatenate([np.arange(90) % 5 == 0, np.arange(10) < 8])
    assert reliability(scores, right, bins=10).ece_equal_count == pytest.approx(0)


def test_bins_of_equal_counts_by_hand():
    """0.1 and 0.2, of which none is right, and 0.8 and 0.9, which both are."""
    found = reliability(np.array([0.9, 0.1, 0.8, 0.2]), np.array([1, 0, 1, 0]), bins=2)
    assert found.ece_equal_count == pytest.approx(0.15)


def test_a_value_goes_to_the_bin_of_equal_counts_that_holds_its_middle_pick():
    """0.1 alone, and 0.5 twice, whose middle is the border of both halves, with 0.9."""
    found = reliability(np.array([0.5, 0.1, 0.9, 0.5]), np.array([1, 0, 1, 1]), bins=2)
    assert found.ece_equal_count == pytest.approx((0.1 + 3 * (1 - 1.9 / 3)) / 4)


def test_of_many_equal_scores_the_first_listed_is_right():
    rng = np.random.default_rng(0)
    hits, scores = rng.integers(0, 12, 400), rng.choice([0.5, 0.9], 400)
    found = right_picks(Particles(np.zeros((400, 3)), scores=scores), hits)
    expected = [min(np.flatnonzero(hits == k), key=lambda row: (-scores[row], row)) for k in range(1, 12)]
    assert np.flatnonzero(found).tolist() == sorted(expected)


def test_wilson_interval_of_textbook_cases():
    lower, upper = wilson_interval(np.array([0, 8, 10]), np.array([10, 10, 10]))
    assert lower == pytest.approx([0, 0.4902, 0.7225], abs=1e-4)
    assert upper == pytest.approx([0.2775, 0.9433, 1], abs=1e-4)
    assert np.isnan(wilson_interval(np.array([0]), np.array([0]))[0]).all()


def test_a_pick_is_right_where_no_better_one_was():
    centers = np.zeros((6, 3))
    classes = ["a", "B", "a", "a", "c", "a"]
    picks = Particles(centers, classes, [0.5, 0.9, 0.9, 0.3, 0.8, 0.7])
    hits = np.array([1, 1, 1, 0, 2, 3])
    assert right_picks(picks, hits).tolist() == [False, True, False, False, True, True]
    true = np.array(["b", "a", "A"], dtype=object)
    assert right_picks(picks, hits, true).tolist() == [False, True, False, False, False, True]
    with pytest.raises(VoxpickError, match="2 hits for 6 picks"):
        right_picks(picks, hits[:2])


def test_confidence_of_named_and_unnamed_picks_is_ready_for_json():
    picks = Particles(
        np.zeros((4, 3)), ["a", "a", "b", "a"], [0.6, 0.5, 0.4, 0.1], location_scores=[0.8, 0.9, 0.7, 0.2]
    )
    found = confidence(picks, np.array([1, 2, 3, 0]), np.array(["a", "a", "a"]))
    assert (found["located"]["right"], found["named"]["right"]) == (3, 2)
    assert found["located"]["ece"] == pytest.approx((0.2 + 0.1 + 0.3 + 0.2) / 4)
    assert found["named"]["curve"]["from"] == [0.1, 0.4, 0.5, 0.6]
    assert found["named"]["curve"]["to"] == [0.2, 0.5, 0.6, 0.7]
    assert json.loads(json.dumps(found)) == found
    unnamed = confidence(picks.with_columns(classes=np.array(["particle"] * 4)), np.zeros(4, int), np.array(["a"]))
    assert list(unnamed) == ["located"]
    for scores, told in (([1.0, 1, 1, 0.1], ["located", "named"]), ([1.0] * 4, [])):
        some = confidence(picks.with_columns(scores=np.array(scores)), np.array([1, 2, 3, 0]), np.array(["a"] * 3))
        assert list(some) == told


@pytest.mark.filterwarnings("error")
def test_no_picks_have_no_error():
    found = reliability(np.empty(0), np.empty(0, bool))
    assert np.isnan([found.ece, found.ece_equal_count, found.ece_by_chance, found.brier]).all()
    assert found.to_dict() == {
        "picks": 0, "right": 0, "ece": None, "ece_equal_count": None, "ece_by_chance": None, "brier": None,
        "curve": {"picks": [], "from": [], "to": [], "mean_score": [], "share_right": [], "lower": [], "upper": []},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [([0.5, 1.2], [1, 0], "score of row 1 is 1.2"), ([0.5], [1, 0], r"shape \(1,\), outcomes \(2,\)")],
)
def test_bad_scores_are_refused(scores, right, message):
    with pytest.raises(VoxpickError, match=message):
        reliability(np.array(scores), np.array(right))


def test_no_bins_are_refused():
    with pytest.raises(VoxpickError, match="bins is 0; at least one"):
        reliability(np.array([0.5]), np.array([True]), bins=0)
