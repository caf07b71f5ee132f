"""Volume and surface against spheres and ellipsoids, whose values are known."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.shrec_classes import SHREC20_TABLE1
from voxpick.simulate import shape
from voxpick.simulate.shape import Shape, shape_of, surface_area
from voxpick.simulate.structures import BeadModel


def _ball(radius: float, spacing: float = 4.0) -> BeadModel:
    """A solid ball of 0.4 e/A^3."""
    line = np.arange(-radius - spacing, radius + 2 * spacing, spacing) + 0.37
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = grid[np.linalg.norm(grid, axis=1) <= radius].astype(np.float32)
    return BeadModel("ball", inside, np.full(len(inside), 0.4 * spacing**3, np.float32), 100.0)


def test_a_structure_wider_than_can_be_measured_is_refused() -> None:
    """Two beads 0.6 um apart, as of a map with a wrong voxel size, took all memory of a machine."""
    far = BeadModel("far", np.array([[-3000.0, 0, 0], [3000, 0, 0]], np.float32), np.full(2, 100.0, np.float32), 50.0)
    with pytest.raises(VoxpickError, match="far: is 6000 A wide, of which 4000 A can be measured"):
        shape_of(far)


@pytest.mark.parametrize("radius", [30.0, 45.0, 70.0])
def test_ball(radius: float) -> None:
    """Within 3 % of a sphere."""
    shape = shape_of(_ball(radius), threshold=0.2)
    nm = (radius - 100 / 6 / radius) / 10  # the 10 A triangle, variance 100/6, draws the half-height surface inwards
    assert shape.volume_nm3 == pytest.approx(4 / 3 * np.pi * nm**3, rel=0.03)
    assert shape.area_nm2 == pytest.approx(4 * np.pi * nm**2, rel=0.03)
    assert shape.sphericity == pytest.approx(1, rel=0.03)
    assert shape.effective_radius_nm == pytest.approx(nm, rel=0.03)


@pytest.mark.parametrize(("most", "finer", "within"), [(40, 2, 0.03), (10, 1, 0.05)])
def test_large_models_are_sampled_coarser(
    monkeypatch: pytest.MonkeyPatch, most: int, finer: int, within: float
) -> None:
    ball = _ball(45.0)
    usual = shape_of(ball, threshold=0.2)
    monkeypatch.setattr(shape, "MOST_STEPS", most)
    assert len(shape.sampled_finer(ball, np.eye(3), shape._finer(ball, 10.0), voxel_size=10.0)) <= max(most, 14)
    assert shape._finer(ball, 10.0) == finer
    coarser = shape_of(ball, threshold=0.2)
    assert coarser.volume_nm3 == pytest.approx(usual.volume_nm3, rel=within)
    assert coarser.area_nm2 == pytest.approx(usual.area_nm2, rel=within)


def test_surface_of_a_smooth_sphere_and_of_a_plane() -> None:
    z, y, x = np.indices((30, 34, 38)) - np.array([14.3, 16.6, 18.1])[:, None, None, None]
    assert surface_area(-np.sqrt(z**2 + y**2 + x**2), -10.0) == pytest.approx(4 * np.pi * 100, rel=0.01)
    assert surface_area(z, 0.2) == pytest.approx(33 * 37)
    assert surface_area(z + y, 0.2) > 0


def test_shape_does_not_depend_on_the_orientation() -> None:
    rod = _ball(30.0)
    rod = BeadModel("rod", rod.positions_zyx * np.float32([1, 1, 2]), rod.electrons * 2, 100.0)
    shapes = [shape_of(rod, threshold=0.2, orientations=1, rng=np.random.default_rng(seed)) for seed in (1, 2)]
    assert shapes[0].volume_nm3 == pytest.approx(shapes[1].volume_nm3, rel=0.01)
    assert shapes[0].area_nm2 == pytest.approx(shapes[1].area_nm2, rel=0.01)
    assert shapes[0].sphericity < 0.97


def test_table_1_follows_its_own_formulas() -> None:
    printed = {"1s3x": (0.877, 2.56), "1bxn": (0.776, 4.78), "4d8q": (0.606, 4.85), "1qvr": (0.485, 3.248)}
    for name, (sphericity, radius) in printed.items():
        row = SHREC20_TABLE1[name]
        shape = Shape(row.volume_nm3, row.area_nm2)
        assert shape.sphericity == pytest.approx(sphericity, abs=0.002)
        assert shape.effective_radius_nm == pytest.approx(radius, abs=0.01)
    assert Shape(4 / 3 * np.pi, 4 * np.pi).sphericity == pytest.approx(1)
