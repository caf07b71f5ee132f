"""Difference of Gaussians: how much a place looks like a ball of a given radius, without any reference.

After Voss et al., DoG Picker and TiltPicker, J. Struct. Biol. 166 (2009), in three dimensions.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from voxpick.errors import VoxpickError

RATIO = 1.2
"""Of the two Gaussians' widths."""


def widths(radius: float) -> tuple[float, float]:
    """Standard deviations of the two Gaussians that respond most to a ball of `radius`; the same unit.

    At the centre of a ball the response to a Laplacian of width s is proportional to exp(-r^2 / (2 s^2)) / s^3, which
    is largest at s = r / sqrt(3); the two widths lie about it.
    """
    middle = radius / math.sqrt(3)
    return middle / math.sqrt(RATIO), middle * math.sqrt(RATIO)


def difference_of_gaussians(data: np.ndarray, radius: float) -> np.ndarray:
    """The narrow blur less the wide blur of [z, y, x]: float32, high at the centres of bright balls of `radius` voxels.

    Beyond the faces the volume is mirrored. Raises VoxpickError for a radius below one voxel or beyond half the volume.
    """
    if not 1 <= radius <= max(data.shape) / 2:
        raise VoxpickError(
            f"particle radius of {radius:g} voxels in a volume of shape {data.shape}: give 1 voxel to half the volume; "
            "is the voxel size right?"
        )
    narrow, wide = widths(radius)
    values = np.asarray(data, dtype=np.float32)
    return ndimage.gaussian_filter(values, narrow) - ndimage.gaussian_filter(values, wide)


def noise_level(response: np.ndarray) -> float:
    """Standard deviation of the Gaussian with the same median absolute deviation: particles hardly move it."""
    sample = response.reshape(-1)[:: max(1, response.size // 1_000_000)]
    return float(1.4826 * np.median(np.abs(sample - np.median(sample))))
