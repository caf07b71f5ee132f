"""Tiled inference: a volume and a network give probability maps, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise, product

import numpy as np
import torch

from voxpick.detect.foreground import Foreground
from voxpick.detect.merge import FOREGROUNDS, MERGES, Window
from voxpick.errors import VoxpickError
from voxpick.precision import choose_device, choose_dtype
from voxpick.volume import release

ROUND_TO = 8
MINIMUM_SIDE = 16
Tile3 = tuple[int, int, int]
Tile = int | Tile3


def probabilities(
    volume: np.ndarray,
    network: torch.nn.Module,
    *,
    tile: Tile = 128,
    halo: int = 16,
    merge: str = "crop",
    mean: float = 0.0,
    deviation: float = 1.0,
    threshold: float = 0.5,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    store: np.dtype | type = np.float16,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Probability of a particle at every voxel [z, y, x].

    volume: [z, y, x], in memory or memory-mapped; (volume - mean) / deviation goes into the network, tile by tile
    (a negative deviation inverts the contrast). Beyond the volume the network's own zero padding applies.
    tile: a tile has at most tile^3 voxels, its halo included, in the shape that wastes least (`best_tile`); or the
    greatest side along each axis. halo: voxels on each inner side of a tile that are computed and not kept, so tiles
    overlap by 2 * halo at least. MSDNet of depth 49 sees 196 voxels to each side, of which the outer ones hardly count.
    merge: a name in `merge.MERGES`; 'border' (the paper's) uses `threshold`.
    dtype: number format to compute in; None takes what the device is fast at. store: format of the maps.
    Raises VoxpickError for a tile not larger than two halos or an unknown merge.
    """
    _check(merge)
    merged = MERGES[merge](volume.shape, dtype=store, threshold=threshold)
    tiles = tile_maps(volume, network, tile, halo, mean=mean, deviation=deviation, device=device, dtype=dtype)
    for done, total, window, core, tile_map in tiles:
        merged.add(window, core, (1 - tile_map[0]).clamp(0, 1).cpu().numpy())
        if progress:
            progress(done, total)
    return merged.result()


def particle_voxels(
    volume: np.ndarray,
    network: torch.nn.Module,
    *,
    tile: Tile = 128,
    halo: int = 16,
    merge: str = "crop",
    mean: float = 0.0,
    deviation: float = 1.0,
    threshold: float = 0.5,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    store: np.dtype | type = np.float16,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[int], None] | None = None,
) -> Foreground:
    """`probabilities` above `threshold`, without ever holding the whole map: memory for one tile and what is found.

    watch: is told after each tile how many voxels there are, and may raise.
    """
    _check(merge)
    merged = FOREGROUNDS[merge](volume.shape, dtype=store, threshold=threshold)
    tiles = tile_maps(volume, network, tile, halo, mean=mean, deviation=deviation, device=device, dtype=dtype)
    for done, total, window, core, tile_map in tiles:
        merged.add(window, core, (1 - tile_map[0]).clamp(0, 1).cpu().numpy())
        if watch:
            watch(len(merged))
        if progress:
            progress(done, total)
    return merged.result()


def tile_maps(
    volume: np.ndarray,
    network: torch.nn.Module,
    tile: Tile,
    halo: int,
    *,
    mean: float,
    deviation: float,
    device: str | torch.device,
    dtype: torch.dtype | None,
) -> Iterator[tuple[int, int, Window, Window, torch.Tensor]]:
    """Number so far, number of tiles, window, core and class probabilities [c, z, y, x] of every tile."""
    where = torch.device(device) if isinstance(device, torch.device) else choose_device(device)
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    multiple = multiple_of(network)
    sides = best_tile(shape, tile**3, halo, multiple=multiple) if isinstance(tile, int) else tile
    windows = list(tile_windows(shape, sides, halo, multiple=multiple))
    network = network.to(where)
    for done, (window, core) in enumerate(windows, start=1):
        values = (np.asarray(volume[window], dtype=np.float32) - np.float32(mean)) / np.float32(deviation)
        release(volume)
        tile_map = softmax_map(torch.from_numpy(values)[None, None], network, device=where, dtype=dtype)[0]
        yield done, len(windows), window, core, tile_map


def multiple_of(network: torch.nn.Module) -> int:
    """What the sides of a network's input have to be multiples of."""
    return int(getattr(network, "multiple_of", 1))


@torch.inference_mode()
def softmax_map(
    images: torch.Tensor, network: torch.nn.Module, *, device: torch.device, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Class probabilities (b, c, z, y, x), float32 on `device`, of images (b, 1, z, y, x).

    They are (b, c) from a network that names whole images.
    dtype: format of the convolutions, by autocast; None takes what the device is fast at.
    The network is used in evaluation mode and left in the mode it had. One with a `multiple_of` attribute gets sides
    that are multiples of it, padded with zeros at the far end.
    """
    images = images.to(device)
    shape = images.shape[2:]
    multiple = multiple_of(network)
    padding = [(-n) % multiple for n in shape]
    if any(padding):
        images = torch.nn.functional.pad(images, (0, padding[2], 0, padding[1], 0, padding[0]))
    training = network.training
    network.eval()
    with _precision(device, dtype, network):
        logits = network(images)
    network.train(training)
    logits = (logits if logits.ndim == 2 else logits[:, :, : shape[0], : shape[1], : shape[2]]).float()
    require_finite(logits)
    return torch.softmax(logits, dim=1)


def require_finite(output: torch.Tensor) -> None:
    """Raise VoxpickError where a network's output has NaN or infinite values: the extremes have them, too."""
    if not torch.isfinite(output.amin()) & torch.isfinite(output.amax()):
        raise VoxpickError("the network's output is not finite; compute in float32, or train the model again")


def best_tile(shape: Tile3, voxels: int, halo: int, *, multiple: int = 1) -> Tile3:
    """Sides of the tiles of at most `voxels` voxels that cover `shape` with the fewest voxels computed in all.

    Of several such, as there are without a halo, those whose shortest side is longest.
    halo: as for `tile_windows`. multiple: what the network needs its sides to be multiples of.
    Raises VoxpickError when no tile of that size has anything inside its halo.
    """
    axes = [
        _axis_sides(n, halo, step, multiple)
        for n, step in zip(shape, (multiple, multiple, math.lcm(ROUND_TO, multiple)), strict=True)
    ]
    fitting = [
        (math.prod(cost for _, cost in sides), -min(side for side, _ in sides), *(side for side, _ in sides))
        for sides in product(*(axis.items() for axis in axes))
        if math.prod(side for side, _ in sides) <= voxels
    ]
    if not fitting:
        raise VoxpickError(
            f"detect: tiles of {voxels} voxels leave nothing inside a halo of {halo}; "
            "take larger tiles or a smaller halo"
        )
    _, _, z, y, x = min(fitting)
    return z, y, x


def _axis_sides(length: int, halo: int, step: int, multiple: int) -> dict[int, int]:
    """Sides of tiles along an axis, in multiples of `step`, and the voxels computed along it with each of them."""
    covered, overlap = _rounded(length, multiple), _rounded(2 * halo, multiple)
    sides = {covered: covered}
    least = max(overlap + multiple, MINIMUM_SIDE)
    for number in range(2, length):
        side = _rounded(max(-(-(covered + (number - 1) * overlap) // number), least), step)
        if side < length:
            sides.setdefault(side, (1 + -(-(covered - side) // (side - overlap))) * side)
        if side <= least + step:
            break
    return sides


def tile_windows(
    shape: tuple[int, ...], tile: tuple[int, ...], halo: int, *, multiple: int = 1
) -> Iterator[tuple[Window, Window]]:
    """(window, core) of every tile: windows of equal size that overlap by at least 2 * halo; cores partition `shape`.

    The number of tiles along an axis is the least that `tile` allows; their side is then the least that covers the
    axis, rounded up to a multiple of 8. No halo is spent at the faces of the volume.
    multiple: tiles begin at multiples of it, as a network that pools sees the same blocks of voxels in every tile then;
    their sides are multiples of it as well, but for those that end with the volume.
    """
    axes = [list(_axis_windows(n, t, halo, multiple)) for n, t in zip(shape, tile, strict=True)]
    for parts in product(*axes):
        yield tuple(window for window, _ in parts), tuple(core for _, core in parts)


def _axis_windows(length: int, tile: int, halo: int, multiple: int) -> Iterator[tuple[slice, slice]]:
    if length <= tile:
        yield slice(0, length), slice(0, length)
        return
    tile -= tile % multiple
    covered, overlap = _rounded(length, multiple), _rounded(2 * halo, multiple)
    if halo < 0 or tile <= overlap:
        raise VoxpickError(
            f"detect: a tile of {tile} voxels leaves nothing inside a halo of {halo}; tile > {max(overlap, 0)}"
        )
    number = 1 + -(-(covered - tile) // (tile - overlap))
    side = min(tile, _rounded(-(-(covered + (number - 1) * overlap) // number), math.lcm(ROUND_TO, multiple)))
    starts = [round(k * (covered - side) / (number - 1) / multiple) * multiple for k in range(number)]
    seams = [0, *((a + side + b + 1) // 2 for a, b in pairwise(starts)), length]
    for start, low, high in zip(starts, seams[:-1], seams[1:], strict=True):
        yield slice(start, min(start + side, length)), slice(low, high)


def _rounded(number: int, multiple: int) -> int:
    """The least multiple that is not less than the number."""
    return number + -number % multiple


def _precision(
    device: torch.device, dtype: torch.dtype | None, network: torch.nn.Module
) -> AbstractContextManager[object]:
    dtype = dtype or choose_dtype(device, network)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def _check(merge: str) -> None:
    if merge not in MERGES:
        raise VoxpickError(f"detect: unknown merge {merge!r}; one of {', '.join(MERGES)}")
