"""One-to-one pairing of picks with true particles within a radius, for data without an occupancy mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from voxpick.errors import VoxpickError
from voxpick.evaluate.curves import PrecisionRecall, precision_recall
from voxpick.f_beta import check_beta
from voxpick.particles import Particles


@dataclass(frozen=True)
class Counts:
    """Pairs found, picks and true particles, and the rates that follow; 0 where a rate would be 0 / 0."""

    pairs: int
    picks: int
    particles: int
    beta: float = 1.0

    @property
    def precision(self) -> float:
        """Pairs / picks."""
        return self.pairs / self.picks if self.picks else 0.0

    @property
    def recall(self) -> float:
        """Pairs / particles."""
        return self.pairs / self.particles if self.particles else 0.0

    @property
    def f_beta(self) -> float:
        """(1 + b^2) P R / (b^2 P + R); beta > 1 favours recall."""
        weighted = self.beta**2 * self.particles + self.picks
        return (1 + self.beta**2) * self.pairs / weighted if weighted else 0.0

    def to_dict(self) -> dict[str, float]:
        """Plain numbers for JSON."""
        return {
            "TP": self.pairs, "FP": self.picks - self.pairs, "FN": self.particles - self.pairs,
            "precision": self.precision, "recall": self.recall, "F": self.f_beta, "beta": self.beta,
        }  # fmt: skip


@dataclass(frozen=True)
class PairingScore:
    """location: classes ignored. classes: each class paired within itself. distance: mean of the pairs in A, or NaN.

    hit_ids: row + 1 of the true particle that each pick hits, picks of highest score first, 0 for none: (picks,).
    """

    location: Counts
    classes: dict[str, Counts]
    distance: float
    radius: float
    curve: PrecisionRecall
    hit_ids: np.ndarray

    @property
    def mean_class_f(self) -> float:
        """Mean F-beta over the classes of the truth; NaN for none."""
        values = [counts.f_beta for counts in self.classes.values() if counts.particles]
        return float(np.mean(values)) if values else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        mean, distance = (None if np.isnan(v) else float(v) for v in (self.mean_class_f, self.distance))
        return {
            "radius_A": self.radius,
            "localisation": {**self.location.to_dict(), "AD_A": distance},
            "classes": {name: counts.to_dict() for name, counts in self.classes.items()},
            "class_f1": {name: counts.f_beta for name, counts in self.classes.items()},
            "mean_class_f1": mean,
            "precision_recall": self.curve.to_dict(),
        }


def score_pairing(picks: Particles, truth: Particles, *, radius: float, beta: float = 1.0) -> PairingScore:
    """Precision, recall and F-beta of picks against true particles at most `radius` A away, one to one.

    The mean distance is that of the nearest pairs. In hit_ids and the curve, of two picks of one particle the one of
    higher score counts: so the pairs above a threshold are as many as can be at every threshold.
    Case of class names does not matter; the score has the truth's spelling of them.
    Raises VoxpickError for a radius or beta that is not positive, and for a beta beyond f_beta.MOST_BETA.
    """
    if not (np.isfinite(radius) and radius > 0):
        raise VoxpickError(f"radius is {radius}; it must be a positive number")
    check_beta(beta)
    rows, partners = pair(picks.centers_zyx, truth.centers_zyx, radius=radius)
    distances = np.linalg.norm(picks.centers_zyx[rows] - truth.centers_zyx[partners], axis=1)
    ranked, of = pair(picks.centers_zyx, truth.centers_zyx, radius=radius, priority=picks.scores)
    hit_ids = np.zeros(len(picks), dtype=np.int64)
    hit_ids[ranked] = of + 1
    classes = {}
    spelling = {str(name).lower(): str(name) for name in (*picks.classes, *truth.classes)}
    claimed, right = (np.array([str(c).lower() for c in some.classes], dtype=object) for some in (picks, truth))
    for key, name in sorted(spelling.items(), key=lambda item: item[1]):
        mine, true = picks[claimed == key], truth[right == key]
        pairs = len(pair(mine.centers_zyx, true.centers_zyx, radius=radius)[0])
        classes[name] = Counts(pairs, len(mine), len(true), beta)
    return PairingScore(
        location=Counts(len(rows), len(picks), len(truth), beta),
        classes=classes,
        distance=float(distances.mean()) if len(rows) else float("nan"),
        radius=float(radius),
        curve=precision_recall(picks.scores, hit_ids, particles=len(truth)),
        hit_ids=hit_ids,
    )


def pair(
    a: np.ndarray, b: np.ndarray, *, radius: float, priority: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a (n, 3) and of b (m, 3) paired one to one: as many pairs within radius as can be, then the nearest.

    priority (n,) comes before nearness: of the rows of a that compete, those of highest priority are paired, which
    takes no pair away, as the sets of rows that can be paired together are a matroid.
    The Hungarian method, on each group of points that radius connects.
    """
    none = np.empty(0, dtype=np.int64)
    if len(a) == 0 or len(b) == 0:
        return none, none
    near = cKDTree(a).sparse_distance_matrix(cKDTree(b), radius, output_type="ndarray")
    if len(near) == 0:
        return none, none
    i, j, distance = near["i"], near["j"], near["v"]
    n = len(a)
    graph = coo_array((np.ones(len(i)), (i, n + j)), shape=(n + len(b), n + len(b)))
    group = connected_components(graph, directed=False)[1][i]
    order = np.argsort(group, kind="stable")
    rows, partners = [], []
    for edges in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        left, left_at = np.unique(i[edges], return_inverse=True)
        right, right_at = np.unique(j[edges], return_inverse=True)
        most = min(len(left), len(right)) + 1
        level = np.unique(priority[left], return_inverse=True)[1] if priority is not None else np.zeros(len(left), int)
        step = (radius + 1) * most  # a level weighs more than all distances, a pair more than all levels
        forbidden = step * most * (int(level.max()) + 1)
        cost = np.full((len(left), len(right)), forbidden)
        cost[left_at, right_at] = distance[edges] + step * (level.max() - level[left_at])
        chosen_left, chosen_right = linear_sum_assignment(cost)
        allowed = cost[chosen_left, chosen_right] < forbidden
        rows.append(left[chosen_left[allowed]])
        partners.append(right[chosen_right[allowed]])
    return np.concatenate(rows).astype(np.int64), np.concatenate(partners).astype(np.int64)
