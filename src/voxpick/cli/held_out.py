"""The middle of a tomogram that is kept out of training, and how picks in it are scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.evaluate.shrec import occupancy_ids, score_shrec
from voxpick.evaluate.shrec_score import Shrec20Score
from voxpick.particles import Particles
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume


@dataclass(frozen=True)
class Crop:
    """The specimen's middle in y and x; particles that it cuts count neither way.

    start: first voxel (z, y, x) of the crop's specimen in the whole tomogram.
    tomogram: [z, y, x] with all sections of the tomogram, those from z_offset on being the specimen's.
    occupancy: particle numbers of the whole tomogram [z, y, x], specimen only. renumber: from those numbers to rows
    of `truth` + 1; 0 for particles that are cut. truth: the whole ones, in the frame of the crop's specimen.
    """

    start: tuple[int, int, int]
    tomogram: Volume
    z_offset: int
    occupancy: np.ndarray
    renumber: np.ndarray
    truth: Particles

    @property
    def specimen(self) -> np.ndarray:
        """Intensities [z, y, x] of the specimen's sections alone, as they are in the tomogram."""
        return self.tomogram.data[self.z_offset : self.z_offset + len(self.occupancy)]

    def score(self, picks: Particles) -> Shrec20Score:
        """The SHREC'20 score of picks, best first, in the frame of the crop's specimen, less those on cut particles.

        A pick of a class that is not among the crop's particles counts as one of a wrong class.
        """
        voxel_size = self.tomogram.voxel_size
        voxels = np.rint(picks.voxels(voxel_size)).astype(np.int64)
        ids = occupancy_ids(self.occupancy, voxels, dilate=True)
        picks = picks[(ids == 0) | (self.renumber[ids] > 0)]
        return score_shrec(
            picks, self.truth, self.renumber[self.occupancy], voxel_size=voxel_size, z_offset=0, frame="specimen"
        )


def middle_of(held_out: TrainingVolume, *, side: int) -> Crop:
    """The middle of a tomogram, `side` voxels along y and x (0: all). Raises VoxpickError when no particle is in it."""
    tomogram = held_out.tomogram
    if held_out.occupancy is None:
        raise VoxpickError(f"{tomogram.name}: validation of picks needs the occupancy mask")
    _, ny, nx = held_out.class_mask.shape
    y, x = _middle(ny, side), _middle(nx, side)
    occupancy = np.ascontiguousarray(held_out.occupancy[:, y, x])
    whole = _whole_particles(held_out, occupancy, (y, x))
    if len(whole) == 0:
        raise VoxpickError(f"{tomogram.name}: no whole particle in its middle; use a larger --validation-side")
    renumber = np.zeros(len(held_out.particles) + 1, dtype=np.int32)
    renumber[whole + 1] = np.arange(1, len(whole) + 1)
    truth = held_out.particles[whole]
    start = (held_out.z_offset, y.start, x.start)
    truth = truth.with_columns(centers_zyx=truth.centers_zyx - np.array(start) * tomogram.voxel_size)
    return Crop(start, tomogram.with_data(tomogram.data[:, y, x]), held_out.z_offset, occupancy, renumber, truth)


def particle_sizes(occupancy: np.ndarray, n: int) -> np.ndarray:
    """Voxels of the particles 1..n: (n,). occupancy: row + 1 of the particle of each voxel [z, y, x], 0 for none."""
    counts = np.zeros(n + 1, dtype=np.int64)
    for section in occupancy:
        counts += np.bincount(np.asarray(section).ravel(), minlength=n + 1)[: n + 1]
    return counts[1:]


def _whole_particles(held_out: TrainingVolume, occupancy: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """Rows of the particles with their centre and every voxel inside the crop."""
    assert held_out.occupancy is not None
    n = len(held_out.particles)
    inside, total = particle_sizes(occupancy, n), particle_sizes(held_out.occupancy, n)
    rows = np.flatnonzero((inside == total) & (inside > 0))
    centers = held_out.centers()[rows]
    for axis, part in zip((1, 2), window, strict=True):
        keep = (centers[:, axis] >= part.start) & (centers[:, axis] < part.stop)
        rows, centers = rows[keep], centers[keep]
    return rows


def _middle(n: int, side: int) -> slice:
    if side <= 0 or side >= n:
        return slice(0, n)
    return slice((n - side) // 2, (n - side) // 2 + side)
