"""Tiles of a network whose output is on a grid of STRIDE voxels: where they begin, what is kept, the best sides."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise, product

from voxpick.networks.picknet import STRIDE


def tile_windows(
    shape: tuple[int, ...], sides: tuple[int, int, int], halo: int, *, multiple: int
) -> Iterator[tuple[tuple[int, int, int], tuple[slice, slice, slice]]]:
    """First voxel of every tile, a multiple of `multiple`, and the part of its output that is kept (output voxels).

    The kept parts cover `shape`, each output voxel once; inner ones are at least `halo` voxels from the tile's sides.
    """
    axes = []
    for n, side in zip(shape, sides, strict=True):
        padded = -(-n // multiple) * multiple
        starts = [0]
        while starts[-1] + side < padded:
            starts.append(min(starts[-1] + side - _overlap(halo, multiple), padded - side))
        seams = [
            0,
            *((a + side + b) // 2 // STRIDE for a, b in pairwise(starts)),
            padded // STRIDE,
        ]
        axes.append([
            (start, slice(low - start // STRIDE, high - start // STRIDE))
            for start, low, high in zip(starts, seams[:-1], seams[1:], strict=True)
        ])  # fmt: skip
    for z, y, x in product(*axes):
        yield (z[0], y[0], x[0]), (z[1], y[1], x[1])


def _overlap(halo: int, multiple: int) -> int:
    """Voxels that two neighbouring tiles share: a halo of each, rounded up to whole multiples."""
    return -(-2 * halo // multiple) * multiple


def best_sides(shape: tuple[int, ...], voxels: float, halo: int, *, multiple: int) -> tuple[int, int, int] | None:
    """Sides of tiles of at most `voxels` voxels that cover `shape` with the fewest in all; None if there are none."""
    options = [_axis_sides(n, halo, multiple) for n in shape]
    fitting = [
        (math.prod(cost for _, cost in sides), tuple(side for side, _ in sides))
        for sides in product(*(axis.items() for axis in options))
        if math.prod(side for side, _ in sides) <= voxels
    ]
    if not fitting:
        return None
    z, y, x = min(fitting)[1]
    return z, y, x


def _axis_sides(length: int, halo: int, multiple: int) -> dict[int, int]:
    """Sides of tiles along an axis, the least for each number of tiles, and the voxels computed along it with each."""
    padded, least = -(-length // multiple) * multiple, {1: 0}
    for side in range(_overlap(halo, multiple) + multiple, padded, multiple):
        least.setdefault(1 + -(-(padded - side) // (side - _overlap(halo, multiple))), side)
    least[1] = padded
    return {side: number * side for number, side in least.items()}
