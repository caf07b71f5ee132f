"""Random changes of a patch that leave the missing wedge where it is (tilt axis y, beam z).

Half turns about x and z do so where a tilt series reaches as far to one side as to the other, that about y always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxpick.geometry import HALF_TURNS
from voxpick.train.settings import TrainSettings
from voxpick.train.spectrum import change_spectrum


@dataclass(frozen=True)
class Augmentation:
    """Turns by 180 degrees about an axis, mirrors, amplitude spectrum, contrast, brightness and noise.

    The half turns about x, y and z map the wedge of a tilt series about y onto itself, as mirrors do; mirrors change
    the handedness of the particles and are off by default.
    """

    turns: bool = True
    mirrors: bool = False
    scale: float = 0.1
    shift: float = 0.1
    noise: float = 0.0
    spectrum: float = 0.0
    low_pass: float = 0.0

    @staticmethod
    def of(settings: TrainSettings) -> Augmentation:
        """What a run's settings ask for."""
        return Augmentation(
            turns=settings.turns, mirrors=settings.mirrors, scale=settings.intensity_scale,
            shift=settings.intensity_shift, noise=settings.noise, spectrum=settings.spectrum,
            low_pass=settings.low_pass,
        )  # fmt: skip

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Changed copies of an image and its labels, both [z, y, x]."""
        axes = self.axes(rng)
        return self.varied(np.flip(image, axes), rng), np.ascontiguousarray(np.flip(labels, axes))

    def axes(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Axes to flip: of a half turn, and of a mirror where mirrors are allowed."""
        axes = set(HALF_TURNS[rng.integers(len(HALF_TURNS))]) if self.turns else set()
        if self.mirrors and rng.random() < 0.5:
            axes ^= {int(rng.integers(3))}
        return tuple(axes)

    def varied(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy [z, y, x] with other amplitudes, contrast, brightness and noise."""
        if self.spectrum > 0 or self.low_pass > 0:
            image = change_spectrum(image, rng, strength=self.spectrum, low_pass=self.low_pass)
        factor = np.float32(1 + rng.uniform(-self.scale, self.scale))
        image = image * factor + np.float32(rng.uniform(-self.shift, self.shift))
        if self.noise > 0:
            image = image + np.float32(self.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        return np.ascontiguousarray(image, dtype=np.float32)
