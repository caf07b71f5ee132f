"""Patches for networks that mark centres: a heat map, classes and offsets near centres, and what helps training.

All targets are on a grid of STRIDE voxels. Its voxel i covers input voxels 2 i and 2 i + 1, so its middle lies at
2 i + 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.train.augment import Augmentation
from voxpick.train.denoising import patch_density, specimen
from voxpick.train.partial import EmptyPlaces
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import IGNORE, TrainingVolume, covering, voxel_shares

STRIDE = 2


class CentrePatches:
    """Cubes [z, y, x] with targets float32 (7, z/2, y/2, x/2), whose channels are, in order:

    heat: exp(-d^2 / 2 sigma^2), d the distance to the nearest centre and sigma = `spread` voxels; exactly 1 in the
    voxel that holds the centre, NaN where no label is known.
    class: number of the nearest particle, from 1 on, within `reach` voxels of its centre; else 0.
    offset_*: from the middle of the voxel to that centre, in input voxels.
    label: class number of the voxel from the class mask; IGNORE outside of the tomogram.
    density: the specimen without noise (`train.denoising`); NaN where it is not known.
    classes: names in the order of their numbers; particles of other classes are no targets.
    Cubes lie anywhere over the class mask, at most a quarter beyond it, those beyond a face of the tomogram moved
    inside (few cubes hold a voxel at a face, so these are drawn more often; benchmarks/accuracy/faces.py), or
    around a particle (`centred_fraction` of them, every class equally often; some of these around known background
    far from all particles instead, where labels are partly known).
    turns: half turns about x, y and z, which keep the wedge.
    An epoch covers the masks of all volumes once.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], classes: Sequence[str], settings: TrainSettings, *, spread: float,
        reach: float,
    ) -> None:  # fmt: skip
        if not volumes:
            raise VoxpickError("no training data; give at least one simulated model directory")
        if settings.patch % STRIDE:
            raise VoxpickError(f"patch is {settings.patch}; give a multiple of {STRIDE}")
        self.volumes, self.settings, self.size = volumes, settings, settings.patch
        self.spread, self.reach = spread, reach
        self.augmentation = Augmentation.of(settings)
        self.clean = [specimen(volume) if volume.density is not None else None for volume in volumes]
        numbers = {name: number for number, name in enumerate(classes, start=1)}
        self.centers, self.labels = [], []
        for volume in volumes:
            known = np.array([name in numbers for name in volume.particles.classes], dtype=bool)
            self.centers.append(volume.particles.voxels(volume.tomogram.voxel_size)[known])
            self.labels.append(np.array([numbers[name] for name in volume.particles.classes[known]], dtype=np.int64))
        self.groups = [
            [(index, row) for index, labels in enumerate(self.labels) for row in np.flatnonzero(labels == number)]
            for number in numbers.values()
        ]
        self.groups = [group for group in self.groups if group]
        self.empty = EmptyPlaces(volumes, size=self.size)
        self.share = voxel_shares(volumes)
        self.epoch = covering(volumes, voxels=self.size**3)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One augmented image float32 [z, y, x] and its targets float32 (7, z/2, y/2, x/2)."""
        index, start = self._place(rng)
        volume, window = self.volumes[index], (self.size,) * 3
        image = volume.image(start, window)
        label = volume.labels(start, window, touching=self.settings.touching).astype(np.float32)
        clean = self.clean[index]
        if clean is None:
            density = np.full(window, np.nan, dtype=np.float32)
        else:
            density = patch_density(clean, np.array(start) - [volume.z_offset, 0, 0], window)
        centers = self.centers[index] - start
        axes = self.augmentation.axes(rng)
        image, label, density = (np.flip(array, axes) for array in (image, label, density))
        for axis in axes:
            centers[:, axis] = self.size - 1 - centers[:, axis]
        targets = np.concatenate(
            [
                centre_targets(centers, self.labels[index], self.size, spread=self.spread, reach=self.reach),
                label[None, ::STRIDE, ::STRIDE, ::STRIDE],
                halved(density)[None],
            ]
        )
        targets[0][targets[5] == IGNORE] = np.nan
        return self.augmentation.varied(image, rng), targets

    def _place(self, rng: np.random.Generator) -> tuple[int, list[int]]:
        """Number of a volume, and the first voxel of a cube in it."""
        if self.groups and rng.random() < self.settings.centred_fraction:
            margin, empty = self.size // 8, self.empty.draw(rng)
            if empty is None:
                group = self.groups[rng.integers(len(self.groups))]
                index, row = group[rng.integers(len(group))]
                wanted = np.rint(self.centers[index][row]).astype(np.int64)
            else:
                index, wanted = empty
            wanted = wanted - rng.integers(margin, self.size - margin, size=3)
        else:
            index = int(rng.choice(len(self.volumes), p=self.share))
            wanted = self.volumes[index].anywhere(self.size, rng)
        return index, self.volumes[index].moved_inside(wanted, self.size)


def centre_targets(centers: np.ndarray, labels: np.ndarray, size: int, *, spread: float, reach: float) -> np.ndarray:
    """heat, class and the three offsets, float32 (5, n, n, n) with n = size / 2, of centres (m, 3) in input voxels.

    labels: (m,) from 1 on. spread, reach: input voxels.
    """
    n = size // STRIDE
    result = np.zeros((5, n, n, n), dtype=np.float32)
    nearest = np.full((n, n, n), np.inf, dtype=np.float32)
    rim = max(4 * spread, reach)
    seen = ((centers >= -rim) & (centers <= size - 1 + rim)).all(axis=1)
    for center, label in zip(centers[seen], np.asarray(labels)[seen], strict=True):
        low = np.clip(np.ceil((center - rim - 0.5) / STRIDE), 0, n).astype(int)
        high = np.clip(np.floor((center + rim - 0.5) / STRIDE) + 1, 0, n).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offsets = [
            (c - (STRIDE * np.arange(a, b) + 0.5)).reshape([-1 if k == axis else 1 for k in range(3)])
            for axis, (c, a, b) in enumerate(zip(center, low, high, strict=True))
        ]
        square = sum(offset**2 for offset in offsets).astype(np.float32)
        heat = np.exp(-square / np.float32(2 * spread**2))
        np.maximum(result[0][box], heat, out=result[0][box])
        closer = square < nearest[box]
        nearest[box][closer] = square[closer]
        near = closer & (square <= reach**2)
        result[1][box][closer] = 0
        result[1][box][near] = label
        for axis, offset in enumerate(offsets):
            result[2 + axis][box][near] = np.broadcast_to(offset, near.shape)[near]
    inside = np.floor(centers + 0.5).astype(int) // STRIDE
    held = inside[((inside >= 0) & (inside < n)).all(axis=1)]
    result[0][tuple(held.T)] = 1
    return result


def halved(volume: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 x 2 voxels of [z, y, x] with even sides; NaN where one of them is."""
    sums = volume[::STRIDE] + volume[1::STRIDE]  # far faster than a mean over axes of a view
    sums = sums[:, ::STRIDE] + sums[:, 1::STRIDE]
    return (sums[..., ::STRIDE] + sums[..., 1::STRIDE]) / STRIDE**3
