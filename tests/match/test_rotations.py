"""Sets of rotations and their coverage of SO(3)."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.match.rotations import (
    MOST_BYTES,
    count_rotations,
    coverage,
    euler_grid,
    finest_step,
    number_of_rotations,
    require_room,
    rotation_grid,
    super_fibonacci,
)


def test_the_step_of_shrec_gives_about_seven_thousand():
    assert number_of_rotations(12.85) == 7000
    assert len(rotation_grid(12.85)) == 7000


@pytest.mark.parametrize("kind", ["super-fibonacci", "euler"])
def test_they_are_rotations_and_spread_evenly(kind):
    grid = rotation_grid(20, kind)
    assert np.allclose(grid @ grid.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(grid), 1)
    assert np.abs(grid.mean(axis=0)).max() < 0.02
    assert np.allclose((grid**2).mean(axis=0), 1 / 3, atol=0.02)  # as for uniform rotations
    assert len(grid) == pytest.approx(number_of_rotations(20), rel=0.12)


@pytest.mark.parametrize(("kind", "mean", "largest"), [("super-fibonacci", 0.57, 1.0), ("euler", 0.6, 1.25)])
@pytest.mark.parametrize("step", [30, 15])
def test_coverage_in_parts_of_the_step(kind, mean, largest, step):
    reached = coverage(rotation_grid(step, kind), np.random.default_rng(3), samples=2000)
    assert 0.4 * step < reached.mean_deg < mean * step
    assert 0.7 * step < reached.largest_deg < largest * step


def test_coverage_of_one_rotation_is_the_mean_angle_of_all():
    """A uniform rotation turns by pi/2 + 2/pi on average, and by up to 180 degrees."""
    reached = coverage(np.eye(3)[None], np.random.default_rng(0), samples=20000)
    assert reached.mean_deg == pytest.approx(np.degrees(np.pi / 2 + 2 / np.pi), abs=0.6)
    assert 178 < reached.largest_deg <= 180
    assert "1 rotations" in str(reached) and "126" in str(reached)


def test_the_spiral_is_that_of_the_paper():
    """The first of four: s = 1/2, so r = sqrt(1/8), R = sqrt(7/8)."""
    from scipy.spatial.transform import Rotation

    from voxpick.geometry import swap_axes

    phi, psi = 2**0.5, 1.533751168755204288118041
    q = [8**-0.5 * np.sin(np.pi / phi), 8**-0.5 * np.cos(np.pi / phi)]
    q += [(7 / 8) ** 0.5 * np.sin(np.pi / psi), (7 / 8) ** 0.5 * np.cos(np.pi / psi)]
    assert np.allclose(super_fibonacci(4)[0], swap_axes(Rotation.from_quat(q).as_matrix()))
    assert psi**4 == pytest.approx(psi + 4)


@pytest.mark.parametrize("kind", ["super-fibonacci", "euler"])
def test_rotations_are_counted_without_being_made(kind):
    assert [count_rotations(step, kind) for step in (60, 23.5)] == [len(rotation_grid(s, kind)) for s in (60, 23.5)]
    step = finest_step(5000, kind)
    assert count_rotations(step, kind) <= 5000 < count_rotations(step - 0.1, kind)


def test_a_step_too_fine_for_memory_is_refused_with_the_finest_that_fits():
    with pytest.raises(VoxpickError, match=r"step of 1 degrees makes 14851067 rot.* 256 coefficients each take 15207 MB"
                                           r".*for 1074 MB; the smallest step that fits is 2.5 degrees"):  # fmt: skip
        require_room(1, "super-fibonacci", 256)
    with pytest.raises(VoxpickError, match=r"take 3802 MB a template.*fits is 1\.6 degrees$"):
        require_room(1, "super-fibonacci", None)
    require_room(2.5, "super-fibonacci", 256)
    assert number_of_rotations(2.5) * 1024 <= MOST_BYTES < number_of_rotations(2.4) * 1024


@pytest.mark.parametrize("step", [0.5, 200, float("nan")])
def test_impossible_steps_are_refused(step):
    for make in (number_of_rotations, euler_grid):
        with pytest.raises(VoxpickError, match="angular step"):
            make(step)
    with pytest.raises(VoxpickError, match="euler"):
        rotation_grid(20, "hopf")
