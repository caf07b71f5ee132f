import warnings

import numpy as np
import pytest

from voxpick.detect.prepare import prepare
from voxpick.detect.settings import make_settings
from voxpick.errors import VoxpickError
from voxpick.geometry import matrix_to_zxz_deg, swap_axes, uniform_rotations_zyx, zxz_to_matrix_xyz
from voxpick.particles import Particles, joined
from voxpick.volume import Volume, intensity_statistics


def three() -> Particles:
    return Particles(
        np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]),
        classes=["a", "b", "c"],
        scores=[0.2, 0.9, 0.2],
        class_scores=[0.1, 0.2, 0.3],
        rotations=uniform_rotations_zyx(3, np.random.default_rng(0)),
    )


def test_rows_by_mask_slice_and_index():
    particles = three()
    assert particles[np.array([True, False, True])].classes.tolist() == ["a", "c"]
    assert particles[1:].centers_zyx.tolist() == [[4, 5, 6], [7, 8, 9]]
    assert particles[[2, 0]].class_scores.tolist() == [0.3, 0.1]
    assert len(particles[[]]) == 0
    assert particles[1].classes.tolist() == ["b"] and [len(one) for one in particles] == [1, 1, 1]


def test_sorting_keeps_the_order_of_equals():
    assert three().sorted_by_score().classes.tolist() == ["b", "a", "c"]
    many = Particles(np.arange(300.0).reshape(100, 3), scores=np.arange(100) % 2)
    assert many.sorted_by_score().centers_zyx[:, 0].tolist() == [*range(3, 300, 6), *range(0, 300, 6)]


def test_a_single_centre_and_none_are_tables():
    assert Particles(np.array([1.0, 2, 3])).centers_zyx.tolist() == [[1, 2, 3]]
    for nothing in (np.empty(0), np.empty((0, 3))):
        assert Particles(nothing).centers_zyx.shape == (0, 3) and Particles(nothing).classes.shape == (0,)


def test_table_and_back():
    particles = three().with_columns(tomograms=np.array(["t1", "t2", "t1"]))
    again = Particles.from_frame(particles.to_frame())
    for name in ("centers_zyx", "scores", "class_scores", "rotations"):
        assert np.array_equal(getattr(again, name), getattr(particles, name))
    assert again.classes.tolist() == ["a", "b", "c"]
    assert again.location_scores is None and again.tomograms.tolist() == ["t1", "t2", "t1"]
    assert Particles.from_frame(particles.with_columns(rotations=None).to_frame()).rotations is None


def test_positions_alone_are_a_table_of_nameless_sure_particles():
    found = Particles.from_frame(three().to_frame()[["x", "y", "z"]])
    assert found.centers_zyx.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert found.classes.tolist() == ["particle"] * 3 and found.scores.tolist() == [1, 1, 1]
    assert found.tomograms.tolist() == ["tomogram"] * 3 and found.rotations is None and found.location_scores is None


def test_joined_tables_keep_the_columns_that_all_have():
    plain = three().with_columns(rotations=None, tomograms=np.array(["t"] * 3))
    both = joined([three(), plain])
    assert both.classes.tolist() == ["a", "b", "c"] * 2 and both.class_scores.tolist() == [0.1, 0.2, 0.3] * 2
    assert both.rotations is None and both.tomograms.tolist() == ["tomogram"] * 3 + ["t"] * 3
    assert joined([three(), three()]).rotations.shape == (6, 3, 3)
    with pytest.raises(VoxpickError, match="no tables"):
        joined([])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"scores": [1.0, 2.0, 0.3]}, "scores in row 1 is 2.0"),
        ({"class_scores": [0.0, -0.5, 0.3]}, "class_scores in row 1 is -0.5"),
        ({"scores": [0.1, float("nan"), 0.3]}, "scores in row 1 is nan"),
        ({"classes": ["a"]}, "classes has 1 rows but there are 3 centres"),
        ({"centers_zyx": [[0, 0, 0], [0, np.inf, 0], [0, 0, 0]]}, "centre in row 1"),
        ({"centers_zyx": np.zeros((3, 4))}, r"centers_zyx has shape \(3, 4\); give \(n, 3\)"),
        ({"centers_zyx": np.zeros((1, 3, 3))}, r"centers_zyx has shape \(1, 3, 3\)"),
        ({"rotations": np.zeros((3, 3))}, r"rotations has shape \(3, 3\); give matrices, \(3, 3, 3\)"),
    ],
)
def test_bad_columns_are_named(columns, message):
    with pytest.raises(VoxpickError, match=message):
        three().with_columns(**columns)


def test_missing_coordinates_are_named():
    with pytest.raises(VoxpickError, match="column 'y' is missing"):
        Particles.from_frame(three().to_frame().drop(columns="y"))


def test_zxz_by_hand_and_back():
    # Rx(90) turns y into z; Rz(90) then leaves z alone.
    matrix = zxz_to_matrix_xyz(np.array([[90.0, 90.0, 0.0]]))[0]
    assert matrix @ [0, 1, 0] == pytest.approx([0, 0, 1], abs=1e-12)
    assert matrix @ [1, 0, 0] == pytest.approx([0, 1, 0], abs=1e-12)
    angles = np.array([[10.0, 20.0, 30.0], [-170.0, 130.0, 5.0]])
    assert np.allclose(zxz_to_matrix_xyz(matrix_to_zxz_deg(zxz_to_matrix_xyz(angles))), zxz_to_matrix_xyz(angles))


def test_swapping_axes_turns_xyz_vectors_into_zyx_vectors():
    matrix = zxz_to_matrix_xyz(np.array([[25.0, 40.0, -70.0]]))[0]
    xyz = np.array([1.0, 2.0, 3.0])
    assert swap_axes(matrix) @ xyz[::-1] == pytest.approx((matrix @ xyz)[::-1])


def test_statistics_are_those_of_the_central_half():
    data = np.random.default_rng(1).normal(5, 2, size=(12, 20, 28)).astype(np.float32)
    data[0], data[-1] = 1e6, -1e6
    mean, deviation = intensity_statistics(Volume(data, 10.0), warn=False)
    inner = data[3:9, 5:15, 7:21].astype(np.float64)
    assert (mean, deviation) == pytest.approx((inner.mean(), inner.std()))


@pytest.mark.parametrize(
    ("data", "voxel_size", "message"),
    [
        (np.zeros((4, 5)), 10.0, r"shape \(4, 5\)"),
        (np.zeros((1, 4, 5, 6)), 10.0, "3 dimensions"),
        (np.zeros((0, 5, 6)), 10.0, "empty"),
        (np.zeros((4, 5, 6)), 0.0, "voxel size is 0.0 A"),
        (np.zeros((4, 5, 6)), float("nan"), "voxel size is nan A"),
    ],
)
def test_no_volume(data, voxel_size, message):
    with pytest.raises(VoxpickError, match=message):
        Volume(data, voxel_size)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f4", np.int16])
@pytest.mark.parametrize("place", [(1, 2, 3), (6, 9, 13)])
def test_a_value_beside_which_all_others_count_as_nothing_is_told(dtype, place):
    """With one such voxel a tomogram was nothing but 0 to a network, and nothing was said."""
    data = np.random.default_rng(2).normal(0, 5, size=(12, 20, 28)).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        intensity_statistics(Volume(data, 10.0))
        data[place] = 400  # a bead of gold
        intensity_statistics(Volume(data, 10.0))
        data[place] = -30000
        intensity_statistics(Volume(data, 10.0), warn=False)
    z, y, x = place
    told = rf"ts_1: holds -30000 at z {z}, y {y}, x {x}, [\d.]+e\+03 standard deviations .* set such voxels to the mean"
    with pytest.warns(UserWarning, match=told):
        intensity_statistics(Volume(data, 10.0, "ts_1"))


def test_detection_tells_of_such_a_value_once():
    data = np.random.default_rng(2).normal(size=(48, 52, 60)).astype(np.float32)
    data[24, 25, 26] = 1e30
    with pytest.warns(UserWarning) as said:
        prepare(Volume(data, 14.0), 10.0, make_settings([]))
    assert sum("holds 1e+30 at z 24, y 25, x 26" in str(one.message) for one in said) == 1
    assert sum("standard deviations" in str(one.message) for one in said) == 1


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (3.0, r"constant \(3\)")])
def test_nothing_to_see(value, message):
    with pytest.raises(VoxpickError, match=message):
        intensity_statistics(Volume(np.full((8, 10, 12), value, dtype=np.float32), 10.0))
