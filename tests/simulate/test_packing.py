from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.simulate import stamping
from voxpick.simulate.bank import load_bank
from voxpick.simulate.packing import Packing, largest_extent, pack
from voxpick.simulate.shrec20 import Recipe, pack_specimen, particle_number
from voxpick.simulate.stamping import OCCUPANCY_THRESHOLD, filled, stamp


def shell(radius, n=4000):
    """Beads on a hollow sphere."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(n, 3))
    return SimpleNamespace(
        positions_zyx=radius * direction / np.linalg.norm(direction, axis=1, keepdims=True), electrons=np.full(n, 60.0)
    )


def test_density_holds_all_electrons_about_the_centre():
    beads = shell(55.0)
    shifted = beads.positions_zyx + np.array([3.0, -2.0, 1.0])
    piece = stamp(shifted, beads.electrons, voxel_size=10.0)
    assert piece.density.sum() * 1000 == pytest.approx(beads.electrons.sum(), rel=1e-5)
    grid = np.stack(
        np.meshgrid(*(c + np.arange(n) for c, n in zip(piece.corner, piece.density.shape, strict=True)), indexing="ij")
    )
    centre = (grid * piece.density).sum(axis=(1, 2, 3)) / piece.density.sum() * 10
    assert centre == pytest.approx(shifted.mean(axis=0), abs=1e-3)


@pytest.mark.parametrize("chance", [0.2, 0.5, 0.8, 0.97, 1.0])
@pytest.mark.parametrize("shape", [(9, 9, 9), (14, 7, 33), (3, 3, 3), (24, 40, 31)])
def test_cavities_are_filled_as_scipy_fills_holes(shape, chance):
    mask = np.zeros(shape, dtype=bool)
    inside = mask[1:-1, 1:-1, 1:-1]
    inside[:] = np.random.default_rng(0).random(inside.shape) < chance
    assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("voxel_size", [5.0, 10.0, 13.7])
def test_stamps_are_occupied_as_with_scipys_filling(voxel_size, monkeypatch):
    bank, rotations = load_bank(), uniform_rotations_zyx(12, np.random.default_rng(3))
    beads = [
        (model.positions_zyx @ turn.T, model.electrons) for model, turn in zip(bank.values(), rotations, strict=True)
    ]
    hollow = [shell(radius) for radius in (25.0, 55.0, 90.0)]
    beads += [(one.positions_zyx + 2.7, one.electrons) for one in hollow]
    own = [stamp(*some, voxel_size=voxel_size).occupied for some in beads]
    monkeypatch.setattr(stamping, "filled", ndimage.binary_fill_holes)
    for occupied, some in zip(own, beads, strict=True):
        assert np.array_equal(occupied, stamp(*some, voxel_size=voxel_size).occupied)
        assert not any(np.take(occupied, (0, -1), axis=axis).any() for axis in range(3))


def test_a_hollow_particle_owns_its_cavity_and_nothing_outside():
    beads = shell(55.0)
    piece = stamp(beads.positions_zyx, beads.electrons, voxel_size=10.0)
    assert piece.density[tuple(-piece.corner)] == 0
    assert piece.occupied[tuple(-piece.corner)]
    grid = np.stack(
        np.meshgrid(*(c + np.arange(n) for c, n in zip(piece.corner, piece.density.shape, strict=True)), indexing="ij")
    )
    assert np.linalg.norm(grid, axis=0)[piece.occupied].max() * 10 < 55 + 20
    assert piece.occupied[piece.density > OCCUPANCY_THRESHOLD].all()


@pytest.mark.parametrize("name", ["2cg9", "1qvr"])
def test_on_small_voxels_particles_own_their_centre(name):
    beads = load_bank([name])[name]
    for rotation in uniform_rotations_zyx(4, np.random.default_rng(1)):
        piece = stamp(beads.positions_zyx @ rotation.T, beads.electrons, voxel_size=5.0)
        assert piece.occupied[tuple(-piece.corner)]


def test_the_largest_extent_is_that_of_a_structure_on_end():
    rod = SimpleNamespace(positions_zyx=np.linspace(-1, 1, 50)[:, None] * [40.0, 60.0, 80.0], electrons=np.ones(50))
    assert 21 <= largest_extent(rod, 10.0) <= 24


def test_packed_particles_do_not_overlap():
    structures = {"small": shell(25.0), "large": shell(60.0)}
    rng = np.random.default_rng(7)
    rotations = uniform_rotations_zyx(30, rng)
    packing = pack(structures, rotations, rng, shape=(40, 60, 90), voxel_size=10.0)
    alone = [
        stamp(structures[packing.names[c]].positions_zyx @ r.T, structures[packing.names[c]].electrons, voxel_size=10.0)
        for c, r in zip(packing.class_index, rotations, strict=True)
    ]
    for k, piece in enumerate(alone):
        start = packing.centers_zyx[k] + piece.corner
        if (start >= 0).all() and (start + piece.density.shape <= packing.density.shape).all():
            window = tuple(slice(a, a + n) for a, n in zip(start, piece.density.shape, strict=True))
            assert np.array_equal(packing.occupancy[window] == k + 1, piece.occupied)
            inside = piece.occupied
            assert np.allclose(packing.density[window][inside], piece.density[inside], atol=1e-6)


def test_no_room_is_a_clear_error():
    rng = np.random.default_rng(1)
    with pytest.raises(VoxpickError, match=r"no room for particle \d+ of 60"):
        pack({"large": shell(60.0)}, uniform_rotations_zyx(60, rng), rng, shape=(24, 30, 30), voxel_size=10.0)
    with pytest.raises(VoxpickError, match="slab is 6 voxels thick"):
        pack({"large": shell(60.0)}, uniform_rotations_zyx(1, rng), rng, shape=(6, 30, 30), voxel_size=10.0)


def test_class_ids_do_not_wrap():
    packing = Packing(
        field=np.zeros((2, 3, 4), np.float32), rim=0, occupancy=np.zeros((2, 3, 4), np.uint16),
        occupancy_bbox=np.zeros((2, 3, 4), np.uint16), centers_zyx=np.zeros((2, 3), int), class_index=np.array([1, 0]),
        rotations_zyx=np.zeros((2, 3, 3)), names=("a", "b"),
    )  # fmt: skip
    owners = np.array([[[0, 1, 2]]])
    assert packing.class_of(owners, np.array([5, 128])).tolist() == [[[0, 128, 5]]]
    few = packing.class_of(owners, np.array([5, 127]))
    assert few.tolist() == [[[0, 127, 5]]] and few.dtype == np.int8


def test_what_reaches_over_the_edge_of_x_stays_in_the_field():
    structures = {"large": shell(60.0)}
    rng = np.random.default_rng(3)
    packing = pack(structures, uniform_rotations_zyx(12, rng), rng, shape=(40, 90, 60), voxel_size=10.0)
    assert packing.field.shape == (40, 90, 60 + 2 * packing.rim)
    assert np.array_equal(packing.density, packing.field[:, :, packing.rim : -packing.rim])
    over = ((packing.centers_zyx[:, 2] < 5) | (packing.centers_zyx[:, 2] > 54)).any()
    assert over
    assert packing.field[:, :, : packing.rim].sum() + packing.field[:, :, -packing.rim :].sum() > 0


def test_no_specimen_has_more_particles_than_the_masks_can_number():
    recipe, rng = Recipe(size_zyx=(200, 4096, 4096)), np.random.default_rng(3)
    assert particle_number(load_bank(["1s3x"]), recipe, rng) == 65535


@pytest.mark.parametrize("shape", [(200, 96, 96), (60, 128, 128), (36, 128, 128), (200, 24, 24)])
def test_as_many_as_shrec_has_by_default_but_large_ones_only_as_find_room(shape):
    recipe, rng = Recipe(size_zyx=shape, thickness=256), np.random.default_rng(3)
    area = shape[1] * shape[2] / 512**2
    large = {"ribosome": shell(120.0, n=40_000)}
    number = particle_number(large, recipe, rng)
    assert 1 <= number < 1500 * area + 1
    assert len(pack_specimen(large, recipe, rng).class_index) >= 1
    if shape[0] == 200:
        of_shrec = particle_number(load_bank(), recipe, rng)
        assert round(2400 * area) <= of_shrec <= round(2799 * area)
