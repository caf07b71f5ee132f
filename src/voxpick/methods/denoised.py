"""Volumes without noise: a trained denoiser on every xy slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from voxpick.detect.budget import SPARE_BYTES, too_small_gpu
from voxpick.detect.memory import bytes_per_voxel, in_gigabytes, room_on, settled_bytes, spacious
from voxpick.errors import VoxpickError
from voxpick.networks.folding import folded
from voxpick.networks.model import Model
from voxpick.precision import choose_dtype
from voxpick.progress import Progress
from voxpick.train.targets import TrainingVolume
from voxpick.volume import intensity_statistics, release

PIXELS = 2**18
"""Pixels that are denoised at a time, in whole slices; fewer where memory is short."""
IN_MEMORY = 2**29
"""Bytes of a result from which on it lies in a temporary file, or an eighth of what may be taken if that is less."""


@torch.inference_mode()
def denoise(
    data: np.ndarray,
    model: Model,
    *,
    mean: float,
    deviation: float,
    sections: slice | None = None,
    device: torch.device,
    max_memory: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Denoised sections of [z, y, x], float16 in units of the noise-free density (mean 0, deviation 1).

    (data - mean) / deviation goes into the network. Outside `sections` (None: all) the result is 0, the mean. A large
    one lies in a temporary file, and of a memory-mapped volume few sections are in memory.
    max_memory: bytes that the process may hold; on a GPU its own free memory counts instead. Raises VoxpickError where
    not even one slice fits.
    """
    network, dtype = folded(model.network).to(device), choose_dtype(device)

    def evaluate(image: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return network(image.to(device))

    in_memory = IN_MEMORY if max_memory is None else min(IN_MEMORY, max_memory // 8)
    result = spacious(data.shape, in_memory=in_memory, dtype=np.float16)
    first, last, _ = (sections or slice(None)).indices(len(data))
    for z in (*range(first), *range(last, len(data))):
        result[z] = 0
        release(result)
    release(data)
    step = _slices(evaluate, result, max_memory, device)
    for start in range(first, last, step):
        stop = min(start + step, last)
        values = (np.asarray(data[start:stop], dtype=np.float32) - np.float32(mean)) / np.float32(deviation)
        result[start:stop] = evaluate(torch.from_numpy(values)[None, None])[0, 0].clamp(-6e4, 6e4).cpu().numpy()
        release(data)
        release(result)
        if progress:
            progress("denoising", stop - first, last - first)
    return result


def _slices(
    evaluate: Callable[[torch.Tensor], torch.Tensor], result: np.ndarray, max_memory: int | None, device: torch.device
) -> int:
    """How many slices to denoise at a time. Raises VoxpickError where one takes more than there is."""
    pixels = result.shape[1] * result.shape[2]
    most = max(1, PIXELS // pixels)
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and max_memory is None):
        return most
    each = pixels * bytes_per_voxel(evaluate)
    if device.type == "cuda":
        if (room := room_on(device)) < each:
            raise VoxpickError(too_small_gpu(room, each, "a slice to denoise"))
        return min(most, int(room / each))
    assert max_memory is not None
    held = 0 if isinstance(result, np.memmap) else result.nbytes  # its pages are not there before they are written to
    taken = settled_bytes() + held + SPARE_BYTES
    if max_memory - taken < each:
        raise VoxpickError(
            f"detect: max_memory is {in_gigabytes(max_memory)}; {in_gigabytes(taken)} are taken before the first slice "
            f"is denoised, which needs {in_gigabytes(each)}; allow at least {in_gigabytes(taken + 2 * each)}"
        )
    return min(most, int((max_memory - taken) / each))


def denoised_volume(volume: TrainingVolume, model: Model, *, device: torch.device) -> TrainingVolume:
    """A training volume with its tomogram denoised, in memory or a temporary file, and patches normalised anew."""
    mean, deviation = volume.intensity
    clean = denoise(volume.tomogram.data, model, mean=mean, deviation=deviation, device=device)
    tomogram = volume.tomogram.with_data(clean)
    return replace(volume, tomogram=tomogram, intensity=intensity_statistics(tomogram))
