"""Agreement of half maps inside a mask, less what the mask itself adds, and beyond what was made to agree.

A mask multiplies both maps alike, which spreads coarse agreement into finer shells. How much is seen where there is
nothing else to see: with the phases of both maps made random beyond some frequency (high-resolution noise substitution,
Chen et al., doi:10.1016/j.ultramic.2013.06.004).

Where one map was laid onto the other, the best of thousands of turns and shifts makes maps of noise agree as well: on
all detail that was looked at, and on a little finer detail, as the mask smears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from voxpick.average.fsc import THRESHOLDS, ShellCorrelation, ball_radius, frequency_grid, shell_correlation

RANDOM_BELOW = 0.8
"""Phases are random from the first shell on in which the maps, without a mask, correlate less."""
SHELLS_BETWEEN = 1
"""Shells after that one that are not corrected: both lie in its reach."""
SMEARED = 1.5
"""How far beyond the detail they were laid onto each other on maps of noise agree at most, over the radius of a ball of
the mask's volume: what the mask smears, and chance (benchmarks/accuracy/smeared.py)."""
DRAWS = 10
"""Sets of random phases that are averaged over; small boxes have few coefficients in a shell."""


@dataclass(frozen=True)
class HalfMapCorrelation(ShellCorrelation):
    """correlation: in the mask, corrected for it: (masked - randomised) / (1 - randomised) beyond `beyond`.

    masked: in the mask; unmasked: of the whole boxes; randomised: in the mask, phases random from `beyond` (1/A) on.
    registered: the finest detail on which one map was laid onto the other, A; infinite where none was.
    conclusive: the detail beyond which they then agree only if there is something to agree on, A: finer than
    `registered` by SMEARED.
    """

    masked: np.ndarray
    unmasked: np.ndarray
    randomised: np.ndarray
    beyond: float
    registered: float = float("inf")
    conclusive: float = float("inf")

    def resolution(self, threshold: float = THRESHOLDS[0]) -> float:
        """As of any curve, but NaN for `inconclusive` ones."""
        return float("nan") if self.inconclusive() else super().resolution(threshold)

    def inconclusive(self) -> bool:
        """Whether the maps agree (FSC 0.143), but on nothing finer than `conclusive`, as they do if of noise."""
        return bool(super().resolution(THRESHOLDS[0]) >= self.conclusive)

    def to_frame(self) -> pd.DataFrame:
        """Columns frequency (1/A), resolution (A), correlation, masked, unmasked and randomised."""
        return super().to_frame().assign(masked=self.masked, unmasked=self.unmasked, randomised=self.randomised)


def half_map_correlation(
    a: np.ndarray, b: np.ndarray, *, voxel_size: float, mask: np.ndarray, rng: np.random.Generator,
    registered: float = float("inf"),
) -> HalfMapCorrelation:  # fmt: skip
    """The correlation of two half maps [z, y, x] in a soft mask, corrected by random phases. voxel_size: A.

    registered: the finest detail on which one of them was laid onto the other, A; infinite where none was.
    Raises VoxpickError when shapes differ or the mask is empty.
    """
    masked = shell_correlation(a, b, voxel_size=voxel_size, mask=mask)
    unmasked = shell_correlation(a, b, voxel_size=voxel_size)
    low = np.flatnonzero(unmasked.correlation[1:] < RANDOM_BELOW) + 1
    first = int(low[0]) if len(low) else len(masked.correlation)
    randomised = masked.correlation.copy()
    if len(low):
        found = []
        for _ in range(DRAWS):
            blurred = (random_phases(half, beyond=first / min(a.shape), rng=rng) for half in (a, b))
            found.append(shell_correlation(*blurred, voxel_size=voxel_size, mask=mask).correlation)
        randomised = np.mean(found, axis=0)
    corrected = masked.correlation.copy()
    beyond = slice(first + 1 + SHELLS_BETWEEN, None)
    noise = np.clip(randomised[beyond], 0, 0.999)
    corrected[beyond] = (masked.correlation[beyond] - noise) / (1 - noise)
    return HalfMapCorrelation(
        masked.frequencies, np.clip(corrected, -1, 1), masked.correlation, unmasked.correlation, randomised,
        float(masked.frequencies[first]) if len(low) else float("inf"), registered,
        1 / (1 / registered + SMEARED / (ball_radius(mask) * voxel_size)) if np.isfinite(registered) else float("inf"),
        begins=masked.begins,
    )  # fmt: skip


def random_phases(data: np.ndarray, *, beyond: float, rng: np.random.Generator) -> np.ndarray:
    """A map [z, y, x]; coefficients from `beyond` cycles a voxel on keep their size and get phases of white noise."""
    spectrum = np.fft.rfftn(np.asarray(data, dtype=np.float64))
    noise = np.fft.rfftn(rng.normal(size=data.shape))
    fine = frequency_grid(data.shape) >= beyond - 1e-9
    spectrum[fine] = np.abs(spectrum[fine]) * noise[fine] / np.maximum(np.abs(noise[fine]), 1e-30)
    return np.fft.irfftn(spectrum, s=data.shape, axes=(0, 1, 2))
