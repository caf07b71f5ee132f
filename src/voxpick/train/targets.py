"""What the network is to say at each voxel of a patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.volume import Volume

IGNORE = -100
"""Label of voxels that are left out of the loss."""


@dataclass(frozen=True)
class TrainingVolume:
    """A tomogram with its truth; every array may be memory-mapped and is only ever read patch by patch.

    tomogram: intensities as they are; `intensity` (mean, standard deviation) normalises each patch as it is read,
    the default leaves them alone.
    class_mask: integers [z, y, x], 0 background, 1.. the class. occupancy: integers of the same shape, one number a
    particle. Both begin at section z_offset of the tomogram and span its y and x.
    particles: centres in the frame of the tomogram, A.
    density: float [z, y, x] in the frame of class_mask, the specimen without noise; for methods that learn to denoise.
    known: bool [z, y, x] in the frame of class_mask, whether a voxel's label is known; None: all are (`train.partial`).
    Raises VoxpickError when the mask does not fit into the tomogram.
    """

    tomogram: Volume
    class_mask: np.ndarray
    particles: Particles
    occupancy: np.ndarray | None = None
    z_offset: int = 0
    intensity: tuple[float, float] = (0.0, 1.0)
    density: np.ndarray | None = None
    known: np.ndarray | None = None

    def __post_init__(self) -> None:
        name, shape = self.tomogram.name, self.tomogram.shape
        mask_shape = self.class_mask.shape
        if len(mask_shape) != 3 or mask_shape[1:] != shape[1:] or not 0 <= self.z_offset <= shape[0] - mask_shape[0]:
            raise VoxpickError(
                f"{name}: a class mask of shape {mask_shape} at z offset {self.z_offset} does not fit into the "
                f"tomogram of shape {shape}; take both from one data set"
            )
        for what, array in (("occupancy mask", self.occupancy), ("mask of known voxels", self.known)):
            if array is not None and array.shape != mask_shape:
                raise VoxpickError(f"{name}: the {what} has shape {array.shape}, the class mask {mask_shape}")

    def image(self, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Normalised float32 patch [z, y, x] that begins at voxel `start`; 0, the mean, outside the tomogram."""
        mean, deviation = self.intensity
        inside, within = _overlap(self.tomogram.shape, start, size)
        patch = np.zeros(tuple(size), dtype=np.float32)
        patch[within] = (np.asarray(self.tomogram.data[inside], dtype=np.float32) - np.float32(mean)) / np.float32(
            deviation
        )
        return patch

    def labels(self, start: Sequence[int], size: Sequence[int], *, touching: str = "keep") -> np.ndarray:
        """Class numbers int64 [z, y, x] of a patch; IGNORE where not known and outside the tomogram.

        Above and below the mask they are 0, or IGNORE where not all labels are known. start, size: first voxel and
        number of voxels along z, y, x.
        touching: 'keep', 'ignore' or 'background', for voxels with another particle next to them. Raises VoxpickError
        without an occupancy mask, which the latter two need.
        """
        patch = np.full(tuple(size), IGNORE, dtype=np.int64)
        if self.known is None:
            patch[_overlap(self.tomogram.shape, start, size)[1]] = 0
        shifted = (start[0] - self.z_offset, *start[1:])
        inside, within = _overlap(self.class_mask.shape, shifted, size)
        patch[within] = self.class_mask[inside]
        if self.known is not None:
            patch[within][~self.known[inside]] = IGNORE
        if touching != "keep":
            if self.occupancy is None:
                raise VoxpickError(f"{self.tomogram.name}: touching = {touching} needs an occupancy mask; use 'keep'")
            ids = np.zeros([n + 2 for n in size], dtype=np.int32)
            inside, within = _overlap(self.occupancy.shape, [s - 1 for s in shifted], ids.shape)
            ids[within] = self.occupancy[inside]
            patch[(patch > 0) & touching_voxels(ids)] = IGNORE if touching == "ignore" else 0
        return patch

    def known_background(self) -> np.ndarray | None:
        """Voxels (n, 3) of the tomogram that are known to be background; None where all labels are known."""
        if self.known is None:
            return None
        found = [np.argwhere(known & (mask == 0)) for known, mask in zip(self.known, self.class_mask, strict=True)]
        sections = np.repeat(np.arange(len(found)), [len(part) for part in found])
        return np.column_stack([sections + self.z_offset, np.concatenate(found)])

    def centers(self) -> np.ndarray:
        """Voxels nearest to the particles' centres: (n, 3) integers."""
        return np.rint(self.particles.voxels(self.tomogram.voxel_size)).astype(np.int64)

    def anywhere(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """First voxel (3,) of a cube of side `size` drawn over the class mask, at most a quarter of it beyond."""
        first = np.array([self.z_offset, 0, 0])
        low, high = first - size // 4, first + self.class_mask.shape - (size - size // 4)
        return rng.integers(low, np.maximum(high, low) + 1)

    def moved_inside(self, start: np.ndarray, size: int) -> list[int]:
        """First voxel of a cube that began at `start`, moved into the tomogram as far as it fits there."""
        return np.clip(start, 0, np.maximum(np.array(self.tomogram.shape) - size, 0)).tolist()


def voxel_shares(volumes: Sequence[TrainingVolume]) -> np.ndarray:
    """Each volume's part of the voxels of all class masks: (volumes,)."""
    voxels = np.array([volume.class_mask.size for volume in volumes], dtype=np.float64)
    return voxels / voxels.sum()


def covering(volumes: Sequence[TrainingVolume], *, voxels: int) -> int:
    """How many patches of so many voxels have as many as all class masks: one at least."""
    return max(1, round(sum(volume.class_mask.size for volume in volumes) / voxels))


def touching_voxels(ids: np.ndarray) -> np.ndarray:
    """Voxels that share a face with another particle than their own: bool [z, y, x], one voxel less on every side.

    ids: row + 1 of the particle of each voxel [z, y, x], 0 for none.
    """
    middle = ids[1:-1, 1:-1, 1:-1]
    found = np.zeros(middle.shape, dtype=bool)
    for axis in range(3):
        for shift in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(shift, ids.shape[axis] - 2 + shift)
            neighbour = ids[tuple(window)]
            found |= (neighbour > 0) & (neighbour != middle)
    return found & (middle > 0)


def binary_target(labels: np.ndarray) -> np.ndarray:
    """1 for any particle, 0 for background; IGNORE stays."""
    return np.where(labels == IGNORE, IGNORE, (labels > 0).astype(np.int64))


def equivalent_radii(volumes: Sequence[TrainingVolume], classes: Sequence[str]) -> np.ndarray:
    """Effective radius 3V/A, in A, of a ball as large as the mean particle of each class; `classes` without background.

    NaN for a class without particles or voxels.
    """
    counts = np.zeros(len(classes) + 1)
    for volume in volumes:
        for section in volume.class_mask:
            counts += np.bincount(np.asarray(section, dtype=np.int64).ravel(), minlength=len(counts))[: len(counts)]
    names = np.concatenate([volume.particles.classes for volume in volumes])
    numbers = np.array([(names == name).sum() for name in classes])
    known = (numbers > 0) & (counts[1:] > 0)
    mean_volumes = np.where(known, counts[1:] / np.maximum(numbers, 1), np.nan) * volumes[0].tomogram.voxel_size ** 3
    return (3 * mean_volumes / (4 * np.pi)) ** (1 / 3)


def _overlap(
    shape: Sequence[int], start: Sequence[int], size: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of an array that a window covers, and the slices of the window that they fill."""
    inside, within = [], []
    for n, first, length in zip(shape, start, size, strict=True):
        low, high = max(first, 0), min(first + length, n)
        high = max(high, low)
        inside.append(slice(low, high) if low < n else slice(0, 0))
        within.append(slice(low - first, high - first) if low < n else slice(0, 0))
    return tuple(inside), tuple(within)


def classes_by_number(volumes: Sequence[TrainingVolume]) -> dict[int, str]:
    """Class names by their number in the class masks, from the mask at each particle's own voxels (or its centre).

    Raises VoxpickError when a class has two numbers, or two classes share one.
    """
    found: dict[int, str] = {}
    for volume in volumes:
        names, numbers = volume.particles.classes, _particle_numbers(volume)
        for name in dict.fromkeys(names):
            votes = np.bincount(numbers[(names == name) & (numbers > 0)])
            if len(votes) == 0:
                continue
            number = int(votes.argmax())
            if found.setdefault(number, name) != name:
                raise VoxpickError(
                    f"{volume.tomogram.name}: class number {number} means {name!r} here and {found[number]!r} before; "
                    "use data sets made with the same classes"
                )
    if len(set(found.values())) < len(found):
        raise VoxpickError(f"the class masks number their classes differently: {found}; use data sets made alike")
    return found


def _particle_numbers(volume: TrainingVolume) -> np.ndarray:
    """Class number of every particle, 0 where the masks do not tell."""
    numbers = np.zeros(len(volume.particles) + 1, dtype=np.int64)
    if volume.occupancy is not None:
        for ids, classes in zip(volume.occupancy, volume.class_mask, strict=True):
            owned = (ids > 0) & (ids < len(numbers)) & (classes > 0)
            numbers[ids[owned]] = classes[owned]
        return numbers[1:]
    for row, (z, y, x) in enumerate(volume.centers() - [volume.z_offset, 0, 0]):
        if all(0 <= place < n for place, n in zip((z, y, x), volume.class_mask.shape, strict=True)):
            numbers[row + 1] = volume.class_mask[z, y, x]
    return numbers[1:]
