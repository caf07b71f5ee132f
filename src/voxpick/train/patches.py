"""Training patches: where they are cut and how they are gathered into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from voxpick.errors import VoxpickError
from voxpick.train.augment import Augmentation
from voxpick.train.partial import EmptyPlaces
from voxpick.train.particle_draws import ParticleDraws
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume, binary_target, covering, voxel_shares


class Sampler(Protocol):
    """Draws labelled patches; all randomness comes from the generator it is given."""

    epoch: int
    """Patches that make one epoch."""

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One image float32 [z, y, x] and its labels int64 [z, y, x]."""
        ...


class SegmentationPatches:
    """Patches to be segmented, over all of the tomograms or around a particle.

    Those beyond a face are moved into the tomogram, so that the few that hold a voxel at the face are drawn more often.
    Of those around a particle some lie around known background far from all, where labels are partly known.
    binary: labels are 1 for any particle; else class numbers.
    An epoch is as many patches as cover the masks of all volumes once.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], *, size: int, centred_fraction: float, touching: str,
        augmentation: Augmentation, binary: bool = True,
    ) -> None:  # fmt: skip
        _require(volumes)
        self.volumes, self.size, self.touching, self.augmentation = volumes, size, touching, augmentation
        self.binary = binary
        self.centers = [volume.centers() for volume in volumes]
        self.centred_fraction = centred_fraction if any(len(centers) for centers in self.centers) else 0.0
        self.by_voxels = voxel_shares(volumes)
        numbers = np.array([len(centers) for centers in self.centers], dtype=np.float64)
        self.by_particles = numbers / max(numbers.sum(), 1)
        self.empty = EmptyPlaces(volumes, size=size)
        self.epoch = covering(volumes, voxels=size**3)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One augmented image and its labels."""
        if rng.random() < self.centred_fraction:
            empty = self.empty.draw(rng)
            if empty is None:
                index = int(rng.choice(len(self.volumes), p=self.by_particles))
                center = self.centers[index][rng.integers(len(self.centers[index]))]
            else:
                index, center = empty
            offset = rng.integers(self.size // 4, self.size - self.size // 4, size=3)
            wanted = center - offset
        else:
            index = int(rng.choice(len(self.volumes), p=self.by_voxels))
            wanted = self.volumes[index].anywhere(self.size, rng)
        volume, window = self.volumes[index], (self.size,) * 3
        start = volume.moved_inside(wanted, self.size)
        labels = volume.labels(start, window, touching=self.touching)
        if self.binary:
            labels = binary_target(labels)
        return self.augmentation(volume.image(start, window), labels, rng)


class ClassifierPatches:
    """Subtomograms for the multi-class segmentation, centred on particles up to a jitter in voxels.

    balanced: every class equally often; else every particle. An epoch is as many subtomograms as there are particles.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], *, size: int, jitter: float, balanced: bool, touching: str,
        augmentation: Augmentation,
    ) -> None:  # fmt: skip
        _require(volumes)
        self.volumes, self.size, self.touching, self.augmentation = volumes, size, touching, augmentation
        names = sorted({str(name) for volume in volumes for name in volume.particles.classes})
        numbers = {name: number for number, name in enumerate(names)}
        self.particles = ParticleDraws(volumes, numbers, balanced=balanced, jitter=jitter)
        if not len(self.particles):
            raise VoxpickError("the training data hold no particles, so a classifier cannot be trained on them")
        self.epoch = len(self.particles)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One augmented subtomogram and its class numbers."""
        index, center, _ = self.particles.draw(rng)
        volume = self.volumes[index]
        start = (center - self.size // 2).tolist()
        window = (self.size | 1,) * 3  # odd sides, as turning even ones would move voxel side // 2
        labels = volume.labels(start, window, touching=self.touching)
        turned = self.augmentation(volume.image(start, window), labels, rng)
        image, labels = (np.ascontiguousarray(part[: self.size, : self.size, : self.size]) for part in turned)
        return image, labels


def make_sampler(volumes: Sequence[TrainingVolume], settings: TrainSettings) -> Sampler:
    """VP-Detector's sampler: binary segmentation for the 'localizer', else subtomograms around particles."""
    augmentation = Augmentation.of(settings)
    if settings.stage == "localizer":
        return SegmentationPatches(
            volumes, size=settings.patch, centred_fraction=settings.centred_fraction, touching=settings.touching,
            augmentation=augmentation,
        )  # fmt: skip
    return ClassifierPatches(
        volumes, size=settings.patch, jitter=settings.jitter, balanced=settings.balanced, touching=settings.touching,
        augmentation=augmentation,
    )  # fmt: skip


def draw_batch(sampler: Sampler, rng: np.random.Generator, *, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (b, 1, z, y, x) float32 and labels (b, z, y, x) int64."""
    pairs = [sampler.draw(rng) for _ in range(batch)]
    images = torch.from_numpy(np.stack([image for image, _ in pairs]))[:, None]
    return images, torch.from_numpy(np.stack([labels for _, labels in pairs]))


def _require(volumes: Sequence[TrainingVolume]) -> None:
    if not volumes:
        raise VoxpickError("no training data; give at least one simulated model directory")
