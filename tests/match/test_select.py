"""The two lists of SHREC'20, thresholded and filtered."""

import numpy as np
import pytest

from voxpick.match.bank import Template
from voxpick.match.peaks import Peaks
from voxpick.match.select import ball_radius, choose, listed_by_class
from voxpick.particles import Particles


def peaks(*x):
    return Peaks(np.array([(5, 5, k) for k in x]).reshape(-1, 3), np.linspace(0.9, 0.5, len(x)), np.arange(len(x)))


def as_lists(chosen):
    return [(k, rows.tolist()) for k, rows in chosen]


def test_the_largest_class_takes_its_best_first():
    small, large = peaks(1, 10, 20, 30), peaks(11, 50, 60)
    assert as_lists(choose([small, large], [2, 4], number=2, overlap=True)) == [(1, [0, 1]), (0, [0, 1])]
    assert as_lists(choose([small, large], [2, 4], number=None, overlap=True)) == [(1, [0, 1, 2]), (0, [0, 1, 2, 3])]


def test_candidates_that_overlap_are_passed_over_for_the_next():
    small, large = peaks(1, 10, 20, 30), peaks(11, 50, 60)
    # 10 lies within 2 + 4 of the large one at 11, 17 is just not within
    assert as_lists(choose([small, large], [2, 4], number=3, overlap=False)) == [(1, [0, 1, 2]), (0, [0, 2, 3])]
    assert as_lists(choose([peaks(17, 16), large], [2, 4], number=3, overlap=False))[1] == (0, [0])


def test_classes_go_by_another_size_if_one_is_given():
    small, large = peaks(1, 10, 20, 30), peaks(11, 50, 60)
    by_weight = choose([small, large], [2, 4], number=3, overlap=False, sizes=[9, 1])
    assert as_lists(by_weight) == [(0, [0, 1, 2]), (1, [1, 2])]  # now the small one at 10 keeps off the large one at 11


def test_each_pick_keeps_others_off_by_the_radius_of_its_own_class():
    large, small, least = peaks(10, 60), peaks(100), peaks(105, 14, 101)
    kept = choose([large, small, least], [6, 1, 0.5], number=None, overlap=False)
    assert as_lists(kept) == [(0, [0, 1]), (1, [0]), (2, [0])]


def test_one_class_does_not_overlap_itself():
    assert as_lists(choose([peaks(10, 13, 14, 18)], [2], number=4, overlap=False)) == [(0, [0, 2, 3])]
    assert as_lists(choose([peaks()], [2], number=4, overlap=False)) == [(0, [])]


def test_the_radius_of_a_ball_is_found():
    grid = np.indices((32,) * 3) - 16
    ball = ((grid**2).sum(axis=0) <= 9**2).astype(np.float32)
    assert ball_radius(Template("ball", ball, 8.0)) == pytest.approx(72, rel=0.01)
    assert ball_radius(Template("ball", ball, 8.0, radius=40)) == pytest.approx(40, rel=0.02)
    assert ball_radius(Template("ball", ball, 8.0, radius=400)) == pytest.approx(72, rel=0.01)


def test_the_list_has_class_after_class_and_the_best_of_each_first():
    picks = Particles(np.arange(12.0).reshape(4, 3), ["b", "a", "b", "a"], [0.9, 0.2, 1.0, 0.4])
    listed = listed_by_class(picks, ["a", "b"])
    assert listed.classes.tolist() == ["a", "a", "b", "b"] and listed.centers_zyx[:, 0].tolist() == [9, 3, 6, 0]
    assert listed.scores.tolist() == pytest.approx([0.7, 0.6, 0.5, 0.45])
    assert listed.location_scores.tolist() == [0.4, 0.2, 1.0, 0.9]
