"""Places of high score: local maxima that keep a distance, chosen by number, score or expected false positives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import erfcinv

from voxpick.errors import VoxpickError


@dataclass(frozen=True)
class Peaks:
    """n peaks, best first. places: (n, 3) voxels. scores: (n,). rows: of the bank, (n,)."""

    places: np.ndarray
    scores: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, kept: np.ndarray | slice) -> Peaks:
        return Peaks(self.places[kept], self.scores[kept], self.rows[kept])

    def best_first(self) -> Peaks:
        """The same peaks by falling score; equal ones keep their order."""
        return self[np.argsort(-self.scores, kind="stable")]


def chance_threshold(noise: float, trials: float, *, false_positives: float = 1.0) -> float:
    """The score that Gaussian noise exceeds `false_positives` times in `trials` independent draws.

    noise: standard deviation of the scores; trials: voxels times rotations. Neighbouring scores are not independent, so
    fewer false positives come than expected. As in pytom-match-pick (Chaillet et al., Int. J. Mol. Sci. 24, 2023).
    """
    if false_positives <= 0:
        raise VoxpickError(f"{false_positives:g} expected false positives; give a number above 0, such as 1")
    share = min(2 * false_positives / max(trials, 1.0), 1.0)
    return float(math.sqrt(2) * noise * erfcinv(share))


def local_maxima(score: np.ndarray, *, above: float = 0.0) -> np.ndarray:
    """Places (n, 3) with a score > `above` that no neighbour of the 26 exceeds, best first; equal ones in order."""
    places = np.argwhere((score > above) & (score == ndimage.maximum_filter(score, 3, mode="nearest")))
    return places[np.argsort(-score[tuple(places.T)], kind="stable")]


def spaced_apart(
    places: np.ndarray, distance: float, *, number: int | None = None, wanted: np.ndarray | None = None
) -> np.ndarray:
    """Rows of places (n, 3), best first, each at least `distance` from every better one that is kept; `number` at most.

    Of any two that are closer the better one stays. wanted: bool (n,), the rows that are given back and counted; the
    others keep those at a distance as well.
    """
    wanted = np.ones(len(places), dtype=bool) if wanted is None else wanted
    limit = len(places) if number is None else number
    if distance <= 0:
        return np.flatnonzero(wanted)[:limit]
    alive = np.ones(len(places), dtype=bool)
    kept: list[int] = []
    tree = cKDTree(places) if len(places) else None
    for row in range(len(places)):
        if len(kept) >= limit:
            break
        if not alive[row] or tree is None:
            continue
        if wanted[row]:
            kept.append(row)
        near = np.array(tree.query_ball_point(places[row], distance))
        alive[near[np.linalg.norm(places[near] - places[row], axis=1) < distance]] = False
    return np.array(kept, dtype=np.int64)


def peaks_of(
    score: np.ndarray, *, distance: float, number: int | None = None, above: float = 0.0,
    sections: tuple[int, int] | None = None,
) -> np.ndarray:  # fmt: skip
    """Places (n, 3) of the best local maxima above a score that are `distance` voxels apart, best first.

    sections: the first that places may lie in, and the one after the last; better ones beyond keep them at a distance.
    """
    places = local_maxima(score, above=above)
    first, end = (0, len(score)) if sections is None else sections
    wanted = (places[:, 0] >= first) & (places[:, 0] < end)
    if number is None:
        return places[spaced_apart(places, distance, wanted=wanted)]
    taken = 16 * number
    while True:
        kept = spaced_apart(places[:taken], distance, number=number, wanted=wanted[:taken])
        if len(kept) >= number or taken >= len(places):
            return places[kept]
        taken *= 4
