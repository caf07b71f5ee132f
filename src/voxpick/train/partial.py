"""Tomograms of which only some particles are labelled: what is not known is left out of the loss.

A voxel without a label may belong to a particle that nobody marked, so it is no background. What surely is one, or
nearly so, is the shell around a labelled particle: whoever marked it looked there. Its thickness is to be smaller than
the gap to the next particle. Networks thus learn the particles and their outlines, and ice from the shells. Other
pickers go further and use unlabelled voxels through their expected share of particles (Topaz: Bepler et al., Nature
Methods 16 (2019), 1153), which needs that share to be known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from voxpick.errors import VoxpickError
from voxpick.train.targets import TrainingVolume

SECTIONS = 64


def partly_labelled(
    volume: TrainingVolume, *, shell: float, background: np.ndarray | None = None, radius: float = 0.0
) -> TrainingVolume:
    """The volume with labels known only in its particles, within `shell` A of them, and in balls of background.

    background: centres (n, 3) in A, in the tomogram's frame, of balls of `radius` A that hold no particle.
    Raises VoxpickError for a negative shell.
    """
    if not (math.isfinite(shell) and shell >= 0):
        raise VoxpickError(f"the shell around labelled particles is {shell} A; give 0 or more")
    voxel_size = volume.tomogram.voxel_size
    known = _within(volume.class_mask, shell / voxel_size)
    for center in np.zeros((0, 3)) if background is None else background:
        _add_ball(known, center / voxel_size - [volume.z_offset, 0, 0], radius / voxel_size)
    return replace(volume, known=known)


EMPTY_SHARE = 0.25
"""Of the patches around particles, how many lie around empty places instead, where there are some."""


def empty_places(volume: TrainingVolume, *, reach: int) -> np.ndarray:
    """Voxels (n, 3) of the tomogram known to be background, more than `reach` voxels along an axis from any particle.

    Patches around particles do not show them. None where all labels are known.
    """
    places = np.zeros((0, 3), dtype=np.int64)
    if volume.known is None:
        return places
    empty = volume.known & (np.asarray(volume.class_mask) == 0)
    for center in volume.centers() - [volume.z_offset, 0, 0]:
        low, high = np.clip(center - reach, 0, None), np.clip(center + reach + 1, 0, None)
        empty[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = False
    return np.argwhere(empty) + [volume.z_offset, 0, 0]


class EmptyPlaces:
    """Where patches of `size` voxels are to be drawn around that those around particles do not show."""

    def __init__(self, volumes: Sequence[TrainingVolume], *, size: int) -> None:
        self.places = [empty_places(volume, reach=size // 2) for volume in volumes]
        numbers = np.array([len(places) for places in self.places], dtype=np.float64)
        self.share = numbers / max(numbers.sum(), 1)

    def draw(self, rng: np.random.Generator) -> tuple[int, np.ndarray] | None:
        """Number of a volume and a voxel of it, for EMPTY_SHARE of the draws; else, and where there are none, None."""
        if not self.share.any() or rng.random() >= EMPTY_SHARE:
            return None
        index = int(rng.choice(len(self.places), p=self.share))
        return index, self.places[index][rng.integers(len(self.places[index]))]


def _within(mask: np.ndarray, reach: float) -> np.ndarray:
    """Voxels [z, y, x] at most `reach` voxels from one that is not 0, some sections at a time."""
    found = np.zeros(mask.shape, dtype=bool)
    halo = math.ceil(reach)
    for first in range(0, len(mask), SECTIONS):
        last = min(first + SECTIONS, len(mask))
        low, high = max(first - halo, 0), min(last + halo, len(mask))
        part = np.asarray(mask[low:high]) == 0
        if part.all():
            continue
        near = distance_transform_edt(part) <= reach
        found[first:last] = near[first - low : last - low]
    return found


def _add_ball(known: np.ndarray, center: np.ndarray, radius: float) -> None:
    """Set the voxels within `radius` of `center`, both in voxels."""
    low = np.clip(np.ceil(center - radius), 0, known.shape).astype(int)
    high = np.clip(np.floor(center + radius) + 1, 0, known.shape).astype(int)
    window = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    axes = np.meshgrid(*(np.arange(part.start, part.stop) for part in window), indexing="ij", sparse=True)
    square = sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True))
    known[window] |= square <= radius**2
