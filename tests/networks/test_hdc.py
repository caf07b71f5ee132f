from itertools import product

import pytest

from voxpick.errors import VoxpickError
from voxpick.networks.hdc import check_dilations, maximum_gaps, receptive_field


def test_gaps_by_hand():
    # M_3 = 5; M_2 = max(5 - 4, 5 - 2 (5 - 2), 2) = 2; M_1 = max(2 - 2, 2 - 2 (2 - 1), 1) = 1
    assert maximum_gaps([1, 2, 5]) == [1, 2, 5]
    # M_3 = 9; M_2 = max(9 - 4, 9 - 14, 2) = 5
    assert maximum_gaps([1, 2, 9])[1] == 5


@pytest.mark.parametrize(
    "dilations",
    [[1], [1, 2], [1, 2, 3], [1, 2, 5], pytest.param(range(1, 6), id="1-5"), pytest.param(range(1, 8), id="1-7")],
)
def test_cycles_without_holes_such_as_the_papers(dilations):
    check_dilations(dilations)
    taps = product(*((-s, 0, s) for s in dilations))
    assert {sum(steps) for steps in taps} == set(range(-sum(dilations), sum(dilations) + 1))


@pytest.mark.parametrize(
    ("dilations", "reason"),
    [
        ([1, 2, 9], "M_2 = 5"),
        ([2, 4, 8], "M_2 = 4"),
        ([3], "the first 1 voxels away"),
        ([2, 2], "the first 1 voxels away"),
        ([2, 3], "the first 4 voxels away"),
    ],
)
def test_holes_are_refused_with_the_reason(dilations, reason):
    with pytest.raises(VoxpickError, match=reason):
        check_dilations(dilations)


@pytest.mark.parametrize("dilations", [[], [1, 0], [1, -2], [1.5, 2]])
def test_no_dilations(dilations):
    with pytest.raises(VoxpickError, match="dilations"):
        check_dilations(dilations)


def test_receptive_field_by_hand():
    assert receptive_field(0, [1, 2]) == 1
    assert receptive_field(5, [1, 2, 3]) == 1 + 2 * (1 + 2 + 3 + 1 + 2)
    assert receptive_field(49, range(1, 8)) == 1 + 2 * 7 * 28
    assert receptive_field(100, range(1, 6)) == 1 + 2 * 20 * 15
