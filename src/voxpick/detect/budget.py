"""What of a detection fits into the memory it may take: tiles, batches, and a clear word where nothing does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from voxpick.detect.memory import bytes_per_voxel, in_gigabytes, resident_bytes, room_on, settled_bytes
from voxpick.detect.segment import Tile3, best_tile, multiple_of, softmax_map
from voxpick.errors import TooMuchForeground, VoxpickError
from voxpick.volume import release

EXPECTED_FOREGROUND = 0.05
STORED_BYTES = 10
FOREGROUND_BYTES = 56
"""For each foreground voxel: what components, mean-shift or watershed hold at their worst beside the list itself."""
MEAN_SHIFT_BYTES = 13 / 64
"""For each voxel of the volume: 64 voxels share a word of bits, a count before it, and its own count while made."""
FIXED_BYTES = 400 * 2**20
"""What groups of sections and boxes of components take at their largest."""
BOX_BYTES = 620
"""For each voxel of a volume that is smaller than those are: what the watershed of a solid one takes."""
PLACE_BYTES = 100
"""For each place of a scan, beside the list itself: the list joined, and a tree of it."""
SPARE_BYTES = 100 * 2**20
GPU_BATCH = 64
"""Subtomograms at a time on a GPU, unless the settings ask for more."""


def plan_tile(
    volume: np.ndarray, network: torch.nn.Module, *, tile: int, halo: int, max_memory: int, device: torch.device,
    stored_bytes: int = STORED_BYTES,
) -> Tile3:  # fmt: skip
    """Sides of the tiles in which `network` covers `volume` [z, y, x]: at most tile^3 voxels, fewer if memory asks.

    max_memory: bytes that the process may hold, in main memory; on a GPU its own free memory counts instead.
    stored_bytes: what is kept of a foreground voxel.
    Raises VoxpickError when not even the smallest tile fits.
    """
    release(volume)
    nz, ny, nx = volume.shape
    shape, multiple, most = (nz, ny, nx), multiple_of(network), tile**3
    if device.type == "cuda":
        most = min(most, _voxels_on(device, network, math.prod(min(n, 2 * halo + 16) for n in shape)))
    elif device.type == "cpu":
        each = bytes_per_voxel(lambda image: softmax_map(image, network, device=device))
        found = EXPECTED_FOREGROUND * volume.size * stored_bytes
        taken = settled_bytes() + found + SPARE_BYTES
        fitting = int((max_memory - taken) / each)
        least = math.prod(min(n, 2 * halo + 16) for n in shape)
        if fitting < least:
            raise VoxpickError(
                f"detect: max_memory is {in_gigabytes(max_memory)}; {in_gigabytes(taken)} are taken before the first "
                f"tile and the smallest needs {in_gigabytes(least * each)}; allow at least "
                f"{in_gigabytes(taken + 2 * least * each)}"
            )
        most = min(most, fitting)
    return best_tile(shape, most, halo, multiple=multiple)


def _voxels_on(device: torch.device, network: torch.nn.Module, least: int) -> int:
    """Voxels of the largest tile that a GPU has room for. Raises VoxpickError where that is less than `least`."""
    each, room = bytes_per_voxel(lambda image: softmax_map(image, network, device=device)), room_on(device)
    if room < least * each:
        raise VoxpickError(too_small_gpu(room, least * each))
    return int(room / each)


def too_small_gpu(room: float, needed: float, smallest: str = "the smallest tile") -> str:
    """What to say where not even the smallest tile, or other part of a volume, fits."""
    return (
        f"detect: {in_gigabytes(room)} of the GPU's memory can be used, and {smallest} needs "
        f"{in_gigabytes(needed)}; end what else uses the GPU, or add --device cpu"
    )


def plan_batch(network: torch.nn.Module, *, size: int, batch: int, max_memory: int, device: torch.device) -> int:
    """How many subtomograms of side `size` to classify at a time: `batch`, or fewer if memory asks, but one.

    More on a GPU, up to GPU_BATCH: a few are done before the next ones can be asked for.
    """
    network = network.to(device)
    if device.type == "cuda":
        batch, limit = max(batch, GPU_BATCH), room_on(device)
    elif device.type != "cpu" or batch == 1:
        return batch
    sides = (size, size, size)  # networks that name boxes take no others
    each = bytes_per_voxel(lambda image: softmax_map(image, network, device=device), sides) * size**3
    if device.type == "cpu":
        limit = max_memory - settled_bytes() - SPARE_BYTES
    return int(np.clip(limit // each, 1, batch))


def check_foreground(number: int, shape: tuple[int, ...], *, split: str, max_memory: int, threshold: float) -> None:
    """Raise TooMuchForeground if finding particles among `number` foreground voxels takes over `max_memory` bytes.

    split: how they are told apart, or 'peaks' for the places of a scan.
    """
    voxels = math.prod(shape)
    more = _splitting_bytes(number, voxels, split)
    needed = resident_bytes() + more
    if needed > max_memory:
        needed = settled_bytes() + more
    if needed > max_memory:
        raise _too_much(f"{number / voxels:.1%} of the volume lies", threshold, needed, max_memory)


def foreground_watch(
    shape: tuple[int, ...], *, split: str, max_memory: int, threshold: float, stored_bytes: int = STORED_BYTES
) -> Callable[[int], None]:
    """What is told, tile by tile, how many foreground voxels there are, and raises as `check_foreground` will.

    To be made before the first tile. stored_bytes: what is kept of a voxel.
    """
    before, voxels = settled_bytes(), math.prod(shape)

    def watch(number: int) -> None:
        needed = before + number * stored_bytes + _splitting_bytes(number, voxels, split)
        if needed > max_memory:
            raise _too_much(f"{number / voxels:.1%} of the volume and more lie", threshold, needed, max_memory)

    return watch


def _splitting_bytes(number: int, voxels: int, split: str) -> float:
    """What telling particles apart takes at its worst; where there are none, nothing."""
    if not number or split == "peaks":
        return number * PLACE_BYTES
    fixed = min(FIXED_BYTES, BOX_BYTES * voxels) + (MEAN_SHIFT_BYTES * voxels if split == "mean-shift" else 0)
    return number * FOREGROUND_BYTES + fixed


def _too_much(found: str, threshold: float, needed: float, max_memory: int) -> TooMuchForeground:
    return TooMuchForeground(
        f"detect: {found} above the threshold of {threshold:g}; to tell particles apart there takes "
        f"{in_gigabytes(needed)}, max_memory is {in_gigabytes(max_memory)}; raise one of the two"
    )
