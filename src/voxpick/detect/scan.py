"""Scan a tomogram with a network that names one box: its scores of the box around every place of a grid."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, cast

import numpy as np
import torch

from voxpick.allocation import large_blocks_given_back
from voxpick.detect.budget import SPARE_BYTES, too_small_gpu
from voxpick.detect.memory import LIBRARY_SHARE, LiveBytes, in_gigabytes, room_on, settled_bytes
from voxpick.detect.prepare import Prepared
from voxpick.detect.segment import require_finite
from voxpick.errors import VoxpickError
from voxpick.precision import choose_dtype
from voxpick.volume import release

Counts = tuple[int, int, int]
GRID_BYTES = 6
"""Bytes that a detector keeps of every place of the grid."""
SHRINK = 0.8


class BoxNetwork(Protocol):
    """A network that names the middle of a box, as those that use `networks.boxes`."""

    box: int

    def scan(self, x: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        """Scores (b, classes, z', y', x') of all boxes of an image that begin at multiples of `stride`."""
        ...


@dataclass(frozen=True)
class Grid:
    """Places of a volume: the first at section `start` and y = x = 0, `stride` voxels apart, `counts` along z, y, x."""

    start: int
    stride: int
    counts: Counts

    def voxels(self, places: np.ndarray) -> np.ndarray:
        """(n, 3) voxels z, y, x of places of the grid (n, 3), which may be fractional."""
        return places * self.stride + np.array([self.start, 0, 0])


def make_grid(ready: Prepared, stride: int) -> Grid:
    """The places in the sections to look at."""
    z, y, x = (-(-n // stride) for n in ready.data.shape)
    return Grid(ready.sections.start, stride, (z, y, x))


def scan(
    ready: Prepared,
    network: torch.nn.Module,
    grid: Grid,
    *,
    tile: int,
    max_memory: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """The network's scores, tile by tile: (slices of the grid's places, scores float32 [classes, z, y, x]).

    The box around voxel c has it at side // 2; outside the tomogram it holds 0, the mean. tile: a tile has at most
    tile^3 voxels; fewer if max_memory (bytes) asks. dtype: to compute in; None takes what the device is fast at.
    Raises VoxpickError when not even the smallest tile fits, or the scores are not finite.
    """
    network = network.to(device).eval()
    box, stride = _box(network), grid.stride
    dtype = dtype or choose_dtype(device)
    counts = plan_scan(network, grid.counts, stride, tile=tile, max_memory=max_memory, device=device, dtype=dtype)
    windows = list(product(*(_parts(n, most) for n, most in zip(grid.counts, counts, strict=True))))
    for done, window in enumerate(windows, start=1):
        first = grid.voxels(np.array([part.start for part in window])).astype(int) - box // 2
        sides = [(part.stop - part.start - 1) * stride + box for part in window]
        image = torch.from_numpy(cut(ready, first.tolist(), sides))[None, None]
        with torch.inference_mode(), computing_in(network, dtype), large_blocks_given_back():
            scores = cast(BoxNetwork, network).scan(image.to(device).to(dtype), stride=stride)[0].float()
        require_finite(scores)
        yield (window[0], window[1], window[2]), scores.cpu().numpy()
        if progress:
            progress(done, len(windows))


@contextmanager
def computing_in(network: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let a network compute in `dtype`, and as before afterwards: it may be one in training."""
    before = getattr(network, "compute_dtype", None)
    network.compute_dtype = dtype  # type: ignore[assignment]
    try:
        yield
    finally:
        network.compute_dtype = before  # type: ignore[assignment]


def cut(ready: Prepared, first: list[int], sides: list[int]) -> np.ndarray:
    """Normalised float32 part [z, y, x] of the tomogram from voxel `first` on; 0 outside of it."""
    data = ready.grid.data
    inside = tuple(slice(max(f, 0), max(min(f + n, m), 0)) for f, n, m in zip(first, sides, data.shape, strict=True))
    within = tuple(slice(s.start - f, s.stop - f) for s, f in zip(inside, first, strict=True))
    part = np.zeros(sides, dtype=np.float32)
    if all(s.stop > s.start for s in inside):
        values = np.asarray(data[inside], dtype=np.float32)
        part[within] = (values - np.float32(ready.mean)) / np.float32(ready.deviation)
    release(data)
    return part


def plan_scan(
    network: torch.nn.Module, counts: Counts, stride: int, *, tile: int, max_memory: int, device: torch.device,
    dtype: torch.dtype,
) -> Counts:  # fmt: skip
    """Places along z, y, x of a tile so that the fewest voxels are computed in all.

    A tile has at most tile^3 voxels; fewer if `max_memory` asks, or on a GPU its own memory.
    Raises VoxpickError where not even a tile of one place fits.
    """
    box = _box(network)
    voxels = tile**3
    on_gpu = device.type != "cpu"
    limit = room_on(device) if on_gpu else float(max_memory)
    taken = 0 if on_gpu else settled_bytes() + SPARE_BYTES + GRID_BYTES * math.prod(counts)
    while True:
        chosen = best_counts(counts, stride, box, voxels)
        sides = [(n - 1) * stride + box for n in chosen]
        if math.isinf(limit):
            return chosen
        needed = peak_bytes_of(network, sides, stride, dtype, device=device.type)
        if taken + needed <= limit:
            return chosen
        if max(chosen) == 1 and on_gpu:
            raise VoxpickError(too_small_gpu(limit, needed))
        if max(chosen) == 1:
            raise VoxpickError(
                f"detect: max_memory is {in_gigabytes(max_memory)}; {in_gigabytes(taken)} are taken before the first "
                f"tile and the smallest needs {in_gigabytes(needed)}; allow at least {in_gigabytes(taken + 2 * needed)}"
            )
        voxels = max(int(min(SHRINK, (limit - taken) / needed) * math.prod(sides)), 1)


def best_counts(counts: Counts, stride: int, box: int, voxels: int) -> Counts:
    """Places along each axis of tiles of at most `voxels` voxels (or of one place) with the fewest voxels in all."""
    axes = []
    for n in counts:
        chosen: dict[int, int] = {}
        for number in range(1, n + 1):
            each = -(-n // number)
            chosen.setdefault(each, -(-n // each) * ((each - 1) * stride + box))
        axes.append(chosen)
    fitting = [
        (math.prod(cost for _, cost in parts), tuple(each for each, _ in parts))
        for parts in product(*(axis.items() for axis in axes))
        if math.prod((each - 1) * stride + box for each, _ in parts) <= voxels
    ]
    if not fitting:
        return 1, 1, 1
    z, y, x = min(fitting)[1]
    return z, y, x


def peak_bytes_of(
    network: torch.nn.Module, sides: list[int], stride: int, dtype: torch.dtype, *, device: str = "cpu"
) -> float:
    """Bytes that scanning an image of these sides takes on a kind of device, counted on tensors without memory."""
    double = copy.deepcopy(network).to("meta").eval()
    double.compute_dtype, double.planned_for = dtype, device  # type: ignore[assignment]
    with _MetaBytes() as count, torch.inference_mode():
        cast(BoxNetwork, double).scan(torch.empty(1, 1, *sides, device="meta", dtype=dtype), stride=stride)
    return LIBRARY_SHARE * count.most + 8 * math.prod(sides)


class _MetaBytes(LiveBytes):
    """LiveBytes for tensors on the device 'meta', whose storages have no address to know them by."""

    def _key(self, storage: Any) -> int:
        return storage._cdata


def _box(network: torch.nn.Module) -> int:
    box = getattr(network, "box", None)
    if not isinstance(box, int) or not hasattr(network, "scan"):
        raise VoxpickError(
            f"{type(network).__name__} does not name boxes; scan with a network such as yopo or resnet3d"
        )
    return box


def _parts(length: int, most: int) -> list[slice]:
    return [slice(start, min(start + most, length)) for start in range(0, length, most)]
