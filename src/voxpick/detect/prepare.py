"""What every detector does first: bring a tomogram to the model's voxel size, find its ice, know its intensities."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from voxpick.allocation import keep_freed_memory
from voxpick.detect.rescale import rescaled, same_voxel_size
from voxpick.detect.settings import DetectSettings
from voxpick.detect.slab import BIN, Slab, choose_slab
from voxpick.volume import Volume, intensity_statistics

SLAB_MARGIN = 120.0
"""A, beyond the sections where the ice was found and one bin of them, by which it may fall short of the particles
(benchmarks/accuracy/slab_margin.py): as much as the network needs around a particle."""


@dataclass(frozen=True)
class Prepared:
    """A tomogram ready for a network.

    volume: as it was given. grid: the same at the model's voxel size (the very same object where nothing had to be
    rescaled). slab: where the specimen is, in sections of `volume`; sections: the same in those of `grid`.
    (value - mean) / deviation is what networks take; the deviation is negative where the contrast is inverted.
    """

    volume: Volume
    grid: Volume
    slab: Slab
    sections: slice
    mean: float
    deviation: float

    @property
    def data(self) -> np.ndarray:
        """The sections to look at [z, y, x], on the model's grid, not normalised; maybe memory-mapped."""
        return self.grid.data[self.sections]

    @property
    def voxel_size(self) -> float:
        """A, of `grid`: the model's, or the tomogram's own where the two differ by less than 1 %."""
        return self.grid.voxel_size


def prepare(volume: Volume, voxel_size: float, settings: DetectSettings) -> Prepared:
    """`volume` on a grid of `voxel_size` A (rescaled with a warning if need be), its slab and its intensities.

    Raises VoxpickError for NaN or constant volumes and for a slab that is not within the volume.
    """
    keep_freed_memory()
    grid = volume
    if not same_voxel_size(volume.voxel_size, voxel_size):
        intensity_statistics(volume)
        warnings.warn(
            f"{volume.name}: {volume.voxel_size:g} A voxels are rescaled to the model's {voxel_size:g} A", stacklevel=3
        )
        grid = rescaled(volume, voxel_size)
    slab = choose_slab(volume.data, settings.slab, margin=BIN + round(SLAB_MARGIN / volume.voxel_size))
    sections = slab.on_grid(volume.voxel_size / grid.voxel_size, grid.shape[0])
    mean, deviation = intensity_statistics(grid)
    return Prepared(volume, grid, slab, sections, mean, -deviation if settings.invert else deviation)
