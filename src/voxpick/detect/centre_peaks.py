"""Picks of a network that marks centres: peaks of its heat map, moved by its offsets, named by its classes there.

The network's output is on a grid of STRIDE voxels, channels as in `networks.picknet`. After Zhou et al. (2019),
Objects as Points: a peak is a voxel that no neighbour exceeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F

from voxpick.detect.budget import SPARE_BYTES, too_small_gpu
from voxpick.detect.centre_tiles import best_sides, tile_windows
from voxpick.detect.inference import for_inference, measured, on_engine
from voxpick.detect.memory import bytes_per_voxel, in_gigabytes, parse_memory, room_on, settle_above, settled_bytes
from voxpick.detect.peaks import as_detection
from voxpick.detect.pipeline import Detection
from voxpick.detect.prepare import Prepared, prepare
from voxpick.detect.remembered import Remembered, recalled
from voxpick.detect.scan import cut
from voxpick.detect.scan_settings import CentreSettings
from voxpick.detect.segment import require_finite
from voxpick.errors import TooMuchForeground, VoxpickError
from voxpick.geometry import HALF_TURNS
from voxpick.networks.model import Model
from voxpick.networks.picknet import CENTRE_CHANNELS, STRIDE
from voxpick.precision import choose_device, choose_dtype
from voxpick.progress import Progress
from voxpick.volume import Volume

PER_VOXEL = 0.05
"""Most peaks for each output voxel; more is noise."""


@dataclass(frozen=True)
class Peaks:
    """n peaks: centres (n, 3) in voxels of the volume, heights (n,) in 0..1, probabilities of names (n, classes)."""

    centers: np.ndarray
    heights: np.ndarray
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.heights)

    def __getitem__(self, rows: np.ndarray) -> Peaks:
        return Peaks(self.centers[rows], self.heights[rows], self.names[rows])

    def above(self, threshold: float) -> Peaks:
        """Those that `peaks` finds at a threshold not lower than these were found at."""
        return self[self.heights.astype(np.float32) > threshold]


def detect_centres(
    volume: Volume, model: Model, *, settings: CentreSettings, device: str = "auto", progress: Progress | None = None,
    remembered: Remembered | None = None,
) -> Detection:  # fmt: skip
    """Scored, named picks, most confident first.

    location_score is the height of the peak, class_score the probability of the name. progress(step, done, total).
    remembered: of earlier detections at other thresholds. Raises VoxpickError as `detect.pipeline.detect` does.
    """

    def look() -> tuple[Prepared, Peaks]:
        ready = prepare(volume, model.voxel_size, settings, spectrum=model.spectrum, device=device)
        return ready, _all_peaks(ready, model, settings, device, progress)

    ready, found = recalled(remembered, "peaks", look, threshold=settings.threshold)
    found = found.above(settings.threshold)
    found = found[_in_sections(found.centers, ready)]
    inside = np.clip(found.centers, 0, np.array(ready.grid.shape) - 1.0)
    labels = 1 + found.names.argmax(axis=1)
    return as_detection(ready, model, inside, labels, found.heights, found.names.max(axis=1, initial=0), settings)


def _in_sections(centers: np.ndarray, ready: Prepared) -> np.ndarray:
    """Which centres (n, 3), in voxels of the grid, lie in the slab: bool (n,). Tiles see more, to be of even sides.

    Those up to STRIDE voxels beyond a face of the volume, as offsets may lead there, count as on that face.
    """
    low, high = np.full(3, -float(STRIDE)), np.array(ready.grid.shape) - 1.0 + STRIDE
    each = ready.volume.voxel_size / ready.voxel_size
    if ready.slab.start > 0:
        low[0] = (ready.slab.start - 0.5) * each
    if ready.slab.stop < ready.volume.shape[0]:
        high[0] = (ready.slab.stop - 0.5) * each
    return np.all((centers >= low) & (centers < high), axis=1)


def _all_peaks(
    ready: Prepared, model: Model, settings: CentreSettings, device: str, progress: Progress | None
) -> Peaks:  # fmt: skip
    """Peaks of all tiles."""
    where = choose_device(device)
    plain = for_inference(model.network, where)
    network = on_engine(plain, settings.engine, where, voxels=ready.data.size * (1 + 3 * settings.turns))
    sides = _tile_sides(ready.data.shape, measured(plain, network), settings, where)
    windows = list(tile_windows(ready.data.shape, sides, settings.halo, multiple=_multiple(network)))
    found, most = [], parse_memory(settings.max_memory) - SPARE_BYTES
    for done, (first, core) in enumerate(windows, start=1):
        start = (first[0] + ready.sections.start, first[1], first[2])
        settle_above(most)
        image = torch.from_numpy(cut(ready, list(start), list(sides)))[None, None].to(where)
        output = evaluate(network, image, turns=settings.turns)
        found.append(peaks(output, core, threshold=settings.threshold, first=start))
        if progress:
            progress("finding centres", done, len(windows))
    return Peaks(*(np.concatenate([getattr(part, name) for part in found]) for name in ("centers", "heights", "names")))


@torch.inference_mode()
def evaluate(network: torch.nn.Module, image: torch.Tensor, *, turns: bool = False) -> torch.Tensor:
    """Heights, offsets and name probabilities (channels, z/2, y/2, x/2) of an image (1, 1, z, y, x).

    turns: the mean over the half turns that keep the wedge. Raises VoxpickError for output that is not finite.
    """
    total: torch.Tensor | None = None
    chosen = HALF_TURNS if turns else HALF_TURNS[:1]
    dtype = choose_dtype(image.device, network)
    for axes in chosen:
        dims = tuple(axis + 2 for axis in axes)
        with torch.autocast(image.device.type, dtype=dtype, enabled=dtype != torch.float32):
            output = network(image.flip(dims))
        output = output.float().flip(dims)[0]
        require_finite(output)
        signs = output.new_tensor([-1.0 if axis in axes else 1.0 for axis in range(3)])
        parts = (output[:1].sigmoid(), output[1:4] * signs[:, None, None, None], output[4:].softmax(0))
        here = torch.cat(parts)
        total = here if total is None else total + here
    assert total is not None
    return total / len(chosen)


def peaks(
    output: torch.Tensor, core: tuple[slice, slice, slice], *, threshold: float, first: tuple[int, int, int]
) -> Peaks:
    """Peaks above `threshold` of the output of a tile that begins at voxel `first`, in its `core` (output voxels).

    A name is the mean over the 27 voxels around the peak, weighted by their heights; the network learned it there.
    """
    heat = output[0]
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    inner = (heat >= highest) & (heat > threshold)
    kept = torch.zeros_like(inner)
    kept[core] = inner[core]
    places = kept.nonzero()
    if len(places) > PER_VOXEL * heat.numel() + 8:
        raise TooMuchForeground(
            f"detect: {len(places)} peaks above the threshold of {threshold:g} in a tile of {heat.numel()} places; "
            "train longer, or raise the threshold"
        )
    z, y, x = places.T
    weights, names = heat.new_zeros(len(places)), output.new_zeros(len(output) - CENTRE_CHANNELS, len(places))
    for step in product((-1, 0, 1), repeat=3):
        at = tuple((p + s).clamp(0, n - 1) for p, s, n in zip((z, y, x), step, heat.shape, strict=True))
        weights += heat[at]
        names += heat[at] * output[CENTRE_CHANNELS:][:, at[0], at[1], at[2]]
    centers = STRIDE * places.T + (STRIDE - 1) / 2 + output[1:CENTRE_CHANNELS, z, y, x].clamp(-STRIDE, STRIDE)
    centers = centers.double() + torch.tensor(first, device=heat.device)[:, None]
    return Peaks(
        centers.T.cpu().numpy(),
        heat[z, y, x].double().clamp(0, 1).cpu().numpy(),
        (names / weights).T.double().clamp(0, 1).cpu().numpy(),
    )


def _tile_sides(
    shape: tuple[int, ...], network: torch.nn.Module, settings: CentreSettings, device: torch.device
) -> tuple[int, int, int]:
    """Tiles as large as `settings` and the memory allow: the main memory, or on a GPU its own."""
    multiple, voxels = _multiple(network), float(settings.tile**3)
    limit, each = parse_memory(settings.max_memory), 0.0
    if device.type in ("cpu", "cuda"):
        each = bytes_per_voxel(lambda image: evaluate(network, image.to(device), turns=settings.turns))
    taken = settled_bytes() + SPARE_BYTES  # with what the network has kept since it was measured
    if device.type == "cpu":
        voxels = min(voxels, (limit - taken) / each)
    elif device.type == "cuda":
        room, least = room_on(device), math.prod(min(n, 2 * settings.halo + multiple) for n in shape)
        if room < least * each:
            raise VoxpickError(too_small_gpu(room, least * each))
        voxels = min(voxels, room / each)
    sides = best_sides(shape, voxels, settings.halo, multiple=multiple)
    if sides is None:
        raise VoxpickError(
            f"detect: max_memory is {in_gigabytes(limit)} and tile {settings.tile}; {in_gigabytes(taken)} are taken "
            f"before the first tile, and no tile fits around a halo of {settings.halo}; allow more, or a smaller halo"
        )
    return sides


def _multiple(network: torch.nn.Module) -> int:
    return math.lcm(STRIDE, int(getattr(network, "multiple_of", 1)))
