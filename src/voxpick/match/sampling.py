"""How far apart the places may lie that a low-rank search looks at.

Templates hold nothing beyond some frequency: CTF, envelope and the size of atoms see to it. Their correlation with a
tomogram then holds nothing beyond it either and is known everywhere once it is known at places 1 / (2 f) apart (Nyquist
and Shannon), of which there are several times fewer than voxels. The best of many such correlations is no longer free
of higher frequencies, but splines between the places come near enough to say where exact scores are worth their time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import make_interp_spline

SLAB = 16


@dataclass(frozen=True)
class Sampling:
    """`places` places along each axis for every `voxels` voxels."""

    voxels: int = 1
    places: int = 1

    @property
    def every(self) -> bool:
        """Whether all voxels are places."""
        return self.voxels == self.places

    @property
    def spacing(self) -> float:
        """Voxels between neighbouring places."""
        return self.voxels / self.places

    def of(self, length: int) -> int:
        """Places on the way from the first of `length` voxels to the last one, and not short of it."""
        return math.ceil((length - 1) * self.places / self.voxels) + 1

    def exactly(self, length: int) -> int:
        """Places on a multiple of `voxels` voxels."""
        return length * self.places // self.voxels


EVERY = Sampling()
SAMPLINGS = (Sampling(3, 2), EVERY)
"""From coarse to fine. At every second voxel some particles are no longer among the candidates (measured)."""


def in_band(values: torch.Tensor, dim: int, number: int, *, highest: bool = True) -> torch.Tensor:
    """The lowest `number` (even) frequencies along an axis of a complex transform.

    highest=False: the last of them is 0, as its sign is lost, unless these are all there are.
    """
    if values.shape[dim] == number:
        return values
    half = number // 2
    parts = [values.narrow(dim, 0, half + 1), values.narrow(dim, values.shape[dim] - half + 1, half - 1)]
    found = torch.cat(parts, dim=dim)
    if not highest:
        found.narrow(dim, half, 1).zero_()
    return found


def multiply_between(places: np.ndarray, into: np.ndarray, sampling: Sampling) -> None:
    """Multiply `into` [z, y, x] of voxels by the cubic splines through values at places [z, y, x], in place."""
    z, y, x = (_weights(number, length, sampling) for number, length in zip(places.shape, into.shape, strict=True))
    values = torch.from_numpy(places)
    for first in range(0, len(into), SLAB):
        block = torch.tensordot(z[first : first + SLAB], values, dims=1)
        into[first : first + SLAB] *= torch.matmul(torch.matmul(y, block), x.T).numpy()


def _weights(number: int, length: int, sampling: Sampling) -> torch.Tensor:
    """Of `number` places in the value at each of `length` voxels: float32 (length, number)."""
    at = np.arange(length) / sampling.spacing
    spline = make_interp_spline(np.arange(number), np.eye(number), k=min(3, number - 1))
    return torch.from_numpy(spline(at).astype(np.float32))
