"""The best score over thousands of rotations from a few dozen correlations.

Rotated templates resemble each other, so a bank of R is nearly spanned by K << R volumes: the leading singular vectors
of up to 2000 of them. A tile then costs K inverse transforms and a product of [R, K] coefficients with [K, voxels]
correlations, of which only the maximum over rows is kept. The scores lack what the K volumes lack; rescore.py
gives the true ones, and the orientations, where it matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from voxpick.match.bank import Bank
from voxpick.match.exact import Report, Scores
from voxpick.match.tiles import LARGEST_TILE, TiledVolume, Tiling, correlate, in_frame, inverse_deviation, make_tiling
from voxpick.precision import choose_dtype

SUBSET = 2000
RESIDUAL = 0.02
MOST_VOLUMES = 256
BASIS_BYTES = 800 << 20
ROWS, PLACES = 1024, 4096
"""A block of the product; it stays in the processor's cache until its maximum is taken."""
SAMPLED = 4096
"""Places of a tile from which the noise of the scores is measured."""


@dataclass(frozen=True)
class LowRankBank:
    """volumes: [K, n, n, n], orthonormal. coefficients: [R, K]; energy: share of each template's squares kept, (R,)."""

    volumes: torch.Tensor
    coefficients: torch.Tensor
    energy: np.ndarray


def compress(
    bank: Bank, *, residual: float = RESIDUAL, largest: int = MOST_VOLUMES, subset: int = SUBSET, batch: int = 64
) -> LowRankBank:
    """The fewest volumes, at most `largest`, that leave out no more than `residual` of the energy of `subset` rows."""
    inside = bank.mask > 0
    chosen = np.zeros(len(bank), dtype=bool)
    chosen[np.random.default_rng(0).choice(len(bank), min(subset, len(bank)), replace=False)] = True
    taken = torch.from_numpy(chosen).to(bank.device)
    sample = torch.cat([part[taken[first : first + len(part)]] for first, part in bank.under_mask(batch)])
    values, vectors = torch.linalg.eigh((sample @ sample.T).double())
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    kept = torch.cumsum(values, 0) / values.sum()
    number = min(int((kept < 1 - residual).sum()) + 1, largest, int((values > 1e-9 * values[0]).sum()))
    scale = values[:number].rsqrt()
    flat = ((vectors[:, :number] * scale).T.float() @ sample).contiguous()
    volumes = torch.zeros((number, *bank.mask.shape), device=bank.device)
    volumes[:, inside] = flat
    coefficients, energy = [], []
    for _, part in bank.under_mask(batch):
        coefficients.append(part @ flat.T)
        energy.append(coefficients[-1].square().sum(dim=1) / part.square().sum(dim=1))
    return LowRankBank(volumes, torch.cat(coefficients), torch.cat(energy).clamp(max=1).cpu().numpy())


def match_low_rank(
    volume: TiledVolume,
    bank: Bank,
    *,
    residual: float = RESIDUAL,
    largest: int = MOST_VOLUMES,
    tile: int = LARGEST_TILE,
    dtype: torch.dtype | None = None,
    progress: Report | None = None,
) -> Scores:
    """Approximate best scores, without rotations. residual, largest: as in `compress`; progress(tiles done, all).

    dtype: of the product; None takes bfloat16 where the device gains from it.
    """
    low = compress(bank, residual=residual, largest=largest)
    dtype = choose_dtype(volume.device) if dtype is None else dtype
    side = max(int((BASIS_BYTES / (4 * len(low.volumes))) ** (1 / 3)), bank.side + 24)
    tiling = make_tiling(volume.shape, bank.side, largest=min(tile, side))
    framed = _in_frame(low.volumes, tiling)
    coefficients, spread = low.coefficients.to(dtype), low.coefficients.T @ low.coefficients / len(bank)
    score, squares, places = np.zeros(volume.shape, dtype=np.float32), 0.0, 0
    starts = tiling.starts()
    for done, (start, (whole, part)) in enumerate(zip(starts, tiling.windows(), strict=True), start=1):
        voxels = volume.tile(start, tiling)
        inverse = inverse_deviation(voxels, bank, tiling)[part]
        correlations = _correlations(voxels, framed, tiling, part, dtype)
        step = max(1, inverse.numel() // SAMPLED)
        some = correlations[:, ::step].float() * inverse.reshape(-1)[::step]
        squares, places = squares + float((some * (spread @ some)).sum(dtype=torch.float64)), places + some.shape[1]
        best = largest_product(coefficients, correlations).reshape(inverse.shape)
        score[whole] = (best * inverse).cpu().numpy()
        if progress:
            progress(done, len(starts))
    return Scores(score, None, float(np.sqrt(squares / places)), low.energy)


def largest_product(
    coefficients: torch.Tensor, correlations: torch.Tensor, *, rows: int = ROWS, places: int = PLACES
) -> torch.Tensor:
    """The largest value of each column of coefficients [R, K] @ correlations [K, V], in blocks: float32 (V,)."""
    best = torch.full((correlations.shape[1],), -torch.inf, device=correlations.device)
    for first in range(0, len(best), places):
        block, top = correlations[:, first : first + places], best[first : first + places]
        for part in coefficients.split(rows):
            torch.maximum(top, (part @ block).amax(dim=0).float(), out=top)
    return best


def _in_frame(volumes: torch.Tensor, tiling: Tiling) -> torch.Tensor:
    """`tiles.in_frame` of many volumes, one at a time into one array."""
    z, y, x = tiling.sides
    framed = torch.empty((len(volumes), z, y, x // 2 + 1), dtype=torch.complex64, device=volumes.device)
    for target, one in zip(framed, volumes, strict=True):
        target.copy_(in_frame(one, tiling))
    return framed


def _correlations(
    voxels: torch.Tensor, framed: torch.Tensor, tiling: Tiling, part: tuple[slice, slice, slice], dtype: torch.dtype
) -> torch.Tensor:
    """Correlations of a tile with all volumes at the places `part` of its core: [K, places]."""
    spectrum = torch.fft.rfftn(voxels.float())
    sizes = [window.stop - window.start for window in part]
    found = torch.empty((len(framed), int(np.prod(sizes))), dtype=dtype, device=voxels.device)
    for row, template in zip(found, framed, strict=True):
        row.view(sizes).copy_(correlate(spectrum, template, tiling)[part])
    return found
