"""The lowest score at which picks of a class are kept, chosen for F-beta on validation picks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from voxpick.errors import VoxpickError

FEW_PICKS = 10
"""A class with fewer picks takes the threshold that is best for all classes together."""

ABOVE_ALL = 1.01
"""More than any score, for a class of which nothing is worth keeping."""

ROUNDS = 50
"""At most; a handful is usual."""


def best_threshold(scores: np.ndarray, right: np.ndarray, *, particles: int, beta: float = 1.0) -> tuple[float, float]:
    """The threshold with the largest F-beta of the picks with score >= threshold, and that F-beta.

    right: (n,) bool, at most one right pick a particle; particles: how many there are. The threshold lies midway
    between the last pick kept and the first dropped; it is 0 where all are kept, and where none is right. Of equal
    F-beta the one that keeps more. Raises VoxpickError for a beta that is not positive.
    """
    if not (np.isfinite(beta) and beta > 0):
        raise VoxpickError(f"beta is {beta}; it must be a positive number")
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if not right.any():
        return 0.0, 0.0
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], np.cumsum(right[order])
    f = (1 + beta**2) * found / (beta**2 * max(particles, 1) + np.arange(1, len(ranked) + 1))
    f[:-1][np.diff(ranked) == 0] = -1  # equal scores are kept together
    k = len(f) - 1 - int(np.argmax(f[::-1]))
    return (0.0 if k + 1 == len(f) else float(ranked[k] + ranked[k + 1]) / 2), float(f[k])


def choose_thresholds(
    scores: np.ndarray,
    classes: np.ndarray,
    right: np.ndarray,
    *,
    particles: Mapping[str, int],
    beta: float = 1.0,
) -> dict[str, float]:
    """The best threshold of every class of `particles` (how many there are by name).

    scores, classes, right: (n,) of the picks.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    names = np.asarray(classes).astype(str)
    overall, _ = best_threshold(scores, right, particles=sum(particles.values()), beta=beta)
    chosen = {}
    for name, number in particles.items():
        mine = names == name
        known = mine.sum() >= FEW_PICKS and right[mine].any()
        value = best_threshold(scores[mine], right[mine], particles=number, beta=beta)[0] if known else overall
        chosen[name] = value
    return chosen


def choose_together(
    scores: np.ndarray, classes: np.ndarray, right: np.ndarray, *, particles: int, beta: float = 1.0
) -> dict[str, float]:
    """The thresholds of the classes, by name, with the largest F-beta of all picks that are kept, whatever their class.

    scores, classes, right: (n,) of the picks, at most one right pick a particle; particles: how many there are in all.
    Dinkelbach's method: with the best F known, each class keeps what gains from it. Classes with few picks share one
    threshold. Raises VoxpickError for a beta that is not positive.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    names = np.asarray(classes).astype(str)
    f = best_threshold(scores, right, particles=particles, beta=beta)[1]
    known, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    group = np.where(counts < FEW_PICKS, len(known), np.arange(len(known)))
    chosen = dict.fromkeys(known.tolist(), 0.0)
    for _ in range(ROUNDS):
        pairs = kept = 0
        for number in np.unique(group):
            mine = group[inverse] == number
            threshold = _most_gain(scores[mine], right[mine], gain=1 + beta**2, cost=f)
            chosen |= dict.fromkeys(known[group == number].tolist(), threshold)
            above = scores[mine] >= threshold
            pairs, kept = pairs + int(right[mine][above].sum()), kept + int(above.sum())
        better = (1 + beta**2) * pairs / max(beta**2 * particles + kept, 1)
        if better <= f:
            break
        f = better
    return chosen


def _most_gain(scores: np.ndarray, right: np.ndarray, *, gain: float, cost: float) -> float:
    """The threshold where gain for each right pick less cost for each pick is largest; of equal ones the lowest."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    total = np.append(0.0, np.cumsum(gain * right[order] - cost))
    total[1:-1][np.diff(ranked) == 0] = -np.inf
    k = len(total) - 1 - int(np.argmax(total[::-1] >= total.max() - 1e-9))
    if k == len(ranked):
        return 0.0
    return float((ranked[k - 1] if k else ABOVE_ALL) + ranked[k]) / 2


def above_thresholds(scores: np.ndarray, classes: np.ndarray, thresholds: Mapping[str, float]) -> np.ndarray:
    """Which picks have at least the threshold of their class: bool (n,); a class without one keeps all."""
    lowest = np.array([thresholds.get(str(name), 0.0) for name in classes], dtype=np.float64)
    return np.asarray(scores) >= lowest
