"""Volume: a 3-D image and its voxel size."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxpick.errors import VoxpickError

RELEASE_BYTES = 1 << 25


@dataclass(frozen=True)
class Volume:
    """A float32 image [z, y, x] (in memory or memory-mapped) with cubic voxels of voxel_size A.

    The centre of voxel i lies at i * voxel_size along its axis (docs/geometry.md).
    Raises VoxpickError for anything but an array of real numbers with three non-empty dimensions and a positive, finite
    voxel size.
    """

    data: np.ndarray
    voxel_size: float
    name: str = "tomogram"

    def __post_init__(self) -> None:
        if not isinstance(self.data, np.ndarray) or self.data.dtype.kind not in "biuf":
            kind = self.data.dtype if isinstance(self.data, np.ndarray) else type(self.data).__name__
            raise VoxpickError(f"{self.name}: the data of a volume is {kind}; give a NumPy array of real numbers")
        if isinstance(self.voxel_size, bool) or not isinstance(self.voxel_size, (int, float, np.number)):
            raise VoxpickError(f"{self.name}: the voxel size is {self.voxel_size!r}; give a number, in A")
        if self.data.ndim != 3:
            raise VoxpickError(
                f"{self.name}: a volume has 3 dimensions (z, y, x), but this one has shape {self.data.shape}; "
                "give a single 3-D tomogram"
            )
        if 0 in self.data.shape:
            raise VoxpickError(f"{self.name}: the volume is empty, shape {self.data.shape}")
        if not (np.isfinite(self.voxel_size) and self.voxel_size > 0):
            raise VoxpickError(
                f"{self.name}: the voxel size is {self.voxel_size} A; set the right one with --voxel-size"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        z, y, x = self.data.shape
        return z, y, x

    def with_data(self, data: np.ndarray) -> Volume:
        """The same voxel size and name around other data [z, y, x]."""
        return replace(self, data=data)


def release(data: Any) -> None:
    """Give the pages of a memory-mapped array back to the system; they stay in the file.

    A private (copy-on-write) map is left alone, for what was written to it is nowhere else.
    """
    while isinstance(data, np.ndarray):
        if isinstance(data, np.memmap) and data.mode == "c":
            return
        data = data.base
    if isinstance(data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        data.madvise(mmap.MADV_DONTNEED)


def read_sections(data: np.ndarray, window: slice = slice(None)) -> Iterator[tuple[int, np.ndarray]]:
    """(z, section [y, x]) of the sections of [z, y, x] in `window`; of a memory-mapped array few stay in memory."""
    read = 0
    for z in range(*window.indices(len(data))):
        yield z, data[z]
        read += data[z].nbytes
        if read >= RELEASE_BYTES:
            release(data)
            read = 0
    release(data)


def intensity_statistics(volume: Volume) -> tuple[float, float]:
    """Mean and standard deviation of the central half of each axis, where the specimen is.

    Reads one z-slice at a time, so a memory-mapped volume stays on disk. Raises VoxpickError for NaN and infinite
    values anywhere, and for constant data.
    """
    nz, ny, nx = volume.shape
    inner_z, inner_y, inner_x = (_central_half(n) for n in (nz, ny, nx))
    count, total, squares = 0, 0.0, 0.0
    for z, whole in read_sections(volume.data):
        if whole.dtype.kind == "f" and not np.isfinite(whole).all():
            y, x = np.argwhere(~np.isfinite(whole))[0]
            raise VoxpickError(
                f"{volume.name}: holds NaN or infinite values, such as {whole[y, x]} at z {z}, y {y}, x {x}; replace "
                "them before picking"
            )
        if not inner_z.start <= z < inner_z.stop:
            continue
        section = np.asarray(whole[inner_y, inner_x], dtype=np.float64)
        count += section.size
        total += float(section.sum())
        squares += float(np.square(section).sum())
    mean = total / count
    if not np.isfinite(squares):
        raise VoxpickError(f"{volume.name}: holds values too large to be squared; scale them before picking")
    variance = squares / count - mean**2
    if variance <= 1e-12 * max(squares / count, 1e-300):
        raise VoxpickError(f"{volume.name}: the volume is constant ({mean:g}); there is nothing to pick")
    return mean, float(np.sqrt(variance))


def _central_half(n: int) -> slice:
    return slice(n // 4, n - n // 4)
