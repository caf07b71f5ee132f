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

from voxpick.detect.components import labelled, opened

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
        """The voxels for which the boolean array `keep` is true."""
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

    Groups of sections are labelled one after another; each shares a section with the next, by which they are joined.
    """
    plane = found.shape[1] * found.shape[2]
    owner = np.zeros(len(found), dtype=np.int32)
    number = 0
    shared, joints = np.zeros(0, dtype=np.int32), []
    for chosen, window, mask in found.sections(before=0, after=1):
        labels = labelled(mask, connectivity=connectivity).reshape(-1)
        own = found.voxels[chosen] - window.start * plane
        owner[chosen] = labels[own].astype(np.int32) + (number - 1)
        joints.append(np.stack([shared, owner[chosen][: len(shared)]]))
        last = found.voxels[found._range(slice(window.stop - 1, window.stop))] - window.start * plane
        shared = labels[last].astype(np.int32) + (number - 1)
        number += int(labels.max(initial=0))
    pairs = np.unique(np.concatenate(joints, axis=1), axis=1) if joints else np.zeros((2, 0), dtype=np.int32)
    graph = coo_array((np.ones(pairs.shape[1], dtype=bool), (pairs[0], pairs[1])), shape=(number, number))
    merged = connected_components(graph, directed=False)[1] if number else np.zeros(0, dtype=np.int32)
    # components that lie in a shared section alone have a label in both groups, one of them without voxels of its own
    sizes = np.bincount(merged[owner], minlength=number) if len(owner) else np.zeros(0, dtype=np.int64)
    names = np.cumsum(sizes > 0) - 1
    return names[merged[owner]].astype(np.int32), sizes[sizes > 0]
