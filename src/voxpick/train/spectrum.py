"""Random changes of a patch's amplitude spectrum: what other microscopes, detectors and voxel sizes do to a tomogram.

A network that sees one transfer function learns its colour of noise by heart. Here each patch gets another one, smooth
in spatial frequency, that keeps phases, zeros and with them the missing wedge.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import fftfreq, irfftn, rfftfreq, rfftn

HARMONICS = 2
CUT_OFFS = (0.55, 1.0)
"""Of the low-pass, in shares of the Nyquist frequency: voxels of 18 A to 10 A, brought to 10 A."""
STEEPNESS = 8


def change_spectrum(image: np.ndarray, rng: np.random.Generator, *, strength: float, low_pass: float) -> np.ndarray:
    """A patch float32 [z, y, x] filtered by a random radial gain; its mean and standard deviation stay.

    strength: standard deviation of the coefficients a_n of the gain's logarithm, sum of a_n cos(n pi f) with n = 1, 2
    and f the frequency over Nyquist's. low_pass: share of the patches that a Butterworth filter of order STEEPNESS cuts
    off as well, somewhere in CUT_OFFS.
    """
    coefficients = rng.normal(0.0, strength, size=HARMONICS)
    cut, cut_off = rng.random() < low_pass, rng.uniform(*CUT_OFFS)
    frequency = _frequencies(image.shape)
    gain = np.zeros_like(frequency)
    for n, coefficient in enumerate(coefficients, start=1):
        gain += np.float32(coefficient) * np.cos(np.float32(n * np.pi) * np.minimum(frequency, 1))
    np.exp(gain, out=gain)
    if cut:
        gain /= np.sqrt(1 + (frequency / np.float32(cut_off)) ** (2 * STEEPNESS))
    mean, deviation = image.mean(), image.std()
    changed = irfftn(rfftn(image - mean) * gain, s=image.shape)
    left = changed.std()
    return changed * (deviation / left if left > 0 else 1) + mean


@lru_cache(maxsize=4)
def _frequencies(shape: tuple[int, ...]) -> np.ndarray:
    """Radial frequency over Nyquist's, float32, of the samples of rfftn."""
    z, y, x = (2 * np.abs(f).astype(np.float32) for f in (fftfreq(shape[0]), fftfreq(shape[1]), rfftfreq(shape[2])))
    return np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)
