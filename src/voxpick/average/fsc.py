"""Fourier shell correlation of two maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from voxpick.errors import VoxpickError

THRESHOLDS = (0.143, 0.5)
"""Of the correlation between half maps: 0.143 (Rosenthal and Henderson, doi:10.1016/j.jmb.2003.07.013) and 0.5."""


BEGINS = 3
"""Shells past 0 in one of which a curve has to reach a threshold: of a box of 3 radii, those coarser than a radius."""


@dataclass(frozen=True)
class ShellCorrelation:
    """frequencies: of the shells in 1/A, rising from 0 to Nyquist's. correlation: in [-1, 1], of the same length.

    begins: the number of the last shell in which a curve may first reach a threshold.
    """

    frequencies: np.ndarray
    correlation: np.ndarray
    begins: int = field(default=BEGINS, kw_only=True)

    def resolution(self, threshold: float = THRESHOLDS[0]) -> float:
        """Where the correlation falls below a threshold for the first time after it was not, in A, linear in between.

        Shells coarser than what the mask lets through hold few coefficients, and those smeared by the mask: a curve may
        be below in them and still be that of good maps. It begins at the first of the shells 1 to `begins` that is not
        below. Where all of these are, it is NaN, whatever noise does in finer ones. Twice the voxel size for a curve
        that never falls.
        """
        reached = np.flatnonzero(self.correlation[1 : self.begins + 1] >= threshold) + 1
        if len(reached) == 0:
            return float("nan")
        first = int(reached[0])
        below = np.flatnonzero(self.correlation[first:] < threshold) + first
        if len(below) == 0:
            return float(1 / self.frequencies[-1])
        k = int(below[0])
        high, low = self.correlation[k - 1], self.correlation[k]
        step = (high - threshold) / (high - low)
        return float(1 / (self.frequencies[k - 1] + step * (self.frequencies[k] - self.frequencies[k - 1])))

    def to_frame(self) -> pd.DataFrame:
        """Columns frequency (1/A), resolution (A, infinite for the first shell) and correlation."""
        with np.errstate(divide="ignore"):
            resolution = 1 / self.frequencies
        return pd.DataFrame({"frequency": self.frequencies, "resolution": resolution, "correlation": self.correlation})


def shell_correlation(
    a: np.ndarray, b: np.ndarray, *, voxel_size: float, mask: np.ndarray | None = None
) -> ShellCorrelation:
    """Correlation of the Fourier coefficients of two maps [z, y, x] in each of min(shape) // 2 + 1 shells.

    Shells lie 1 / min(shape) cycles a voxel apart; a coefficient between two counts for each by its nearness. The
    coefficients are those of a real transform, halved along x; shell 0 is the mean alone. mask: multiplies both maps,
    whose means inside the mask are taken off first. voxel_size: A. A shell without power has correlation 0. Curves
    begin (`ShellCorrelation.resolution`) among the shells no finer than the radius of a ball of the mask's volume.
    Raises VoxpickError when shapes differ.
    """
    for what, other in (("second map", b), ("mask", mask)):
        if other is not None and other.shape != a.shape:
            raise VoxpickError(f"the {what} has shape {other.shape}, the first map {a.shape}; FSC needs equal boxes")
    first, second = (np.fft.rfftn(_masked(np.asarray(v, dtype=np.float64), mask)).ravel() for v in (a, b))
    shells = min(a.shape) // 2 + 1
    position = frequency_grid(a.shape).ravel() * min(a.shape)
    low = np.minimum(np.floor(position), shells - 2).astype(np.int64)
    cross, power_a, power_b = np.zeros((3, shells))
    for shell, weight in ((low, 1 - (position - low)), (low + 1, 1 - np.abs(position - low - 1))):
        weight = np.where(shell == 0, position == 0, np.maximum(weight, 0))
        for total, product in (
            (cross, (first * second.conj()).real), (power_a, np.abs(first) ** 2), (power_b, np.abs(second) ** 2),
        ):  # fmt: skip
            total += np.bincount(shell, weight * product, minlength=shells)
    scale = np.sqrt(power_a * power_b)
    correlation = np.divide(cross, scale, out=np.zeros(shells), where=scale > 1e-12 * scale.max())
    frequencies = np.arange(shells) / (min(a.shape) * voxel_size)
    return ShellCorrelation(frequencies, correlation, begins=_last_beginning(a.shape, mask))


def _last_beginning(shape: Sequence[int], mask: np.ndarray | None) -> int:
    """The finest shell that is no finer than the radius of a ball of the mask's volume; at least BEGINS."""
    if mask is None:
        return BEGINS
    return max(BEGINS, int(min(shape) / ball_radius(mask)))


def ball_radius(mask: np.ndarray) -> float:
    """The radius, in voxels, of a ball of a mask's volume."""
    return float((3 * float(mask.sum()) / (4 * np.pi)) ** (1 / 3))


def frequency_grid(shape: Sequence[int]) -> np.ndarray:
    """Cycles a voxel of every coefficient of rfftn of an array of this shape."""
    *whole, last = shape
    axes = [*(np.fft.fftfreq(n) for n in whole), np.fft.rfftfreq(last)]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))


def soft_sphere(shape: Sequence[int], *, radius: float, edge: float) -> np.ndarray:
    """1 within `radius` voxels of the box centre (n // 2), falling to 0 over `edge` voxels as a raised cosine."""
    axes = [np.arange(n) - n // 2 for n in shape]
    distance = np.sqrt(sum(axis.astype(np.float64) ** 2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
    if edge <= 0:
        return (distance <= radius).astype(np.float64)
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / edge, 0, 1))


def _masked(data: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        return data
    weight = float(mask.sum())
    if weight <= 0:
        raise VoxpickError("the mask is empty, so there is nothing to correlate; take a larger one")
    return (data - float((data * mask).sum()) / weight) * mask
