"""From a tomogram and the bank of a template to scored places and orientations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.match.bank import Bank
from voxpick.match.exact import Report, Scores, match_exact
from voxpick.match.low_rank import MOST_VOLUMES, RESIDUAL, match_low_rank
from voxpick.match.peaks import Peaks, chance_threshold, peaks_of, spaced_apart
from voxpick.match.rescore import climb
from voxpick.match.tiles import LARGEST_TILE, TiledVolume

PATHS = ("low-rank", "exact")
SPARE = 1.5
"""Candidates of the low-rank path for each peak that is wanted: exact scores put them into another order."""


@dataclass(frozen=True)
class Wanted:
    """Which peaks to keep: at most `number`, at least `minimum_score`, at least `distance` voxels apart.

    false_positives: if given, only scores that noise alone exceeds so many times in the whole tomogram.
    """

    distance: float
    number: int | None = 2000
    minimum_score: float = 0.0
    false_positives: float | None = None

    def lowest(self, scores: Scores, rotations: int) -> float:
        """The score from which a peak is kept."""
        if self.false_positives is None:
            return self.minimum_score
        trials = float(scores.score.size) * rotations
        return max(self.minimum_score, chance_threshold(scores.noise, trials, false_positives=self.false_positives))


@dataclass(frozen=True)
class Matched:
    """peaks, with exact scores and the best orientation each. lowest: the score from which peaks were kept.

    noise: root mean square of all scores. energy: mean and smallest share of a template's energy the search kept.
    """

    peaks: Peaks
    lowest: float
    noise: float
    energy: tuple[float, float]


def find(
    volume: TiledVolume,
    bank: Bank,
    wanted: Wanted,
    *,
    path: str = "low-rank",
    residual: float = RESIDUAL,
    volumes: int = MOST_VOLUMES,
    tile: int = LARGEST_TILE,
    progress: Report | None = None,
) -> Matched:
    """Peaks of the best score over all rotations; scores and orientations are exact on both of PATHS.

    residual, volumes: of `low_rank.compress`. Raises VoxpickError for an unknown path, and for a template larger than
    the tile.
    """
    if path == "exact":
        scores = match_exact(volume, bank, tile=tile, progress=progress)
        assert scores.rotation is not None
        lowest = wanted.lowest(scores, len(bank))
        places = peaks_of(scores.score, distance=wanted.distance, number=wanted.number, above=lowest)
        at = tuple(places.T)
        peaks = Peaks(places, scores.score[at].astype(np.float64), scores.rotation[at].astype(np.int64))
    elif path == "low-rank":
        scores = match_low_rank(volume, bank, residual=residual, largest=volumes, tile=tile, progress=progress)
        lowest = wanted.lowest(scores, len(bank))
        spare = None if wanted.number is None else int(np.ceil(SPARE * wanted.number))
        # what the volumes lack lowers scores by at most the root of the energy they lack
        above = lowest * float(np.sqrt(scores.energy.min()))
        places = peaks_of(scores.score, distance=wanted.distance, number=spare, above=above)
        peaks = climb(volume, bank, scores.score, places).best_first()
        peaks = peaks[peaks.scores > lowest]
        peaks = peaks[spaced_apart(peaks.places, max(wanted.distance, 1.0), number=wanted.number)]
    else:
        raise VoxpickError(f"unknown way to match {path!r}; one of {', '.join(PATHS)}")
    energy = float(scores.energy.mean()), float(scores.energy.min())
    return Matched(peaks, lowest, scores.noise, energy)
