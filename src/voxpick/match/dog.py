"""Difference of Gaussians: how much a place looks like a ball of a given radius, without any reference.

After Voss et al., DoG Picker and TiltPicker, J. Struct. Biol. 166 (2009), in three dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from voxpick.errors import VoxpickError

RATIO = 1.2
"""Of the two Gaussians' widths."""
LEAST_VARYING = 0.01
"""Share of the voxels that have to differ from their neighbours."""


def widths(radius: float) -> tuple[float, float]:
    """Standard deviations of the two Gaussians that respond most to a ball of `radius`; the same unit.

    At the centre of a ball the response to a Laplacian of width s is proportional to exp(-r^2 / (2 s^2)) / s^3, which
    is largest at s = r / sqrt(3); the two widths lie about it.
    """
    middle = radius / math.sqrt(3)
    return middle / math.sqrt(RATIO), middle * math.sqrt(RATIO)


def difference_of_gaussians(data: np.ndarray, radius: float) -> np.ndarray:
    """The narrow blur less the wide blur of [z, y, x]: float32, high at the centres of bright balls of `radius` voxels.

    Beyond the faces the volume is mirrored, which counts the voxels there twice; the response is divided by how much
    more noise that makes of white noise than in the middle, so that noise is as seldom picked there as elsewhere.
    Raises VoxpickError for a radius below one voxel or beyond half the volume.
    """
    if not 1 <= radius <= max(data.shape) / 2:
        raise VoxpickError(
            f"particle radius of {radius:g} voxels in a volume of shape {data.shape}: give 1 voxel to half the volume; "
            "is the voxel size right?"
        )
    narrow, wide = widths(radius)
    values = np.asarray(data, dtype=np.float32)
    response = ndimage.gaussian_filter(values, narrow) - ndimage.gaussian_filter(values, wide)
    for section, noise in zip(response, _noise_of_sections(response.shape, narrow, wide), strict=True):
        section /= noise
    return response


def _noise_of_sections(shape: tuple[int, ...], narrow: float, wide: float) -> Iterator[np.ndarray]:
    """Deviation of the response to white noise over that in the middle of the volume: float32 [y, x] of each section.

    That of the filter a - b is the root of the sum of (a - b)^2, and a and b are products of the filters along axes.
    """
    along = [_squared_sums(n, narrow, wide) for n in shape]
    middle = np.prod([sums[:, n // 2] for sums, n in zip(along, shape, strict=True)], axis=0)
    usual = middle @ [1, -2, 1]
    for z in along[0].T:
        variance = np.einsum("k,ky,kx->yx", z * [1, -2, 1], along[1], along[2])
        yield np.sqrt(variance / usual).astype(np.float32)


def _squared_sums(length: int, narrow: float, wide: float) -> np.ndarray:
    """Sums of a^2, a b and b^2 over the weights of two Gaussians, mirrored at both ends, at each place: (3, length)."""
    a, b = (ndimage.gaussian_filter1d(np.eye(length), width, axis=1) for width in (narrow, wide))
    return np.stack([(a * a).sum(axis=0), (a * b).sum(axis=0), (b * b).sum(axis=0)])


def noise_level(response: np.ndarray, data: np.ndarray) -> float:
    """Standard deviation of the Gaussian with the same median absolute deviation: particles hardly move it.

    Of the places where `data` [z, y, x] differs from the voxel before: padding has no noise, and would say there is
    none. Raises VoxpickError where nearly all is padding.
    """
    at = np.arange(1, response.size, max(1, response.size // 1_000_000))
    values = data.reshape(-1)
    sample = response.reshape(-1)[at[values[at] != values[at - 1]]]
    if len(sample) < LEAST_VARYING * len(at):
        raise VoxpickError(
            f"only {len(sample) / len(at):.2%} of the voxels differ from their neighbours, so there is no telling the "
            "noise; cut the padding off, or name the sections to look at with --slab"
        )
    return float(1.4826 * np.median(np.abs(sample - np.median(sample))))
