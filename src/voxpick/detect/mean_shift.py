"""Exact flat-kernel mean-shift on the voxels of a mask.

The same modes as scikit-learn's MeanShift (Comaniciu & Meer 2002, flat kernel), found faster: voxels lie on a grid,
so the sum over a ball is a sum over the rows (z, y) of its disc, and each row is the difference of two prefix sums.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.spatial import cKDTree

PAIRS_AT_ONCE = 1 << 16
ROUNDING = 1e-9
SET_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.int32)
LOWER_BITS = (1 << np.arange(8)).astype(np.uint8) - np.uint8(1)


class VoxelBalls:
    """Sums over the mask's voxels inside balls, by prefix sums along x.

    mask: boolean [z, y, x]. weights: non-negative map [z, y, x] or None (every voxel counts 1).
    Memory: 0.6 bytes for each voxel of the mask's bounding box, 8 (weighted 16) for each foreground voxel.
    """

    def __init__(self, mask: np.ndarray, *, weights: np.ndarray | None = None) -> None:
        box = bounding_box(mask)
        self.origin = np.array([side.start for side in box])
        inner = np.ascontiguousarray(mask[box], dtype=bool)
        self.shape = inner.shape
        flat = inner.reshape(-1)
        self.bits = np.append(np.packbits(flat, bitorder="little"), np.uint8(0))
        self.before = np.zeros(len(self.bits), dtype=np.int32)
        np.cumsum(SET_BITS[self.bits[:-1]], dtype=np.int32, out=self.before[1:])
        x = (np.flatnonzero(flat) % max(self.shape[2], 1)).astype(np.float64)
        self.mass: np.ndarray | None = None
        if weights is not None:
            weight = np.asarray(weights[box]).reshape(-1)[flat].astype(np.float64)
            self.mass = np.concatenate([[0.0], np.cumsum(weight)])
            x *= weight
        self.x_sum = np.concatenate([[0.0], np.cumsum(x)])

    def _before(self, index: np.ndarray) -> np.ndarray:
        """Foreground voxels before each flat index: those of the whole bytes before it and of a part of its byte."""
        byte = index >> 3
        return np.asarray(self.before[byte] + SET_BITS[self.bits[byte] & LOWER_BITS[index & 7]])

    def means(self, centers: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean (n, 3) and mass (n,) of the voxels within `radius` (inclusive) of each centre (n, 3).

        Where a ball is empty its mean is its centre and its mass 0.
        """
        reach = int(np.floor(radius + 0.5))
        closest = np.square(np.maximum(np.abs(np.arange(-reach, reach + 1)) - 0.5, 0))
        disc = np.nonzero(closest[:, None] + closest <= radius**2)
        step = max(1, PAIRS_AT_ONCE // len(disc[0]))
        parts = [self._means(centers[k : k + step], radius, reach, disc) for k in range(0, len(centers), step)]
        if not parts:
            return np.empty((0, 3)), np.empty(0)
        return np.concatenate([mean for mean, _ in parts]), np.concatenate([mass for _, mass in parts])

    def _means(
        self, centers: np.ndarray, radius: float, reach: int, disc: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        nz, ny, nx = self.shape
        z, y, x = (centers - self.origin).T[:, :, None]
        rows_z, far_z = _rows(z, reach, nz)
        rows_y, far_y = _rows(y, reach, ny)
        left = (radius**2 + ROUNDING - far_z)[:, disc[0]] - far_y[:, disc[1]]
        outside = left < 0
        half = np.sqrt(np.maximum(left, 0, out=left), out=left)
        half += ROUNDING
        base = (rows_z * (ny * nx))[:, disc[0]] + (rows_y * nx)[:, disc[1]]
        low = np.clip(np.ceil(x - half), 0, nx).astype(np.int64)
        high = np.clip(np.floor(x + half) + 1, 0, nx).astype(np.int64)
        np.copyto(high, low, where=outside | (high < low))
        first, last = self._before(base + low), self._before(base + high)
        mass = (last - first).astype(np.float64) if self.mass is None else self.mass[last] - self.mass[first]
        total = mass.sum(axis=1)
        sum_z = (mass * rows_z[:, disc[0]]).sum(axis=1)
        sum_y = (mass * rows_y[:, disc[1]]).sum(axis=1)
        sum_x = (self.x_sum[last] - self.x_sum[first]).sum(axis=1)
        filled = total > 0
        means = centers.astype(np.float64)
        sums = np.stack([sum_z, sum_y, sum_x], axis=1)
        means[filled] = sums[filled] / total[filled, None] + self.origin
        return means, total


def _rows(center: np.ndarray, reach: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 2 * reach + 1) around centres (n, 1), held within 0..number-1, and their squared distances.

    A row outside has the distance infinity.
    """
    rows = np.rint(center) + np.arange(-reach, reach + 1)
    squares = np.where((rows >= 0) & (rows < number), np.square(rows - center), np.inf)
    return np.clip(rows, 0, number - 1).astype(np.int64), squares


def mean_shift(
    mask: np.ndarray,
    seeds: np.ndarray,
    *,
    bandwidth: float,
    weights: np.ndarray | None = None,
    tolerance: float = 1e-3,
    max_steps: int = 300,
) -> tuple[np.ndarray, np.ndarray]:
    """Modes (n, 3) in voxels (z, y, x) and their masses (n,), heaviest first.

    seeds: (s, 3) starting points in voxels. bandwidth: radius of the flat kernel in voxels. A path ends when its step
    is at most tolerance * bandwidth (scikit-learn's rule). Of modes within a bandwidth of each other the heaviest
    stays. weights: map [z, y, x] for a weighted mean-shift.
    """
    at = np.array(seeds, dtype=np.float64).reshape(-1, 3)
    if not len(at) or not mask.any():
        return np.empty((0, 3)), np.empty(0)
    balls = VoxelBalls(mask, weights=weights)
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
    """Modes heaviest first, each more than a bandwidth from all heavier ones that stay."""
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
    return np.asarray(cKDTree(modes).query(voxels)[1], dtype=np.int64)


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around the foreground of a mask; a mask without foreground gives empty slices."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0))
    return tuple(box)
