"""Locally normalised correlation with every template of a bank, by one product in Fourier space a rotation and tile.

The score of a template t, normalised under the mask m as in bank.py, at the place v of a tomogram x is
sum_u t(u) x(v + u) / (M s(v)), with M = sum_u m(u) and s(v) the standard deviation of x about v weighted by m: PyTom's
(Hrabe et al. 2012, after Roseman 2003) and pytme's FLC with a spherical mask. It lies within -1..1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from voxpick.allocation import keep_freed_memory
from voxpick.match.bank import Bank
from voxpick.match.noisy import noisy_variances, where_noisy
from voxpick.match.passes import Report, parts_of, passes, share_of
from voxpick.match.sampling import EVERY, Sampling
from voxpick.match.tiles import (
    LARGEST_TILE,
    Mask,
    PreparedTile,
    TiledVolume,
    Windows,
    correlate,
    in_frame,
    make_tiling,
)

NOISE_ROTATIONS = 32
BYTES = 1 << 30
"""Memory for transforms and scores of the tiles that are worked on together."""


@dataclass(frozen=True)
class Scores:
    """The best score at every voxel over the rotations of a bank.

    score: float32 [z, y, x] within -1..1. rotation: the row of the bank that reached it, int32 [z, y, x]; None when
    that is left to rescore.py. noise: root mean square of the scores over voxels and rotations, not only of the best,
    where the volume varies (`noisy.py`).
    energy: share of the templates' energy that the search kept, by template; 1 when it was exact. sampling: the places
    that were looked at; between them scores are interpolated, and may leave -1..1 a little. volumes: those whose
    correlations the scores are made of, 0 of an exact search; needed: how many the residual asked for.
    """

    score: np.ndarray
    rotation: np.ndarray | None
    noise: float
    energy: np.ndarray
    sampling: Sampling = EVERY
    volumes: int = 0
    needed: int = 0


def match_exact(volume: TiledVolume, bank: Bank, **settings: Any) -> Scores:
    """Scores of all rotations of one bank at all voxels; settings: of `match_exact_together`."""
    return match_exact_together(volume, [bank], **settings)[0]


def match_exact_together(
    volume: TiledVolume, banks: Sequence[Bank], *, progress: Report | None = None, **settings: Any
) -> list[Scores]:
    """As `_one_pass`, in as few passes as the sizes of the banks allow (passes.py)."""
    found = dict(match_exact_in_turn(volume, [[bank] for bank in banks], progress=progress, **settings))
    return [found[k][0] for k in range(len(banks))]


def match_exact_in_turn(
    volume: TiledVolume,
    targets: Sequence[Sequence[Bank]],
    *,
    most: int | None = None,
    progress: Report | None = None,
    **settings: Any,
) -> Iterator[tuple[int, list[Scores]]]:
    """(number, scores of its banks) of each target, pass after pass, from small templates to large ones.

    targets: the banks of each, which stay together. most: banks whose maps are in memory at a time, or those of one
    target; None for all of a pass. A map is given away, and not held any longer, when it is asked for.
    """
    keep_freed_memory()
    sizes, done = [len(banks) for banks in targets], 0
    for group in passes([max(banks, key=lambda bank: bank.side) for banks in targets]):
        for part in parts_of(group, sizes, most):
            some = [bank for k in part for bank in targets[k]]
            scores = _one_pass(volume, some, progress=share_of(progress, some, done, sum(sizes)), **settings)
            done += len(some)
            for k in part:
                yield k, [scores.pop(0) for _ in targets[k]]


def _one_pass(
    volume: TiledVolume,
    banks: Sequence[Bank],
    *,
    tile: int = LARGEST_TILE,
    batch: int = 16,
    progress: Report | None = None,
) -> list[Scores]:
    """Scores of all rotations of each bank at all voxels, in one pass over the tiles.

    batch: templates made at a time; progress(done, all), in tiles times rotations.
    """
    tiling = make_tiling(volume.shape, max(bank.side for bank in banks), largest=tile)
    searches = [_Search(volume, bank) for bank in banks]
    parts = list(zip(tiling.starts(), tiling.windows(), strict=True))
    each = 20 * int(np.prod(tiling.sides)) + 12 * int(np.prod(tiling.core))
    group, done, total = max(1, BYTES // each), 0, sum(len(bank) for bank in banks) * len(parts)
    masks: dict[Mask, torch.Tensor] = {}
    for first in range(0, len(parts), group):
        some = parts[first : first + group]
        tiles = [PreparedTile(volume.tile(start, tiling), tiling, masks) for start, _ in some]
        for search in searches:
            for number in search.add(tiles, [windows for _, windows in some], batch):
                done += number
                if progress:
                    progress(done, total)
    return [search.scores() for search in searches]


@dataclass
class _Best:
    """The best correlation at each place of a tile's core, and the row of the bank that reached it."""

    value: torch.Tensor
    row: torch.Tensor

    def update(self, values: torch.Tensor, row: int) -> None:
        """The running maximum over rotations, one at a time: it is what a processor's caches like best."""
        self.row.masked_fill_(values > self.value, row)
        torch.maximum(self.value, values, out=self.value)


class _Search:
    """The scores of one bank as they come in, group of tiles by group."""

    def __init__(self, volume: TiledVolume, bank: Bank) -> None:
        self.bank, self.device = bank, volume.device
        self._score = np.zeros(volume.shape, dtype=np.float32)
        self._rotation = np.zeros(volume.shape, dtype=np.int32)
        self._squares, self._places, self._variances = 0.0, 0, noisy_variances(volume, bank)
        self._sampled = np.zeros(len(bank), dtype=bool)
        self._sampled[:: max(1, len(bank) // NOISE_ROTATIONS)] = True

    def add(self, tiles: Sequence[PreparedTile], windows: Sequence[Windows], batch: int) -> Iterator[int]:
        """All rotations in some tiles; gives back after each batch how many scores maps were made."""
        core = tiles[0].tiling.core
        best = [
            _Best(
                torch.full(core, -torch.inf, device=self.device), torch.zeros(core, dtype=torch.int32).to(self.device)
            )
            for _ in tiles
        ]
        for rows, templates in self.bank.batches(batch):
            for row, template in zip(rows, templates, strict=True):
                framed = in_frame(template, tiles[0].tiling)
                for tile, kept, (_, part) in zip(tiles, best, windows, strict=True):
                    values = correlate(tile.spectrum, framed, tile.tiling, side=self.bank.side)
                    if self._sampled[row]:
                        scale = where_noisy(tile.inverse_deviation(self.bank)[part], self.bank, self._variances)
                        self._squares += float((values[part] * scale).square().sum(dtype=torch.float64))
                        self._places += int((scale > 0).sum())
                    kept.update(values, int(row))
            yield len(rows) * len(tiles)
        for tile, kept, (whole, part) in zip(tiles, best, windows, strict=True):
            self._score[whole] = (kept.value * tile.inverse_deviation(self.bank))[part].cpu().numpy()
            self._rotation[whole] = kept.row[part].cpu().numpy()

    def scores(self) -> Scores:
        noise = float(np.sqrt(self._squares / max(self._places, 1)))
        return Scores(self._score, self._rotation, noise, np.ones(len(self.bank)))
