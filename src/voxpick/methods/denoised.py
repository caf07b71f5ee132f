"""Volumes without noise: a trained denoiser on every xy slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from voxpick.networks.folding import folded
from voxpick.networks.model import Model
from voxpick.precision import choose_dtype
from voxpick.progress import Progress
from voxpick.train.targets import TrainingVolume
from voxpick.volume import intensity_statistics

PIXELS = 2**18
"""Pixels that are denoised at a time, in whole slices."""


@torch.inference_mode()
def denoise(
    data: np.ndarray,
    model: Model,
    *,
    mean: float,
    deviation: float,
    sections: slice | None = None,
    device: torch.device,
    progress: Progress | None = None,
) -> np.ndarray:
    """Denoised sections of [z, y, x], float16 in units of the noise-free density (mean 0, deviation 1).

    (data - mean) / deviation goes into the network. Outside `sections` (None: all) the result is 0, the mean.
    """
    network, dtype = folded(model.network).to(device), choose_dtype(device)
    result = np.zeros(data.shape, dtype=np.float16)
    first, last, _ = (sections or slice(None)).indices(len(data))
    step = max(1, PIXELS // (data.shape[1] * data.shape[2]))
    for start in range(first, last, step):
        stop = min(start + step, last)
        values = (np.asarray(data[start:stop], dtype=np.float32) - np.float32(mean)) / np.float32(deviation)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            clean = network(torch.from_numpy(values).to(device)[None, None])[0, 0]
        result[start:stop] = clean.clamp(-6e4, 6e4).cpu().numpy()
        if progress:
            progress("denoising", stop - first, last - first)
    return result


def denoised_volume(volume: TrainingVolume, model: Model, *, device: torch.device) -> TrainingVolume:
    """A training volume with its tomogram denoised, float16 in memory, and patches normalised anew."""
    mean, deviation = volume.intensity
    clean = denoise(volume.tomogram.data, model, mean=mean, deviation=deviation, device=device)
    tomogram = volume.tomogram.with_data(clean)
    return replace(volume, tomogram=tomogram, intensity=intensity_statistics(tomogram))
