"""Overlapping tiles that cover a volume."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from voxpick.errors import VoxpickError


def tile_starts(length: int, tile: int, stride: int) -> list[int]:
    """First indices of tiles of `tile` voxels, `stride` apart, that cover `length` voxels; the last is flush."""
    if not 0 < stride <= tile:
        raise VoxpickError(f"tiles: the stride is {stride}; it must lie between 1 and the tile's {tile} voxels")
    if length <= tile:
        return [0]
    starts = list(range(0, length - tile, stride))
    return [*starts, length - tile]


def tile_slices(shape: tuple[int, ...], tile: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Slices of overlapping tiles over `shape`; an axis shorter than its tile gets one tile of its own length."""
    axes = [tile_starts(n, t, s) for n, t, s in zip(shape, tile, stride, strict=True)]
    for corner in product(*axes):
        yield tuple(slice(c, min(c + t, n)) for c, t, n in zip(corner, tile, shape, strict=True))
