"""Fourier transforms of boxes, read between their samples.

Frequencies are in cycles a voxel, (z, y, x) in the last dimension. The origin of a box is its centre, voxel n // 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from voxpick.wedge import wedge_mask


class Spectrum:
    """The transform of a real box, known at the points of rfftn of an even side and interpolated between them."""

    def __init__(self, half: torch.Tensor) -> None:
        """half: [n, n, n // 2 + 1], complex or real, in the layout of rfftn."""
        shifted = torch.fft.fftshift(half, dim=(0, 1))
        self.complex = half.is_complex()
        self.channels = torch.stack([shifted.real, shifted.imag]) if self.complex else shifted[None]

    def __call__(self, frequencies: torch.Tensor) -> torch.Tensor:
        """Values at frequencies (..., 3) below Nyquist's, interpolated in each of z, y, x."""
        n, _, half = self.channels.shape[1:]
        mirrored = frequencies[..., 2] < 0
        k = torch.where(mirrored[..., None], -frequencies, frequencies) * n
        places = [k[..., 2] * 2 / (half - 1) - 1] + [(k[..., axis] + n // 2) * 2 / (n - 1) - 1 for axis in (1, 0)]
        grid = torch.stack(places, dim=-1).reshape(1, 1, 1, -1, 3)
        found = F.grid_sample(self.channels[None], grid, align_corners=True).reshape(-1, *frequencies.shape[:-1])
        if not self.complex:
            return found[0]
        return torch.complex(found[0], torch.where(mirrored, -found[1], found[1]))


def map_spectrum(box: torch.Tensor) -> Spectrum:
    """The transform of a map [n, n, n] on a grid twice as fine, with what interpolating it takes away made up for."""
    n = box.shape[0]
    offsets = (torch.arange(n, device=box.device) - n // 2).to(box.dtype) / (2 * n)
    fade = torch.sinc(offsets) ** 2
    corrected = box / (fade[:, None, None] * fade[:, None] * fade)
    padded = torch.zeros((2 * n,) * 3, dtype=box.dtype, device=box.device)
    padded[:n, :n, :n] = corrected
    return Spectrum(torch.fft.rfftn(padded.roll((-(n // 2),) * 3, (0, 1, 2))))


def wedge_spectrum(n: int, tilt_range_deg: tuple[float, float], device: torch.device | str = "cpu") -> Spectrum:
    """How much of each frequency of a box of n voxels a tilt series measures, 0 to 1."""
    return Spectrum(wedge_mask((2 * n,) * 3, tilt_range_deg, device=device))


@dataclass(frozen=True)
class Band:
    """Coefficients of rfftn of a box that are used: where (flat indices) and frequencies (m, 3).

    weights: (m,) of the coefficients in a sum over all frequencies: measured share x 2 for those that rfftn leaves out.
    """

    where: torch.Tensor
    frequencies: torch.Tensor
    weights: torch.Tensor

    def coefficients(self, boxes: torch.Tensor) -> torch.Tensor:
        """Coefficients (b, m) of boxes (b, n, n, n) about their centre, complex."""
        n = boxes.shape[-1]
        spectra = torch.fft.rfftn(boxes.roll((-(n // 2),) * 3, (1, 2, 3)), dim=(1, 2, 3))
        return spectra.flatten(1)[:, self.where]


def band(
    n: int,
    *,
    highest: float,
    lowest: float = 0.0,
    tilt_range_deg: tuple[float, float] | None = None,
    device: torch.device | str = "cpu",
) -> Band:
    """The measured coefficients of a box of n voxels with lowest < |frequency| <= highest, below Nyquist's."""
    grid = frequencies_of(n, device)
    radius = grid.norm(dim=-1)
    measured = torch.ones_like(radius) if tilt_range_deg is None else wedge_mask((n,) * 3, tilt_range_deg).to(radius)
    chosen = (radius > lowest) & (radius <= highest + 1e-9) & (radius < 0.5 - 1e-9) & (measured > 0)
    where = chosen.flatten().nonzero()[:, 0]
    frequencies = grid.reshape(-1, 3)[where]
    counted = torch.where(frequencies[:, 2] > 0, 2.0, 1.0)
    return Band(where, frequencies, measured.flatten()[where] * counted)


def frequencies_of(n: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Frequencies of rfftn of a box: [n, n, n // 2 + 1, 3]."""
    whole, half = torch.fft.fftfreq(n, device=device), torch.fft.rfftfreq(n, device=device)
    return torch.stack(torch.meshgrid(whole, whole, half, indexing="ij"), dim=-1)
