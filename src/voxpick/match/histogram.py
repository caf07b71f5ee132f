"""How often which best score occurs in a tomogram, and how often it would in noise alone.

The best of n independent Gaussian scores of standard deviation s stays below x with probability Phi(x / s)^n. Scores of
neighbouring rotations are alike, so n is not their number but is told from the median of the best scores, which
particles hardly move. What lies above the curve of noise is not noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from voxpick.match.peaks import chance_threshold

BINS = 120


@dataclass(frozen=True)
class ScoreHistogram:
    """edges: (n + 1,). counts: voxels in each bin, (n,). expected: the same in noise alone, (n,); None if not known.

    independent: rotations that behave like independent ones. chance: the score that noise exceeds once in the tomogram
    if all rotations and voxels are independent (erfc). lowest: the score from which peaks were kept.
    """

    edges: np.ndarray
    counts: np.ndarray
    expected: np.ndarray | None
    independent: float | None
    chance: float | None
    lowest: float


def score_histogram(score: np.ndarray, noise: float | None, rotations: int, *, lowest: float = 0.0) -> ScoreHistogram:
    """Of best scores [z, y, x] over `rotations`; noise: standard deviation of a single score, None makes no fit.

    Places that score 0, as where nothing varies, are left out.
    """
    values = score[score != 0]
    if not values.size:
        return ScoreHistogram(np.array([0.0, 1.0]), np.zeros(1, dtype=np.int64), None, None, None, lowest)
    top = float(values.max())
    counts, edges = np.histogram(values, bins=BINS, range=(float(values.min()), max(top, float(values.min()) + 1e-6)))
    if not noise:
        return ScoreHistogram(edges, counts, None, None, None, lowest)
    middle = float(np.median(values)) / noise
    independent = float(np.clip(np.log(0.5) / log_ndtr(middle), 1, rotations))
    share = np.exp(independent * log_ndtr(edges / noise))
    upper = -np.expm1(independent * log_ndtr(edges / noise))  # the same seen from above, exact where it is small
    expected = values.size * np.where(share[1:] < 0.5, share[1:] - share[:-1], upper[:-1] - upper[1:])
    chance = chance_threshold(noise, float(values.size) * rotations)
    return ScoreHistogram(edges, counts, expected, independent, chance, lowest)
