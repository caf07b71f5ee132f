"""The figures of the SHREC'20 generator, on a reduced specimen of the built-in structures."""

import numpy as np
import pytest
import torch

from voxpick import ctf
from voxpick.simulate.bank import load_bank
from voxpick.simulate.detector import add_noise
from voxpick.simulate.shrec20 import Recipe, simulate_shrec20

RECIPE = Recipe(size_zyx=(200, 64, 512), thickness=200, particles=325)  # 2600 on 512 x 512


@pytest.fixture(scope="module")
def simulation():
    return simulate_shrec20(load_bank(), RECIPE, seed=11)


def test_wave_constants_at_300_kv():
    assert ctf.wavelength_nm(300.0) == pytest.approx(1.96875e-3, rel=1e-4)
    assert ctf.interaction_constant(300.0) == pytest.approx(6.526e-3, rel=1e-3)


def test_first_zero_of_the_ctf():
    k_squared = torch.linspace(0.1, 0.45, 3501, dtype=torch.float64) ** 2
    sine = torch.sin(ctf.phase_shift(k_squared, defocus_um=3.0, cs_mm=2.7, voltage_kv=300.0))
    crossing = int(torch.nonzero(sine[1:] * sine[:-1] < 0)[0])
    assert k_squared[crossing].sqrt().item() == pytest.approx(0.411, abs=0.002)


def test_images_have_the_organisers_contrast(simulation):
    clean = simulation.clean_projections
    ratio = clean.std(axis=(1, 2)) / clean.mean(axis=(1, 2))
    assert 0.016 < np.mean(ratio) < 0.017
    assert clean.mean() == pytest.approx(0.0064, rel=0.01)


@pytest.mark.parametrize(("setting", "low", "high"), [(0.004, 0.14, 0.165), (0.02, 0.72, 0.84)])
def test_image_snr_by_setting(simulation, setting, low, high):
    clean = torch.from_numpy(simulation.clean_projections).transpose(1, 2)
    noisy = add_noise(
        clean, torch.Generator().manual_seed(1), snr=setting, microscope=RECIPE.microscope(), pixel_nm=1.0
    )
    ratio = (clean.var(dim=(1, 2)).mean() / (noisy - clean).var(dim=(1, 2)).mean()).item()
    assert low < ratio < high


def test_protein_is_dark(simulation):
    inner = (slice(60, 140), slice(8, -8), slice(40, -40))
    tomogram = simulation.reconstruction[inner]
    inside = simulation.packing.density[inner] > 0.2
    assert tomogram[inside].mean() < tomogram[~inside].mean() - 0.3 * tomogram.std()


def test_no_two_particles_overlap_and_each_owns_its_centre(simulation):
    packing = simulation.packing
    n = len(packing.centers_zyx)
    assert np.array_equal(packing.occupancy[tuple(packing.centers_zyx.T)], np.arange(1, n + 1))
    assert np.array_equal(np.unique(packing.occupancy), np.arange(n + 1))
    assert (packing.occupancy_bbox[packing.occupancy > 0] > 0).all()


def test_orientations_are_uniform_by_default_and_uneven_on_request():
    structures = load_bank(["1s3x"])
    squares = {}
    for kind in ("uniform", "shrec20"):
        recipe = Recipe(size_zyx=(60, 220, 220), particles=700, orientations=kind)
        from voxpick.simulate.shrec20 import pack_specimen

        axes = pack_specimen(structures, recipe, np.random.default_rng(2)).rotations_zyx[:, :, 0]
        squares[kind] = (axes**2).mean(axis=0)
    assert squares["uniform"] == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=0.04)
    assert squares["shrec20"] == pytest.approx([1 / 2, 1 / 6, 1 / 3], abs=0.04), "z, y, x"


def test_same_seed_same_tomogram():
    recipe = Recipe(size_zyx=(60, 40, 48), particles=4, thickness=64, tilt_step_deg=20.0)
    structures = load_bank(["3cf3", "1bxn"])
    first, again, other = (simulate_shrec20(structures, recipe, seed=s) for s in (4, 4, 5))
    assert np.array_equal(first.reconstruction, again.reconstruction)
    assert np.abs(first.reconstruction - other.reconstruction).max() > 0
