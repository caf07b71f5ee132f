"""Patches whose target holds the specimen without noise, for networks that learn to denoise.

The noise-free density is brought to mean 0 and standard deviation 1, measured over the central half of each axis of its
own volume, and to the contrast of the tomogram: it is negated where the two are anti-correlated, as in SHREC'20, whose
tomograms are dark and grandmodels bright where there is protein.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.train.augment import Augmentation
from voxpick.train.targets import TrainingVolume, covering, voxel_shares
from voxpick.volume import intensity_statistics

COMPARED_SECTIONS = 9


def specimen(volume: TrainingVolume) -> TrainingVolume:
    """The noise-free density as a tomogram of its own, whose patches have mean 0, deviation 1 and the right contrast.

    Its sections are those of the class mask. Raises VoxpickError for a volume without density.
    """
    if volume.density is None or volume.density.shape != volume.class_mask.shape:
        found = "no noise-free density" if volume.density is None else f"a density of shape {volume.density.shape}"
        raise VoxpickError(
            f"{volume.tomogram.name}: {found}, but denoising is learned from one of shape {volume.class_mask.shape}; "
            "train on simulated data with their grandmodel"
        )
    clean = replace(volume.tomogram, data=volume.density)
    mean, deviation = intensity_statistics(clean)
    sign = -1.0 if contrast(volume) < 0 else 1.0
    return replace(volume, tomogram=clean, z_offset=0, intensity=(mean, sign * deviation))


def contrast(volume: TrainingVolume) -> float:
    """Mean of the correlation coefficients of a few sections of the tomogram with the noise-free density."""
    assert volume.density is not None
    numbers = np.unique(np.linspace(0, len(volume.density) - 1, COMPARED_SECTIONS).astype(int))
    found = []
    for z in numbers:
        noisy, clean = (
            np.asarray(section, dtype=np.float64).ravel()
            for section in (volume.tomogram.data[z + volume.z_offset], volume.density[z])
        )
        if noisy.std() > 0 and clean.std() > 0:
            found.append(float(np.corrcoef(noisy, clean)[0, 1]))
    return float(np.mean(found)) if found else 0.0


class SpecimenPatches:
    """Cubes with two targets, float32 (2, z, y, x): class numbers (IGNORE kept), and the density of `specimen`.

    Cubes lie anywhere within the tomogram, at most a quarter beyond the first and last section of the class mask. The
    density is NaN beyond the class mask, where it is not known, and the label 0.
    overlap: an epoch has as many cubes as a grid on which neighbours share this part of their side. grid: they lie on
    it, within the class mask as far as they fit, the last along each side moved back to its end.
    flips: mirror y and x, each with a chance of one half, besides what `augmentation` does.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], *, size: int, overlap: float, flips: bool, touching: str,
        augmentation: Augmentation, grid: bool = False,
    ) -> None:  # fmt: skip
        self.volumes, self.clean = volumes, _specimens(volumes)
        self.size, self.flips, self.touching, self.augmentation = size, flips, touching, augmentation
        self.stride = max(1, round(size * (1 - overlap)))
        self.counts = np.array(
            [[1 + -(-max(n - size, 0) // self.stride) for n in volume.class_mask.shape] for volume in volumes]
        )
        places = self.counts.prod(axis=1)
        self.epoch, self.grid = int(places.sum()), grid
        self.share = places / places.sum() if grid else voxel_shares(volumes)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One augmented image float32 [z, y, x] and its targets float32 (2, z, y, x)."""
        index = int(rng.choice(len(self.volumes), p=self.share))
        volume, window = self.volumes[index], (self.size,) * 3
        start = self._on_grid(index, rng) if self.grid else self._anywhere(index, rng)
        targets = np.stack(
            [
                volume.labels(start.tolist(), window, touching=self.touching).astype(np.float32),
                patch_density(self.clean[index], start - [volume.z_offset, 0, 0], window),
            ],
            axis=-1,
        )
        image, targets = self.augmentation(volume.image(start.tolist(), window), targets, rng)
        if self.flips:
            axes = tuple(axis for axis in (1, 2) if rng.random() < 0.5)
            image, targets = np.flip(image, axes), np.flip(targets, axes)
        return np.ascontiguousarray(image), np.ascontiguousarray(np.moveaxis(targets, -1, 0))

    def _on_grid(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """First voxel (3,) of a cube of the grid."""
        volume = self.volumes[index]
        last = np.maximum(np.array(volume.class_mask.shape) - self.size, 0)
        start = np.minimum(rng.integers(self.counts[index]) * self.stride, last) + [volume.z_offset, 0, 0]
        return np.array(volume.moved_inside(start, self.size))

    def _anywhere(self, index: int, rng: np.random.Generator) -> np.ndarray:
        volume = self.volumes[index]
        room = np.maximum(np.array(volume.tomogram.shape) - self.size, 0)
        low, high = np.zeros(3, dtype=np.int64), room.copy()
        low[0] = np.clip(volume.z_offset - self.size // 4, 0, room[0])
        below = volume.z_offset + volume.class_mask.shape[0] - (self.size - self.size // 4)
        high[0] = np.clip(below, low[0], room[0])
        return rng.integers(low, high + 1)


class SlicePatches:
    """Pieces of xy slices through the specimen, float32 [1, y, x], and the density of `specimen` there.

    size: largest side of a piece; a smaller slice is taken whole. An epoch covers the slices of all volumes once.
    """

    def __init__(self, volumes: Sequence[TrainingVolume], *, size: int, augmentation: Augmentation) -> None:
        self.volumes, self.clean, self.augmentation = volumes, _specimens(volumes), augmentation
        smallest = np.min([volume.class_mask.shape[1:] for volume in volumes], axis=0)
        self.window = (1, *np.minimum(smallest, size).tolist())
        self.share = voxel_shares(volumes)
        self.epoch = covering(volumes, voxels=math.prod(self.window))

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One augmented slice and its noise-free density, both float32 [1, y, x]."""
        index = int(rng.choice(len(self.volumes), p=self.share))
        volume = self.volumes[index]
        start = rng.integers(0, np.array(volume.class_mask.shape) - self.window + 1)
        noisy = volume.image((start + [volume.z_offset, 0, 0]).tolist(), self.window)
        return self.augmentation(noisy, self.clean[index].image(start.tolist(), self.window), rng)


def _specimens(volumes: Sequence[TrainingVolume]) -> list[TrainingVolume]:
    if not volumes:
        raise VoxpickError("no training data; give at least one simulated model directory")
    return [specimen(volume) for volume in volumes]


def patch_density(clean: TrainingVolume, start: np.ndarray, window: Sequence[int]) -> np.ndarray:
    """Density float32 [z, y, x] of a patch; NaN where the class mask does not reach."""
    patch = clean.image(start.tolist(), window)
    for axis, (first, side, n) in enumerate(zip(start, window, clean.class_mask.shape, strict=True)):
        places = np.arange(first, first + side)
        np.moveaxis(patch, axis, 0)[(places < 0) | (places >= n)] = np.nan
    return patch
