"""The mean of aligned subtomograms, each frequency divided by how often it was measured."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from voxpick.average.align import Poses
from voxpick.average.spectra import band, frequencies_of, wedge_spectrum
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError
from voxpick.volume import Volume

BATCH_VOXELS = 1 << 22
"""Voxels of the finer boxes at a time, to bound memory."""


def average(
    subtomograms: Subtomograms,
    poses: Poses,
    *,
    tilt_range_deg: tuple[float, float] | None = (-60.0, 60.0),
    device: str = "cpu",
) -> Volume:
    """The map whose turned and shifted copies the subtomograms are, in the map's own frame.

    Each subtomogram is reduced to its measured frequencies below Nyquist's, made twice as fine, and read at
    centre + shift + R u for every voxel u of the map; the sum is divided, frequency by frequency, by the number of
    subtomograms that measured it (at least 1, so what none measured is 0). Voxels past the inscribed sphere are less
    sure. tilt_range_deg: about y; None for no missing wedge.
    Raises VoxpickError for no subtomograms.
    """
    count, n = len(subtomograms), subtomograms.box
    if count == 0:
        raise VoxpickError("there are no subtomograms to average")
    measured = band(n, highest=0.5, tilt_range_deg=tilt_range_deg, device=device)
    spread = _spread(n, device)
    filter_weights = torch.zeros(n * n * (n // 2 + 1), device=device)
    doubled = torch.where(measured.frequencies[:, 2] > 0, 2.0, 1.0)
    filter_weights[measured.where] = measured.weights / doubled
    filter_weights = filter_weights.reshape(n, n, n // 2 + 1) / spread
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, device=device) - n // 2] * 3, indexing="ij"), dim=-1).float()
    inside = band(n, highest=0.5, device=device)
    wedge = None if tilt_range_deg is None else wedge_spectrum(n, tilt_range_deg, device)
    total = torch.zeros((n, n, n), device=device)
    times = torch.zeros(len(inside.where), device=device)
    size = max(1, BATCH_VOXELS // (2 * n) ** 3)
    for first in range(0, count, size):
        rows = slice(first, min(first + size, count))
        boxes, rotations, shifts = (
            torch.as_tensor(np.asarray(values[rows]), dtype=torch.float32, device=device)
            for values in (subtomograms.data, poses.rotations, poses.shifts_zyx)
        )
        places = 2 * ((grid.reshape(-1, 3) @ rotations.transpose(1, 2)) + shifts[:, None] + n // 2)
        normal = (places.flip(-1) * (2 / (2 * n - 1)) - 1).reshape(-1, n, n, n, 3)
        total += F.grid_sample(finer(boxes, filter_weights)[:, None], normal, align_corners=True)[:, 0].sum(0)
        if wedge is None:
            times += len(boxes)
        else:
            times += wedge(inside.frequencies @ rotations.transpose(1, 2)).sum(0)
    spectrum = torch.fft.rfftn(total).flatten()
    mean = torch.zeros_like(spectrum)
    mean[inside.where] = spectrum[inside.where] / times.clamp(min=1)
    data = torch.fft.irfftn(mean.reshape(n, n, n // 2 + 1), s=(n, n, n))
    return Volume(data.cpu().numpy(), subtomograms.voxel_size, name="average")


def finer(boxes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Boxes (b, n, n, n), their coefficients weighted [n, n, n // 2 + 1], on a grid twice as fine: voxel i at 2 i.

    weights must be 0 at Nyquist's frequency.
    """
    n = boxes.shape[-1]
    half = torch.fft.fftshift(torch.fft.rfftn(boxes, dim=(1, 2, 3)) * weights, dim=(1, 2))
    low, high = n - n // 2, n // 2
    padded = F.pad(half, (0, n + 1 - half.shape[-1], low, high, low, high))
    return 8 * torch.fft.irfftn(torch.fft.ifftshift(padded, dim=(1, 2)), s=(2 * n,) * 3, dim=(1, 2, 3))


def _spread(n: int, device: str) -> torch.Tensor:
    """What linear interpolation between half voxels leaves of each frequency: [n, n, n // 2 + 1]."""
    return (torch.sinc(frequencies_of(n, device) / 2) ** 2).prod(dim=-1)
