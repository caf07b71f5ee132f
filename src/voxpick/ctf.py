"""The contrast transfer function and the electron wave's constants.

Arrays over frequency are [ky, kx] in the layout of torch.fft.fft2; k in 1/nm, lengths in nm.
Source: the SHREC'20 generator's recipe (Gubins et al. 2020, section 2.1) and the constants of its public code.
"""

from __future__ import annotations

import math

import torch

from voxpick.errors import VoxpickError

ELECTRON_REST_ENERGY_KEV = 510.99895
HC_KEV_NM = 1.23984198


def wavelength_nm(voltage_kv: float) -> float:
    """Relativistic electron wavelength: 1.96875e-3 nm at 300 kV. Raises VoxpickError for a voltage not above 0."""
    if voltage_kv <= 0:
        raise VoxpickError(f"the acceleration voltage is {voltage_kv} kV; it must be positive (usually 200 or 300)")
    return HC_KEV_NM / math.sqrt(voltage_kv * (voltage_kv + 2 * ELECTRON_REST_ENERGY_KEV))


def interaction_constant(voltage_kv: float) -> float:
    """Phase per volt and nanometre: 6.526e-3 rad/(V nm) at 300 kV."""
    rest, kinetic = ELECTRON_REST_ENERGY_KEV, voltage_kv
    volts = kinetic * 1e3
    return 2 * math.pi / (wavelength_nm(voltage_kv) * volts) * (rest + kinetic) / (2 * rest + kinetic)


def frequencies_nm(shape: tuple[int, int], pixel_nm: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """kx [1, nx] and the squared radius k^2 [ny, nx] in 1/nm for images of `shape` (ny, nx)."""
    ky = torch.fft.fftfreq(shape[0], pixel_nm, device=device)[:, None]
    kx = torch.fft.fftfreq(shape[1], pixel_nm, device=device)[None, :]
    return kx, ky**2 + kx**2


def phase_shift(k_squared: torch.Tensor, *, defocus_um: float, cs_mm: float, voltage_kv: float) -> torch.Tensor:
    """chi = pi/2 (Cs lambda^3 k^4 - 2 defocus lambda k^2); underfocus is positive."""
    wavelength = wavelength_nm(voltage_kv)
    return (math.pi / 2) * (cs_mm * 1e6 * wavelength**3 * k_squared**2 - 2 * defocus_um * 1e3 * wavelength * k_squared)


def envelope(k_squared: torch.Tensor, *, pixel_nm: float, decay: float = 0.4) -> torch.Tensor:
    """exp(-(k / (decay k_Nyquist))^2)."""
    return torch.exp(-k_squared / (decay * 0.5 / pixel_nm) ** 2)


def complex_ctf(chi: torch.Tensor, decay: torch.Tensor, *, amplitude_contrast: float) -> torch.Tensor:
    """(A cos chi - i (1 - A) sin chi) times the envelope; acts on the exit wave."""
    return torch.complex(amplitude_contrast * torch.cos(chi), -(1 - amplitude_contrast) * torch.sin(chi)) * decay
