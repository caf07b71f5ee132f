"""A tomogram with the amplitude spectrum that a model was trained on, by a filter that depends on frequency alone.

A network knows the colour of its training tomograms: what their defocus, voxel size, noise and reconstruction filter
made of it. A tomogram of another colour is brought to theirs; phases, zeros and the missing wedge stay. MemBrain-seg
does the same for membranes: Lamm et al. (2024), MemBrain v2, bioRxiv 2024.01.05.574336.

Amplitudes are those at frequencies of 1 to 24 periods in CUBE voxels, the last Nyquist's, of intensities with mean 0
and standard deviation 1: the median over cubes, which a few fiducials do not move, of the mean over directions.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from scipy.signal.windows import hann

from voxpick.volume import release

CUBE = 48
FREQUENCIES = CUBE // 2
MOST_CUBES = 250
LEAST_DEVIATION = 1e-3
"""Of the tomogram's; a cube with less holds no image and does not count."""
MOST_PADDING = 0.3
"""Share of voxels equal to their neighbour, beyond which a cube is taken for a padded border and does not count."""
MOST_GAIN = 3.0
"""Over the gain where a tomogram's power is; what is not in a tomogram cannot be brought back."""
REACH = 24
"""Voxels to which the filter reaches."""


def amplitudes(data: np.ndarray, mean: float, deviation: float) -> np.ndarray | None:
    """Amplitudes (24,) of (data - mean) / |deviation|, data [z, y, x], from at most MOST_CUBES cubes of it.

    None where a side is shorter than a cube. Reads only these cubes of a memory-mapped array.
    """
    if min(data.shape) < CUBE:
        return None
    share = min(1.0, (MOST_CUBES / np.prod([1 + (n - CUBE) / (CUBE / 2) for n in data.shape])) ** (1 / 3))
    starts = [_starts(n, round(share * (1 + (n - CUBE) / (CUBE / 2)))) for n in data.shape]
    window = torch.from_numpy(_window())
    rings, counts = _rings()
    powers = []
    for z, y, x in product(*starts):
        cube = np.asarray(data[z : z + CUBE, y : y + CUBE, x : x + CUBE], dtype=np.float32) - np.float32(mean)
        level = float(cube.std(dtype=np.float64))  # squares of values beyond 1e19 are no float32
        if level < LEAST_DEVIATION * abs(deviation) or (np.diff(cube, axis=2) == 0).mean() > MOST_PADDING:
            continue
        cube = (cube - cube.mean()) / np.float32(level)
        power = torch.fft.rfftn(torch.from_numpy(cube) * window).abs().square().double().numpy()
        sums = np.bincount(rings, power.ravel(), minlength=FREQUENCIES + 2)[1 : FREQUENCIES + 1]
        powers.append(sums / counts * (level / deviation) ** 2)
        release(data)
    if not powers:
        return None
    return np.asarray(np.sqrt(np.median(powers, axis=0) / float(window.square().sum())))


def _starts(length: int, number: int) -> np.ndarray:
    """Where cubes begin along an axis: evenly spread, a single one in the middle."""
    if number <= 1:
        return np.array([(length - CUBE) // 2])
    return np.linspace(0, length - CUBE, number).astype(int)


def gains_to(wanted: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Factors (24,) that bring amplitudes `own` to `wanted`, at most MOST_GAIN times their mean where power is."""
    gains = wanted / np.maximum(own, 1e-6 * own.max())
    usual = np.exp(np.average(np.log(gains), weights=_shells() * own**2))
    return np.asarray(np.minimum(gains, MOST_GAIN * usual))


def change(gains: np.ndarray, own: np.ndarray) -> float:
    """How much a tomogram of amplitudes `own` changes by `gains`: standard deviation of the change, of its own 1."""
    return float(np.sqrt(np.average((gains - 1) ** 2, weights=_shells() * own**2)))


def kernel_of(gains: np.ndarray) -> np.ndarray:
    """The filter float32 [49, 49, 49] of gains (24,); the gain of frequency 0 is that of the first, and so on."""
    side = 4 * REACH
    axis = np.abs(np.fft.fftfreq(side))
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis[: side // 2 + 1] ** 2)
    response = np.interp(radius * CUBE, np.arange(1, FREQUENCIES + 1), gains)
    kernel = np.fft.fftshift(np.fft.irfftn(response, s=(side,) * 3, axes=(0, 1, 2)))
    middle = slice(side // 2 - REACH, side // 2 + REACH + 1)
    taper = hann(2 * REACH + 3)[1:-1]
    kernel = kernel[middle, middle, middle] * taper[:, None, None] * taper[:, None] * taper
    return kernel.astype(np.float32)


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    side = hann(CUBE, sym=False).astype(np.float32)
    return np.asarray(side[:, None, None] * side[:, None] * side)


@lru_cache(maxsize=1)
def _rings() -> tuple[np.ndarray, np.ndarray]:
    """Periods in CUBE voxels, rounded, of the samples of rfftn, flat, FREQUENCIES + 1 beyond the last; and how many."""
    axis = np.abs(np.fft.fftfreq(CUBE)) * CUBE
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis[: FREQUENCIES + 1] ** 2)
    rings = np.minimum(np.rint(radius), FREQUENCIES + 1).astype(np.int64).ravel()
    return rings, np.bincount(rings)[1 : FREQUENCIES + 1]


def _shells() -> np.ndarray:
    """Relative numbers of samples at each frequency."""
    return np.square(np.arange(1, FREQUENCIES + 1, dtype=np.float64))
