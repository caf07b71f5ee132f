"""The lowest score at which picks of a class are kept, chosen for F-beta on validation picks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from voxpick.f_beta import check_beta

FEW_PICKS = 10
"""A class with fewer picks takes the threshold that is best for all classes together."""


def best_threshold(scores: np.ndarray, right: np.ndarray, *, particles: int, beta: float = 1.0) -> tuple[float, float]:
    """The threshold with the largest F-beta of the picks with score >= threshold, and that F-beta.

    right: (n,) bool, at most one right pick a particle; particles: how many there are. The threshold lies midway
    between the last pick kept and the first dropped; it is 0 where all are kept, and where none is right. Of equal
    F-beta the one that keeps more. Raises VoxpickError for a beta that is not positive or beyond f_beta.MOST_BETA.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if beta > 0 and not right.any():
        return 0.0, 0.0
    return expected_threshold(scores, right, particles=particles, beta=beta)


def choose_thresholds(
    scores: np.ndarray,
    classes: np.ndarray,
    right: np.ndarray,
    *,
    particles: Mapping[str, int],
    beta: float = 1.0,
) -> dict[str, float]:
    """The best threshold of every class of `particles` (how many there are by name; its case does not matter).

    scores, classes, right: (n,) of the picks.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    names = np.char.lower(np.asarray(classes).astype(str))
    overall, _ = best_threshold(scores, right, particles=sum(particles.values()), beta=beta)
    chosen = {}
    for name, number in particles.items():
        mine = names == name.lower()
        known = mine.sum() >= FEW_PICKS and right[mine].any()
        value = best_threshold(scores[mine], right[mine], particles=number, beta=beta)[0] if known else overall
        chosen[name] = value
    return chosen


def expected_threshold(
    scores: np.ndarray, chances: np.ndarray, *, particles: int, beta: float = 1.0
) -> tuple[float, float]:
    """The threshold with the largest F-beta to be expected of the picks with score >= threshold, and that F-beta.

    chances: (n,), of each pick to be right, never falling with its score: of a calibration, so that the choice follows
    its curve and not the luck of single picks. What is kept then has a chance of about half the F1 that is reached.
    The threshold lies between the last pick kept and the first dropped. Raises VoxpickError as `best_threshold`.
    """
    check_beta(beta)
    if not len(scores):
        return 0.0, 0.0
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ranked, found = np.asarray(scores, dtype=np.float64)[order], np.cumsum(np.asarray(chances)[order])
    f = (1 + beta**2) * found / (beta**2 * max(particles, 1) + np.arange(1, len(ranked) + 1))
    f[:-1][np.diff(ranked) == 0] = -1  # equal scores are kept together
    k = len(f) - 1 - int(np.argmax(f[::-1]))
    return (0.0 if k + 1 == len(f) else float(ranked[k] + ranked[k + 1]) / 2), float(f[k])


def above_thresholds(scores: np.ndarray, classes: np.ndarray, thresholds: Mapping[str, float]) -> np.ndarray:
    """Which picks have at least the threshold of their class: bool (n,); a class without one keeps all."""
    return np.asarray(scores) >= by_class(classes, thresholds)


def by_class(classes: np.ndarray, values: Mapping[str, float]) -> np.ndarray:
    """The value of each pick's class: (n,); 0 for a class without one. Case does not matter."""
    lower = {name.lower(): value for name, value in values.items()}
    return np.array([lower.get(str(name).lower(), 0.0) for name in classes], dtype=np.float64)
