"""The built-in bank against SHREC'20 and against the structures it was made from."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.evaluate.shrec import UNNAMED
from voxpick.io.structures import read_atoms, read_map
from voxpick.shrec_classes import SHREC20_TABLE1
from voxpick.simulate.bank import RESERVED, SHREC20_RECIPES, load_bank, pack_bank, select, unpack_bank
from voxpick.simulate.beads import ELECTRONS_PER_DALTON
from voxpick.simulate.shape import shape_of
from voxpick.simulate.structures import BeadModel, density, stamp_density

SHARED = Path(__file__).parents[3] / "shared" / "data"
ORDER = ["3cf3", "1s3x", "1u6g", "4cr2", "1qvr", "3h84", "2cg9", "3qm1", "3gl1", "3d2f", "4d8q", "1bxn"]
# Mean volumes in nm^3 above 0.05 e/A^3 on 10 A voxels, of a separate run of the same recipe from atoms.
VOLUMES = dict(zip(
    ["1s3x", "3qm1", "3gl1", "3h84", "2cg9", "3d2f", "1u6g", "3cf3", "1bxn", "1qvr", "4cr2", "4d8q"],
    [101, 132, 199, 356, 407, 522, 528, 1122, 1011, 1355, 3251, 2566], strict=True,
))  # fmt: skip
# Heavy atoms in kDa; the maps' by their recipe.
HEAVY_KDA = {
    "1s3x": 39.3, "3qm1": 55.1, "3gl1": 77.5, "3h84": 135.0, "2cg9": 156.7, "3d2f": 204.2, "1u6g": 205.0,
    "3cf3": 453.9, "1bxn": 480.1, "1qvr": 513.9,
}  # fmt: skip


def test_bank_is_small_and_in_the_order_of_the_class_ids() -> None:
    assert files("voxpick.data").joinpath("bank.npz").stat().st_size <= 1_000_000  # type: ignore[attr-defined]
    bank = load_bank()
    assert list(bank) == list(SHREC20_RECIPES) == ORDER
    for name, model in bank.items():
        assert 300 < len(model.electrons) < 32_000
        assert SHREC20_RECIPES[name].source == model.source
        assert (
            np.linalg.norm(np.average(model.positions_zyx, axis=0, weights=model.electrons)) < 0.09
        )  # positions are rounded to 0.1 A
        assert model.electrons.sum() == pytest.approx(
            1000 * model.molecular_weight_kda * ELECTRONS_PER_DALTON, rel=0.01
        )


@pytest.mark.parametrize("name", ORDER)
def test_volume_and_shape(name: str) -> None:
    model = load_bank([name])[name]
    shape = shape_of(model, orientations=1)
    assert shape.volume_nm3 == pytest.approx(VOLUMES[name], rel=0.03)
    paper = SHREC20_TABLE1[name]
    if name != "4d8q":  # the paper's volume and weight are of another cut of the entry
        assert shape.volume_nm3 == pytest.approx(paper.volume_nm3, rel=0.08)
    if name in HEAVY_KDA:
        assert shape.area_nm2 == pytest.approx(paper.area_nm2, rel=0.03)
        assert model.molecular_weight_kda == pytest.approx(1.075 * HEAVY_KDA[name], rel=0.02)


def test_voxel_counts_agree_with_the_finer_sampling() -> None:
    from voxpick.geometry import uniform_rotations_zyx

    model = load_bank(["3d2f"])["3d2f"]
    rotations = uniform_rotations_zyx(10, np.random.default_rng(4))
    counts = [np.count_nonzero(density(model, rotation_zyx=rotation) > 0.05) for rotation in rotations]
    assert np.mean(counts) == pytest.approx(shape_of(model, orientations=1).volume_nm3, rel=0.02)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the structure files of ../shared are not here")
@pytest.mark.parametrize("name", ["1s3x", "3qm1", "3h84", "1u6g"])
def test_beads_are_true_to_8_a(name: str) -> None:
    """Correlation of the two densities, both low-passed at 8 A, the mean left out."""
    recipe = SHREC20_RECIPES[name]
    positions, electrons, _ = read_atoms(SHARED / recipe.file, assembly=recipe.assembly)
    positions = positions - np.average(positions, axis=0, weights=electrons)
    assert _correlation((positions, electrons), name, resolution=8.0, step=2.5) > 0.99


@pytest.mark.skipif(not SHARED.is_dir(), reason="the structure files of ../shared are not here")
def test_beads_of_a_map_are_true_to_its_voxels() -> None:
    """Down to 10 A, the limit of the 5 A voxels."""
    data, voxel_size = read_map(SHARED / SHREC20_RECIPES["4cr2"].file)
    occupied = np.argwhere(data > 0.05 * data.max())
    electrons = data[tuple(occupied.T)].astype(float)
    positions = (occupied - np.average(occupied, axis=0, weights=electrons)) * voxel_size
    assert _correlation((positions, electrons), "4cr2", resolution=10.0, step=4.0) > 0.99


def _correlation(points: tuple[np.ndarray, np.ndarray], name: str, *, resolution: float, step: float) -> float:
    beads = load_bank([name])[name]
    n = 2 * int(np.linalg.norm(points[0], axis=1).max() / step + 4)
    bands = [
        np.fft.rfftn(stamp_density(p, e, (n,) * 3, step, (n * step / 2,) * 3))
        for p, e in (points, (beads.positions_zyx, beads.electrons))
    ]
    k = np.fft.fftfreq(n, step) ** 2
    radius = np.sqrt(k[:, None, None] + k[:, None] + np.fft.rfftfreq(n, step) ** 2)
    a, b = (band[(radius <= 1 / resolution) & (radius > 0)] for band in bands)
    return float((a * b.conj()).real.sum() / np.linalg.norm(a) / np.linalg.norm(b))


def test_packing_and_back() -> None:
    rng = np.random.default_rng(5)
    models = [
        BeadModel(
            name, rng.normal(0, 40, (n, 3)).astype(np.float32), rng.uniform(5, 90, n).astype(np.float32), 7.0, "s"
        )
        for name, n in (("one", 12), ("two", 28))
    ]
    back = unpack_bank(pack_bank(models))
    assert list(back) == ["one", "two"] and back["two"].source == "s" and back["one"].molecular_weight_kda == 7.0
    for model in models:
        np.testing.assert_allclose(back[model.name].positions_zyx, model.positions_zyx, atol=0.0501)
        np.testing.assert_allclose(back[model.name].electrons, model.electrons, rtol=1e-3)


@pytest.mark.parametrize("name", ["#1", "0", "Background", "particle"])
def test_names_that_lists_of_particles_do_not_keep_are_refused(name: str) -> None:
    with pytest.raises(VoxpickError, match=f"'{name}': lists of particles would not keep it"):
        pack_bank([BeadModel(name, np.zeros((1, 3)), np.ones(1), 1.0)])


def test_names_that_stand_for_no_class_are_those_of_the_scoring() -> None:
    assert set(RESERVED) == set(UNNAMED)


def test_bad_banks_are_refused() -> None:
    point = BeadModel("a b", np.zeros((1, 3)), np.ones(1), 1.0)
    with pytest.raises(VoxpickError, match=r"'9xyz'.*3cf3"):
        load_bank(["1bxn", "9xyz"])
    with pytest.raises(VoxpickError, match="the bank holds"):
        select({}, ["x"])
    with pytest.raises(VoxpickError, match="no space"):
        pack_bank([point])
    with pytest.raises(VoxpickError, match="at least one"):
        pack_bank([])
    with pytest.raises(VoxpickError, match="unique"):
        pack_bank([BeadModel("a", np.zeros((1, 3)), np.ones(1), 1.0)] * 2)
    with pytest.raises(VoxpickError, match="too large"):
        pack_bank([BeadModel("far", np.full((1, 3), 4000.0), np.ones(1), 1.0)])
    with pytest.raises(VoxpickError, match="counts"):
        unpack_bank({"names": np.array(["x"])})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("names", np.array("one"), "names is an array of <U3 of shape"),
        ("names", np.array([1, 2]), "names is an array of int64"),
        ("names", np.array(["one", "one"]), "names are unique"), ("names", np.array(["a b", "c"]), "no space"),
        ("names", np.array(["background", "c"]), "'background': lists of particles would not keep it"),
        ("counts", np.array([1.0, 2]), "counts is an array of float64"), ("counts", np.array(["1", "2"]), "counts is"),
        ("electrons", np.array(list("abc")), "electrons is an array of <U1"),
        ("electrons", np.ones(4), "not a bank of structures: 2 names, 3 beads"),
        ("positions_zyx", np.ones(3), "positions_zyx is an array of float64 of shape .3,."),
        ("positions_zyx", np.ones((2, 3)), "positions of 2 coordinates"),
        ("molecular_weights_kda", np.array(["x", "y"]), "molecular_weights_kda is an array of <U1"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_bank_are_refused(key: str, value: np.ndarray, expected: str) -> None:
    """Most were a TypeError or ValueError of numpy's; of two structures of one name the first was lost."""
    models = [BeadModel(name, np.ones((n, 3)), np.ones(n), 1.0) for name, n in (("one", 1), ("two", 2))]
    with pytest.raises(VoxpickError, match=expected):
        unpack_bank({**pack_bank(models), key: value})


def test_a_bank_without_structures_is_refused() -> None:
    packed = pack_bank([BeadModel("one", np.ones((1, 3)), np.ones(1), 1.0)])
    with pytest.raises(VoxpickError, match="not a bank of structures: 0 names"):
        unpack_bank({key: values[..., :0] for key, values in packed.items()})
