"""Precision and recall over the threshold on the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision, recall and F1 of the picks with score >= threshold; arrays of one length, thresholds falling."""

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        product = 2 * self.precision * self.recall
        return np.divide(product, total, out=np.zeros_like(total), where=total > 0)

    def best(self) -> tuple[float, float] | None:
        """Threshold and F1 where F1 is largest; None without picks."""
        if len(self.threshold) == 0:
            return None
        k = int(np.argmax(self.f1))
        return float(self.threshold[k]), float(self.f1[k])

    def to_dict(self, *, points: int = 200) -> dict[str, list[float]]:
        """At most `points` points of the curve, the first, the last and the best among them, as plain lists."""
        n = len(self.threshold)
        rows = np.unique(np.linspace(0, n - 1, min(n, points - 1)).round().astype(int)) if n else np.empty(0, int)
        if n:
            rows = np.union1d(rows, [int(np.argmax(self.f1))])
        columns = {"threshold": self.threshold, "precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {name: np.round(column[rows], 6).tolist() for name, column in columns.items()}


def precision_recall(scores: np.ndarray | None, hit_ids: np.ndarray, *, particles: int) -> PrecisionRecall:
    """The curve of picks with scores (n,) that hit particles hit_ids (n,), 0 for none, out of `particles` in all.

    A particle counts once however many picks hit it; picks of equal score enter together.
    """
    scores = np.ones(len(hit_ids)) if scores is None else np.asarray(scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    ids, ranked = hit_ids[order], scores[order]
    fresh = np.zeros(len(ids))
    values, first = np.unique(ids, return_index=True)
    fresh[first[values > 0]] = 1
    found = np.cumsum(fresh)
    last_of_tie = np.flatnonzero(np.append(np.diff(ranked) != 0, True)[: len(ranked)])
    return PrecisionRecall(
        threshold=ranked[last_of_tie],
        precision=found[last_of_tie] / (last_of_tie + 1),
        recall=found[last_of_tie] / max(particles, 1),
    )
