"""From slices of potential to an image: multislice propagation and the microscope's CTF.

Images are [x', y] here, as the slices are (specimen.py): a row of y is contiguous.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from voxpick import ctf
from voxpick.simulate.specimen import TiltedSlices


@dataclass(frozen=True)
class Microscope:
    """The SHREC'20 microscope by default; lengths in the units their names carry."""

    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.08
    defocus_um: float = 3.0
    envelope_decay: float = 0.4


def exit_wave(
    slices: TiltedSlices,
    generator: torch.Generator,
    *,
    pixel_nm: float,
    slice_nm: float,
    voltage_kv: float,
    structural_noise: float,
    voxels_per_slice: int,
) -> torch.Tensor:
    """The wave behind the specimen, complex64 [x', y].

    Each slice: add structural noise (N(0, structural_noise) a voxel, so less in the mean over a slice), multiply by
    exp(i sigma v dz), propagate by exp(-i pi lambda k^2 dz). Grid values are read as volts.
    """
    values = slices.values
    device = values.device
    _, k_squared = ctf.frequencies_nm((values.shape[1], values.shape[2]), pixel_nm, device)
    angle = -math.pi * ctf.wavelength_nm(voltage_kv) * slice_nm * k_squared
    propagator = torch.polar(torch.ones_like(angle), angle)
    phase_per_unit = ctf.interaction_constant(voltage_kv) * slice_nm
    wave = torch.ones(values.shape[1:], dtype=torch.complex64, device=device)
    for value, filled in zip(values, slices.filled, strict=True):
        noise = torch.randn(value.shape, generator=generator, device=device)
        value = value + noise * (structural_noise * (filled / voxels_per_slice).sqrt())[:, None]
        wave = wave * torch.polar(torch.ones_like(value), phase_per_unit * value)
        wave = torch.fft.ifft2(torch.fft.fft2(wave) * propagator)
    return wave


def image(wave: torch.Tensor, microscope: Microscope, *, pixel_nm: float) -> torch.Tensor:
    """|F^-1(ctf psi)|^2, float32 [x', y]."""
    _, k_squared = ctf.frequencies_nm((wave.shape[0], wave.shape[1]), pixel_nm, wave.device)
    transfer = ctf.complex_ctf(
        _chi(k_squared, microscope),
        ctf.envelope(k_squared, pixel_nm=pixel_nm, decay=microscope.envelope_decay),
        amplitude_contrast=microscope.amplitude_contrast,
    )
    return torch.fft.ifft2(torch.fft.fft2(wave) * transfer).abs().square()


def _chi(k_squared: torch.Tensor, microscope: Microscope) -> torch.Tensor:
    return ctf.phase_shift(
        k_squared, defocus_um=microscope.defocus_um, cs_mm=microscope.cs_mm, voltage_kv=microscope.voltage_kv
    )


def amplitude_transfer(
    shape: tuple[int, int], microscope: Microscope, *, pixel_nm: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """A cos(chi) times the envelope: the filter of the CTF-dependent noise, and k^2 in 1/nm^2, both of `shape`."""
    _, k_squared = ctf.frequencies_nm(shape, pixel_nm, device)
    transfer = microscope.amplitude_contrast * torch.cos(_chi(k_squared, microscope))
    decay = ctf.envelope(k_squared, pixel_nm=pixel_nm, decay=microscope.envelope_decay)
    return transfer * decay, k_squared
