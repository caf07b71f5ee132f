"""What is fitted on picks in a specimen with truth: maps, thresholds and distances."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from voxpick.cli import training_marks
from voxpick.cli import truth as truth_files
from voxpick.cli.calibrate import calibrate
from voxpick.cli.fit_confidence import Cut, NothingFound, _detected, _seen, ball_radii, cross_validated, fit_confidence
from voxpick.cli.truth import ShrecTruth
from voxpick.detect.select import Spacing, selected
from voxpick.detect.settings import make_settings
from voxpick.detect.slab import Slab
from voxpick.evaluate.calibration import reliability, right_picks
from voxpick.evaluate.shrec import score_shrec
from voxpick.io import shrec_model
from voxpick.methods import catalogue
from voxpick.networks.model import Model
from voxpick.particles import Particles

SHAPE = (24, 120, 160)


def specimen(rng, n=160):
    """Balls of radius 3 (1s3x) and 4 (4d8q), apart, and picks: some off, some doubled, some of the wrong class."""
    occupancy, centers, names = np.zeros(SHAPE, np.int16), [], []
    grid = np.stack(np.indices(SHAPE), axis=-1)
    for z in (5, 17):
        for y in range(6, 116, 11):
            for x in range(6, 156, 11):
                if len(centers) < n:
                    centers.append((z, y, x))
                    names.append(("1s3x", "4d8q")[len(centers) % 2])
    for k, (center, name) in enumerate(zip(centers, names, strict=True), start=1):
        z, y, x = center
        part = np.s_[z - 4 : z + 5, y - 4 : y + 5, x - 4 : x + 5]
        ball = np.square(grid[part] - center).sum(-1) <= {"1s3x": 9, "4d8q": 16}[name]
        occupancy[part][ball] = k
    truth = ShrecTruth(Path("model_0"), Particles(np.array(centers) * 10.0, names), occupancy, 10.0, 0)
    score = rng.beta(2, 1, size=n)
    hit, named = rng.random(n) < score**2, rng.random(n) < 0.9
    place = np.where(hit[:, None], centers, np.array(centers) + [0, 5.5, 0])
    other = np.where(np.array(names) == "1s3x", "4d8q", "1s3x")
    doubled = np.flatnonzero(hit)[:40]
    everything = np.concatenate([place, np.array(centers)[doubled] + [0, 2, 0]])
    scores = np.concatenate([score, score[doubled] * 0.9])
    picks = Particles(
        everything * 10.0, np.concatenate([np.where(named, names, other), np.array(names)[doubled]]), scores,
        location_scores=np.sqrt(scores), class_scores=np.sqrt(scores),
    )  # fmt: skip
    return picks, truth


def applied(fitted, picks):
    model = Model("none", {}, None, [], 10.0, detection={**fitted.located, **fitted.named})
    return selected(picks, make_settings([model]), Slab(0, 1000, "all"), 10.0)


def judged(picks, truth):
    score = score_shrec(picks, truth.particles, truth.occupancy, voxel_size=10.0, z_offset=0, frame="tomogram")
    return score, right_picks(picks, score.hit_ids, truth.particles.classes)


def test_fitted_on_some_specimens_scores_are_right_on_others():
    rng = np.random.default_rng(0)
    fitted = fit_confidence([specimen(rng) for _ in range(4)])
    assert fitted.named["calibration"]["kind"] == "isotonic"
    fresh = [specimen(rng) for _ in range(6)]
    kept = [applied(fitted, picks) for picks, _ in fresh]
    before, after = [], []
    for picks, mine, (_, truth) in zip([p for p, _ in fresh], kept, fresh, strict=True):
        before.append((picks.scores, judged(picks, truth)[1]))
        after.append((mine.scores, judged(mine, truth)[1]))
    errors = [reliability(*map(np.concatenate, zip(*rows, strict=True))).ece for rows in (before, after)]
    assert errors[1] < 0.06 < 0.15 < errors[0]
    raw, better = (
        np.mean([judged(picks, truth)[0].f1 for picks, (_, truth) in zip(some, fresh, strict=True)])
        for some in ([p for p, _ in fresh], kept)
    )
    assert better > raw + 0.03 and fitted.f1[1] > fitted.f1[0]
    assert fitted.named["class_radii"]["4d8q"] > fitted.named["class_radii"]["1s3x"] > 0


def crowded(rng):
    """As `specimen`, with classes that are often confused, and weak picks beside right ones of another class."""
    picks, truth = specimen(rng)
    beside = rng.permutation(len(picks))[:60]
    other = np.where(picks.classes[beside] == "1s3x", "4d8q", "1s3x").astype(object)
    both = Particles(
        np.concatenate([picks.centers_zyx, picks.centers_zyx[beside] + [0, 45, 0]]),
        np.concatenate([picks.classes, other]),
        np.concatenate([picks.scores, np.clip(picks.scores[beside] + 0.05, 0, 1)]),
        location_scores=np.concatenate([picks.location_scores, 0.9 * picks.location_scores[beside]]),
        class_scores=np.concatenate([picks.class_scores, picks.class_scores[beside]]),
    )
    return both, truth


@pytest.mark.parametrize("aim", ["located", "named", "none"])
def test_the_f1_that_is_told_is_that_of_detection(aim):
    """Detection drops weak picks before they can drop others; fitting did it the other way round."""
    told, found = [], []
    for seed in range(4):
        data = [crowded(np.random.default_rng([seed, k])) for k in range(2)]
        fitted = fit_confidence(data, aim=aim)
        kept = [applied(fitted, picks) for picks, _ in data]
        hits = [judged(mine, truth)[0].hit_ids for mine, (_, truth) in zip(kept, data, strict=True)]
        right = sum(int(right_picks(mine, ids).sum()) for mine, ids in zip(kept, hits, strict=True))
        found.append(2 * right / (sum(map(len, kept)) + sum(len(truth.particles) for _, truth in data)))
        told.append(fitted.f1[1])
    assert told == pytest.approx(found, abs=1e-9)


def test_a_cut_is_judged_on_the_picks_that_it_leaves():
    """b is beside an a that is better, but too weak for its class; c is too weak itself, and beside nothing."""
    centers, classes = np.array([[0, 0, 0], [0, 0, 50.0], [0, 0, 500], [0, 0, 550]]), np.array(list("abcc"), object)
    scores = np.array([0.6, 0.5, 0.3, 0.2])
    picks = Particles(centers, classes, scores, location_scores=scores, class_scores=np.ones(4))
    radii, unchanged = dict.fromkeys("abc", 40.0), {"named": lambda values: values}
    spaced = np.array([True, False, True, False])
    cut = Cut(unchanged, 0.0, {"a": 0.7, "b": 0.4, "c": 0.4})
    for classes_apart, spacing in ((radii, Spacing()), ({}, Spacing(60.0))):
        assert _seen(picks, spaced, classes_apart, cut, spacing).tolist() == [True, True, True, False]
        assert _detected(picks, classes_apart, cut, spacing).tolist() == [False, True, False, False]
        assert _detected(picks, classes_apart, Cut(unchanged, 0.0, {}), spacing).tolist() == spaced.tolist()


@pytest.mark.parametrize("too_close", ["better", "none"])
@pytest.mark.parametrize("aim", ["located", "named"])
def test_calibrate_sees_picks_beside_ones_that_their_scores_drop(monkeypatch, aim, too_close):
    """Its detection kept picks apart before there was a threshold, that of the calibrated model afterwards."""
    data = {f"model_{k}": crowded(np.random.default_rng([9, k])) for k in range(3)}
    own = {"minimum_distance": 50.0, "too_close": too_close}
    model = Model("none", {}, None, [], 10.0, detection=own)

    def detect(tomogram, models, *, changes=None, **how):
        settings = make_settings(models.values(), changes)
        found = selected(data[tomogram][0], settings, Slab(0, 1000, "all"), 10.0)
        return SimpleNamespace(particles=found, settings=settings.model_dump())

    monkeypatch.setattr(catalogue, "method_of", lambda models: "stub")
    monkeypatch.setattr(catalogue, "find_method", lambda name: SimpleNamespace(STAGES=("segmenter",), detect=detect))
    monkeypatch.setattr(truth_files, "read_truth", lambda folder: data[folder.name][1])
    monkeypatch.setattr(shrec_model, "open_model", lambda folder: SimpleNamespace(reconstruction=folder.name))
    monkeypatch.setattr(training_marks, "is_training_data", lambda *given: False)
    fitted = calibrate({"segmenter": model}, [Path(name) for name in data], aim=aim)
    right, kept, particles = 0, 0, 0
    for name, (_, truth) in data.items():
        found = detect(name, {"segmenter": model}).particles
        right += int(right_picks(found, judged(found, truth)[0].hit_ids).sum())
        kept, particles = kept + len(found), particles + len(truth.particles)
    assert fitted.f1[1] == pytest.approx(2 * right / (kept + particles), abs=1e-9)
    assert model.detection["minimum_distance"] == 50.0 and "keep_apart" not in model.detection


def test_aims_differ_and_without_one_all_is_kept():
    rng = np.random.default_rng(1)
    data = [specimen(rng)]
    assert fit_confidence(data, aim="none").named["class_thresholds"] == {}
    assert fit_confidence(data, aim="none").located["lowest_location"] == 0
    located = fit_confidence(data, aim="located")
    assert located.named["class_thresholds"] == {} and 0 < located.located["lowest_location"] < 1
    named = fit_confidence(data, aim="named").named["class_thresholds"]
    assert set(named) == {"1s3x", "4d8q"}
    strict = fit_confidence(data, aim="named", beta=0.3).named["class_thresholds"]
    assert all(strict[name] >= named[name] for name in named)


def test_picks_without_names_get_the_map_of_their_place():
    picks, truth = specimen(np.random.default_rng(2))
    unnamed = Particles(picks.centers_zyx, scores=picks.location_scores, location_scores=picks.location_scores)
    fitted = fit_confidence([(unnamed, truth)])
    assert fitted.named == {} and list(fitted.before) == ["located"]
    assert set(fitted.located) == {"location_calibration", "lowest_location", "class_thresholds", "class_radii"}
    with pytest.raises(NothingFound, match="finds nothing"):
        fit_confidence([(unnamed[:0], truth)])


def test_a_class_that_the_truth_does_not_hold_and_case_are_no_obstacle():
    picks, truth = specimen(np.random.default_rng(5))
    as_it_is = fit_confidence([(picks, truth)], aim="named")
    upper = picks.with_columns(classes=np.array([name.upper() for name in picks.classes], dtype=object))
    in_capitals = fit_confidence([(upper, truth)], aim="named")
    assert (in_capitals.named, in_capitals.located, in_capitals.f1) == (as_it_is.named, as_it_is.located, as_it_is.f1)
    names = np.where(picks.classes == "4d8q", "vault", picks.classes)
    fitted = fit_confidence([(picks.with_columns(classes=names), truth)], aim="named")
    assert fitted.before["located"].right == as_it_is.before["located"].right
    assert fitted.before["named"].right < as_it_is.before["named"].right
    assert set(fitted.named["class_thresholds"]) == {"1s3x", "4d8q"}


def test_radii_are_of_balls_of_the_mean_volume():
    _, truth = specimen(np.random.default_rng(3))
    found = ball_radii([truth])
    assert found["1s3x"] == pytest.approx(30, abs=1) and found["4d8q"] == pytest.approx(40, abs=1)


def test_cross_validation_does_not_flatter():
    rng = np.random.default_rng(4)
    scores = rng.random(400)
    right = rng.random(400) < scores
    held_out = cross_validated(scores, right)
    assert held_out.picks == 400 and held_out.brier > reliability(scores, right).brier - 0.01


@pytest.mark.parametrize("aim", ["located", "named"])
def test_picks_of_one_class_without_a_name_get_scores_that_mean_what_they_say(aim):
    """Their score is a product with a class score, which the map of the place alone would leave as it is."""
    picks, truth = specimen(np.random.default_rng(5), n=200)
    one = picks.with_columns(classes=np.full(len(picks), "particle", dtype=object))
    fitted = fit_confidence([(one, truth)], aim=aim)
    assert list(fitted.before) == ["located"] and "calibration" in fitted.named
    again, other = specimen(np.random.default_rng(6), n=200)
    kept = applied(fitted, again.with_columns(classes=np.full(len(again), "particle", dtype=object)))
    right = right_picks(kept, judged(kept, other)[0].hit_ids)
    assert abs(kept.scores.mean() - right.mean()) < 0.08
    assert len(kept) < len(again)
