"""Bead models: stamping, gathering, and the densities they stand for."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.simulate.beads import ELECTRONS_PER_DALTON, beads_from_atoms, beads_from_map, gather
from voxpick.simulate.structures import BeadModel, density, stamp_density


def _cloud(n: int = 400, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 15, (n, 3)) + (100, 30, -20), rng.uniform(5, 9, n)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_stamping_keeps_electrons_and_centre(oversampling: int) -> None:
    rng = np.random.default_rng(0)
    positions, electrons, center = rng.uniform(-30, 30, (50, 3)), rng.uniform(1, 9, 50), (61.3, 98.2, 140.7)
    data = stamp_density(positions, electrons, (12, 20, 28), 10.0, center, oversampling=oversampling).astype(float)
    assert data.sum() * 1000 == pytest.approx(electrons.sum(), rel=1e-5)
    found = [(data * grid).sum() / data.sum() * 10 for grid in np.indices(data.shape)]
    expected = np.average(positions, axis=0, weights=electrons) + center
    np.testing.assert_allclose(found, expected, atol=1e-3 if oversampling == 1 else 0.6)


def test_a_bead_on_a_voxel_centre_fills_that_voxel() -> None:
    data = stamp_density(np.zeros((1, 3)), np.array([8000.0]), (4, 6, 8), 20.0, (20.0, 60.0, 140.0))
    assert data[1, 3, 7] == 1 and np.count_nonzero(data) == 1


def test_beads_outside_the_grid_are_left_out() -> None:
    data = stamp_density(np.array([[0.0, 0, 0], [0, 0, 500], [-11, 0, 0]]), np.ones(3), (4, 6, 8), 10.0, (0, 0, 0))
    assert data.sum() * 1000 == pytest.approx(1)


def test_density_is_centred_at_half_the_box_and_turns_with_the_molecule() -> None:
    arm = BeadModel("arm", np.array([[0, 0, 0], [0, 0, 40.0]], np.float32), np.array([1000.0, 500], np.float32), 1.0)
    box = density(arm)
    half = len(box) // 2
    assert len(box) % 2 == 0 and box[half, half, half] == 1 and box[half, half, half + 4] == 0.5
    x_to_z = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])
    assert density(arm, rotation_zyx=x_to_z)[half + 4, half, half] == 0.5
    for rotation in uniform_rotations_zyx(5, np.random.default_rng(3)):
        assert density(arm, rotation_zyx=rotation).sum() == pytest.approx(1.5, rel=1e-5)


def test_gathering_keeps_electrons_and_centre() -> None:
    positions, electrons = _cloud()
    beads, weights = gather(positions, electrons, cell_size=12.0)
    assert 20 < len(beads) < 400
    assert weights.sum() == pytest.approx(electrons.sum())
    np.testing.assert_allclose(
        np.average(beads, axis=0, weights=weights), np.average(positions, axis=0, weights=electrons)
    )


def test_model_of_atoms_is_centred() -> None:
    positions, electrons = _cloud()
    model = beads_from_atoms("cloud", positions, electrons, molecular_weight_kda=5.0)
    np.testing.assert_allclose(np.average(model.positions_zyx, axis=0, weights=model.electrons), 0, atol=1e-3)
    assert model.positions_zyx.dtype == model.electrons.dtype == np.float32


@pytest.mark.parametrize("voxel_size", [5.0, 20.0])
def test_map_of_any_scale_gives_its_mass_and_place(voxel_size: float) -> None:
    z, y, x = np.indices((12, 20, 28))
    data = np.exp(-(((z - 6) / 1.5) ** 2 + ((y - 8) / 2.5) ** 2 + ((x - 15) / 4.0) ** 2)).astype(np.float32)
    models = [
        beads_from_map("ellipsoid", (scale * data).astype(float), voxel_size, molecular_weight_kda=100.0)
        for scale in (1.0, 7000.0)
    ]
    np.testing.assert_allclose(models[0].electrons.max(), models[1].electrons.max(), rtol=1e-4)
    assert models[0].electrons.sum() == pytest.approx(100_000 * ELECTRONS_PER_DALTON, rel=1e-4)
    spread = np.sqrt(np.average(models[0].positions_zyx ** 2, axis=0, weights=models[0].electrons)) / voxel_size
    np.testing.assert_allclose(spread, np.array([1.5, 2.5, 4.0]) / np.sqrt(2), rtol=0.15)  # tails are cut at 5 %


def test_fine_maps_are_gathered_in_blocks() -> None:
    data = np.ones((12, 21, 30))
    model = beads_from_map("brick", data, 2.0, molecular_weight_kda=10.0)
    assert len(model.electrons) == 4 * 7 * 10
    np.testing.assert_allclose(model.electrons, 5350 / 280, rtol=1e-5)
    np.testing.assert_allclose(np.abs(model.positions_zyx).max(axis=0), [9, 18, 27], atol=1e-4)


@pytest.mark.parametrize(
    ("data", "threshold", "words"),
    [
        (np.zeros((3, 4, 5)), None, "must be bright"),
        (-np.ones((3, 4, 5)), None, "must be bright"),
        (np.ones((3, 4, 5)), 2.0, "above 2"),
        (np.full((3, 4, 5), np.nan), None, "NaN"),
    ],
)
def test_maps_without_a_molecule_are_refused(data: np.ndarray, threshold: float | None, words: str) -> None:
    with pytest.raises(VoxpickError, match=words):
        beads_from_map("empty", data, 10.0, molecular_weight_kda=100.0, threshold=threshold)


def test_bad_models_are_refused() -> None:
    with pytest.raises(VoxpickError, match="no atoms"):
        beads_from_atoms("none", np.empty((0, 3)), np.empty(0), molecular_weight_kda=1.0)
    with pytest.raises(VoxpickError, match=r"\(n, 3\)"):
        BeadModel("flat", np.zeros((4, 2)), np.ones(4), 1.0)
    with pytest.raises(VoxpickError, match="0 electrons"):
        BeadModel("light", np.zeros((4, 3)), np.zeros(4), 1.0)
    with pytest.raises(VoxpickError, match="molecular weight 0"):
        BeadModel("weightless", np.zeros((4, 3)), np.ones(4), 0)
    with pytest.raises(VoxpickError, match="cell size 0"):
        gather(np.zeros((1, 3)), np.ones(1), cell_size=0)
    with pytest.raises(VoxpickError, match="voxel size 0"):
        density(BeadModel("point", np.zeros((1, 3)), np.ones(1), 1.0), voxel_size=0)
