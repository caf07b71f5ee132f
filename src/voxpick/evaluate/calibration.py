"""Whether scores mean what they say: of the picks with a score near 0.8, eight in ten should be right.

Reliability curve and expected calibration error: Guo et al., On calibration of modern neural networks, ICML (2017).
Brier, Mon. Weather Rev. 78 (1950). Intervals of shares: Wilson, J. Am. Stat. Assoc. 22 (1927).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.evaluate.shrec import UNNAMED
from voxpick.particles import Particles

NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Reliability:
    """Scores against what was right, in bins of equal width over [0, 1].

    edges: (bins + 1,). counts, mean_score, share_right, lower, upper: (bins,); NaN in an empty bin. lower, upper: 95 %
    Wilson interval of the share. ece: mean over the picks of |mean score - share right| of their bin; ece_equal_count:
    the same in bins of equally many picks; ece_by_chance: what `ece` would be on average if every score were exactly
    the chance of being right, as few picks scatter too. brier: mean squared difference of score and outcome. All four
    are NaN without picks.
    """

    edges: np.ndarray
    counts: np.ndarray
    mean_score: np.ndarray
    share_right: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    ece: float
    ece_equal_count: float
    ece_by_chance: float
    brier: float
    right: int

    @property
    def picks(self) -> int:
        """How many scores there are."""
        return int(self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; None for NaN. The curve has the bins that hold picks."""
        held = np.flatnonzero(self.counts)
        columns = {
            "from": self.edges[held], "to": self.edges[held + 1], "mean_score": self.mean_score[held],
            "share_right": self.share_right[held], "lower": self.lower[held], "upper": self.upper[held],
        }  # fmt: skip
        numbers = {name: getattr(self, name) for name in ("ece", "ece_equal_count", "ece_by_chance", "brier")}
        return {
            "picks": self.picks,
            "right": self.right,
            **{name: None if np.isnan(value) else round(value, 6) for name, value in numbers.items()},
            "curve": {
                "picks": self.counts[held].tolist(),
                **{name: np.round(column, 6).tolist() for name, column in columns.items()},
            },
        }


def reliability(scores: np.ndarray, right: np.ndarray, *, bins: int = 10) -> Reliability:
    """Scores (n,) in [0, 1] against right (n,) bool. A score on an edge belongs to the bin above, 1 to the last.

    Raises VoxpickError for lengths that differ, scores out of [0, 1] and fewer than one bin.
    """
    scores, right = _checked(scores, right)
    if bins < 1:
        raise VoxpickError(f"calibration: bins is {bins}; at least one is needed")
    edges = np.arange(bins + 1) / bins
    at = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    mean_score, share = _means(at, scores, counts), _means(at, right.astype(np.float64), counts)
    lower, upper = wilson_interval(np.bincount(at, right, minlength=bins), counts)
    groups = _equal_groups(scores, bins)
    n = np.bincount(groups, minlength=1)
    return Reliability(
        edges=edges,
        counts=counts,
        mean_score=mean_score,
        share_right=share,
        lower=lower,
        upper=upper,
        ece=_gap(mean_score, share, counts),
        ece_equal_count=_gap(_means(groups, scores, n), _means(groups, right.astype(np.float64), n), n),
        ece_by_chance=_gap_by_chance(at, scores, counts),
        brier=float(np.mean((scores - right) ** 2)) if len(scores) else float("nan"),
        right=int(right.sum()),
    )


def right_picks(picks: Particles, hit_ids: np.ndarray, true_classes: np.ndarray | None = None) -> np.ndarray:
    """Which picks are right: bool (n,).

    A pick is right when it lies on a particle that no pick of a higher score lies on (of equal scores the first listed
    counts) and, where true_classes are given, has the class of that particle (case does not matter).
    hit_ids: (n,) row + 1 of the particle a pick lies on, 0 for none, as `Shrec20Score.hit_ids` and
    `PairingScore.hit_ids`. true_classes: (particles,) names. Raises VoxpickError for hits of other picks.
    """
    assert picks.scores is not None
    if len(hit_ids) != len(picks):
        raise VoxpickError(f"calibration: {len(hit_ids)} hits for {len(picks)} picks; they must be of the same picks")
    order = np.argsort(-picks.scores, kind="stable")
    ids, first = np.unique(np.asarray(hit_ids)[order], return_index=True)
    right = np.zeros(len(picks), dtype=bool)
    right[order[first[ids > 0]]] = True
    if true_classes is not None:
        names = np.array([str(name).lower() for name in true_classes], dtype=object)
        mine = np.array([str(name).lower() for name in picks.classes], dtype=object)
        rows = np.flatnonzero(right)
        right[rows] = mine[rows] == names[np.asarray(hit_ids)[rows] - 1]
    return right


def confidence(picks: Particles, hit_ids: np.ndarray, true_classes: np.ndarray, *, bins: int = 10) -> dict[str, Any]:
    """The calibration of picks as plain numbers: 'located', and 'named' where the picks have classes.

    located: the location score (the score, where the picks have none) against lying on a particle that is not taken.
    named: the score against that and the right class as well, where the true particles have names too. Nothing where
    every score is 1: files without scores.
    """
    where = picks.scores if picks.location_scores is None else picks.location_scores
    assert picks.scores is not None and where is not None
    if (picks.scores == 1).all():
        return {}
    found = {"located": reliability(where, right_picks(picks, hit_ids), bins=bins).to_dict()}
    if all({str(name).lower() for name in names} - set(UNNAMED) for names in (picks.classes, true_classes)):
        right = right_picks(picks, hit_ids, true_classes)
        found["named"] = reliability(picks.scores, right, bins=bins).to_dict()
    return found


def wilson_interval(right: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of shares right / counts: (lower, upper); NaN where counts is 0."""
    n = np.where(counts > 0, counts, np.nan).astype(np.float64)
    share, z2 = right / n, NORMAL_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def _checked(scores: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if scores.shape != right.shape or scores.ndim != 1:
        raise VoxpickError(f"calibration: scores have shape {scores.shape}, outcomes {right.shape}; one of each a pick")
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise VoxpickError(f"calibration: the score of row {wrong[0]} is {scores[wrong[0]]}; scores lie in [0, 1]")
    return scores, right


def _means(at: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of the values in every bin; NaN in an empty one."""
    sums = np.bincount(at, values, minlength=len(counts))
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _gap(mean_score: np.ndarray, share: np.ndarray, counts: np.ndarray) -> float:
    held = counts > 0
    if not held.any():
        return float("nan")
    return float(np.average(np.abs(mean_score - share)[held], weights=counts[held]))


def _gap_by_chance(at: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> float:
    """Mean |right - expected| of sums of so many independent outcomes, by their normal limit, over all picks."""
    if not len(scores):
        return float("nan")
    variance = np.bincount(at, scores * (1 - scores), minlength=len(counts))
    return float(np.sqrt(2 / np.pi * variance).sum() / len(scores))


def _equal_groups(scores: np.ndarray, bins: int) -> np.ndarray:
    """Group (n,) from 0 on of every score, about equally many in each; equal scores share a group."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2  # rank of a value's middle pick
    return (middle * bins / max(len(scores), 1)).astype(np.int64)[inverse]
