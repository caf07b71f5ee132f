"""Weighted back-projection of a tilt series about y."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def ramp_filtered(projections: torch.Tensor) -> torch.Tensor:
    """|kx| / k_Nyquist inside the circle k <= k_Nyquist; projections [tilts, x', y], the ramp across x'."""
    _, nx, ny = projections.shape
    kx = torch.fft.fftfreq(nx, device=projections.device)[:, None]
    ky = torch.fft.fftfreq(ny, device=projections.device)[None, :]
    weight = kx.abs() / 0.5 * (kx**2 + ky**2 <= 0.25)
    return torch.fft.ifft2(torch.fft.fft2(projections) * weight).real


def back_project(
    filtered: torch.Tensor,
    tilt_angles_deg: list[float],
    *,
    thickness: int,
    axis_z: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Sum over tilts of the filtered projections [tilts, x', y], linearly interpolated: [z, y, x].

    A voxel (z, x) about the axis takes the value at x' = x cos(tilt) + z sin(tilt), and nothing where that lies outside
    the image. z has `thickness` voxels. The axis is voxel n // 2 of x and axis_z of z, thickness // 2 when not given.
    """
    tilts, nx, ny = filtered.shape
    axis = thickness // 2 if axis_z is None else axis_z
    device = filtered.device
    rows = filtered.reshape(tilts * nx, ny)
    angles = torch.tensor(tilt_angles_deg, device=device, dtype=torch.float64).deg2rad()
    offset = torch.arange(tilts, device=device) * nx
    x = torch.arange(nx, device=device, dtype=torch.float64) - nx // 2
    volume = torch.empty((thickness, ny, nx), dtype=filtered.dtype, device=device)
    for k in range(thickness):
        position = x[:, None] * angles.cos() + (k - axis) * angles.sin() + nx // 2
        low = position.floor()
        fraction = position - low
        index = low.long()
        taps, weights = [], []
        for step, weight in ((0, 1 - fraction), (1, fraction)):
            tap = index + step
            valid = (tap >= 0) & (tap < nx)
            taps.append(tap.clamp(0, nx - 1) + offset)
            weights.append(weight * valid)
        volume[k] = torch.nn.functional.embedding_bag(
            torch.cat(taps, 1), rows, mode="sum", per_sample_weights=torch.cat(weights, 1).to(rows.dtype)
        ).T
        if progress:
            progress(k + 1, thickness)
    return volume


def tilt_angles(*, limit_deg: float, step_deg: float) -> list[float]:
    """-limit .. +limit in steps, both ends included when they fit."""
    count = math.floor(2 * limit_deg / step_deg + 1e-9)
    return [-limit_deg + step_deg * k for k in range(count + 1)]
