"""The contrast transfer function against figures from elsewhere and its own definition, at places of its own."""

import math

import pytest
import torch

from voxpick import ctf
from voxpick.errors import VoxpickError


@pytest.mark.parametrize(("kv", "wavelength_pm"), [(100, 3.7014), (200, 2.5079), (300, 1.9687)])
def test_wavelengths_are_those_of_the_textbooks(kv, wavelength_pm):
    """In pm, relativistic."""
    assert 1000 * ctf.wavelength_nm(kv) == pytest.approx(wavelength_pm, abs=2e-4)


@pytest.mark.parametrize(("kv", "sigma"), [(100, 9.244e-3), (200, 7.288e-3), (300, 6.526e-3)])
def test_interaction_constants_are_those_of_the_textbooks(kv, sigma):
    """In rad / (V nm)."""
    assert ctf.interaction_constant(kv) == pytest.approx(sigma, rel=2e-3)


@pytest.mark.parametrize("kv", [0, -300])
def test_a_voltage_that_is_not_above_0_is_refused(kv):
    with pytest.raises(VoxpickError, match=f"voltage is {kv} kV"):
        ctf.wavelength_nm(kv)


def test_frequencies_of_an_image_of_unequal_sides():
    """Pixels of 2 nm: along x 1 / (10 nm) a step, along y 1 / (12 nm)."""
    kx, k_squared = ctf.frequencies_nm((6, 5), 2.0, torch.device("cpu"))
    assert kx.shape == (1, 5) and k_squared.shape == (6, 5)
    assert kx[0].tolist() == pytest.approx([0, 0.1, 0.2, -0.2, -0.1])
    assert k_squared[1, 2].item() == pytest.approx(1 / 144 + 0.04)
    assert k_squared[3, 0].item() == pytest.approx(1 / 16)


def test_the_phase_shift_is_least_where_spherical_aberration_and_underfocus_balance():
    """d chi / d(k^2) = 0 at k^2 = defocus / (Cs lambda^2), where chi = -pi / 2 defocus^2 / (Cs lambda)."""
    wavelength, defocus_nm, cs_nm = ctf.wavelength_nm(200.0), 100.0, 2.0e6
    k_squared = torch.tensor([0.0, defocus_nm / (cs_nm * wavelength**2)], dtype=torch.float64)
    chi = ctf.phase_shift(k_squared, defocus_um=0.1, cs_mm=2.0, voltage_kv=200.0)
    assert chi[0] == 0 and chi[1].item() == pytest.approx(-math.pi / 2 * defocus_nm**2 / (cs_nm * wavelength))
    beside = ctf.phase_shift(k_squared[1] * torch.tensor([0.9, 1.1]), defocus_um=0.1, cs_mm=2.0, voltage_kv=200.0)
    assert (beside > chi[1]).all()


def test_the_envelope_falls_to_a_part_in_e_at_its_share_of_nyquist():
    """Pixels of 0.5 nm: Nyquist's frequency is 1 / nm."""
    found = ctf.envelope(torch.tensor([0.0, 0.4**2, 0.8**2], dtype=torch.float64), pixel_nm=0.5)
    assert found.tolist() == pytest.approx([1, math.exp(-1), math.exp(-4)])
    wide = ctf.envelope(torch.tensor([0.25], dtype=torch.float64), pixel_nm=0.5, decay=0.5)
    assert wide.item() == pytest.approx(math.exp(-1))


def test_amplitude_and_phase_contrast_part_in_the_complex_function():
    """In focus the amplitude part alone; a quarter turn on, the phase part alone, of the other sign; both fade."""
    chi = torch.tensor([0.0, math.pi / 2, -math.pi / 2], dtype=torch.float64)
    found = ctf.complex_ctf(chi, torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64), amplitude_contrast=0.1)
    assert found.real.tolist() == pytest.approx([0.1, 0, 0]) and found.imag.tolist() == pytest.approx([0, -0.9, 0.45])
