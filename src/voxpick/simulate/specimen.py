"""The specimen in ice, and its slices as the beam meets them at a tilt.

A tilt turns the specimen about y, so every xz-plane turns alike: the row of y at (slice, x') of the tilted specimen is
a weighted sum of rows at (z, x), cubic B-spline interpolation and averaging into slices in one. Internally volumes are
[z, x, y] then, so that a row of y is contiguous.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

ICE_MEAN, ICE_DEVIATION = 0.15, 0.01
PROTEIN_THRESHOLD = 0.242
HORIZON = 30
"""Planes after which a spline filter has forgotten where it began."""


def embed_in_ice(
    density: torch.Tensor,
    generator: torch.Generator,
    *,
    mean: float = ICE_MEAN,
    deviation: float = ICE_DEVIATION,
) -> torch.Tensor:
    """density + (1 - min(density, 0.242) / 0.242) N(mean, deviation): ice fills what the protein leaves."""
    noise = torch.randn(density.shape, generator=generator, device=density.device)
    share = 1 - density.clamp(max=PROTEIN_THRESHOLD) / PROTEIN_THRESHOLD
    return density + share * (mean + deviation * noise)


def spline_coefficients(rows: torch.Tensor) -> torch.Tensor:
    """Cubic B-spline coefficients of [z, x, y] along z and x (mirror boundaries), by recursive filtering.

    Unser, IEEE Signal Processing Magazine 16 (1999), 22: one pole at sqrt(3) - 2.
    """
    return _spline_filter(_spline_filter(rows, 0), 1)


def _spline_filter(volume: torch.Tensor, axis: int) -> torch.Tensor:
    pole = math.sqrt(3) - 2
    n = volume.shape[axis]
    if n == 1:
        return volume
    planes = list((volume * 6.0).unbind(axis))
    first = planes[0].clone()
    for k in range(1, HORIZON):
        mirrored = k % (2 * n - 2)
        first = first + pole**k * planes[min(mirrored, 2 * n - 2 - mirrored)]
    planes[0] = first
    for k in range(1, n):
        planes[k] = planes[k] + pole * planes[k - 1]
    planes[n - 1] = (pole / (pole * pole - 1)) * (planes[n - 1] + pole * planes[n - 2])
    for k in range(n - 2, -1, -1):
        planes[k] = pole * (planes[k + 1] - planes[k])
    return torch.stack(planes, axis)


@dataclass(frozen=True)
class TiltedSlices:
    """values: [slices, x', y] mean over each slice, vacuum as 0; filled: [slices, x'] the specimen's share of it."""

    values: torch.Tensor
    filled: torch.Tensor


def tilted_slices(coefficients: torch.Tensor, tilt_deg: float, *, width: int, slice_voxels: int) -> TiltedSlices:
    """The specimen turned by `tilt_deg` about y, in slices along the beam, top (low z) first.

    coefficients: `spline_coefficients` [z, x, y]; the rotation axis is voxel n // 2 of z and x. width: image columns
    x', centred on voxel width // 2. A specimen point (z, x) appears at x' = x cos(tilt) + z sin(tilt), about the axis.
    """
    nz, nx, ny = coefficients.shape
    device = coefficients.device
    sine, cosine = math.sin(math.radians(tilt_deg)), math.cos(math.radians(tilt_deg))
    reach = _half_extent(nz, nx, width, abs(sine), cosine)
    slices = max(1, math.ceil((2 * reach + 1) / slice_voxels))
    depth = slices * slice_voxels
    zt = torch.arange(depth, device=device, dtype=torch.float64)[:, None] - depth // 2
    xt = torch.arange(width, device=device, dtype=torch.float64)[None, :] - width // 2
    z = zt * cosine + xt * sine + nz // 2
    x = xt * cosine - zt * sine + nx // 2
    inside = (z > -0.5) & (z < nz - 0.5) & (x > -0.5) & (x < nx - 0.5)
    taps_z, taps_x = _spline_taps(z, nz), _spline_taps(x, nx)
    index = torch.stack([iz * nx + ix for iz, _ in taps_z for ix, _ in taps_x], -1)
    weight = torch.stack([wz * wx * inside for _, wz in taps_z for _, wx in taps_x], -1) / slice_voxels
    index, weight = (_grouped(part, slices, slice_voxels, width) for part in (index, weight))
    used = weight != 0
    starts = used.sum(1).cumsum(0).roll(1)
    starts[0] = 0
    values = torch.nn.functional.embedding_bag(
        index[used],
        coefficients.reshape(nz * nx, ny),
        starts,
        mode="sum",
        per_sample_weights=weight[used].to(coefficients.dtype),
    )
    filled = inside.reshape(slices, slice_voxels, width).sum(1) / slice_voxels
    return TiltedSlices(values.reshape(slices, width, ny), filled.to(coefficients.dtype))


def _grouped(taps: torch.Tensor, slices: int, slice_voxels: int, width: int) -> torch.Tensor:
    """[depth, x', taps] to [slice and x', all taps of the slice]."""
    by_slice = taps.reshape(slices, slice_voxels, width, -1).transpose(1, 2)
    return by_slice.reshape(slices * width, -1)


def _half_extent(nz: int, nx: int, width: int, sine: float, cosine: float) -> float:
    """Largest |z'| of specimen voxels that project into the image."""
    corner = nz / 2 * cosine + nx / 2 * sine
    if cosine < 1e-6:
        return corner
    return min(corner, nz / 2 / cosine + width / 2 * sine / cosine) + 1


def _spline_taps(position: torch.Tensor, n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The four mirrored neighbours of each position and their cubic B-spline weights."""
    low = position.floor()
    t = position - low
    index = low.long()
    weights = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
    taps = []
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        k = (index + offset).abs()
        k = torch.where(k > n - 1, 2 * (n - 1) - k, k).clamp(0, n - 1)
        taps.append((k, weight))
    return taps
