"""Subtomograms with one label each, for networks that name a whole subtomogram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.train.augment import Augmentation
from voxpick.train.particle_draws import ParticleDraws
from voxpick.train.targets import TrainingVolume

CLEARANCE = 3
"""Voxels around the centre of a background example that hold no particle."""
TRIES = 1000


class LabelledSubtomograms:
    """Subtomograms centred on particles up to a jitter in voxels, labelled 1.. by class; 0 where no particle is.

    classes: names of the labels from 1 on. balanced: every class equally often; else every particle. background: share
    of the subtomograms that are centred at least CLEARANCE voxels from any particle, in the sections of the mask.
    An epoch is as many subtomograms as there are particles. Raises VoxpickError for data without particles, or with one
    of another class.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], *, classes: Sequence[str], size: int, jitter: float, balanced: bool,
        background: float, augmentation: Augmentation,
    ) -> None:  # fmt: skip
        self.volumes, self.size, self.augmentation = volumes, size, augmentation
        self.background = background
        self.known = [volume.known_background() for volume in volumes]
        numbers = {name: k for k, name in enumerate(classes, start=1)}
        if foreign := sorted({str(name) for volume in volumes for name in volume.particles.classes} - set(numbers)):
            raise VoxpickError(f"the training data hold {foreign[0]!r}, the model names {', '.join(classes)}")
        self.particles = ParticleDraws(volumes, numbers, balanced=balanced, jitter=jitter)
        if not len(self.particles):
            raise VoxpickError("the training data hold no particles, so a classifier cannot be trained on them")
        self.epoch = len(self.particles)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One augmented subtomogram and its label, int64 without dimensions."""
        if rng.random() < self.background:
            index, center, label = *self._empty_place(rng), 0
        else:
            index, center, label = self.particles.draw(rng)
        whole = self.size | 1  # an odd side, as turning an even one would move voxel side // 2
        image = self.volumes[index].image((center - self.size // 2).tolist(), (whole,) * 3)
        image = self.augmentation(image, image, rng)[0][: self.size, : self.size, : self.size]
        return np.ascontiguousarray(image), np.array(label, dtype=np.int64)

    def _empty_place(self, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """A volume and a voxel (z, y, x) of its tomogram with no particle near."""
        for _ in range(TRIES):
            index = int(rng.integers(len(self.volumes)))
            volume = self.volumes[index]
            known, offset = self.known[index], np.array([volume.z_offset, 0, 0])
            if known is None:
                place = rng.integers(volume.class_mask.shape)
            elif len(known) == 0:
                continue
            else:
                place = known[rng.integers(len(known))] - offset
            near = tuple(slice(max(c - CLEARANCE, 0), c + CLEARANCE + 1) for c in place.tolist())
            if not np.asarray(volume.class_mask[near]).any():
                return index, place + offset
        raise VoxpickError(
            f"{TRIES} random places of the training data all lie within {CLEARANCE} voxels of a particle; "
            "train with options.background=0"
        )
