"""Exact scores and orientations at single places, in real space, and a step to the neighbour that scores better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from voxpick.match.bank import Bank
from voxpick.match.peaks import Peaks
from voxpick.match.tiles import SMALLEST_VARIANCE, TiledVolume

Ask = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
BYTES = 1 << 29
"""Memory for the surroundings of the places that are asked together."""
NEIGHBOURS = 4
"""Of a place that are asked in one step, at most, by itself."""


def at_places(
    volume: TiledVolume, bank: Bank, places: np.ndarray, *, batch: int = 64, together: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Exact best score (n,) and its row in the bank (n,) at voxels `places` (n, 3), of all rotations."""
    inside = bank.mask > 0
    together = together or max(64, BYTES // (4 * int(inside.sum())))
    score, row = np.zeros(len(places)), np.zeros(len(places), dtype=np.int64)
    for first in range(0, len(places), together):
        part = slice(first, first + together)
        windows = torch.cat([_windows(volume, bank, some) for some in _few(places[part])])
        best = torch.full((len(windows),), -torch.inf, device=volume.device)
        which = torch.zeros(len(windows), dtype=torch.int64, device=volume.device)
        for first_row, templates in bank.under_mask(batch):
            top, at = (windows @ templates.T).max(dim=1)
            better = top > best
            best = torch.where(better, top, best)
            which = torch.where(better, at + first_row, which)
        score[part], row[part] = best.double().cpu().numpy(), which.cpu().numpy()
    return score, row


def climb(
    ask: Ask, approximate: np.ndarray, places: np.ndarray, *, steps: int = 2, neighbours: int = NEIGHBOURS,
    lacking: float = 0.0,
) -> Peaks:  # fmt: skip
    """Peaks with exact scores, each moved to a neighbour that scores better, up to `steps` voxels along each axis.

    ask: gives exact scores and rows at places, as `at_places` does for a volume and a bank. places: (n, 3) maxima of
    the map `approximate` [z, y, x]. How far that is from the exact scores at these places says which of the 26
    neighbours of each may score better: up to `neighbours` within three deviations are asked.
    lacking: share of a peak's score that the map may fall short of it, as it does between places looked at.
    """
    places = places.copy()
    score, row = ask(places)
    off = score - approximate[tuple(places.T)]
    allowed = float(off.mean() + 3 * off.std()) if len(off) else 0.0
    moving = np.arange(len(places))
    for _ in range(steps):
        owner, near = _hopeful(
            approximate, places[moving], score[moving] - np.maximum(allowed, lacking * score[moving]), neighbours
        )
        asked, number = np.unique(near, axis=0, return_inverse=True)
        found, found_row = (values[number.ravel()] for values in ask(asked))
        order = np.argsort(found, kind="stable")  # the best of an owner is written last
        best, best_row, target = score[moving], row[moving], places[moving]
        order = order[found[order] > best[owner[order]]]
        best[owner[order]], best_row[owner[order]], target[owner[order]] = found[order], found_row[order], near[order]
        changed = (target != places[moving]).any(axis=1)
        score[moving], row[moving], places[moving] = best, best_row, target
        moving = moving[changed]
    return Peaks(places, score, row)


def _hopeful(
    approximate: np.ndarray, places: np.ndarray, least: np.ndarray, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (m, 3) of places (n, 3), within the map, whose value is above the place's `least`; and whose (m,).

    Of those of one place the `neighbours` with the highest values.
    """
    steps = np.delete(np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3), 13, axis=0)
    near = places[:, None] + steps
    within = ((near >= 0) & (near < approximate.shape)).all(axis=2)
    values = approximate[tuple(np.clip(near, 0, np.array(approximate.shape) - 1).transpose(2, 0, 1))]
    values = np.where(within & (values > least[:, None]), values, -np.inf)
    best = np.argsort(-values, axis=1)[:, :neighbours]
    owner, rank = np.nonzero(np.take_along_axis(values, best, axis=1) > -np.inf)
    return owner, near[owner, best[owner, rank]]


def _few(places: np.ndarray, size: int = 64) -> list[np.ndarray]:
    """Places (n, 3) in parts, each small enough to be standardised in double precision."""
    return [places[first : first + size] for first in range(0, len(places), size)]


def _windows(volume: TiledVolume, bank: Bank, places: np.ndarray) -> torch.Tensor:
    """What lies under the mask at places (n, 3), standardised: float32 (n, D)."""
    reach, inside = bank.side // 2, (bank.mask > 0).cpu().numpy()
    corners = places.astype(int) - reach
    boxes = [volume.cut((int(z), int(y), int(x)), (bank.side,) * 3)[inside] for z, y, x in corners]
    return _standardised(torch.from_numpy(np.stack(boxes)).to(volume.device), bank)


def _standardised(boxes: torch.Tensor, bank: Bank) -> torch.Tensor:
    """Voxels under the mask (n, D), so scaled that the product with a normalised template is its score: float32."""
    weights = (bank.mask[bank.mask > 0] / bank.weight).double()
    boxes = boxes - (boxes @ weights)[:, None]
    variance = boxes.square() @ weights
    scale = torch.where(variance > SMALLEST_VARIANCE, variance.clamp(min=SMALLEST_VARIANCE).rsqrt(), 0.0)
    return (boxes * (scale / bank.weight)[:, None]).float()
