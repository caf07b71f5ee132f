"""The missing wedge: which Fourier components a tilt series about y measures.

The image at a tilt t is the section of the transform spanned by ky and the direction (kx, kz) = (cos t, sin t), with
the frame of docs/geometry.md: a specimen point (z, x) appears at x' = x cos(t) + z sin(t). All tilts between the two
limits count as measured. Masks have the layout of torch.fft.rfftn: [kz, ky, kx] with nx // 2 + 1 columns.
"""

from __future__ import annotations

import math

import torch

from voxpick.errors import VoxpickError


def require_tilt_range(tilt_range_deg: tuple[float, float]) -> None:
    """Raise VoxpickError for limits (degrees) that are not in order within -90..90."""
    low, high = tilt_range_deg
    if not -90 <= low < high <= 90:
        raise VoxpickError(f"tilt range {low:g} to {high:g} degrees; give two limits in order, within -90 and 90")


def wedge_mask(
    shape: tuple[int, int, int],
    tilt_range_deg: tuple[float, float] = (-60.0, 60.0),
    *,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """1 where a tilt series between the limits (degrees) measures the transform of a volume of `shape`, else 0.

    float32 [nz, ny, nx // 2 + 1]. The line kz = kx = 0 lies in every image. The last component of an even side stands
    for both signs of its frequency; it gets the mean of the two, so that filtering keeps real volumes real.
    Raises VoxpickError as `require_tilt_range`.
    """
    require_tilt_range(tilt_range_deg)
    low, high = tilt_range_deg
    nz, ny, nx = shape
    kz = torch.fft.fftfreq(nz, device=device, dtype=torch.float64)[:, None]
    kx = torch.fft.rfftfreq(nx, device=device, dtype=torch.float64)[None, :]
    flip_z, flip_x = kz.clone(), kx.clone()
    if nz % 2 == 0:
        flip_z[nz // 2] *= -1
    if nx % 2 == 0:
        flip_x[:, nx // 2] *= -1
    signs = [_measured(z, x, low, high) for z in (kz, flip_z) for x in (kx, flip_x)]
    plane = torch.stack([mask.float() for mask in signs]).mean(dim=0)
    return plane[:, None, :].expand(nz, ny, nx // 2 + 1).contiguous()


def _measured(kz: torch.Tensor, kx: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Whether (kz, kx) is a multiple, of either sign, of (sin t, cos t) with t between the limits (degrees)."""
    side = torch.where(kx < 0, -1.0, 1.0)
    angle = torch.atan2(kz * side, kx * side)
    slack = math.radians(1e-6)
    within = (angle >= math.radians(low) - slack) & (angle <= math.radians(high) + slack)
    opposite = (kx == 0) & (kz != 0) & ((high >= 90) | (low <= -90))
    return within | opposite | ((kx == 0) & (kz == 0))
