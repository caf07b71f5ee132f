import itertools

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.evaluate.curves import precision_recall
from voxpick.evaluate.pairing import pair, score_pairing
from voxpick.particles import Particles


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_as_many_as_can_be_and_then_the_nearest(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 6, (5, 3)), rng.uniform(0, 6, (4, 3))
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    best = min(
        (-(distance[list(rows), range(4)] <= 3.0).sum(), np.minimum(distance[list(rows), range(4)], 3.0).sum())
        for rows in itertools.permutations(range(5), 4)
    )
    rows, partners = pair(a, b, radius=3.0)
    assert len(set(rows)) == len(rows) == len(set(partners)) == -best[0]
    unpaired = 4 - len(rows)
    assert distance[rows, partners].sum() + 3.0 * unpaired == pytest.approx(best[1])


def test_scores_by_hand():
    truth = Particles(np.array([[0, 0, 0], [0, 0, 50], [0, 90, 0]]), ["a", "a", "b"])
    picks = Particles(
        np.array([[0, 0, 4], [0, 3, 0], [0, 90, 5], [300, 0, 0]]), ["a", "a", "a", "b"], [0.9, 0.8, 0.7, 0.2]
    )
    score = score_pairing(picks, truth, radius=10, beta=4)
    assert (score.location.pairs, score.location.precision, score.location.recall) == (2, 0.5, pytest.approx(2 / 3))
    assert score.distance == pytest.approx((3 + 5) / 2)
    assert score.location.f_beta == pytest.approx(17 * 0.5 * (2 / 3) / (16 * 0.5 + 2 / 3))
    assert (score.classes["a"].pairs, score.classes["b"].pairs) == (1, 0)
    assert score.curve.precision.tolist() == [1, 0.5, pytest.approx(2 / 3), 0.5]
    assert score.curve.best() == (0.7, pytest.approx(2 / 3))
    told = score.to_dict()["localisation"]
    assert (told["TP"], told["FP"], told["FN"]) == (2, 2, 1)


def test_the_mean_over_classes_leaves_out_those_that_the_truth_does_not_hold():
    truth = Particles(np.array([[0, 0, 0], [0, 0, 50]]), ["a", "b"])
    picks = Particles(np.array([[0, 0, 0], [0, 0, 50], [0, 90, 0]]), ["a", "c", "c"])
    score = score_pairing(picks, truth, radius=10)
    assert [(name, counts.f_beta) for name, counts in score.classes.items()] == [("a", 1), ("b", 0), ("c", 0)]
    assert score.mean_class_f == score.to_dict()["mean_class_f1"] == 0.5


def test_case_of_class_names_does_not_matter():
    truth = Particles(np.array([[0, 0, 0], [0, 0, 50]]), ["Ribosome", "b"])
    picks = Particles(np.array([[0, 0, 4], [0, 3, 50]]), ["ribosome", "B"])
    score = score_pairing(picks, truth, radius=10)
    assert {name: counts.pairs for name, counts in score.classes.items()} == {"Ribosome": 1, "b": 1}
    assert score.mean_class_f == 1


@pytest.mark.filterwarnings("error")
def test_no_picks_and_a_foolish_radius():
    truth = Particles(np.zeros((2, 3)), ["a", "b"])
    empty = score_pairing(Particles(np.empty((0, 3))), truth, radius=5)
    assert (empty.location.precision, empty.location.f_beta) == (0, 0)
    nothing_to_find = score_pairing(truth, truth[[]], radius=5)
    assert nothing_to_find.location.recall == 0 and nothing_to_find.curve.recall.tolist() == [0]
    assert empty.to_dict()["localisation"]["AD_A"] is None
    assert empty.curve.best() is None and empty.curve.to_dict()["recall"] == []
    for radius in (-1, 0, np.nan, np.inf):
        with pytest.raises(VoxpickError, match=f"radius is {radius}; it must be"):
            score_pairing(truth, truth, radius=radius)
    with pytest.raises(VoxpickError, match=r"beta is 1e\+200; it must be a positive number, at most 1e\+06"):
        score_pairing(truth, truth, radius=1, beta=1e200)


@pytest.mark.parametrize("seed", range(6))
def test_the_curve_has_as_many_pairs_as_can_be_at_every_threshold(seed):
    rng = np.random.default_rng(seed)
    scores = rng.choice([0.1, 0.3, 0.5, 0.7, 0.9], 40)
    picks, truth = Particles(rng.uniform(0, 12, (40, 3)), scores=scores), Particles(rng.uniform(0, 12, (30, 3)))
    score = score_pairing(picks, truth, radius=3.0)
    assert score.curve.threshold.tolist() == [0.9, 0.7, 0.5, 0.3, 0.1]
    for threshold, recall in zip(score.curve.threshold, score.curve.recall, strict=True):
        above = picks.centers_zyx[scores >= threshold]
        assert recall * 30 == pytest.approx(len(pair(above, truth.centers_zyx, radius=3.0)[0]))
    assert score.location.pairs == len(pair(picks.centers_zyx, truth.centers_zyx, radius=3.0)[0])


def test_the_largest_beta_is_recall():
    truth = Particles(np.array([[0, 0, 0], [0, 0, 50.0]]))
    assert score_pairing(truth[[0]], truth, radius=5, beta=1e6).location.f_beta == pytest.approx(0.5)


def test_of_two_picks_of_a_particle_the_surer_one_counts():
    truth = Particles(np.zeros((1, 3)), ["a"])
    picks = Particles(np.array([[0, 0, 1.0], [0, 0, 5.0]]), ["a", "a"], [0.1, 0.9])
    score = score_pairing(picks, truth, radius=10)
    assert score.hit_ids.tolist() == [0, 1] and score.distance == 1
    assert score.curve.precision.tolist() == [1, 0.5] and score.curve.best() == (0.9, 1.0)


def test_confidence_comes_before_any_distance():
    """All of them nearest to each other: the two least sure, 0 and 0; the two surest can only be 10 and 10 away."""
    truth = Particles(np.array([[0, 0, 0], [0, 0, 10.0]]))
    picks = Particles(np.array([[0, 0, 0], [0, 0, -10], [0, 0, 10.0]]), scores=[0.9, 0.5, 0.4])
    assert score_pairing(picks, truth, radius=10).hit_ids.tolist() == [2, 1, 0]


def test_the_least_sure_of_many_picks_still_hits_what_no_other_reaches():
    truth = Particles(np.array([[0, 0, 0], [0, 0, 10.0]]))
    picks = Particles(np.array([[0, 0, 0], [0, 0, -1], [0, 0, -2], [0, 0, 5.0]]), scores=[0.9, 0.8, 0.7, 0.6])
    assert score_pairing(picks, truth, radius=6).hit_ids.tolist() == [1, 0, 0, 2]


def test_a_long_curve_is_thinned_out_but_keeps_its_ends_and_its_best():
    """The last of 1000 picks hits what those after the first 333 did not, which is not worth them."""
    row = np.arange(1000)
    hits = np.where(row < 333, row + 1, np.where(row == 999, 334, 0))
    curve = precision_recall(1 - row / 1000, hits, particles=334)
    told = curve.to_dict(points=20)
    assert 15 < len(told["threshold"]) <= 20 and (told["threshold"][0], told["threshold"][-1]) == (1, 0.001)
    assert curve.recall[-1] == 1 and curve.best() == pytest.approx((0.668, 666 / 667))
    assert max(told["f1"]) == pytest.approx(666 / 667, abs=1e-6)
