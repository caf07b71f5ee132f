"""A volume on the grid of the model's voxel size, with voxel 0 where it was.

Voxel j of the new grid lies at j * new voxel size, as everywhere (docs/geometry.md), so centres found there need no
shift: centre in A = voxel * new voxel size.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter, spline_filter

from voxpick.detect.memory import spacious
from voxpick.errors import VoxpickError
from voxpick.volume import Volume, release

TOLERANCE = 0.01
LEAST_SIDE = 8
MOST_VOXELS = 2**31
MOST_COARSE = 4
"""Of a model's voxel sizes: in larger voxels there is nothing left of what it looks for."""
SPLINE_REACH = 16
SECTION_VOXELS = 1 << 23


def same_voxel_size(first: float, second: float) -> bool:
    """Whether two voxel sizes (A) differ by less than 1 %, which no network notices."""
    return abs(first - second) <= TOLERANCE * second


def rescaled(volume: Volume, voxel_size: float) -> Volume:
    """The volume resampled to `voxel_size` A: low-passed where the new grid is coarser, then cubic splines.

    A few sections at a time, so a large memory-mapped volume is never in memory as a whole; a large result lies in a
    temporary file. Where the new voxels are at least twice as large, whole blocks are averaged first.
    Raises VoxpickError for voxels over MOST_COARSE times as large, and when the new grid would have a side under 8
    voxels or more than 2^31 voxels.
    """
    ratio = voxel_size / volume.voxel_size
    if ratio * MOST_COARSE < 1:
        raise VoxpickError(
            f"{volume.name}: voxels of {volume.voxel_size:g} A are too coarse for a model of {voxel_size:g} A; set the "
            "right voxel size with --voxel-size, or train a model on tomograms like these"
        )
    shape = tuple(int(np.floor((n - 1) / ratio + 1e-6)) + 1 for n in volume.shape)
    if min(shape) < LEAST_SIDE or np.prod([float(n) for n in shape]) > MOST_VOXELS:
        raise VoxpickError(
            f"{volume.name}: at the model's voxel size of {voxel_size:g} A the volume of shape {volume.shape} and "
            f"{volume.voxel_size:g} A would have shape {shape}; set the right voxel size with --voxel-size"
        )
    block = max(1, int(ratio))
    shift = -(block - 1) / (2 * block)
    ratio /= block
    sigma = 0.5 * np.sqrt(ratio**2 - 1) if ratio > 1 else 0.0
    sections = -(-volume.shape[0] // block)
    pad = SPLINE_REACH + math.ceil(4 * sigma)
    step = max(8, SECTION_VOXELS // (shape[1] * shape[2]))
    result = spacious(shape)
    for z in range(0, shape[0], step):
        stop = min(z + step, shape[0])
        first = max(math.floor(z * ratio + shift) - pad, 0)
        last = min(math.ceil((stop - 1) * ratio + shift) + pad + 1, sections)
        data = _block_means(volume.data[first * block : last * block], block)
        if sigma:
            data = gaussian_filter(data, sigma, output=np.float32)
        data = np.asarray(spline_filter(data, order=3, output=np.float32, mode="nearest"))
        result[z:stop] = affine_transform(
            data, np.full(3, ratio), offset=(z * ratio + shift - first, shift, shift),
            output_shape=(stop - z, *shape[1:]), output=np.float32, order=3, mode="nearest", prefilter=False,
        )  # fmt: skip
        release(volume.data)
        release(result)
    return Volume(result, voxel_size, name=volume.name)


def labels_like(labels: np.ndarray, voxel_size: float, volume: Volume) -> np.ndarray:
    """Labels [z, y, x] on a grid of `voxel_size` A, brought to the grid of `volume` by the nearest voxel."""
    index = [
        np.minimum(np.rint(np.arange(n) * volume.voxel_size / voxel_size).astype(np.int64), m - 1)
        for n, m in zip(volume.shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*index)]


def _block_means(data: np.ndarray, block: int) -> np.ndarray:
    """Means of cubes of side `block`; the far end is filled up with its last voxels."""
    if block == 1:
        return np.asarray(data, dtype=np.float32)
    ny, nx = (-(-n // block) * block for n in data.shape[1:])
    result = np.empty((-(-data.shape[0] // block), ny // block, nx // block), dtype=np.float32)
    for k in range(len(result)):
        slab = np.asarray(data[k * block : (k + 1) * block], dtype=np.float32).mean(axis=0)
        slab = np.pad(slab, ((0, ny - slab.shape[0]), (0, nx - slab.shape[1])), mode="edge")
        result[k] = slab.reshape(ny // block, block, nx // block, block).mean(axis=(1, 3))
    return result
