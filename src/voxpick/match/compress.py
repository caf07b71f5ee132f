"""A bank of rotated templates as few volumes and many coefficients, and what that keeps of the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from voxpick.match.bank import Bank
from voxpick.match.sampling import SAMPLINGS, Sampling

SUBSET = 2000
RESIDUAL = 0.02
MOST_VOLUMES = 256


@dataclass(frozen=True)
class LowRankBank:
    """volumes: [K, n, n, n], orthonormal. coefficients: [R, K]; energy: share of each template's squares kept, (R,).

    needed: volumes that the residual asks for, more than K where K is limited.
    """

    volumes: torch.Tensor
    coefficients: torch.Tensor
    energy: np.ndarray
    needed: int = 0


def compress(
    bank: Bank, *, residual: float = RESIDUAL, largest: int = MOST_VOLUMES, subset: int = SUBSET, batch: int = 64
) -> LowRankBank:
    """The fewest volumes, at most `largest`, that leave out no more than `residual` of the energy of `subset` rows."""
    inside = bank.mask > 0
    chosen = np.sort(np.random.default_rng(0).choice(len(bank), min(subset, len(bank)), replace=False))
    sample = bank.some_under_mask(chosen, batch)
    values, vectors = torch.linalg.eigh((sample @ sample.T).double())
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    kept = torch.cumsum(values, 0) / values.sum()
    needed = min(int((kept < 1 - residual).sum()) + 1, int((values > 1e-9 * values[0]).sum()))
    number = min(needed, largest)
    scale = values[:number].rsqrt()
    flat = ((vectors[:, :number] * scale).T.float() @ sample).contiguous()
    volumes = torch.zeros((number, *bank.mask.shape), device=bank.device)
    volumes[:, inside] = flat
    coefficients, energy = [], []
    for _, part in bank.under_mask(batch):
        coefficients.append(part @ flat.T)
        energy.append(coefficients[-1].square().sum(dim=1) / part.square().sum(dim=1))
    return LowRankBank(volumes, torch.cat(coefficients), torch.cat(energy).clamp(max=1).cpu().numpy(), needed)


def kept_in_band(low: LowRankBank, sampling: Sampling) -> np.ndarray:
    """Share of each template's energy, (R,), that the volumes keep at frequencies which the places can tell apart."""
    if sampling.every:
        return low.energy
    side = low.volumes.shape[-1]
    spectra = torch.fft.rfftn(low.volumes, dim=(1, 2, 3))
    limit = 0.5 / sampling.spacing
    whole = torch.fft.fftfreq(side, device=spectra.device).abs() < limit
    half = torch.fft.rfftfreq(side, device=spectra.device)
    twice = torch.where((half > 0) & (half < 0.5), 2.0, 1.0)[half < limit]
    inside = spectra[:, whole][:, :, whole][..., half < limit] * twice.sqrt()
    flat = torch.view_as_real(inside).flatten(1) / side**1.5
    gram = flat @ flat.T
    kept = ((low.coefficients @ gram) * low.coefficients).sum(dim=1)
    share = kept / low.coefficients.square().sum(dim=1).clamp(min=1e-30)
    return low.energy * share.clamp(max=1).cpu().numpy()


def choose_sampling(compressed: Sequence[LowRankBank], *, beyond: float) -> Sampling:
    """The coarsest of SAMPLINGS that leaves out at most `beyond` of the energy that each bank keeps, on average."""
    for sampling in SAMPLINGS:
        left = [float((kept_in_band(low, sampling) / low.energy).mean()) for low in compressed]
        if min(left) >= 1 - beyond:
            break
    return sampling
