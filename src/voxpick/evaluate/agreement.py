"""Two pickings of one tomogram against each other, as S_E and S_DL of the DeepFinder paper (Figs. 10 to 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from voxpick.errors import VoxpickError
from voxpick.evaluate.curves import PrecisionRecall, precision_recall
from voxpick.evaluate.pairing import Counts, pair
from voxpick.particles import Particles


@dataclass(frozen=True)
class Agreement:
    """Picks a and b paired one to one within radius A. both: the paired picks of b, where b puts them; the pairs' rows
    of a and of b are in rows_a and rows_b. only_a, only_b: the rest. counts, curve: of b, with a taken as the truth;
    the curve pairs b's picks of highest score first, as `pairing.score_pairing` does.
    """

    both: Particles
    only_a: Particles
    only_b: Particles
    rows_a: np.ndarray
    rows_b: np.ndarray
    distances: np.ndarray
    counts: Counts
    curve: PrecisionRecall
    radius: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "radius_A": self.radius,
            "both": len(self.both),
            "only_a": len(self.only_a),
            "only_b": len(self.only_b),
            "mean_distance_A": float(self.distances.mean()) if len(self.distances) else None,
            "b_against_a": self.counts.to_dict(),
            "precision_recall": self.curve.to_dict(),
        }


def compare(a: Particles, b: Particles, *, radius: float) -> Agreement:
    """Which picks two pickings share, whatever their classes: pairs at most `radius` A apart in one tomogram.

    Where neither names more than one tomogram, both are taken to be of the same. Raises VoxpickError for a radius that
    is not positive.
    """
    if not (np.isfinite(radius) and radius > 0):
        raise VoxpickError(f"radius is {radius}; it must be a positive number of A")
    rows_a, rows_b = _pairs(a, b, radius)
    order = np.argsort(rows_b)
    rows_a, rows_b = rows_a[order], rows_b[order]
    alone_a, alone_b = np.ones(len(a), dtype=bool), np.ones(len(b), dtype=bool)
    alone_a[rows_a], alone_b[rows_b] = False, False
    ranked_b, ranked_a = _pairs(b, a, radius, priority=b.scores)
    hit_ids = np.zeros(len(b), dtype=np.int64)
    hit_ids[ranked_b] = ranked_a + 1
    return Agreement(
        both=b[rows_b],
        only_a=a[alone_a],
        only_b=b[alone_b],
        rows_a=rows_a,
        rows_b=rows_b,
        distances=np.linalg.norm(a.centers_zyx[rows_a] - b.centers_zyx[rows_b], axis=1),
        counts=Counts(len(rows_b), len(b), len(a)),
        curve=precision_recall(b.scores, hit_ids, particles=len(a)),
        radius=float(radius),
    )


def _pairs(
    a: Particles, b: Particles, radius: float, priority: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a and b that are pairs, tomogram by tomogram; priority (n,) of a's rows."""
    names = [np.asarray(table.tomograms).astype(str) for table in (a, b)]
    if all(len(set(mine)) <= 1 for mine in names):
        return pair(a.centers_zyx, b.centers_zyx, radius=radius, priority=priority)
    found: list[list[np.ndarray]] = [[np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]]
    for name in sorted(set(names[0]) & set(names[1])):
        rows = [np.flatnonzero(mine == name) for mine in names]
        some = priority[rows[0]] if priority is not None else None
        pairs = pair(a.centers_zyx[rows[0]], b.centers_zyx[rows[1]], radius=radius, priority=some)
        for side, mine, of_side in zip(found, rows, pairs, strict=True):
            side.append(mine[of_side])
    return np.concatenate(found[0]), np.concatenate(found[1])


def distances_to_mask(particles: Particles, mask: np.ndarray, *, voxel_size: float) -> np.ndarray:
    """From each centre's voxel to the nearest voxel of a mask [z, y, x] that is not 0, in A: (n,); 0 inside it.

    A centre outside the mask's volume counts from the volume's nearest voxel, plus the way there.
    Raises VoxpickError for a mask without such a voxel.
    """
    if not np.any(mask):
        raise VoxpickError("the mask holds no voxel that is not 0, so there is nothing to measure distances to")
    field = ndimage.distance_transform_edt(np.asarray(mask) == 0)
    voxels = particles.voxels(voxel_size)
    nearest = np.clip(np.rint(voxels), 0, np.array(mask.shape) - 1).astype(np.int64)
    beyond = np.linalg.norm(np.rint(voxels) - nearest, axis=1)
    return (field[tuple(nearest.T)] + beyond) * voxel_size


def histogram(distances: np.ndarray, *, width: float = 50.0) -> dict[str, list[float]]:
    """Edges (A, from 0 in steps of `width`) and counts, as plain lists."""
    top = float(distances.max()) if len(distances) else 0.0
    edges = np.arange(0, int(top // width) + 2) * width
    return {"edges_A": edges.tolist(), "counts": np.histogram(distances, bins=edges)[0].tolist()}
