"""Bead models of macromolecules and their electron density on voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.simulate.trilinear import trilinear_histogram


@dataclass(frozen=True)
class BeadModel:
    """A molecule as weighted points, true to about 8 A.

    positions_zyx: (n, 3) float32 in A, relative to the electron-weighted centre; electrons: (n,) float32, electrons of
    each bead; molecular_weight_kda with hydrogens; source: where the structure came from.
    Raises VoxpickError when the arrays do not fit each other, are empty, not finite or hold a weight <= 0.
    """

    name: str
    positions_zyx: np.ndarray
    electrons: np.ndarray
    molecular_weight_kda: float
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.electrons)
        if n == 0 or self.positions_zyx.shape != (n, 3) or self.electrons.shape != (n,):
            raise VoxpickError(
                f"structure {self.name}: {self.positions_zyx.shape} positions and {self.electrons.shape} electrons; "
                "a bead model has (n, 3) and (n,) with n > 0"
            )
        if not (np.isfinite(self.positions_zyx).all() and np.isfinite(self.electrons).all()):
            raise VoxpickError(f"structure {self.name}: positions or electrons hold NaN or infinite values")
        if self.electrons.min() <= 0:
            raise VoxpickError(f"structure {self.name}: a bead has {self.electrons.min():g} electrons; all must be > 0")
        if not (np.isfinite(self.molecular_weight_kda) and self.molecular_weight_kda > 0):
            raise VoxpickError(
                f"structure {self.name}: molecular weight {self.molecular_weight_kda} kDa; it must be > 0"
            )

    @property
    def radius(self) -> float:
        """Distance in A of the farthest bead from the centre."""
        return float(np.sqrt(np.square(self.positions_zyx).sum(axis=1).max()))


def stamp_density(
    positions_zyx: np.ndarray,
    electrons: np.ndarray,
    shape: tuple[int, int, int],
    voxel_size: float,
    center_zyx: np.ndarray | tuple[float, float, float],
    *,
    oversampling: int = 1,
) -> np.ndarray:
    """Electron density (e/A^3, float32 [z, y, x]) of beads whose origin is put at center_zyx.

    positions_zyx (n, 3), voxel_size and center_zyx in A; the centre of voxel i lies at i * voxel_size. A trilinear
    histogram; on 10 A voxels it blurs as a Gaussian of 3 A averaged into voxels does, and it gives the check volumes of
    the SHREC'20 classes. oversampling: make the histogram on voxels so many times finer and average, which is sharper.
    Beads outside the grid are left out.
    """
    fine = tuple(oversampling * n for n in shape)
    origin = np.asarray(positions_zyx, np.float64) + np.asarray(center_zyx, np.float64)
    index = origin * (oversampling / voxel_size) + (oversampling - 1) / 2
    histogram = trilinear_histogram(index, electrons, fine)
    nz, ny, nx = shape
    blocks = histogram.reshape(nz, oversampling, ny, oversampling, nx, oversampling).sum(axis=(1, 3, 5))
    return (blocks / voxel_size**3).astype(np.float32)


def density(model: BeadModel, *, voxel_size: float = 10.0, rotation_zyx: np.ndarray | None = None) -> np.ndarray:
    """Electron density (e/A^3) of a model in an even cubic box that holds it at any orientation, centred at N // 2.

    rotation_zyx: (3, 3) matrix that acts on (z, y, x) column vectors; None leaves the model as it is.
    Raises VoxpickError for a voxel size that is not positive.
    """
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise VoxpickError(f"structure {model.name}: voxel size {voxel_size} A; it must be > 0")
    half = int(np.ceil(model.radius / voxel_size)) + 2
    positions = model.positions_zyx
    if rotation_zyx is not None:
        positions = positions @ np.asarray(rotation_zyx, dtype=np.float64).T
    return stamp_density(positions, model.electrons, (2 * half,) * 3, voxel_size, (half * voxel_size,) * 3)
