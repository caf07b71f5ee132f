"""Picks of a scan as the 3D ResNet takes them: labels that agree with their neighbours, counted and clustered.

Wang and Kihara in Gubins et al. (2020), section 3.3. Places are those of the scan, most of them 2 voxels apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from voxpick.detect.memory import parse_memory
from voxpick.detect.peaks import as_detection
from voxpick.detect.pipeline import Detection
from voxpick.detect.prepare import prepare
from voxpick.detect.scan import make_grid, scan
from voxpick.detect.scan_settings import ConsensusSettings
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.precision import choose_device
from voxpick.progress import Progress, of_step
from voxpick.volume import Volume


@dataclass(frozen=True)
class Agreement:
    """n labelled places. places: (n, 3). labels: from 1 on. counts: places of the same label in the box of the class.

    agrees: whether no other label is more frequent in that box.
    """

    places: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    agrees: np.ndarray


@dataclass(frozen=True)
class Clusters:
    """n clusters: mean place (n, 3), label, largest majority count of a place in it, and how many it has."""

    centers: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray


def agreement(labels: np.ndarray, halves: Sequence[int], *, background: bool) -> Agreement:
    """Count the labels [z, y, x] in the box around every labelled place.

    halves[k]: the box of class k reaches so many places to each side; halves[0] is not looked at. background: whether
    it counts as a label that may be the most frequent one.
    """
    places = np.argwhere(labels > 0)
    own = labels[tuple(places.T)]
    counts, most = np.zeros(len(places), dtype=np.int32), np.zeros(len(places), dtype=np.int32)
    rows = [np.flatnonzero(own == k) for k in range(len(halves))]
    for label in range(0 if background else 1, len(halves)):
        sums = np.zeros([n + 1 for n in labels.shape], dtype=np.int32)
        sums[1:, 1:, 1:] = (labels == label).cumsum(0, dtype=np.int32).cumsum(1).cumsum(2)
        for k in range(1, len(halves)):
            found = _in_boxes(sums, places[rows[k]], halves[k])
            if k == label:
                counts[rows[k]] = found
            most[rows[k]] = np.maximum(most[rows[k]], found)
    return Agreement(places, own, counts, counts >= most)


def checked(labels: np.ndarray, halves: Sequence[int], *, free: np.ndarray, background: bool) -> np.ndarray:
    """The labels [z, y, x] without those that another label outnumbers in their box; classes in `free` stay."""
    found = agreement(labels, halves, background=background)
    dropped = found.places[~(found.agrees | free[found.labels])]
    left = labels.copy()
    left[tuple(dropped.T)] = 0
    return left


def _in_boxes(sums: np.ndarray, places: np.ndarray, half: int) -> np.ndarray:
    """How many are counted in the boxes around places, from sums over all that lie before."""
    limit = np.array(sums.shape) - 1
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, limit)
    total = np.zeros(len(places), dtype=np.int32)
    for corner in np.ndindex(2, 2, 2):
        at = tuple(np.where(corner[axis], high[:, axis], low[:, axis]) for axis in range(3))
        total += (-1) ** (3 - sum(corner)) * sums[at]
    return total


def clusters(found: Agreement, halves: Sequence[int]) -> Clusters:
    """Places of one label in one box as a cluster each, the place with the highest count first.

    A place takes those of its label in its box (`halves` as for `agreement`) that no earlier one took. Of equal counts
    the place that comes first.
    """
    centers, labels, counts, sizes = [], [], [], []
    for label in range(1, len(halves)):
        rows = np.flatnonzero(found.labels == label)
        if not len(rows):
            continue
        places, free = found.places[rows], np.ones(len(rows), dtype=bool)
        tree = cKDTree(places)
        for row in np.argsort(-found.counts[rows], kind="stable"):
            if not free[row]:
                continue
            near = np.array(tree.query_ball_point(places[row], halves[label] + 0.5, p=np.inf))
            own = near[free[near]]
            free[own] = False
            centers.append(places[own].mean(axis=0))
            labels.append(label)
            counts.append(int(found.counts[rows[row]]))
            sizes.append(len(own))
    return Clusters(np.array(centers).reshape(-1, 3), *(np.array(n, dtype=np.int64) for n in (labels, counts, sizes)))


def allowed(classes: Sequence[str], settings: ConsensusSettings, *, area: float, height: float) -> list[int]:
    """How many picks of each class to take (0 of the background), by the ratios of the training data.

    area, height: A^2 and A, of what was searched. All in all `settings.number`, or density times area, less where less
    than the training data's thickness was searched. Raises VoxpickError without class ratios.
    """
    if not settings.class_ratios:
        raise VoxpickError(
            "detect: class_ratios is empty; the model was not trained by this method, or set it yourself"
        )
    number = settings.number
    if number is None:
        part = min(height / settings.thickness, 1) if settings.thickness else 1.0
        number = round(settings.density * area * part)
    return [0, *(round(number * settings.class_ratios.get(name, 0.0)) for name in classes[1:])]


def detect_consensus(
    volume: Volume, model: Model, *, settings: ConsensusSettings, device: str = "auto", progress: Progress | None = None
) -> Detection:
    """Scan, check labels against their boxes, cluster, keep the best N of each class; scored, named picks.

    score: the largest share of places with the cluster's label in the box of its class. progress(step, done, total).
    """
    ready = prepare(volume, model.voxel_size, settings, spectrum=model.spectrum, device=device)
    grid = make_grid(ready, settings.stride)
    labels = np.zeros(grid.counts, dtype=np.uint8)
    for window, scores in scan(
        ready, model.network, grid, tile=settings.tile, max_memory=parse_memory(settings.max_memory),
        device=choose_device(device),
        progress=of_step(progress, "scanning"),
    ):  # fmt: skip
        labels[window] = scores.argmax(axis=0)
    halves = box_halves(model.classes, settings, spacing=settings.stride * ready.voxel_size)
    free = np.array([name in settings.unchecked for name in model.classes])
    left = checked(labels, halves, free=free, background=settings.background_votes)
    found = agreement(left, halves, background=False)
    groups = clusters(found, halves)
    nz, ny, nx = ready.data.shape
    side = ready.voxel_size
    most = allowed(model.classes, settings, area=ny * nx * side**2, height=nz * side)
    rows = best_rows(groups, most)
    volumes = np.array([(2 * half + 1) ** 3 for half in halves])[groups.labels[rows]]
    share = groups.counts[rows] / volumes
    return as_detection(
        ready, model, grid.voxels(groups.centers[rows]), groups.labels[rows], share, np.ones(len(rows)), settings
    )


def box_halves(classes: Sequence[str], settings: ConsensusSettings, *, spacing: float) -> list[int]:
    """Places to each side that the box of every class reaches, at least 1; spacing: A between places."""
    known = list(settings.box_sizes.values())
    middle = float(np.median(known)) if known else 100.0
    return [0, *(max(int(settings.box_sizes.get(name, middle) / 2 / spacing), 1) for name in classes[1:])]


def best_rows(groups: Clusters, most: Sequence[int]) -> np.ndarray:
    """Rows of the clusters with the highest counts, at most most[k] of class k; of equal counts the larger cluster."""
    order = np.lexsort((-groups.sizes, -groups.counts))
    labels = groups.labels[order]
    return np.concatenate([order[labels == k][:n] for k, n in enumerate(most)] or [np.zeros(0, dtype=np.int64)])
