"""One amplitude spectrum for all tomograms that a network learns from; its model keeps it for those it will detect in.

What `detect.spectrum` does to a tomogram before detection, training does as well, so that a network never meets
another colour. Fine-tuning keeps the spectrum of the weights that it begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from voxpick.detect.convolution import CPU, filtered
from voxpick.detect.memory import spacious
from voxpick.detect.prepare import gains_needed, slab_of
from voxpick.detect.spectrum import amplitudes, kernel_of
from voxpick.networks.model import Model
from voxpick.train.targets import TrainingVolume

MOST_SPECTRA = 8
"""Tomograms that a spectrum is the mean of."""


def mean_spectrum(volumes: Sequence[TrainingVolume]) -> list[float] | None:
    """Amplitudes (`detect.spectrum`) of tomograms, at most MOST_SPECTRA of them: the mean of their logarithms.

    None where all are too small to have any.
    """
    found = [_amplitudes(volume) for volume in volumes[:: max(1, -(-len(volumes) // MOST_SPECTRA))]]
    logarithms = [np.log(np.maximum(one, 1e-12)) for one in found if one is not None]
    return np.exp(np.mean(logarithms, axis=0)).tolist() if logarithms else None


class OneSpectrum:
    """Gives tomograms the spectrum of a model; a model that has none yet gets that of the first ones it is called with.

    earlier: other stages of the model file, which share one spectrum; where these have none, tomograms are left alone,
    as they are where `keep` is set. A tomogram that was given before, as by a stream, is not filtered again.
    device: what filters; a GPU that trains would wait for the CPU whenever the pool of a stream changes.
    """

    def __init__(
        self, model: Model, earlier: Mapping[str, Model] | None = None, *, keep: bool = False,
        device: torch.device = CPU,
    ) -> None:  # fmt: skip
        shared = [other.spectrum for other in (earlier or {}).values()]
        if shared and not keep:
            model.spectrum = shared[0]
        self.keep = keep or (bool(shared) and shared[0] is None)
        self.model, self.device = model, device
        self.known: list[tuple[TrainingVolume, TrainingVolume]] = []

    def __call__(self, volumes: Sequence[TrainingVolume]) -> list[TrainingVolume]:
        """The volumes, those of another spectrum filtered; kept in temporary files, or as float16 if they are that."""
        if self.keep:
            return list(volumes)
        if self.model.spectrum is None:
            self.model.spectrum = mean_spectrum(volumes)
        before = {id(given): result for given, result in self.known}
        self.known = [(given, before.get(id(given)) or self.one(given)) for given in volumes]
        return [result for _, result in self.known]

    def one(self, volume: TrainingVolume) -> TrainingVolume:
        """A volume in the model's spectrum, if there is one by now."""
        if self.keep or self.model.spectrum is None:
            return volume
        return _matched(volume, self.model.spectrum, self.device)


def _amplitudes(volume: TrainingVolume) -> np.ndarray | None:
    slab = slab_of(volume.tomogram)
    return amplitudes(volume.tomogram.data[slab.start : slab.stop], *volume.intensity)


def _matched(volume: TrainingVolume, spectrum: Sequence[float], device: torch.device) -> TrainingVolume:
    mean, deviation = volume.intensity
    slab, tomogram = slab_of(volume.tomogram), volume.tomogram
    found = gains_needed(tomogram, slice(slab.start, slab.stop), spectrum, mean=mean, deviation=deviation)
    if found is None:
        return volume
    half = tomogram.data.dtype == np.float16
    into = np.empty(tomogram.shape, np.float16) if half else spacious(tomogram.shape, in_memory=0)
    whole = slice(0, tomogram.shape[0])
    changed = filtered(
        tomogram, kernel_of(found[0]), whole, mean=mean, deviation=deviation, into=into, device=device
    )  # fmt: skip
    return replace(volume, tomogram=changed, intensity=(0.0, 1.0))
