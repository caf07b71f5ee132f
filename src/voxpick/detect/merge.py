"""Merging the probability maps of overlapping tiles into one map of the whole volume.

Two strategies, chosen by name in MERGES. Both take tiles one after the other and keep only the merged map:

- 'crop': every voxel comes from the one tile in whose core it lies, so a particle on a seam is put together from
  both sides. Equal to the whole-volume result when the halo covers what the network sees.
- 'border': VP-Detector (Hao et al. 2022, section 2.1.1): in each tile the components that touch one of its inner
  faces are incomplete and dropped, then tiles are merged by maximum. Touching particles can form a component longer
  than the overlap, which every tile would drop; such a component is taken from the cropped map instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from voxpick.detect.components import labelled
from voxpick.detect.foreground import Foreground, connected

Window = tuple[slice, ...]


class CropMerge:
    """Keeps the core of every tile."""

    def __init__(self, shape: tuple[int, ...], *, dtype: np.dtype | type = np.float16, threshold: float = 0.5) -> None:
        self.map = np.zeros(shape, dtype)

    def add(self, window: Window, core: Window, values: np.ndarray) -> None:
        inner = (slice(c.start - w.start, c.stop - w.start) for c, w in zip(core, window, strict=True))
        source: tuple[Any, ...] = (..., *inner)
        target: tuple[Any, ...] = (..., *core)
        self.map[target] = values[source]

    def result(self) -> np.ndarray:
        return self.map


class BorderMerge:
    """Drops, tile by tile, the components above `threshold` that touch an inner face; merges by maximum."""

    def __init__(self, shape: tuple[int, ...], *, dtype: np.dtype | type = np.float16, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.map = np.zeros(shape, dtype)
        self.cropped = CropMerge(shape, dtype=dtype)

    def add(self, window: Window, core: Window, values: np.ndarray) -> None:
        self.cropped.add(window, core, values)
        incomplete = border_components(values > self.threshold, window, self.map.shape)
        kept = np.where(incomplete, 0, values)
        np.maximum(self.map[window], kept, out=self.map[window], casting="unsafe")

    def result(self) -> np.ndarray:
        labels = labelled(self.cropped.map > self.threshold)
        found = np.zeros(int(labels.max()) + 1, dtype=bool)
        found[np.unique(labels[self.map > self.threshold])] = True
        found[0] = True
        np.copyto(self.map, self.cropped.map, where=~found[labels])
        return self.map


def border_components(mask: np.ndarray, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """The part of a tile's mask [z, y, x] connected to a face of the tile that is not a face of the volume."""
    labels = labelled(mask)
    touching = np.zeros(int(labels.max()) + 1, dtype=bool)
    for axis, (place, length) in enumerate(zip(window, shape, strict=True)):
        faces = np.moveaxis(labels, axis, 0)
        if place.start > 0:
            touching[np.unique(faces[0])] = True
        if place.stop < length:
            touching[np.unique(faces[-1])] = True
    touching[0] = False
    return touching[labels]


class CropForeground:
    """`CropMerge` that keeps the voxels above `threshold` only."""

    def __init__(self, shape: tuple[int, ...], *, dtype: np.dtype | type = np.float16, threshold: float = 0.5) -> None:
        self.shape, self.dtype, self.threshold = shape, dtype, threshold
        self.voxels: list[np.ndarray] = []
        self.values: list[np.ndarray] = []

    def add(self, window: Window, core: Window, values: np.ndarray) -> None:
        inner = tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(core, window, strict=True))
        self.collect(core, values[inner].astype(self.dtype))

    def __len__(self) -> int:
        return sum(map(len, self.voxels))

    def collect(self, place: Window, values: np.ndarray) -> None:
        """Take the voxels above the threshold of the part of the volume at `place`."""
        local = np.flatnonzero(values > self.threshold)
        at = [k + side.start for k, side in zip(np.unravel_index(local, values.shape), place, strict=True)]
        self.voxels.append(np.ravel_multi_index(tuple(at), self.shape))
        self.values.append(values.reshape(-1)[local])

    def result(self) -> Foreground:
        voxels, values = np.concatenate(self.voxels), np.concatenate(self.values)
        self.voxels, self.values = [], []
        order = np.argsort(voxels)
        nz, ny, nx = self.shape
        return Foreground((nz, ny, nx), voxels[order], values[order])


class BorderForeground:
    """`BorderMerge` that keeps the voxels above `threshold` only."""

    def __init__(self, shape: tuple[int, ...], *, dtype: np.dtype | type = np.float16, threshold: float = 0.5) -> None:
        self.cropped = CropForeground(shape, dtype=dtype, threshold=threshold)
        self.complete = CropForeground(shape, dtype=dtype, threshold=threshold)

    def add(self, window: Window, core: Window, values: np.ndarray) -> None:
        self.cropped.add(window, core, values)
        incomplete = border_components(values > self.complete.threshold, window, self.complete.shape)
        self.complete.collect(window, np.where(incomplete, 0, values).astype(self.complete.dtype))

    def __len__(self) -> int:
        return len(self.cropped) + len(self.complete)

    def result(self) -> Foreground:
        cropped, complete = self.cropped.result(), self.complete.result()
        owner, sizes = connected(cropped)
        dropped = np.ones(len(sizes), dtype=bool)
        dropped[owner[np.isin(cropped.voxels, complete.voxels)]] = False
        cropped = cropped.kept(dropped[owner])
        assert complete.values is not None and cropped.values is not None
        voxels, values = np.r_[complete.voxels, cropped.voxels], np.r_[complete.values, cropped.values]
        order = np.argsort(voxels)
        distinct, first = np.unique(voxels[order], return_index=True)
        highest = np.maximum.reduceat(values[order], first) if len(first) else values
        return Foreground(cropped.shape, distinct, highest)


FOREGROUNDS: dict[str, type[CropForeground] | type[BorderForeground]] = {
    "crop": CropForeground,
    "border": BorderForeground,
}
MERGES: dict[str, type[CropMerge] | type[BorderMerge]] = {"crop": CropMerge, "border": BorderMerge}
