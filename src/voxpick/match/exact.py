"""Locally normalised correlation with every template of a bank, by one product in Fourier space a rotation and tile.

The score of a template t, normalised under the mask m as in bank.py, at the place v of a tomogram x is
sum_u t(u) x(v + u) / (M s(v)), with M = sum_u m(u) and s(v) the standard deviation of x about v weighted by m: PyTom's
(Hrabe et al. 2012, after Roseman 2003) and pytme's FLC with a spherical mask. It lies within -1..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from voxpick.match.bank import Bank
from voxpick.match.tiles import LARGEST_TILE, TiledVolume, Tiling, correlate, in_frame, inverse_deviation, make_tiling

Report = Callable[[int, int], None]
NOISE_ROTATIONS = 32
BYTES = 1 << 30
"""Memory for transforms and scores of the tiles that are worked on together."""


@dataclass(frozen=True)
class Scores:
    """The best score at every voxel over the rotations of a bank.

    score: float32 [z, y, x] within -1..1. rotation: the row of the bank that reached it, int32 [z, y, x]; None when
    that is left to rescore.py. noise: root mean square of the scores over voxels and rotations, not only of the best.
    energy: share of the templates' energy that the search kept, by template; 1 when it was exact.
    """

    score: np.ndarray
    rotation: np.ndarray | None
    noise: float
    energy: np.ndarray


@dataclass
class _Tile:
    spectrum: torch.Tensor
    inverse: torch.Tensor
    best: torch.Tensor
    row: torch.Tensor


def match_exact(
    volume: TiledVolume, bank: Bank, *, tile: int = LARGEST_TILE, batch: int = 16, progress: Report | None = None
) -> Scores:
    """Scores of all rotations at all voxels; batch: templates made at a time; progress(done, all)."""
    tiling = make_tiling(volume.shape, bank.side, largest=tile)
    score = np.zeros(volume.shape, dtype=np.float32)
    rotation = np.zeros(volume.shape, dtype=np.int32)
    starts, windows = tiling.starts(), list(tiling.windows())
    each = 4 * int(np.prod(tiling.sides)) + 12 * int(np.prod(tiling.core))
    group, done, total = max(1, BYTES // each), 0, len(bank) * len(starts)
    squares, places = 0.0, 0
    sampled = np.zeros(len(bank), dtype=bool)
    sampled[:: max(1, len(bank) // NOISE_ROTATIONS)] = True
    for first in range(0, len(starts), group):
        tiles = [_prepared(volume, bank, tiling, start) for start in starts[first : first + group]]
        parts = windows[first : first + group]
        for rows, templates in bank.batches(batch):
            for row, template in zip(rows, templates, strict=True):
                framed = in_frame(template, tiling)
                for each_tile, (_, part) in zip(tiles, parts, strict=True):
                    values = correlate(each_tile.spectrum, framed, tiling)
                    if sampled[row]:
                        some = (values * each_tile.inverse)[part]
                        squares, places = squares + float(some.square().sum(dtype=torch.float64)), places + some.numel()
                    _keep_best(each_tile, values, int(row))
            done += len(rows) * len(tiles)
            if progress:
                progress(done, total)
        for each_tile, (whole, part) in zip(tiles, parts, strict=True):
            score[whole] = (each_tile.best * each_tile.inverse)[part].cpu().numpy()
            rotation[whole] = each_tile.row[part].cpu().numpy()
    return Scores(score, rotation, float(np.sqrt(squares / max(places, 1))), np.ones(len(bank)))


def _prepared(volume: TiledVolume, bank: Bank, tiling: Tiling, start: tuple[int, int, int]) -> _Tile:
    voxels = volume.tile(start, tiling)
    return _Tile(
        torch.fft.rfftn(voxels.float()),
        inverse_deviation(voxels, bank, tiling),
        torch.full(tiling.core, -torch.inf, device=volume.device),
        torch.zeros(tiling.core, dtype=torch.int32, device=volume.device),
    )


def _keep_best(tile: _Tile, values: torch.Tensor, row: int) -> None:
    """The running maximum over rotations, one at a time: it is what a processor's caches like best."""
    tile.row.masked_fill_(values > tile.best, row)
    torch.maximum(tile.best, values, out=tile.best)
