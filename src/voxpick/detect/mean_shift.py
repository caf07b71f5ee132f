"""Exact flat-kernel mean-shift on the voxels of a mask.

The same modes as scikit-learn's MeanShift (Comaniciu & Meer 2002, flat kernel), found faster: voxels lie on a grid,
so the sum over a ball is a sum over the rows (z, y) of its disc, and each row is the difference of two prefix sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.spatial import cKDTree

from voxpick.detect.foreground import Foreground, foreground_of

PAIRS_AT_ONCE = 1 << 16
ROUNDING = 1e-9
SET_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def count_bits(words: np.ndarray) -> np.ndarray:
    """Number of ones in every 64-bit word; what numpy 2 has built in."""
    return np.asarray(SET_BITS[words.view(np.uint8)].reshape(*words.shape, 8).sum(axis=-1, dtype=np.uint8))


bits_of: Callable[[np.ndarray], np.ndarray] = getattr(np, "bitwise_count", count_bits)


class VoxelBalls:
    """Sums over the mask's voxels inside balls, by prefix sums along x.

    mask: boolean [z, y, x], or the foreground of one. weights: non-negative map [z, y, x] or None (every voxel counts
    1). Memory: 0.2 bytes for each voxel of the volume, 8 (weighted 16) for each foreground voxel.
    """

    def __init__(self, mask: np.ndarray | Foreground, *, weights: np.ndarray | None = None) -> None:
        found = mask if isinstance(mask, Foreground) else foreground_of(mask)
        self.shape = found.shape
        voxels = found.voxels
        word = voxels >> 6
        first = np.flatnonzero(np.r_[True, word[1:] != word[:-1]][: len(word)])
        self.bits = np.zeros((int(np.prod(self.shape)) >> 6) + 1, dtype=np.uint64)
        if len(voxels):
            self.bits[word[first]] = np.add.reduceat(np.uint64(1) << (voxels & 63).astype(np.uint64), first)
        self.before = np.zeros(len(self.bits), dtype=np.int32)
        np.cumsum(bits_of(self.bits[:-1]), dtype=np.int32, out=self.before[1:])
        x = (voxels % self.shape[2]).astype(np.float64)
        self.mass: np.ndarray | None = None
        if weights is not None:
            weight = np.asarray(weights).reshape(-1)[voxels].astype(np.float64)
            self.mass = np.concatenate([[0.0], np.cumsum(weight)])
            x *= weight
        self.x_sum = np.concatenate([[0.0], np.cumsum(x)])

    def _before(self, index: np.ndarray) -> np.ndarray:
        """Foreground voxels before each flat index: those of the whole words before it and of a part of its word."""
        word = index >> 6
        lower = (np.uint64(1) << (index & 63).view(np.uint64)) - np.uint64(1)
        lower &= self.bits[word]
        return np.asarray(self.before[word] + bits_of(lower))

    def means(self, centers: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean (n, 3) and mass (n,) of the voxels within `radius` (inclusive) of each centre (n, 3).

        Where a ball is empty its mean is its centre and its mass 0. Runs on as many threads as torch does.
        """
        reach = int(np.floor(radius + 0.5))
        closest = np.square(np.maximum(np.abs(np.arange(-reach, reach + 1)) - 0.5, 0))
        disc = np.nonzero(closest[:, None] + closest <= radius**2)
        step = max(1, PAIRS_AT_ONCE // len(disc[0]))
        parts = [centers[k : k + step] for k in range(0, len(centers), step)]
        if not parts:
            return np.empty((0, 3)), np.empty(0)
        with ThreadPoolExecutor(min(torch.get_num_threads(), len(parts))) as pool:
            found = list(pool.map(lambda part: self._means(part, radius, reach, disc), parts))
        return np.concatenate([mean for mean, _ in found]), np.concatenate([mass for _, mass in found])

    def _means(
        self, centers: np.ndarray, radius: float, reach: int, disc: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `means`, for the rows (p, n): the p rows of the disc around each of the n centres."""
        nz, ny, nx = self.shape
        z, y, x = centers.T
        rows_z, far_z = _rows(z, reach, nz)
        rows_y, far_y = _rows(y, reach, ny)
        half = (radius**2 + ROUNDING - far_z)[disc[0]]
        half -= far_y[disc[1]]
        outside = half < 0
        np.sqrt(np.maximum(half, 0, out=half), out=half)
        half += ROUNDING
        base = (rows_z * (ny * nx))[disc[0]]
        base += (rows_y * nx)[disc[1]]
        low = _within(np.ceil(x - half), nx)
        half += x
        high = _within(np.floor(half, out=half) + 1, nx)
        np.copyto(high, low, where=outside | (high < low))
        low += base
        high += base
        first, last = self._before(low), self._before(high)
        mass = (last - first).astype(np.float64) if self.mass is None else self.mass[last] - self.mass[first]
        total = mass.sum(axis=0)
        sums = np.empty((len(centers), 3))
        for axis, (rows, offset) in enumerate(((np.rint(z), disc[0]), (np.rint(y), disc[1]))):
            sums[:, axis] = rows * total + (offset - reach).astype(np.float64) @ mass
        sums[:, 2] = (self.x_sum[last] - self.x_sum[first]).sum(axis=0)
        filled = total > 0
        means = centers.astype(np.float64)
        means[filled] = sums[filled] / total[filled, None]
        return means, total


def _rows(center: np.ndarray, reach: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (2 * reach + 1, n) around centres (n,), held within 0..number-1, and their squared distances.

    A row outside has the distance infinity.
    """
    rows = np.rint(center) + np.arange(-reach, reach + 1)[:, None]
    squares = np.where((rows >= 0) & (rows < number), np.square(rows - center), np.inf)
    return np.clip(rows, 0, number - 1).astype(np.int64), squares


def _within(values: np.ndarray, number: int) -> np.ndarray:
    """Whole numbers, held within 0..number."""
    return np.minimum(np.maximum(values, 0, out=values), number, out=values).astype(np.int64)


def mean_shift(
    mask: np.ndarray | Foreground | VoxelBalls,
    seeds: np.ndarray,
    *,
    bandwidth: float,
    weights: np.ndarray | None = None,
    tolerance: float = 1e-3,
    max_steps: int = 300,
) -> tuple[np.ndarray, np.ndarray]:
    """Modes (n, 3) in voxels (z, y, x) and their masses (n,), heaviest first.

    mask: boolean [z, y, x], its foreground, or the balls of one (with their own weights).
    seeds: (s, 3) starting points in voxels. bandwidth: radius of the flat kernel in voxels. A path ends when its step
    is at most tolerance * bandwidth (scikit-learn's rule). Of modes within a bandwidth of each other the heaviest
    stays. weights: map [z, y, x] for a weighted mean-shift.
    """
    at = np.array(seeds, dtype=np.float64).reshape(-1, 3)
    if not len(at):
        return np.empty((0, 3)), np.empty(0)
    balls = mask if isinstance(mask, VoxelBalls) else VoxelBalls(mask, weights=weights)
    if not balls.x_sum[1:].size:
        return np.empty((0, 3)), np.empty(0)
    mass = np.zeros(len(at))
    moving = np.arange(len(at))
    for _ in range(max_steps + 1):
        moved, mass[moving] = balls.means(at[moving], bandwidth)
        distance = np.linalg.norm(moved - at[moving], axis=1)
        at[moving] = moved
        moving = moving[distance > tolerance * bandwidth]
        if not len(moving):
            break
        # paths that meet go on together: the first of them is followed
        _, first = np.unique(np.ascontiguousarray(at[moving]).view("V24"), return_index=True)
        mass[moving] = np.where(np.isin(np.arange(len(moving)), first), mass[moving], 0)
        moving = moving[np.sort(first)]
    return distinct_modes(at[mass > 0], mass[mass > 0], bandwidth=bandwidth)


def distinct_modes(modes: np.ndarray, mass: np.ndarray, *, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Modes heaviest first, each more than a bandwidth from all heavier ones that stay, and their masses.

    modes: (n, 3) z, y, x and bandwidth in the same unit; mass: (n,).
    """
    order = np.lexsort((modes[:, 2], modes[:, 1], modes[:, 0], mass))[::-1]
    modes, mass = modes[order], mass[order]
    stays = np.ones(len(modes), dtype=bool)
    if len(modes):
        pairs = cKDTree(modes).query_pairs(bandwidth, output_type="ndarray")
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        for heavy, light in pairs:
            if stays[heavy]:
                stays[light] = False
    return modes[stays], mass[stays]


def bin_seeds(voxels: np.ndarray | Iterable[np.ndarray], *, bandwidth: float, fill: float = 0.25) -> np.ndarray:
    """Centres (s, 3) of the cubes of side `bandwidth` that hold at least fill * bandwidth^3 of the voxels (n, 3).

    voxels: coordinates from 0 on, all at once or in parts.
    """
    counts: dict[int, int] = {}
    for part in (voxels,) if isinstance(voxels, np.ndarray) else voxels:
        z, y, x = np.rint(part.reshape(-1, 3) / bandwidth).astype(np.int64).T
        for key, number in zip(*np.unique((z << 42) + (y << 21) + x, return_counts=True), strict=True):
            counts[int(key)] = counts.get(int(key), 0) + int(number)
    full = np.array(sorted(key for key, number in counts.items() if number >= fill * bandwidth**3), dtype=np.int64)
    low = (1 << 21) - 1
    return np.stack([full >> 42, full >> 21 & low, full & low], axis=1) * bandwidth


def nearest_mode(voxels: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Index (n,) of the mode (m, 3) nearest to each voxel (n, 3)."""
    return np.asarray(cKDTree(modes).query(voxels, workers=torch.get_num_threads())[1], dtype=np.int64)
