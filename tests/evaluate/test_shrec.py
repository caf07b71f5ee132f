"""The SHREC scoring against a slow, separate account of the organisers' procedure, and against hand counts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.ndimage import generate_binary_structure, grey_dilation

from voxpick.errors import VoxpickError
from voxpick.evaluate.calibration import confidence
from voxpick.evaluate.shrec import occupancy_ids, rounded_voxels, score_shrec
from voxpick.evaluate.shrec_score import class_order
from voxpick.particles import Particles
from voxpick.shrec_classes import SHREC20_BY_WEIGHT, SHREC20_CLASSES

SHAPE = (20, 28, 36)


def specimen(rng, n=30, shape=SHAPE):
    """Random small balls, ids in listing order, and their classes and integer centres."""
    occupancy = np.zeros(shape, np.float32)
    centers = np.stack([rng.integers(2, side - 2, n) for side in shape], axis=1)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    for i, center in enumerate(centers):
        ball = (np.square(grid - center).sum(-1) <= 4) & (occupancy == 0)
        occupancy[ball] = i + 1
    return occupancy, centers, rng.choice(np.array(SHREC20_CLASSES), n)


def submission(rng, centers, offset, n=60):
    """Picks near particles, duplicates, halves, strays and voxels out of range: (name, x, y, z) of the tomogram."""
    rows = []
    for _ in range(n):
        z, y, x = centers[rng.integers(len(centers))] + rng.choice([0, 0.5, -0.5, 1, 2.25, 7], 3)
        rows.append((str(rng.choice(np.array(SHREC20_CLASSES[:7]))), x, y, z + offset))
    rows += [(SHREC20_CLASSES[0], -3.0, 2.0, 5.0 + offset), (SHREC20_CLASSES[1], 5.0, 400.5, offset + 4.0)]
    return rows + rows[:5]


def organisers(rows, occupancy, truth_rows, offset):
    """The SHREC'20 procedure written out particle by particle on a dilated and padded mask."""
    from pycm import ConfusionMatrix

    mask = grey_dilation(occupancy, footprint=generate_binary_structure(3, 1))
    mask = np.pad(mask, ((offset, offset), (0, 0), (0, 0)))
    picks = [(name, round(x), round(y), round(z)) for name, x, y, z in rows]
    if min(p[3] for p in picks) < offset or max(p[3] for p in picks) > offset + occupancy.shape[0]:
        picks = [(name, x, y, z + offset) for name, x, y, z in picks]
    hits = {i: [] for i in range(len(truth_rows) + 1)}
    outside = 0
    for name, x, y, z in picks:
        inside = [min(max(v, 0), side - 1) for v, side in zip((z, y, x), mask.shape, strict=True)]
        outside += inside != [z, y, x]
        hits[int(mask[tuple(inside)])].append((name, inside))
    found = [i for i in range(1, len(hits)) if hits[i]]
    distances = []
    for i in found:
        _, z, y, x = truth_rows[i - 1]
        distances.append(math.dist(hits[i][0][1], (z + offset, y, x)))
    number = {"0": 0, **{name: k + 1 for k, name in enumerate(SHREC20_CLASSES)}}
    actual = [number[row[0]] for row in truth_rows]
    named = [number[hits[i][0][0]] if hits[i] else 0 for i in range(1, len(hits))]
    matrix = ConfusionMatrix(actual_vector=actual, predict_vector=named)
    recall, precision = len(found) / len(truth_rows), len(found) / len(picks)
    table = {
        "RR": len(picks), "TP": len(found), "FP": len(hits[0]), "FN": len(truth_rows) - len(found),
        "MH": sum(len(hits[i]) > 1 for i in found), "RO": outside, "AD": sum(distances) / len(distances),
        "recall": recall, "precision": precision, "miss_rate": 1 - recall,
        "F1": 1 / ((1 / recall + 1 / precision) / 2),
    }  # fmt: skip
    class_f1 = {SHREC20_CLASSES[k - 1]: f1 for k, f1 in matrix.F1.items() if k}
    return table, class_f1, list(zip(actual, named, strict=True))


def as_particles(rows, voxel_size):
    return Particles(np.array([[z, y, x] for _, x, y, z in rows]) * voxel_size, classes=[row[0] for row in rows])


@pytest.mark.parametrize("seed", range(12))
def test_the_organisers_numbers(seed):
    rng = np.random.default_rng(seed)
    offset = 2 if seed % 4 == 3 else int(rng.integers(12, 20))
    voxel_size = float(rng.choice([10.0, 13.48, 7.84]))
    occupancy, centers, classes = specimen(rng)
    in_tomogram = seed % 2
    rows = submission(rng, centers, offset if in_tomogram else 0)
    if in_tomogram and seed % 4 == 1:  # a well-behaved submission: nothing shifts it
        rows = [row for row in rows if offset <= round(row[3]) <= offset + SHAPE[0]]
    truth_rows = [(str(name), *center) for name, center in zip(classes, centers.tolist(), strict=True)]
    expected, class_f1, pairs = organisers(rows, occupancy, truth_rows, offset)

    score = score_shrec(
        as_particles(rows, voxel_size), Particles(centers * voxel_size, classes), occupancy,
        voxel_size=voxel_size, z_offset=offset,
    )  # fmt: skip

    assert score.table3 == pytest.approx(expected, rel=1e-12)
    for name in SHREC20_CLASSES:
        theirs = class_f1.get(name, "None")
        assert math.isnan(score.class_f1[name]) if theirs == "None" else score.class_f1[name] == pytest.approx(theirs)
    index = {name: k for k, name in enumerate(score.labels)}
    confusion = np.zeros((13, 13), int)
    for actual, named in pairs:
        confusion[index[SHREC20_CLASSES[actual - 1]], index[SHREC20_CLASSES[named - 1] if named else "0"]] += 1
    np.testing.assert_array_equal(score.confusion, confusion)
    assert bool(score.warnings) == (
        min(round(r[3]) for r in rows) < offset or max(round(r[3]) for r in rows) > offset + 20
    )


def test_lookup_equals_grey_dilation_at_every_voxel_and_is_empty_beyond():
    occupancy, *_ = specimen(np.random.default_rng(3))
    dilated = grey_dilation(occupancy, footprint=generate_binary_structure(3, 1))
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_array_equal(occupancy_ids(occupancy, voxels, dilate=True), dilated[tuple(voxels.T)])
    np.testing.assert_array_equal(occupancy_ids(occupancy, voxels, dilate=False), occupancy[tuple(voxels.T)])
    occupancy[0] = 5
    assert occupancy_ids(occupancy, np.array([[-1, 3, 3]]), dilate=True) == 0


def two_particles():
    occupancy = np.zeros((200, 12, 20), np.uint16)
    occupancy[8:12, 4:8, 4:8] = 1
    occupancy[100:106, 4:8, 12:16] = 2
    return occupancy, Particles(np.array([[10, 6, 6], [103, 6, 14]]) * 10.0, ["1s3x", "4d8q"])


def test_halves_round_to_even_after_a_passage_through_angstrom():
    assert rounded_voxels(np.array([[0.5, 1.5, 2.5]]) * 13.48, 13.48).tolist() == [[0, 2, 2]]


def test_one_stray_pick_shifts_all_and_says_so():
    occupancy, truth = two_particles()
    good = np.array([[166, 6, 6], [259, 6, 14]]) * 10.0
    assert score_shrec(Particles(good, truth.classes), truth, occupancy, voxel_size=10.0).true_positives == 2
    stray = Particles(np.vstack([good, [[3570.0, 0, 0]]]), ["1s3x", "4d8q", "4d8q"])
    shifted = score_shrec(stray, truth, occupancy, voxel_size=10.0)
    assert shifted.true_positives == 0 and "ALL picks" in shifted.warnings[0] and shifted.f1 == 0
    assert shifted.outside == 1 and math.isnan(shifted.average_distance)
    strict = score_shrec(stray, truth, occupancy, voxel_size=10.0, strict=True)
    assert strict.true_positives == 2 and not strict.warnings
    told = score_shrec(stray, truth, occupancy, voxel_size=10.0, frame="tomogram")
    assert told.true_positives == 2 and told.precision == pytest.approx(2 / 3)


def test_specimen_and_tomogram_frames_agree():
    occupancy, truth = two_particles()
    thin = score_shrec(truth, truth, occupancy, voxel_size=10.0, z_offset=0)
    told = score_shrec(truth, truth, occupancy, voxel_size=10.0, frame="specimen")
    ruled = score_shrec(truth, truth, occupancy, voxel_size=10.0)
    for score in (thin, told, ruled):
        assert score.f1 == 1 and score.class_accuracy["4d8q"] == 1 and score.average_distance == 0
    assert not thin.warnings and not told.warnings and ruled.warnings


def test_strict_keeps_the_most_confident_and_charges_false_positives_to_their_class():
    occupancy, truth = two_particles()
    centers = np.array([[10, 6, 6], [10, 6, 7], [50, 0, 0], [-9, 6, 6]]) * 10.0
    picks = Particles(centers, ["4d8q", "1s3x", "1s3x", "1s3x"], scores=[0.3, 0.9, 0.5, 0.5])
    loose = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0)
    assert (loose.multiple_hits, loose.false_positives, loose.outside) == (1, 2, 0)
    assert loose.class_f1["1s3x"] == 0 and loose.class_f1["4d8q"] == 0
    strict = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0, strict=True)
    assert (strict.true_positives, strict.false_positives, strict.multiple_hits) == (1, 3, 0)
    assert strict.class_f1["1s3x"] == pytest.approx(2 / (2 + 2)) and strict.average_distance == 1.0


def test_a_pick_outside_beside_a_particle_is_a_hit_unless_strict():
    occupancy = np.zeros((20, 12, 20), np.uint16)
    occupancy[8:12, :3, 4:8] = 1
    truth = Particles(np.array([[10, 1, 6]]) * 10.0, ["1s3x"])
    beyond = Particles(np.array([[10, -2, 6]]) * 10.0, ["1s3x"])
    for strict, counts in ((False, (1, 0, 1)), (True, (0, 1, 1))):
        score = score_shrec(beyond, truth, occupancy, voxel_size=10.0, z_offset=0, strict=strict)
        assert (score.true_positives, score.false_positives, score.outside) == counts


def test_shrec19_does_not_dilate_and_averages_all_hits():
    occupancy, truth = two_particles()
    rim = np.array([[164, 3, 6], [166, 6, 6], [165, 6, 6]]) * 10.0
    picks = Particles(rim, ["1s3x"] * 3)
    old = score_shrec(picks, truth, occupancy, voxel_size=10.0, benchmark="shrec19")
    assert (old.false_positives, old.true_positives, old.average_distance) == (1, 1, 0.5)
    new = score_shrec(picks, truth, occupancy, voxel_size=10.0)
    assert (new.false_positives, new.true_positives) == (0, 1) and new.average_distance == pytest.approx(13**0.5)
    proteasome = Particles(truth.centers_zyx, ["1s3x", "4b4t"])
    below = Particles(np.array([[150, 6, 6]]) * 10.0, ["4b4t"])
    clipped = score_shrec(below, proteasome, occupancy, voxel_size=10.0, benchmark="shrec19")
    assert clipped.outside == 1 and clipped.labels[-2:] == ("4b4t", "4d8q") and "4cr2" not in clipped.labels


def test_shrec21_leaves_4v94_out_of_the_truth_but_not_out_of_the_predictions():
    occupancy, truth = two_particles()
    truth = Particles(truth.centers_zyx, ["1S3X", "4V94"])
    score = score_shrec(truth, truth, occupancy, voxel_size=10.0, benchmark="shrec21")
    assert (score.particles, score.true_positives, score.false_positives, score.reported) == (1, 1, 0, 2)
    assert score.recall == 1 and score.precision == 0.5 and "4v94" not in score.labels
    stray = Particles(np.vstack([truth.centers_zyx, [[4000.0, 0, 0]]]), ["1s3x", "4v94", "1s3x"])
    moved = score_shrec(stray, truth, occupancy, voxel_size=10.0, benchmark="shrec21")
    assert (moved.true_positives, moved.average_distance, moved.outside, moved.z_shift) == (1, 0, 1, 0)
    assert not moved.warnings
    twice = score_shrec(truth[[0, 0, 1, 1]], truth, occupancy, voxel_size=10.0, benchmark="shrec21")
    assert (twice.multiple_hits, twice.reported, twice.precision) == (1, 4, 0.25)


def test_shrec21_counts_vesicles_among_the_particles_that_recall_is_a_share_of():
    """As its script does: 4v94 alone is subtracted from their number, and the miss rate is 1 - recall."""
    occupancy, truth = two_particles()
    truth = Particles(truth.centers_zyx, ["1S3X", "vesicle"])
    score = score_shrec(truth, truth, occupancy, voxel_size=10.0, benchmark="shrec21")
    assert (score.particles, score.true_positives, score.false_negatives) == (2, 1, 0)
    assert (score.recall, score.miss_rate) == (0.5, 0.5)
    strict = score_shrec(truth, truth, occupancy, voxel_size=10.0, benchmark="shrec21", strict=True)
    assert (strict.particles, strict.recall) == (1, 1)


def test_no_picks_score_zero_and_everything_is_json():
    occupancy, truth = two_particles()
    score = score_shrec(Particles(np.empty((0, 3))), truth, occupancy, voxel_size=10.0)
    assert (score.f1, score.precision, score.false_negatives, score.mean_class_f1) == (0, 0, 2, 0)
    told = json.loads(json.dumps(score.to_dict(), allow_nan=False))
    assert told["localisation"]["AD"] is None and told["class_f1"]["3cf3"] is None
    assert told["molecular_weight_kda"]["1s3x"] == 42.75
    assert list(told["molecular_weight_kda"]) == list(SHREC20_BY_WEIGHT)
    assert list(score.class_f1) == list(SHREC20_BY_WEIGHT)


@pytest.mark.parametrize("strict", [False, True])
def test_a_class_that_the_truth_does_not_hold_is_a_wrong_name(strict):
    occupancy, _ = two_particles()
    truth = Particles(np.array([[10, 6, 6], [103, 6, 14]]) * 10.0, ["A", "b"])
    picks = Particles(np.vstack([truth.centers_zyx, [[500.0, 0, 0]]]), ["a", "C", "c"], [0.9, 0.8, 0.7])
    score = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0, strict=strict)
    assert (score.true_positives, score.false_positives, score.labels) == (2, 1, ("0", "A", "b"))
    assert score.class_f1 == {"A": 1.0, "b": 0.0} and score.hit_ids.tolist() == [1, 2, 0]
    assert score.mean_class_f1 == 0.5 and np.isnan(list(score.size_groups.values())).all()
    assert score.warnings[0].startswith("2 of 3 picks have a class that the truth does not hold (pick 2: 'c')")
    assert score.warnings[0].endswith("The classes here are A, b.")


def test_a_score_has_own_names_as_the_truth_spells_them_and_shrecs_in_lower_case():
    """Own ones came out in lower case, in tables, JSON and reports."""
    occupancy, _ = two_particles()
    truth = Particles(np.array([[10, 6, 6], [103, 6, 14]]) * 10.0, ["TRiC", "1S3X"])
    score = score_shrec(truth.with_columns(classes=np.array(["tric", "1s3x"])), truth, occupancy, voxel_size=10.0)
    assert score.class_f1["TRiC"] == score.class_f1["1s3x"] == 1 and score.size_groups["small"] == 1
    assert not {"tric", "1S3X"} & {*score.labels}


def test_of_particles_without_names_no_pick_has_a_wrong_one():
    """All picks were told to have a class that is none of an empty list."""
    occupancy, truth = two_particles()
    nameless = Particles(truth.centers_zyx)
    score = score_shrec(truth, nameless, occupancy, voxel_size=10.0, z_offset=0)
    assert (score.f1, score.labels, score.warnings) == (1, ("0",), ())
    scored = truth.with_columns(scores=np.array([0.9, 0.8]))
    assert list(confidence(scored, score.hit_ids, nameless.classes)) == ["located"]
    assert list(confidence(scored, score.hit_ids, truth.classes)) == ["located", "named"]


def test_z_shift_leads_from_the_picks_to_where_they_were_scored():
    occupancy, truth = two_particles()
    in_tomogram = Particles(truth.centers_zyx + [1560.0, 0, 0], truth.classes)

    def shift(picks, **settings):
        score = score_shrec(picks, truth, occupancy, voxel_size=10.0, **settings)
        assert score.f1 == 1
        return score.z_shift

    assert shift(truth) == shift(truth, frame="specimen") == 156
    assert shift(in_tomogram) == shift(in_tomogram, frame="tomogram") == 0
    assert shift(truth, z_offset=0) == shift(truth, z_offset=0, frame="tomogram") == 0
    assert shift(in_tomogram, z_offset=0) == -156


def test_the_curve_is_that_of_the_picks_that_count():
    """Surest first: a miss, then a particle twice, then a particle that SHREC'21 leaves out of the truth."""
    occupancy, truth = two_particles()
    centers = np.array([[50, 0, 0], [10, 6, 6], [11, 6, 6], [103, 6, 14]]) * 10.0
    picks = Particles(centers, scores=np.array([0.9, 0.8, 0.7, 0.6]))
    curve = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0).curve
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6] and curve.recall.tolist() == [0, 0.5, 0.5, 1]
    assert curve.precision.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    truth = Particles(truth.centers_zyx, ["1s3x", "4v94"])
    some = score_shrec(picks, truth, occupancy, voxel_size=10.0, benchmark="shrec21")
    assert some.curve.recall.tolist() == [0, 1, 1, 1]
    assert some.curve.precision[-1] == some.precision == 0.25


@pytest.mark.parametrize("strict", [False, True])
def test_picks_without_a_name_name_nothing_and_are_no_unknown_class(strict):
    occupancy, truth = two_particles()
    score = score_shrec(Particles(truth.centers_zyx), truth, occupancy, voxel_size=10.0, z_offset=0, strict=strict)
    assert score.true_positives == 2 and score.class_f1["1s3x"] == score.class_f1["4d8q"] == 0
    assert score.warnings == () and score.confusion.sum() == score.confusion[:, 0].sum() == 2


def test_picks_above_a_thin_tomogram_are_told():
    """Its own z are moved without a word, as all lie in it then; one beyond is in no frame."""
    occupancy, truth = two_particles()
    for z, told in ((103, False), (200, False), (201, True)):
        picks = Particles(np.array([[10, 6, 6], [z, 6, 14]]) * 10.0, truth.classes)
        score = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0)
        assert bool(score.warnings) == told


def test_where_no_pick_is_in_either_frame_the_shift_is_not_blamed():
    occupancy, truth = two_particles()
    above, beside, below = (400, 6, 6), (400, 6, 600), (-10, 6, 6)
    cases = (([above], 1, True), ([beside], 1, False), ([above, beside], 2, True), ([below], 0, True))
    for places, outside, told in cases:
        picks = Particles(np.array(places) * 10.0, ["1s3x"] * len(places))
        score = score_shrec(picks, truth, occupancy, voxel_size=10.0)
        assert (score.outside, bool(score.warnings)) == (outside, told)


def test_class_accuracy_is_a_share_of_all_particles_of_the_class():
    occupancy, truth = two_particles()
    truth = truth.with_columns(classes=np.array(["1s3x", "1s3x"]))
    score = score_shrec(truth[[0]], truth, occupancy, voxel_size=10.0, z_offset=0)
    assert score.class_accuracy["1s3x"] == 0.5 and math.isnan(score.class_accuracy["4d8q"])
    assert list(score.class_accuracy) == list(SHREC20_BY_WEIGHT)


def test_both_proteasomes_are_classes_where_the_truth_holds_both():
    assert class_order(["4cr2", "1s3x", "4b4t"])[-3:] == ("4b4t", "4cr2", "4d8q")
    assert "4cr2" not in class_order(["1s3x", "4b4t"])


def test_the_last_section_of_an_uneven_tomogram_is_inside():
    occupancy, truth = two_particles()
    last = Particles(np.array([[210, 0, 0]]) * 10.0)
    rules = {"voxel_size": 10.0, "z_offset": 5, "frame": "tomogram"}
    assert score_shrec(last, truth, occupancy, thickness=211, **rules).outside == 0
    assert score_shrec(last, truth, occupancy, **rules).outside == 1


def test_size_groups_average_the_class_scores():
    occupancy, truth = two_particles()
    picks = Particles(truth.centers_zyx, ["4d8q", "4d8q"])
    score = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0)
    assert score.size_groups["small"] == 0 and score.size_groups["large"] == pytest.approx(2 / 3)
    assert math.isnan(score.size_groups["medium"])


def test_bad_input_names_the_value():
    occupancy, truth = two_particles()
    with pytest.raises(VoxpickError, match="shrec22"):
        score_shrec(truth, truth, occupancy, voxel_size=10.0, benchmark="shrec22")
    with pytest.raises(VoxpickError, match="frame is 'sample'; choose one of auto"):
        score_shrec(truth, truth, occupancy, voxel_size=10.0, frame="sample")
    with pytest.raises(VoxpickError, match="holds particle 2 but the truth lists 1"):
        score_shrec(truth, truth[:1], occupancy, voxel_size=10.0, z_offset=0)
    with pytest.raises(VoxpickError, match="nothing to score against"):
        score_shrec(truth, truth[[]], occupancy, voxel_size=10.0)
