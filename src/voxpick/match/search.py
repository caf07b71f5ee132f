"""From a tomogram and the banks of templates to scored places and orientations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.match.background import beside, check_way
from voxpick.match.bank import Bank
from voxpick.match.compress import MOST_VOLUMES, RESIDUAL
from voxpick.match.exact import Scores, match_exact_in_turn
from voxpick.match.histogram import ScoreHistogram, score_histogram
from voxpick.match.low_rank import match_low_rank_in_turn
from voxpick.match.passes import Report
from voxpick.match.peaks import Peaks, chance_threshold, peaks_of, spaced_apart
from voxpick.match.rescore import at_places, climb
from voxpick.match.sampling import EVERY, Sampling
from voxpick.match.tiles import LARGEST_TILE, TiledVolume

PATHS = ("low-rank", "exact")
SPARE, SPARE_BETWEEN = 1.5, 3.0
"""Candidates of the low-rank path for each peak that is wanted: exact scores put them into another order.

The second where scores lie between places that were looked at."""
BETWEEN: dict[str, Any] = {"neighbours": 8, "lacking": 0.1}
"""How candidates climb there (`rescore.climb`)."""
BYTES = {"low-rank": 5.2, "exact": 8}
"""Of a map of scores, a voxel: at places that were looked at too, or rotations too."""
MAP_BYTES = 2560 << 20
"""Memory for maps of scores: a pass is made in parts whose maps have room in it."""


@dataclass(frozen=True)
class Wanted:
    """Which peaks to keep: at most `number`, at least `minimum_score`, at least `distance` voxels apart.

    false_positives: if given, only scores that noise alone exceeds so many times in the whole tomogram.
    sections: the first in which peaks may lie, and the one after the last; None for all.
    """

    distance: float
    number: int | None = 2000
    minimum_score: float = 0.0
    false_positives: float | None = None
    sections: tuple[int, int] | None = None

    def lowest(self, scores: Scores, rotations: int) -> float:
        """The score from which a peak is kept. Raises VoxpickError where it asks for noise that was found nowhere."""
        if self.false_positives is None:
            return self.minimum_score
        if scores.noise == 0:
            raise VoxpickError(
                "false_positives sets no score: nowhere was the tomogram found to vary as noise does; crop what is "
                "padded, take out voxels far from all others, or give minimum_score instead"
            )
        trials = float(np.count_nonzero(scores.score)) * rotations  # 0 where nothing varies
        noise = scores.noise / float(np.sqrt(scores.energy.mean()))  # of exact scores: low-rank ones lack energy
        return max(self.minimum_score, chance_threshold(noise, max(trials, 1), false_positives=self.false_positives))


@dataclass(frozen=True)
class Target:
    """A template to look for: its bank, and which of its peaks are wanted.

    background: a bank whose scores its own are set against, as `way` of `background.WAYS` says; None for none.
    """

    bank: Bank
    wanted: Wanted
    background: Bank | None = None
    way: str = "subtract"

    def banks(self) -> list[Bank]:
        """All that have to be searched."""
        return [self.bank] if self.background is None else [self.bank, self.background]


@dataclass(frozen=True)
class Matched:
    """peaks, with exact scores and the best orientation each. lowest: the score from which peaks were kept.

    noise: root mean square of all scores. energy: mean and smallest share of a template's energy the search kept.
    sampling: the places it looked at. volumes, needed: of a low-rank search, those it had and those that its residual
    asked for; 0 of an exact one.
    histogram: of the best scores of all voxels.
    """

    peaks: Peaks
    lowest: float
    noise: float
    energy: tuple[float, float]
    histogram: ScoreHistogram
    sampling: Sampling
    volumes: int = 0
    needed: int = 0


def find(
    volume: TiledVolume,
    bank: Bank,
    wanted: Wanted,
    *,
    path: str = "low-rank",
    residual: float = RESIDUAL,
    volumes: int = MOST_VOLUMES,
    sampling: Sampling | None = None,
    tile: int = LARGEST_TILE,
    progress: Report | None = None,
) -> Matched:
    """What `find_all` finds for one bank."""
    settings: dict[str, Any] = {"residual": residual, "volumes": volumes, "sampling": sampling, "tile": tile}
    return next(find_all(volume, [Target(bank, wanted)], path=path, progress=progress, **settings))


def find_all(
    volume: TiledVolume,
    targets: Sequence[Target],
    *,
    path: str = "low-rank",
    residual: float = RESIDUAL,
    volumes: int = MOST_VOLUMES,
    sampling: Sampling | None = None,
    tile: int = LARGEST_TILE,
    progress: Report | None = None,
) -> Iterator[Matched]:
    """Peaks of the best score over all rotations, of each target in turn; exact scores and orientations on both PATHS.

    Targets of similar size are searched together, and their maps let go before those of the next size are made; those
    that MAP_BYTES have no room for go by themselves. residual, volumes: of `compress.compress`; sampling: of
    `low_rank.match_low_rank_in_turn`, None takes every voxel where there is a background; progress(done, all), of all
    targets. Raises VoxpickError for an unknown path or way, and for a template larger than the tile.
    """
    if path not in PATHS:
        raise VoxpickError(f"unknown way to match {path!r}; one of {', '.join(PATHS)}")
    for target in targets:
        check_way(target.way)
    if any(target.background is not None for target in targets):  # differences peak more sharply than splines can tell
        sampling = EVERY if sampling is None else sampling
    banks, most = [target.banks() for target in targets], int(MAP_BYTES // (BYTES[path] * np.prod(volume.shape)))
    shared: dict[str, Any] = {"most": most, "tile": tile, "progress": progress}
    if path == "exact":
        maps = match_exact_in_turn(volume, banks, **shared)
    else:
        low_rank: dict[str, Any] = {"residual": residual, "largest": volumes, "sampling": sampling}
        maps = match_low_rank_in_turn(volume, banks, **low_rank, **shared)
    found: dict[int, Matched] = {}
    given = 0
    for k, scores in maps:
        found[k] = (_of_exact_maps if path == "exact" else _of_rough_maps)(volume, targets[k], scores)
        scores.clear()
        for bank in banks[k]:
            bank.forget()
        while given in found:
            yield found.pop(given)
            given += 1


def _of_exact_maps(volume: TiledVolume, target: Target, scores: list[Scores]) -> Matched:
    rotation, wanted = scores[0].rotation, target.wanted
    assert rotation is not None
    lowest, score = wanted.lowest(scores[0], len(target.bank)), _combined(target, scores)
    places = peaks_of(score, distance=wanted.distance, number=wanted.number, above=lowest, sections=wanted.sections)
    at = tuple(places.T)
    peaks = Peaks(places, score[at].astype(np.float64), rotation[at].astype(np.int64))
    return _matched(target, scores, score, peaks, lowest)


def _of_rough_maps(volume: TiledVolume, target: Target, scores: list[Scores]) -> Matched:
    """Peaks of maps that are not exact, scored exactly."""
    wanted, bank, energy = target.wanted, target.bank, min(float(one.energy.min()) for one in scores)
    lowest, score = wanted.lowest(scores[0], len(bank)), _combined(target, scores)
    every = all(one.sampling.every for one in scores)
    each, way = (SPARE, {}) if every else (SPARE_BETWEEN, BETWEEN)
    spare = None if wanted.number is None else int(np.ceil(each * wanted.number))
    # what the volumes lack lowers scores by about the root of the energy they lack, and what lies between places adds
    share = float(np.sqrt(energy)) * (1 - way.get("lacking", 0.0))
    first, end = wanted.sections or (0, len(score))  # peaks may still climb over an end
    places = peaks_of(
        score, distance=wanted.distance, number=spare, above=lowest * share, sections=(first - 1, end + 1)
    )

    def ask(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, rows = at_places(volume, bank, at)
        if target.background is not None:
            values = beside(values, at_places(volume, target.background, at)[0], target.way)
        return values, rows

    peaks = climb(ask, score, places, **way).best_first()
    z = peaks.places[:, 0]
    peaks = peaks[(peaks.scores > lowest) & (z >= first) & (z < end)]
    peaks = peaks[spaced_apart(peaks.places, max(wanted.distance, 1.0), number=wanted.number)]
    return _matched(target, scores, score, peaks, lowest)


def _combined(target: Target, scores: list[Scores]) -> np.ndarray:
    return scores[0].score if len(scores) == 1 else beside(scores[0].score, scores[1].score, target.way)


def _matched(target: Target, scores: list[Scores], score: np.ndarray, peaks: Peaks, lowest: float) -> Matched:
    noise = scores[0].noise
    energy = float(scores[0].energy.mean()), float(scores[0].energy.min())
    histogram = score_histogram(score, None if len(scores) > 1 else noise, len(target.bank), lowest=lowest)
    first = scores[0]
    return Matched(peaks, lowest, noise, energy, histogram, first.sampling, first.volumes, first.needed)
