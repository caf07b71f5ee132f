"""Calibrated scores, thresholds by class and distances across classes."""

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from voxpick.detect.calibration import FEW_PICKS, ScoreMap, fit_score_map, isotonic_regression
from voxpick.detect.class_thresholds import above_thresholds, best_threshold, choose_thresholds, expected_threshold
from voxpick.detect.select import alone, apart, apart_by_class, selected
from voxpick.detect.settings import DetectSettings, make_settings
from voxpick.detect.slab import Slab
from voxpick.errors import VoxpickError
from voxpick.evaluate.calibration import reliability
from voxpick.networks.model import Model
from voxpick.particles import Particles

LEVEL = Slab(0, 1000, "all")


def overconfident(n, *, seed=0):
    """Scores whose square is the chance of being right."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(2, 1.2, size=n)
    return scores, rng.random(n) < scores**2


@pytest.mark.parametrize("seed", range(6))
def test_isotonic_regression_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    x, weights = np.round(rng.random(n), 1 + seed % 3), rng.uniform(0.1, 2, n)
    y = (rng.random(n) < x).astype(float) if seed % 2 else rng.normal(x)
    knots, values = isotonic_regression(x, y, weights)
    expected = IsotonicRegression().fit(x, y, sample_weight=weights).predict(knots)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
    assert (np.diff(knots) > 0).all() and (np.diff(values) >= 0).all()


@pytest.mark.parametrize(("n", "kind"), [(2000, "isotonic"), (FEW_PICKS - 20, "platt")])
def test_the_map_makes_scores_the_chance_of_being_right_and_keeps_their_order(n, kind):
    found = fit_score_map(*overconfident(n))
    assert found.kind == kind and found.picks == n
    fresh, _ = overconfident(20_000, seed=1)
    fresh = np.sort(fresh)
    better = found(fresh)
    assert np.mean(np.abs(better - fresh**2)) < 0.04 < 0.15 < np.mean(np.abs(fresh - fresh**2))
    assert (np.diff(better) > 0).all() and better.min() >= 0 and better.max() <= 1
    again = ScoreMap(**json.loads(json.dumps(found.plain())))
    assert np.array_equal(again(fresh), better)


def test_scores_that_all_lie_near_certainty_are_told_apart():
    """As YOPO's are, whose log odds of 14 make a score of 1 - 8e-7."""
    rng = np.random.default_rng(2)
    odds = rng.normal(14, 3, 4000)
    right = rng.random(4000) < expit(odds - 14)
    better = fit_score_map(expit(odds), right)(expit(odds))
    assert reliability(better, right).ece < 0.01
    assert np.mean(np.abs(better - expit(odds - 14))) < 0.04


def test_ends_stay_off_certainty():
    scores = np.linspace(0, 1, 400)
    found = fit_score_map(scores, scores > 0.5)
    low, high = found(np.array([0.0, 1.0]))
    assert 0 < low < 0.01 and 0.99 < high < 1


def test_few_picks_without_one_wrong_give_a_map_all_the_same():
    found = fit_score_map(np.array([0.3, 0.6, 0.9]), np.ones(3, bool))
    low, high = found(np.array([0.0, 1.0]))
    assert found.kind == "platt" and 0 < low < high <= 1
    backwards = fit_score_map(np.array([0.1, 0.2, 0.8, 0.9]), np.array([1, 1, 0, 0], bool))
    assert backwards.slope > 0 and (np.diff(backwards(np.linspace(0, 1, 9))) > 0).all()


def test_no_picks_cannot_be_fitted():
    with pytest.raises(VoxpickError, match="0 scores, 0 outcomes"):
        fit_score_map(np.empty(0), np.empty(0, bool))


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_expected_threshold_is_that_of_trying_all(seed, beta):
    rng = np.random.default_rng(seed)
    scores, particles = np.round(rng.random(60), 2), 30
    chances = scores**2

    def f_beta(threshold):
        kept = scores >= threshold
        return (1 + beta**2) * chances[kept].sum() / (beta**2 * particles + kept.sum())

    threshold, expected = expected_threshold(scores, chances, particles=particles, beta=beta)
    assert expected == pytest.approx(max(f_beta(t) for t in np.unique(scores))) == pytest.approx(f_beta(threshold))
    if beta == 1:  # a pick gains where its chance is above half the F1
        last, first = chances[scores >= threshold].min(), chances[scores < threshold].max()
        assert first <= expected / 2 + 0.03 and last >= expected / 2 - 0.03
    assert expected_threshold(np.zeros(0), np.zeros(0), particles=3) == (0.0, 0.0)
    with pytest.raises(VoxpickError, match="beta is -1"):
        expected_threshold(scores, chances, particles=3, beta=-1.0)
    with pytest.raises(VoxpickError, match=r"beta is 1e\+200"):
        expected_threshold(scores, chances, particles=3, beta=1e200)


@pytest.mark.parametrize("seed", range(3))
def test_across_classes_the_better_pick_stays(seed):
    rng = np.random.default_rng(seed)
    centers, classes = rng.uniform(0, 300, (150, 3)), rng.choice(["small", "large", "point"], 150)
    radii = {"small": 20.0, "large": 45.0}
    reach = np.array([radii.get(name, 0.0) for name in classes])
    expected: list[int] = []
    for row in range(150):
        if all(np.linalg.norm(centers[row] - centers[k]) >= reach[row] + reach[k] for k in expected):
            expected.append(row)
    assert np.flatnonzero(apart_by_class(centers, classes, radii)).tolist() == expected
    assert apart_by_class(centers, classes, {}).all() and len(expected) < 140
    same = dict.fromkeys(radii, 30.0) | {"point": 30.0}
    assert np.array_equal(apart_by_class(centers, classes, same), apart(centers, 60.0))
    assert apart_by_class(np.empty((0, 3)), np.empty(0, object), radii).shape == (0,)
    upper = {name.upper(): radius for name, radius in radii.items()}
    assert np.flatnonzero(apart_by_class(centers, classes, upper)).tolist() == expected


def test_thresholds_know_classes_in_any_case():
    names, scores = np.array(["a", "A", "b", "B", "c"], dtype=object), np.array([0.5, 0.4, 0.4, 0.2, 0.0])
    assert above_thresholds(scores, names, {"a": 0.5, "B": 0.3}).tolist() == [True, False, True, False, True]
    many = np.array(["Ab"] * 12 + ["aB"] * 12, dtype=object)
    right = np.arange(24) < 12
    chosen = choose_thresholds(np.where(right, 0.9, 0.1), many, right, particles={"AB": 12})
    assert chosen == {"AB": pytest.approx(0.5)}


def test_of_equal_f_the_threshold_that_keeps_more():
    """F1 is 2 / (2 + 1) with the first pick alone and 4 / (2 + 4) with all four."""
    scores, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, False, True])
    assert best_threshold(scores, right, particles=2) == (0.0, pytest.approx(2 / 3))


def test_equal_scores_are_kept_together():
    """The first alone would have an F1 of 1."""
    assert best_threshold(np.full(3, 0.9), np.array([True, False, False]), particles=1) == (0.0, 0.5)


@pytest.mark.parametrize(("right", "chance"), [([1, 1, 1], 4 / 5), ([0, 0, 0, 0], 1 / 6)])
def test_few_picks_are_taken_for_a_little_less_sure_than_they_say(right, chance):
    """Platt's targets: (n + 1) / (n + 2) where all n are right and 1 / (n + 2) where all are wrong."""
    found = fit_score_map(np.full(len(right), 0.5), np.array(right, bool))
    assert found(np.array([0.5]))[0] == pytest.approx(0.999 * chance + 0.001 * 0.5, abs=1e-4)


@pytest.mark.parametrize(("few", "threshold"), [(9, 0.0), (10, 0.5 - 0.2 / 9)])
def test_a_class_of_few_picks_takes_the_threshold_of_all(few, threshold):
    """Only its best pick is right; all together are best kept, as nearly all of the other class are right."""
    classes = np.array(["many"] * 40 + ["few"] * few)
    scores = np.concatenate([np.linspace(0.95, 0.05, 40), np.linspace(0.5, 0.1, few)])
    right = np.concatenate([np.ones(40, bool), np.arange(few) == 0])
    found = choose_thresholds(scores, classes, right, particles={"Many": 40, "FEW": 2})
    assert found == {"Many": 0, "FEW": pytest.approx(threshold)}


def test_a_class_of_few_picks_takes_a_threshold_that_is_not_0():
    """The least of the right ones has 0.8, the surest of the wrong ones 0.3."""
    scores = np.concatenate([np.linspace(0.9, 0.8, 20), np.linspace(0.2, 0.1, 20), [0.3] * 3])
    classes, right = np.array(["many"] * 40 + ["few"] * 3), np.arange(43) < 20
    found = choose_thresholds(scores, classes, right, particles={"many": 20, "few": 2})
    assert found == {"many": pytest.approx(0.5), "few": pytest.approx(0.55)}


@pytest.mark.parametrize(("n", "right", "kind"), [(200, 30, "isotonic"), (200, 170, "isotonic"), (199, 90, "platt"),
                                                  (200, 29, "platt"), (400, 371, "platt")])  # fmt: skip
def test_steps_are_fitted_to_200_picks_with_30_right_and_30_wrong(n, right, kind):
    assert fit_score_map(np.linspace(0, 1, n), np.arange(n) >= n - right).kind == kind


def test_half_a_pick_is_added_at_both_ends():
    """Half a right one at the worst score, half a wrong one at the best."""
    scores = np.repeat([0.2, 0.8], 100)
    found = fit_score_map(scores, np.arange(200) % 100 < np.repeat([20, 80], 100))
    assert found.knots == [0.2, 0.8] and found.values == pytest.approx([20.5 / 100.5, 80 / 100.5], abs=1e-6)


def test_picks_at_the_distance_are_not_closer():
    centers = np.array([[0, 0, 0], [0, 0, 10.0], [0, 0, 14], [0, 50, 0]])
    assert apart(centers, 10).tolist() == [True, True, False, True]
    assert alone(centers, 10).tolist() == [True, False, False, True]
    assert alone(centers, 14).tolist() == [False, False, False, True] and alone(centers, 0).all()
    names = np.array(["a", "b", "b", "a"])
    assert apart_by_class(centers, names, {"a": 6.0, "b": 4.0}).tolist() == [True, True, False, True]


def test_a_detection_ends_with_what_the_model_brings():
    scores, right = overconfident(600)
    model = Model("none", {}, None, ["background", "a", "b"], 10.0)
    model.detection = {
        "calibration": fit_score_map(scores, right).plain(), "class_thresholds": {"a": 0.5}, "class_radii": {"b": 30.0},
    }  # fmt: skip
    assert json.loads(json.dumps(model.detection)) == model.detection
    settings = make_settings([model])
    picks = Particles(
        np.array([[0, 0, 0], [0, 0, 50], [0, 0, 90], [0, 0, 200], [0, 0, 300]]), ["b", "b", "b", "a", "a"],
        [0.9, 0.8, 0.7, 0.5, 0.95], location_scores=np.full(5, 0.9), class_scores=np.full(5, 0.9),
    )  # fmt: skip
    kept = selected(picks, settings, LEVEL, 10.0)
    assert kept.centers_zyx[:, 2].tolist() == [300, 0, 90]
    assert kept.scores == pytest.approx(np.array([0.95, 0.9, 0.7]) ** 2, abs=0.08)
    assert kept.location_scores.tolist() == [0.9, 0.9, 0.9]
    raw = selected(picks, make_settings([model], {"calibrated": False}), LEVEL, 10.0)
    assert raw.scores.tolist() == [0.95, 0.9, 0.7]
    everything = {"class_thresholds": {}, "class_radii": {}}
    assert len(selected(picks, make_settings([model], everything), LEVEL, 10.0)) == 5
    place = picks.with_columns(location_scores=np.array([0.9, 0.8, 0.4, 0.9, 0.3]))
    where = selected(place, make_settings([model], {**everything, "lowest_location": 0.5}), LEVEL, 10.0)
    assert sorted(where.centers_zyx[:, 2].tolist()) == [0, 50, 200]
    least = float(kept.scores[1])
    assert len(selected(picks, make_settings([model], {"minimum_score": least}), LEVEL, 10.0)) == 2


def test_picks_outside_level_ice_go_however_sure_they_are():
    z = np.array([190.0, 200, 300, 400, 410])
    picks = Particles(np.stack([z, 0 * z, 0 * z], axis=1), scores=[1.0, 0.2, 0.3, 0.4, 1.0])
    kept = selected(picks, DetectSettings(), Slab(10, 60, "told", ice=(20, 40)), 10.0)
    assert kept.centers_zyx[:, 0].tolist() == [400, 300, 200]


def test_location_scores_have_a_map_of_their_own():
    found = ScoreMap(kind="platt", slope=1.0, shift=-1.0)
    settings = DetectSettings(location_calibration=found, calibration=ScoreMap(kind="platt", shift=2.0))
    picks = Particles(np.zeros((2, 3)), scores=[0.6, 0.4], location_scores=[0.6, 0.4])
    unnamed = selected(picks, settings, LEVEL, 10.0)
    assert unnamed.scores == pytest.approx(found(np.array([0.6, 0.4])))
    assert unnamed.location_scores == pytest.approx(unnamed.scores)
    named = selected(picks.with_columns(class_scores=np.ones(2)), settings, LEVEL, 10.0)
    assert named.scores[0] > 0.6 > named.location_scores[0]


@pytest.mark.parametrize(
    ("map_", "message"),
    [
        ({"kind": "isotonic"}, "0 knots and 0 values"),
        ({"kind": "isotonic", "knots": [0.1, 0.5], "values": [0.5, 0.2]}, "values must rise"),
        ({"kind": "platt", "slope": -1.0}, "greater than 0"),
    ],
)
def test_a_map_that_does_not_rise_is_refused(map_, message):
    with pytest.raises(VoxpickError, match=message):
        make_settings([], {"calibration": map_})


def test_steps_of_a_map_are_told_by_their_ends():
    found = fit_score_map(*overconfident(2000))
    inner = [b for (a, b), (_, c) in pairwise(pairwise(found.values)) if a == b == c]
    assert len(found.knots) < 200 and not inner
