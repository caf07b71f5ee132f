"""Where a tomogram varies as most of it does: the places from which the noise of scores is measured.

The tomogram's own variance does not tell: one hot voxel, gold, or padding with another value than the mean multiplies
it, and then only those places, and the steps around them, vary as much as it says.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from voxpick.match.bank import Bank
from voxpick.match.tiles import SMALLEST_VARIANCE, TiledVolume

VARYING = 0.1
"""Of the tomogram's own variance: places that vary less are not counted for the noise of scores."""
MISLED, STEPS = 0.5, 4.0
"""Of the same: where the usual local variance is less, something else makes it, and only places are counted that vary
more than VARYING and less than STEPS of the usual one."""
PLACES = 6
"""Along each axis, at which local variances are looked at for the usual one."""


def noisy_variances(volume: TiledVolume, bank: Bank) -> tuple[float, float]:
    """The lowest and highest variance under the mask, over the tomogram's, of places that count for the noise."""
    usual = usual_variance(volume, bank)
    if usual >= MISLED:
        return VARYING, float("inf")
    return max(VARYING * usual, SMALLEST_VARIANCE), max(STEPS * usual, SMALLEST_VARIANCE)


def usual_variance(volume: TiledVolume, bank: Bank) -> float:
    """The median of the variances under the mask, over the tomogram's, where anything varies; 0 where nothing does."""
    weights = bank.mask.double().cpu().numpy() / bank.weight
    reach, found = bank.side // 2, []
    ends = [(min(reach, n // 2), max(n - 1 - reach, n // 2)) for n in volume.shape]
    axes = [np.unique(np.linspace(*each, PLACES, dtype=int)) for each in ends]
    for place in itertools.product(*axes):
        z, y, x = (int(at) - reach for at in place)
        box = volume.cut((z, y, x), (bank.side,) * 3)
        mean = float((box * weights).sum())
        found.append(float((np.square(box - mean) * weights).sum()))
    varying = [variance for variance in found if variance > SMALLEST_VARIANCE]
    return float(np.median(varying)) if varying else 0.0


def where_noisy(inverse: torch.Tensor, bank: Bank, variances: tuple[float, float]) -> torch.Tensor:
    """`PreparedTile.inverse_deviation`, 0 where the variance is not within `variances`.

    Such places say little of the noise: padding, and its border, where a few voxels under the mask decide.
    """
    least, most = (variance**-0.5 for variance in variances)
    found, scaled = inverse, inverse * bank.weight
    if most > 0:
        found = found.masked_fill(scaled < most, 0.0)
    return found.masked_fill(scaled > least, 0.0)
