"""Whitening: a tomogram and its templates filtered so that the tomogram has the same power at all frequencies.

Correlation with a template is the best detector in white noise; in a tomogram, whose power falls with frequency, it
gives the low frequencies too much to say. The gain is told from the tomogram itself, by its power in shells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from voxpick.errors import VoxpickError

SHELL = 1 / 96
"""Width of a shell in cycles per voxel."""
FLOOR = 1e-3
"""Shells with less than this share of the median power, as beyond a back-projection's circle, count as having it."""
HELD = 1e-10
"""Of the largest power: shells with less hold nothing but rounding, and have no part in the median. A low-pass filter
leaves most of the shells so, whose median, rounding itself, would set no floor."""


@dataclass(frozen=True)
class Whitening:
    """gains: at the frequencies (k + 1/2) SHELL cycles per voxel, (n,); linear between them."""

    gains: np.ndarray

    def transfer(self, shape: tuple[int, int, int], *, device: torch.device | str = "cpu") -> torch.Tensor:
        """The gain in the layout of rfftn for `shape`: float32 [nz, ny, nx // 2 + 1]."""
        found, known = _radius(shape), (np.arange(len(self.gains)) + 0.5) * SHELL
        for section in found.numpy():  # one at a time, as np.interp works in float64
            section[:] = np.interp(section, known, self.gains)
        return found.to(device)


def whiten(data: np.ndarray) -> tuple[np.ndarray, Whitening]:
    """The filtered volume, float32 [z, y, x], and the gains for its templates.

    The whole volume is transformed at once: it takes up to five times its own memory. Raises VoxpickError for NaN and
    for constant volumes.
    """
    values = torch.from_numpy(np.array(data, dtype=np.float32))
    values -= values.mean(dtype=torch.float64).float()
    if not bool(torch.isfinite(values).all()) or float(values.abs().max()) == 0:
        raise VoxpickError("the volume is constant, or holds NaN or infinite values; there is nothing to whiten")
    shape = (data.shape[0], data.shape[1], data.shape[2])
    spectrum = torch.fft.rfftn(values)
    del values
    counts, power = _in_shells(spectrum, _radius(shape))
    counts[0] -= 1  # the mean, which is 0
    filled = (counts > 0).nonzero()[:, 0]  # small volumes have no frequency in some of the lowest shells
    power = power[filled] / counts[filled]
    usual = float(power[power > HELD * power.max()].median())
    gains = power.clamp(min=FLOOR * usual).rsqrt().numpy()
    gains = np.interp(np.arange(len(counts)), filled.numpy(), gains)
    whitening = Whitening(gains / gains.mean())
    spectrum *= whitening.transfer(shape)
    return torch.fft.irfftn(spectrum, s=shape).numpy(), whitening


def _in_shells(spectrum: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many frequencies lie in each shell, and their power: (n,), (n,). Section by section, to save memory."""
    number = int(radius.max() / SHELL) + 1
    counts, power = torch.zeros(number, dtype=torch.int64), torch.zeros(number, dtype=torch.float64)
    for values, at in zip(spectrum, radius, strict=True):
        shells = (at / SHELL).long().reshape(-1)
        counts += torch.bincount(shells, minlength=number)
        power += torch.bincount(shells, weights=values.abs().square().double().reshape(-1), minlength=number)
    return counts, power


def _radius(shape: tuple[int, int, int]) -> torch.Tensor:
    """Frequency in cycles per voxel in the layout of rfftn."""
    kz, ky, kx = torch.fft.fftfreq(shape[0]), torch.fft.fftfreq(shape[1]), torch.fft.rfftfreq(shape[2])
    return (kz[:, None, None] ** 2 + ky[:, None] ** 2 + kx**2).sqrt()
