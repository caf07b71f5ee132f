"""Scores set against those of a template of the same power and no structure.

Where a tomogram is dense or sharply bounded, as at membranes, gold and ice, any template scores high. One whose Fourier
components keep their amplitudes and get random phases scores high at the same places, but not at particles (as STOPGAP
and pytom-match-pick do it: Chaillet et al., Int. J. Mol. Sci. 24, 2023).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.match.bank import Template, in_cube

WAYS = ("subtract", "divide")
LEAST = 0.05
"""Of a background to divide by; the best of thousands of orientations is hardly ever lower."""


def phase_randomised(template: Template, rng: np.random.Generator) -> Template:
    """The template with the amplitudes of its transform and the phases of white noise, under the same mask."""
    least = max(*template.density.shape, 2 * int(np.ceil(template.radius_voxels())) + 4)
    shape = (least + least % 2,) * 3
    spectrum, phases = np.fft.rfftn(in_cube(template.density, shape[0])), np.fft.rfftn(rng.normal(size=shape))
    density = np.fft.irfftn(spectrum * phases / np.maximum(np.abs(phases), 1e-30), s=shape, axes=(0, 1, 2))
    radius = template.radius_voxels() * template.voxel_size
    return replace(template, name=f"{template.name}, random phases", density=density.astype(np.float32), radius=radius)


def check_way(way: str) -> None:
    """Raises VoxpickError for what is not one of WAYS."""
    if way not in WAYS:
        raise VoxpickError(f"unknown way to set scores against a background {way!r}; one of {', '.join(WAYS)}")


def beside(score: np.ndarray, background: np.ndarray, way: str) -> np.ndarray:
    """Scores beside their background, of the same shape: score - background, or score / (score + background).

    The latter grows with the ratio of the two, within 0..1, and is 0 for scores that are not above 0. A background
    counts as LEAST at least, so that places where neither says anything do not stand out.
    """
    if way == "subtract":
        return score - background
    positive = np.maximum(score, 0)
    return positive / (positive + np.maximum(background, LEAST))
