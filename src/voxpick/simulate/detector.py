"""Noise of the recorded images, as the SHREC'20 generator adds it."""

from __future__ import annotations

import torch

from voxpick.simulate.optics import Microscope, amplitude_transfer

LOW_FREQUENCY_PIXELS = 10
REFERENCE_PIXELS = 512


def add_noise(
    images: torch.Tensor, generator: torch.Generator, *, snr: float, microscope: Microscope, pixel_nm: float
) -> torch.Tensor:
    """images [tilts, x', y] plus Gaussian noise filtered by A cos(chi) and the envelope.

    White variance: 0.5 / snr x the mean variance of an image / the mean CTF power within 10 Fourier pixels (of a
    512-pixel image). `snr` is therefore the name of a setting: 0.004 gives an image signal-to-noise ratio near 0.16.
    """
    transfer, k_squared = amplitude_transfer(
        (images.shape[1], images.shape[2]), microscope, pixel_nm=pixel_nm, device=images.device
    )
    low = k_squared <= (LOW_FREQUENCY_PIXELS / (REFERENCE_PIXELS * pixel_nm)) ** 2
    power = transfer[low].square().mean()
    deviation = (0.5 / snr * images.var(dim=(1, 2)).mean() / power).sqrt()
    noisy = torch.empty_like(images)
    for k, signal in enumerate(images):
        white = torch.randn(signal.shape, generator=generator, device=images.device) * deviation
        noisy[k] = signal + torch.fft.ifft2(torch.fft.fft2(white) * transfer).real
    return noisy
