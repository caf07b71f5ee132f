"""The voxels of a volume that belong to particles, as a sorted list: all that is kept of a probability map.

A particle map is nearly empty, so the list is a fiftieth of a map of floats. Whatever needs neighbours (opening,
components) rebuilds a few sections at a time as a dense mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from voxpick.detect.components import opened

DENSE_VOXELS = 1 << 24
POINTS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Foreground:
    """Foreground of a map of `shape` [z, y, x].

    voxels: sorted flat indices, int64. values: their probabilities, or None for a mask.
    """

    shape: tuple[int, int, int]
    voxels: np.ndarray
    values: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.voxels)

    def kept(self, keep: np.ndarray) -> Foreground:
        """The voxels for which `keep`, bool (voxels,), is true."""
        return Foreground(self.shape, self.voxels[keep], None if self.values is None else self.values[keep])

    def mask(self) -> np.ndarray:
        """The dense boolean mask [z, y, x]."""
        return self._dense(slice(0, self.shape[0]))

    def points(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Coordinates (n, 3) in voxels (z, y, x) of up to a million voxels at a time, and which they are."""
        for first in range(0, len(self.voxels), POINTS_AT_ONCE):
            chosen = slice(first, min(first + POINTS_AT_ONCE, len(self.voxels)))
            yield chosen, np.stack(np.unravel_index(self.voxels[chosen], self.shape), axis=1)

    def sections(self, *, before: int, after: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """The foreground in groups of sections: (which voxels, which of the sections, mask of the latter).

        The mask holds up to `before` and `after` sections more than the group's own voxels.
        """
        nz, ny, nx = self.shape
        number = max(1, DENSE_VOXELS // (ny * nx))
        for z in range(0, nz, number):
            window = slice(max(z - before, 0), min(z + number + after, nz))
            yield self._range(slice(z, min(z + number, nz))), window, self._dense(window)

    def _range(self, sections: slice) -> slice:
        plane = self.shape[1] * self.shape[2]
        first, last = np.searchsorted(self.voxels, [sections.start * plane, sections.stop * plane])
        return slice(int(first), int(last))

    def _dense(self, sections: slice) -> np.ndarray:
        plane = self.shape[1] * self.shape[2]
        mask = np.zeros((sections.stop - sections.start) * plane, dtype=bool)
        mask[self.voxels[self._range(sections)] - sections.start * plane] = True
        return mask.reshape(-1, *self.shape[1:])


def foreground_of(probability: np.ndarray, *, threshold: float = 0.5) -> Foreground:
    """The voxels of a map [z, y, x] above `threshold`, or those of a boolean mask."""
    nz, ny, nx = probability.shape
    number = max(1, DENSE_VOXELS // (ny * nx))
    voxels: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for z in range(0, nz, number):
        part = np.asarray(probability[z : z + number]).reshape(-1)
        inside = np.flatnonzero(part if part.dtype == bool else part > threshold)
        voxels.append(inside + z * ny * nx)
        values.append(part[inside])
    found = np.concatenate(values)
    return Foreground((nz, ny, nx), np.concatenate(voxels), None if found.dtype == bool else found)


def opened_foreground(found: Foreground, *, iterations: int) -> Foreground:
    """`components.opened`, a few sections at a time."""
    if iterations < 1:
        return found
    plane, halo = found.shape[1] * found.shape[2], 2 * iterations
    keep = np.zeros(len(found), dtype=bool)
    for chosen, window, mask in found.sections(before=halo, after=halo):
        smooth = opened(mask, iterations=iterations).reshape(-1)
        keep[chosen] = smooth[found.voxels[chosen] - window.start * plane]
    return found.kept(keep)


def connected(found: Foreground, *, connectivity: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Component 0..n-1 of every foreground voxel (int32), and the n sizes; connectivity: 6, 18 or 26 neighbours.

    Components are numbered by their first voxel. Runs of voxels along x are joined where they meet those of
    neighbouring rows, so the cost depends on the foreground alone.
    """
    if not len(found):
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    begin, lengths = _runs(found)
    _, ny, nx = found.shape
    pairs = _touching(begin, begin + lengths, nx + 1, (ny + 1) * (nx + 1), connectivity)
    graph = coo_array((np.ones(pairs.shape[1], dtype=np.int8), (pairs[0], pairs[1])), shape=(len(begin),) * 2)
    del begin, pairs
    number, names = connected_components(graph, directed=False)
    sizes = np.bincount(names, weights=lengths, minlength=number).astype(np.int64)
    return np.repeat(names, lengths), sizes


def _runs(found: Foreground) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and length of every run along x, in a grid with an empty voxel after each row, and an empty row after
    each section."""
    voxels, (_, ny, nx) = found.voxels, found.shape
    begins = voxels % nx == 0
    begins[0] = True
    begins[1:] |= voxels[1:] - voxels[:-1] != 1
    first = np.flatnonzero(begins)
    lengths = np.diff(first, append=len(voxels)).astype(np.int32)
    begin = voxels[first]
    del first
    row = begin // nx
    begin += row
    row //= ny
    row *= nx + 1
    begin += row
    return begin, lengths


def _touching(begin: np.ndarray, end: np.ndarray, row: int, section: int, connectivity: int) -> np.ndarray:
    """Pairs (2, n) of the runs begin..end (sorted) that touch, rows and sections being so many voxels apart."""
    edge, corner = int(connectivity >= 18), int(connectivity == 26)
    steps = [(row, edge), (section, edge)]
    if connectivity >= 18:
        steps += [(section - row, corner), (section + row, corner)]
    pairs = []
    for step, wider in steps:
        low = np.searchsorted(end, begin + (step - wider), side="right").astype(np.int32)
        high = np.searchsorted(begin, end + (step + wider), side="left").astype(np.int32)
        count = np.maximum(high - low, 0)
        run = np.repeat(np.arange(len(begin), dtype=np.int32), count)
        skipped = low - (np.cumsum(count, dtype=np.int64) - count).astype(np.int32)
        pairs.append(np.stack([run, np.arange(len(run), dtype=np.int32) + skipped[run]]))
    return np.concatenate(pairs, axis=1)
