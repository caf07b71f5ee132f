"""The best score over thousands of rotations from a few dozen correlations.

Rotated templates resemble each other, so a bank of R is nearly spanned by K << R volumes: the leading singular vectors
of up to 2000 of them. A tile then costs K inverse transforms and a product of [R, K] coefficients with [K, voxels]
correlations, of which only the maximum over rows is kept (product.py). The scores lack what the K volumes lack;
rescore.py gives the true ones, and the orientations, where it matters. Correlations are computed at as many places
only as the templates' resolution asks for (sampling.py), and their maxima interpolated. Templates of similar size go
over the tomogram together: tiles are read and transformed once for all of them, volumes once for a group of tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from voxpick.allocation import keep_freed_memory
from voxpick.errors import VoxpickError
from voxpick.match.bank import Bank
from voxpick.match.compress import MOST_VOLUMES, RESIDUAL, LowRankBank, choose_sampling, compress, kept_in_band
from voxpick.match.exact import Scores
from voxpick.match.noisy import noisy_variances, where_noisy
from voxpick.match.passes import Report, parts_of, passes, share_of
from voxpick.match.product import choose_form, kept_dtype, make_largest
from voxpick.match.sampling import EVERY, Sampling, multiply_between
from voxpick.match.tiles import (
    LARGEST_TILE,
    Mask,
    PreparedTile,
    TiledVolume,
    Tiling,
    Windows,
    correlate_at_places,
    in_frame_in_band,
    make_tiling,
)

BEYOND_BAND = 0.5
"""Of the residual, what may be lost to places that lie farther apart than voxels."""
STAGED_BYTES = 900 << 20
"""Memory for the correlations of the tiles that are worked on together, and for their transforms."""
SPECTRUM_BYTES = 48
"""Of a tile, for each of its transform's values: two in double precision, one in single, and what is cut from it."""
SAMPLED = 4096
"""Places of a tile from which the noise of the scores is measured."""


def match_low_rank(volume: TiledVolume, bank: Bank, **settings: Any) -> Scores:
    """Approximate best scores, without rotations, of one bank; settings: of `match_low_rank_together`."""
    return match_low_rank_together(volume, [bank], **settings)[0]


def match_low_rank_together(volume: TiledVolume, banks: Sequence[Bank], **settings: Any) -> list[Scores]:
    """As `search_compressed`, in as few passes as sizes allow (passes.py); settings: of `match_low_rank_in_turn`."""
    found = dict(match_low_rank_in_turn(volume, [[bank] for bank in banks], **settings))
    return [found[k][0] for k in range(len(banks))]


def match_low_rank_in_turn(
    volume: TiledVolume,
    targets: Sequence[Sequence[Bank]],
    *,
    most: int | None = None,
    residual: float = RESIDUAL,
    largest: int = MOST_VOLUMES,
    sampling: Sampling | None = None,
    progress: Report | None = None,
    **settings: Any,
) -> Iterator[tuple[int, list[Scores]]]:
    """(number, scores of its banks) of each target, pass after pass, as `exact.match_exact_in_turn` gives them.

    residual, largest: as in `compress`. sampling: None takes for each pass the coarsest that adds no more than
    BEYOND_BAND of the residual, whether or not memory holds all of the pass at once.
    """
    keep_freed_memory()
    sizes, done = [len(banks) for banks in targets], 0
    for group in passes([max(banks, key=lambda bank: bank.side) for banks in targets]):
        compressed = {k: [_compressed(bank, residual, largest, sum(sizes)) for bank in targets[k]] for k in group}
        places = sampling
        if places is None:
            every = [bank for k in group for bank in targets[k]]
            places = _coarsest(volume, every, [low for k in group for low in compressed[k]], residual, **settings)
        for part in parts_of(group, sizes, most):
            some, low = [bank for k in part for bank in targets[k]], [one for k in part for one in compressed.pop(k)]
            told = share_of(progress, some, done, sum(sizes))
            scores = search_compressed(volume, some, low, sampling=places, progress=told, **settings)
            done += len(some)
            for k in part:
                yield k, [scores.pop(0) for _ in targets[k]]


def _compressed(bank: Bank, residual: float, largest: int, banks: int) -> LowRankBank:
    """A bank as few volumes; its templates are let go unless it is alone: they are made again for exact scores."""
    low = compress(bank, residual=residual, largest=largest)
    if banks > 1:
        bank.forget()
    return low


def _coarsest(
    volume: TiledVolume, banks: Sequence[Bank], compressed: Sequence[LowRankBank], residual: float, *,
    tile: int = LARGEST_TILE, **_: Any,
) -> Sampling:  # fmt: skip
    """The sampling that the templates allow, if there are tiles for it."""
    sampling = choose_sampling(compressed, beyond=BEYOND_BAND * residual)
    try:
        make_tiling(volume.shape, max(bank.side for bank in banks), largest=tile, sampling=sampling)
    except VoxpickError:
        return EVERY
    return sampling


def search_compressed(
    volume: TiledVolume,
    banks: Sequence[Bank],
    compressed: Sequence[LowRankBank],
    *,
    tile: int = LARGEST_TILE,
    sampling: Sampling = EVERY,
    form: str | None = None,
    progress: Report | None = None,
) -> list[Scores]:
    """Approximate best scores of each bank, without rotations, in one pass over the tiles of the volume.

    sampling: at which places correlations are computed; form: of the product, one of `product.FORMS`, None takes the
    device's fastest; progress(done, all), in tiles times banks.
    """
    form = choose_form(volume.device) if form is None else form
    tiling = make_tiling(volume.shape, max(bank.side for bank in banks), largest=tile, sampling=sampling)
    searches = [_Search(volume, tiling, bank, low, form) for bank, low in zip(banks, compressed, strict=True)]
    masks: dict[Mask, torch.Tensor] = {}
    parts = list(zip(tiling.starts(), tiling.windows(), strict=True))
    most, places = max(len(low.volumes) for low in compressed), int(np.prod(tiling.grid))
    dtype = kept_dtype(form)
    each = dtype.itemsize * most * places + SPECTRUM_BYTES * int(np.prod(tiling.sides)) // 2
    group = max(1, min(STAGED_BYTES // each, len(parts)))
    staged, done = torch.empty(group * most * places, dtype=dtype, device=volume.device), 0
    for first in range(0, len(parts), group):
        some = parts[first : first + group]
        tiles = [PreparedTile(volume.tile(start, tiling), tiling, masks) for start, _ in some]
        for search in searches:
            search.add(tiles, [windows for _, windows in some], staged)
            done += len(some)
            if progress:
                progress(done, len(parts) * len(banks))
    return [search.scores() for search in searches]


class _Search:
    """The scores of one bank as they come in, group of tiles by group.

    Until all are in, `_score` holds what turns a correlation into a score, voxel by voxel, and `_best` the best
    correlation, place by place.
    """

    def __init__(self, volume: TiledVolume, tiling: Tiling, bank: Bank, low: LowRankBank, form: str) -> None:
        self.bank, self.low, self.sampling = bank, low, tiling.sampling
        self._largest = make_largest(low.coefficients, form)
        self._spread = low.coefficients.T @ low.coefficients / len(bank)
        self._score, self._squares, self._places = np.zeros(volume.shape, dtype=np.float32), 0.0, 0
        self._variances = noisy_variances(volume, bank)
        grid = [self.sampling.of(n) for n in volume.shape]
        self._best = None if self.sampling.every else np.zeros(grid, dtype=np.float32)
        self._together = 16 if volume.device.type == "cuda" else 1

    def add(self, tiles: Sequence[PreparedTile], windows: Sequence[Windows], staged: torch.Tensor) -> None:
        """Scores of all places of some tiles. staged: memory for their correlations with all volumes."""
        places = [self._of_grid(whole, tiles[0].tiling) for whole, _ in windows]
        sizes = [[place.stop - place.start for place in each] for each in places]
        number = [int(np.prod(size)) for size in sizes]
        ends = len(self.low.volumes) * np.cumsum(number)
        columns = [
            staged[end - len(self.low.volumes) * n : end].view(-1, n) for end, n in zip(ends, number, strict=True)
        ]
        spectra = [tile.in_band() for tile in tiles]
        for first in range(0, len(self.low.volumes), self._together):
            rows = slice(first, first + self._together)
            framed = in_frame_in_band(self.low.volumes[rows], tiles[0].tiling)
            for tile, spectrum, into, (z, y, x) in zip(tiles, spectra, columns, sizes, strict=True):
                values = correlate_at_places(spectrum, framed, tile.tiling)
                into[rows].view(-1, z, y, x).copy_(values[:, :z, :y, :x])
        for tile, correlations, at, size, (whole, part) in zip(tiles, columns, places, sizes, windows, strict=True):
            inverse = tile.inverse_deviation(self.bank)[part]
            best = self._largest(correlations).view(*size)
            self._measure_noise(correlations.view(-1, *size), inverse)
            if self._best is None:
                self._score[whole] = (best * inverse).cpu().numpy()
            else:
                self._score[whole], self._best[at] = inverse.cpu().numpy(), best.cpu().numpy()

    def _of_grid(self, whole: Sequence[slice], tiling: Tiling) -> tuple[slice, slice, slice]:
        """The places of a tile, among those of the volume, of which `whole` are the voxels that it scores."""
        found = []
        for window, count, length in zip(whole, tiling.grid, self._score.shape, strict=True):
            first = self.sampling.exactly(window.start)
            found.append(slice(first, min(first + count, self.sampling.of(length))))
        return found[0], found[1], found[2]

    def _measure_noise(self, correlations: torch.Tensor, inverse: torch.Tensor) -> None:
        """From voxels that are places. correlations: [K, z, y, x] of places; inverse: [z, y, x] of voxels."""
        at = correlations[:, *[slice(None, None, self.sampling.places)] * 3]
        scale = inverse[*[slice(None, None, self.sampling.voxels)] * 3]
        z, y, x = (min(a, b) for a, b in zip(at.shape[1:], scale.shape, strict=True))
        flat, scale = at[:, :z, :y, :x].reshape(len(at), -1), scale[:z, :y, :x].reshape(-1)
        rows = _sampled(z * y * x).to(scale.device)
        scale = where_noisy(scale[rows], self.bank, self._variances)
        some = flat[:, rows].float() * scale
        self._squares += float((some * (self._spread @ some)).sum(dtype=torch.float64))
        self._places += int((scale > 0).sum())

    def scores(self) -> Scores:
        """Of the whole volume; nothing can be added afterwards."""
        if self._best is not None:
            multiply_between(self._best, self._score, self.sampling)
            self._best = None
        energy = kept_in_band(self.low, self.sampling)
        noise = float(np.sqrt(self._squares / max(self._places, 1)))
        return Scores(self._score, None, noise, energy, self.sampling, len(self.low.volumes), self.low.needed)


def _sampled(places: int) -> torch.Tensor:
    """About SAMPLED of a tile's places, or all where there are fewer: one at random out of each even part of them.

    Even steps may keep to one column of a tile, at whose face templates hang over.
    """
    step = max(1, places // SAMPLED)
    number = places // step
    return torch.from_numpy(np.arange(number) * step + np.random.default_rng(0).integers(step, size=number))
