"""Volume: a 3-D image and its voxel size."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxpick.errors import VoxpickError

RELEASE_BYTES = 1 << 25

MOST_DEVIATIONS = 1000
"""A value may be from the mean; beads of gold are some tens off."""
USUAL = 0.9
"""Of the sections: the share whose deviations are taken for usual."""


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


def intensity_statistics(volume: Volume, *, warn: bool = True) -> tuple[float, float]:
    """Mean and standard deviation of the central half of each axis, where the specimen is.

    Reads one z-slice at a time, so a memory-mapped volume stays on disk. Raises VoxpickError for NaN and infinite
    values anywhere, and for constant data. warn: of a value so far off that all others count as nothing beside it.
    """
    nz, ny, nx = volume.shape
    inner_z, inner_y, inner_x = (_central_half(n) for n in (nz, ny, nx))
    count, total, squares, usual = 0, 0.0, 0.0, []
    lowest, highest = (np.inf, 0), (-np.inf, 0)  # values and their sections
    for z, whole in read_sections(volume.data):
        values = whole.astype(np.float32) if whole.dtype == np.float16 else whole  # of which NumPy is slow to tell
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            y, x = np.argwhere(~np.isfinite(whole))[0]
            raise VoxpickError(
                f"{volume.name}: holds NaN or infinite values, such as {whole[y, x]} at z {z}, y {y}, x {x}; replace "
                "them before picking"
            )
        lowest, highest = min(lowest, (low, z)), max(highest, (high, z))
        if not inner_z.start <= z < inner_z.stop:
            continue
        section = np.asarray(whole[inner_y, inner_x], dtype=np.float64)
        sums = float(section.sum()), float(np.square(section).sum())
        count, total, squares = count + section.size, total + sums[0], squares + sums[1]
        usual.append((sums[0] / section.size, sums[1] / section.size))
    mean = total / count
    if not np.isfinite(squares):
        raise VoxpickError(f"{volume.name}: holds values too large to be squared; scale them before picking")
    variance = squares / count - mean**2
    if variance <= 1e-12 * max(squares / count, 1e-300):
        raise VoxpickError(f"{volume.name}: the volume is constant ({mean:g}); there is nothing to pick")
    if warn:
        _warn_of_outlier(volume, lowest, highest, np.array(usual), deviation=float(np.sqrt(variance)))
    return mean, float(np.sqrt(variance))


def _warn_of_outlier(
    volume: Volume, lowest: tuple[float, int], highest: tuple[float, int], moments: np.ndarray, *, deviation: float
) -> None:
    """Warn where the lowest or highest value, given with its section, is over MOST_DEVIATIONS off.

    moments: (n, 2) mean and mean square of sections, by which deviations are counted; such a voxel makes that of the
    whole, `deviation`, itself, which counts where sections have none.
    """
    means, squares = moments.T
    variances = np.sort(np.maximum(squares - means**2, 0.0))
    usual = float(np.sqrt(variances[int(USUAL * (len(variances) - 1))])) or deviation
    middle = float(np.median(means))
    value, z = max(lowest, highest, key=lambda place: abs(place[0] - middle))
    if abs(value - middle) > MOST_DEVIATIONS * usual:
        y, x = np.unravel_index(np.argmax(np.asarray(volume.data[z]) == value), volume.shape[1:])
        warnings.warn(
            f"{volume.name}: holds {value:g} at z {z}, y {y}, x {x}, {abs(value - middle) / usual:.2g} standard "
            "deviations from the mean, beside which all else may count as nothing; set such voxels to the mean before "
            "picking",
            stacklevel=3,
        )


def _central_half(n: int) -> slice:
    return slice(n // 4, n - n // 4)
