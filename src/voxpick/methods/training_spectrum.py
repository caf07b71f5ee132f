"""One amplitude spectrum for all tomograms that a network learns from; its model keeps it for those it will detect in.

What `detect.spectrum` does to a tomogram before detection, training does as well, so that a network never meets
another colour. Fine-tuning keeps the spectrum of the weights that it begins with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from voxpick.detect.prepare import gains_needed, slab_of
from voxpick.detect.spectrum import amplitudes, filtered, kernel_of
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

    A tomogram that was given before, as by a stream, is not filtered again.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.known: list[tuple[TrainingVolume, TrainingVolume]] = []

    def __call__(self, volumes: Sequence[TrainingVolume]) -> list[TrainingVolume]:
        """The volumes, those of another spectrum filtered (in memory, large ones in temporary files)."""
        if self.model.spectrum is None:
            self.model.spectrum = mean_spectrum(volumes)
        if self.model.spectrum is None:
            return list(volumes)
        before = {id(given): result for given, result in self.known}
        self.known = [(given, before.get(id(given)) or _matched(given, self.model.spectrum)) for given in volumes]
        return [result for _, result in self.known]


def _amplitudes(volume: TrainingVolume) -> np.ndarray | None:
    slab = slab_of(volume.tomogram)
    return amplitudes(volume.tomogram.data[slab.start : slab.stop], *volume.intensity)


def _matched(volume: TrainingVolume, spectrum: Sequence[float]) -> TrainingVolume:
    mean, deviation = volume.intensity
    slab, tomogram = slab_of(volume.tomogram), volume.tomogram
    found = gains_needed(tomogram, slice(slab.start, slab.stop), spectrum, mean=mean, deviation=deviation)
    if found is None:
        return volume
    whole = slice(0, tomogram.shape[0])
    changed = filtered(tomogram, kernel_of(found[0]), whole, mean=mean, deviation=deviation)
    return replace(volume, tomogram=changed, intensity=(0.0, 1.0))
