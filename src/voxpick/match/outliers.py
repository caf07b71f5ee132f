"""Voxels that are no specimen, by their values: gold beads, hot voxels and other defects, taken out before matching.

A score is normalised where it is measured, so that an extreme voxel scores as high when its value is clipped: the step
at its edge stays. With the median in its place there is none.
"""

from __future__ import annotations

import warnings

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.volume import read_sections

PER_MAD = 1.4826
"""Standard deviations of normally distributed values in one median absolute deviation."""
SAMPLE = 1 << 21
"""Voxels that median and deviation are measured on, at most some of each section."""


MOST = 0.01
"""Share of the voxels beyond which a person is told that they may be particles."""


def fill_outliers(data: np.ndarray, filled: np.ndarray, *, deviations: float, name: str = "tomogram") -> np.ndarray:
    """`filled`, a copy of `data` [z, y, x] in which voxels over so many deviations from the median are set to it.

    The deviation is the median absolute one, which gold does not change. Warns where so many are taken that they may be
    particles. Raises VoxpickError where half of the voxels or more have one value, so that nothing tells what is usual.
    """
    step = max(1, int(np.ceil((data.size / SAMPLE) ** 0.5)))
    sample = np.concatenate(
        [np.asarray(section, dtype=np.float64)[z % step :: step, ::step].ravel() for z, section in read_sections(data)]
    )
    middle = float(np.median(sample))
    deviation = PER_MAD * float(np.median(np.abs(sample - middle)))
    if deviation == 0:
        raise VoxpickError(
            f"outliers = {deviations:g}: half of the voxels or more are {middle:g}, so no deviation is usual; crop "
            "what is padded, or leave it out"
        )
    number = 0
    for z, section in read_sections(data):
        values = np.asarray(section, dtype=np.float32)
        far = np.abs(values - middle) > deviations * deviation
        filled[z] = np.where(far, np.float32(middle), values)
        number += int(far.sum())
    if number > MOST * data.size:
        warnings.warn(
            f"{name}: outliers = {deviations:g} takes out {number / data.size:.1%} of the voxels, more than gold beads "
            "are, so they may be particles; give a larger one",
            stacklevel=3,
        )
    return filled
