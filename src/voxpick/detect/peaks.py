"""Picks of a scan as YOPO takes them: the places with the highest confidence that keep a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit, logsumexp

from voxpick.detect.budget import check_foreground
from voxpick.detect.locate import Located
from voxpick.detect.memory import parse_memory
from voxpick.detect.pipeline import Detection, picks_of
from voxpick.detect.prepare import Prepared, prepare
from voxpick.detect.scan import make_grid, scan
from voxpick.detect.scan_settings import PeakSettings, PlaceSettings
from voxpick.detect.select import selected
from voxpick.networks.model import Model
from voxpick.precision import choose_device
from voxpick.progress import Progress, of_step
from voxpick.volume import Volume


@dataclass(frozen=True)
class Places:
    """n confident places of a scan. places: (n, 3) of the grid. odds: log(P(any particle) / P(background)).

    labels: class of each, from 1 on; shares: its part of the probability of any particle.
    """

    places: np.ndarray
    odds: np.ndarray
    labels: np.ndarray
    shares: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: np.ndarray) -> Places:
        return Places(self.places[rows], self.odds[rows], self.labels[rows], self.shares[rows])


def confident(scores: np.ndarray, first: tuple[int, int, int], *, threshold: float) -> Places:
    """Places of a tile with P(any particle) > threshold; scores [classes, z, y, x], `first`: the tile's first place."""
    odds = logsumexp(scores[1:], axis=0) - scores[0]
    keep = np.argwhere(odds > np.log(threshold / (1 - threshold)))
    chosen = scores[1:, *keep.T]
    labels = 1 + chosen.argmax(axis=0)
    return Places(
        (keep + np.array(first)).astype(np.int32),
        odds[tuple(keep.T)].astype(np.float32),
        labels.astype(np.uint8),
        np.exp(chosen.max(axis=0) - logsumexp(chosen, axis=0)).astype(np.float32),
    )


def joined(parts: Sequence[Places]) -> Places:
    """The places of all parts, in order."""
    names = ("places", "odds", "labels", "shares")
    return Places(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def spaced(found: Places, *, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the best places, best first, more than `distance` apart (in places), and their centres (m, 3).

    Each takes the best that is left. Where several places next to it have the very same odds, as maximum pooling
    makes them, the centre is their mean.
    """
    if not len(found):
        return np.zeros(0, dtype=np.int64), np.zeros((0, 3))
    tree, alive = cKDTree(found.places), np.ones(len(found), dtype=bool)
    rows, centers = [], []
    for row in np.argsort(-found.odds, kind="stable"):
        if not alive[row]:
            continue
        near = np.array(tree.query_ball_point(found.places[row], max(distance, 1e-9)))
        equal = near[alive[near] & (found.odds[near] == found.odds[row])]
        alive[near] = False
        rows.append(row)
        centers.append(found.places[equal].mean(axis=0))
    return np.array(rows), np.array(centers)


def detect_peaks(
    volume: Volume, model: Model, *, settings: PeakSettings, device: str = "auto", progress: Progress | None = None
) -> Detection:
    """Scan, keep confident places, thin them out to the distance; scored, named picks, most confident first.

    location_score is P(any particle), class_score the class's share of it. progress(step, done, total).
    """
    ready = prepare(volume, model.voxel_size, settings, spectrum=model.spectrum, device=device)
    grid, limit = make_grid(ready, settings.stride), parse_memory(settings.max_memory)
    tiles, number = [], 0
    for window, scores in scan(
        ready, model.network, grid, tile=settings.tile, max_memory=limit, device=choose_device(device),
        progress=of_step(progress, "scanning"),
    ):  # fmt: skip
        first = (window[0].start, window[1].start, window[2].start)
        tiles.append(confident(scores, first, threshold=settings.threshold))
        number += len(tiles[-1])
        check_foreground(number, grid.counts, split="peaks", max_memory=limit, threshold=settings.threshold)
    places = joined(tiles)
    rows, centers = spaced(places, distance=settings.minimum_distance / (settings.stride * ready.voxel_size))
    best = places[rows]
    location = expit(best.odds.astype(np.float64))
    return as_detection(
        ready, model, grid.voxels(centers), best.labels, location, best.shares.astype(np.float64), settings
    )


def as_detection(
    ready: Prepared, model: Model, centers: np.ndarray, labels: np.ndarray, location: np.ndarray, shares: np.ndarray,
    settings: PlaceSettings,
) -> Detection:  # fmt: skip
    """Centres (n, 3) in voxels of the grid, with a label and two parts of the confidence each, as a detection."""
    n, classes = len(centers), list(model.classes)
    index = labels.astype(np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    located = Located(centers, np.zeros(n, dtype=np.int64), location, nothing, nothing, ready.grid.shape)
    particles = picks_of(located, classes, index, shares, voxel_size=ready.voxel_size, tomogram=ready.volume.name)
    kept = selected(particles, settings, ready.slab, ready.volume.voxel_size)
    return Detection(kept, classes, ready.volume, ready.slab, located, index, ready.voxel_size, settings.model_dump())
