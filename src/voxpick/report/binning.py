"""A small 8-bit copy of a volume, made slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voxpick.volume import Volume


@dataclass(frozen=True)
class BinnedVolume:
    """voxels: uint8 [z, y, x], black and white at the 0.2 and 99.8 percentiles. factor: voxels binned along each axis.

    Binned voxel b is the mean of voxels b * factor to b * factor + factor - 1 (fewer at the far edge).
    """

    voxels: np.ndarray
    factor: int


def bin_volume(
    volume: Volume, *, max_side: int = 256, progress: Callable[[int, int], None] | None = None
) -> BinnedVolume:
    """Average blocks of voxels until no side exceeds max_side; only one z-slice of a memory-mapped volume is read at
    a time. NaN and infinite voxels count as 0."""
    factor = -(-max(volume.shape) // max_side)
    nz, ny, nx = (-(-side // factor) for side in volume.shape)
    binned = np.zeros((nz, ny, nx), dtype=np.float32)
    rows, columns = np.arange(ny) * factor, np.arange(nx) * factor
    for z in range(volume.shape[0]):
        section = np.nan_to_num(np.asarray(volume.data[z], dtype=np.float32), posinf=0.0, neginf=0.0)
        if factor > 1:
            section = np.add.reduceat(np.add.reduceat(section, rows, axis=0), columns, axis=1)
        binned[z // factor] += section
        if progress:
            progress(z + 1, volume.shape[0])
    for axis, side in enumerate(volume.shape):
        count = np.minimum(factor, side - np.arange(binned.shape[axis]) * factor).astype(np.float32)
        binned /= count.reshape([-1 if k == axis else 1 for k in range(3)])
    low, high = np.percentile(binned, (0.2, 99.8))
    scale = 255.0 / (high - low) if high > low else 0.0
    grey = np.clip((binned - low) * scale, 0, 255) if scale else np.full_like(binned, 128)
    return BinnedVolume(np.rint(grey).astype(np.uint8), factor)
