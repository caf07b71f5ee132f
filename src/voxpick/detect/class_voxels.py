"""The foreground of a network that gives every voxel a class: which voxels, and how probable each class is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from voxpick.detect.foreground import Foreground
from voxpick.detect.merge import Window
from voxpick.detect.segment import Tile, tile_maps


@dataclass(frozen=True)
class ClassForeground:
    """Foreground voxels, their values 1 - P(background), and the probabilities of the particle classes there.

    probabilities: float16 (voxels, classes - 1), without the background.
    """

    found: Foreground
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.found)

    def above(self, threshold: float) -> ClassForeground:
        """What `class_voxels` finds at a threshold not lower than this was found at; for values that are float32."""
        assert self.found.values is not None
        kept = self.found.values > threshold
        found = self.found.kept(kept)
        return ClassForeground(
            replace(found, values=self.found.values[kept].astype(np.float16)), self.probabilities[kept]
        )

    @property
    def labels(self) -> np.ndarray:
        """Most probable particle class of each voxel, from 1 on: (voxels,) int16."""
        return 1 + self.probabilities.argmax(axis=1).astype(np.int16)


def class_voxels(
    volume: np.ndarray,
    network: torch.nn.Module,
    *,
    tile: Tile = 128,
    halo: int = 16,
    mean: float = 0.0,
    deviation: float = 1.0,
    threshold: float = 0.5,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    store: np.dtype | type = np.float16,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[int], None] | None = None,
) -> ClassForeground:
    """The voxels of [z, y, x] where 1 - P(background) is above `threshold`, with the probabilities of their classes.

    Arguments as for `segment.probabilities`; every voxel comes from the tile in whose core it lies. Memory for one
    tile and what is found. store: format of the values; float32 is what they are compared in. watch: is told after each
    tile how many voxels there are, and may raise.
    """
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    voxels: list[np.ndarray] = []
    values: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    tiles = tile_maps(volume, network, tile, halo, mean=mean, deviation=deviation, device=device, dtype=dtype)
    for done, total, window, core, tile_map in tiles:
        at, probability = _above(tile_map, window, core, threshold)
        voxels.append(np.ravel_multi_index(at, shape))
        values.append((1 - probability[0]).clip(0, 1).astype(store))
        classes.append(probability[1:].T.astype(np.float16))
        if watch:
            watch(sum(map(len, voxels)))
        if progress:
            progress(done, total)
    flat = np.concatenate(voxels)
    order = np.argsort(flat)
    found = Foreground(shape, flat[order], np.concatenate(values)[order])
    return ClassForeground(found, np.concatenate(classes)[order])


def _above(
    tile_map: torch.Tensor, window: Window, core: Window, threshold: float
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Coordinates in the volume of the core's voxels above the threshold, and all class probabilities (c, n) there."""
    z, y, x = (slice(c.start - w.start, c.stop - w.start) for c, w in zip(core, window, strict=True))
    maps = tile_map[:, z, y, x]
    local = torch.nonzero(1 - maps[0] > threshold, as_tuple=True)
    probability = maps[:, local[0], local[1], local[2]].cpu().numpy()
    at = tuple(place.cpu().numpy() + side.start for place, side in zip(local, core, strict=True))
    return at, probability
