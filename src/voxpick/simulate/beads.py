"""Atoms or a density map to a few thousand beads."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from voxpick.errors import VoxpickError
from voxpick.simulate.structures import BeadModel

MOST_REACH = 3276.0  # A from the centre; what a bank file can hold
ELECTRONS_PER_DALTON = 0.535  # protein with its hydrogens; the mean of the ten SHREC'20 classes that have coordinates


def beads_from_atoms(
    name: str,
    positions_zyx: np.ndarray,
    electrons: np.ndarray,
    *,
    molecular_weight_kda: float,
    cell_size: float = 4.5,
    source: str = "",
) -> BeadModel:
    """Gather atoms, positions (n, 3) and cell_size in A, into about one bead per cubic cell of cell_size.

    electrons: (n,), of each atom. With cells of 4.5 A the correlation with the atoms' density, both low-passed at 8 A,
    is above 0.99. Raises VoxpickError for no atoms.
    """
    if len(electrons) == 0:
        raise VoxpickError(f"structure {name}: no atoms; give a file that holds coordinates")
    center = np.average(positions_zyx, axis=0, weights=electrons)
    positions, weights = gather(np.asarray(positions_zyx, np.float64) - center, electrons, cell_size=cell_size)
    return BeadModel(name, positions.astype(np.float32), weights.astype(np.float32), molecular_weight_kda, source)


def beads_from_map(
    name: str,
    data: np.ndarray,
    voxel_size: float,
    *,
    molecular_weight_kda: float,
    threshold: float | None = None,
    cell_size: float = 6.0,
    source: str = "",
) -> BeadModel:
    """Beads of a density map [z, y, x] in which the molecule is bright; voxel_size and cell_size in A.

    Voxels above threshold (map units; 5 % of the maximum if None) share the electrons of a protein of the given weight
    in proportion to their values, so the scale of the map does not matter. One bead a voxel, or a block of voxels that
    fits into a cell; maps coarser than the cells are interpolated linearly first.
    Raises VoxpickError for NaN, or when nothing lies above the threshold.
    """
    _check_cell_size(cell_size)
    if threshold is not None and not np.isfinite(threshold):
        raise VoxpickError(f"structure {name}: the threshold is {threshold}; give a number, in units of the map")
    if voxel_size * max(data.shape) > 2 * MOST_REACH:
        raise VoxpickError(
            f"structure {name}: the map is {voxel_size * max(data.shape):g} A wide at {voxel_size:g} A a voxel, which "
            "is no molecule; set the right one with --voxel-size"
        )
    if not np.isfinite(data).all():
        raise VoxpickError(f"structure {name}: the map holds NaN or infinite values")
    peak = float(data.max())
    level = 0.05 * peak if threshold is None else threshold
    if peak <= 0 or level >= peak:
        raise VoxpickError(
            f"structure {name}: nothing in the map lies above {max(level, 0.0):g} (its maximum is {peak:g}); "
            "the molecule must be bright, and --threshold below the maximum"
        )
    level = max(level, 0.0)
    box = tuple(
        slice(max(s.start - 1, 0), s.stop + 1) for s in ndimage.find_objects((data > level).astype(np.uint8))[0]
    )
    corner = np.array([s.start for s in box])
    factor = int(np.ceil(voxel_size / cell_size))
    fine = data[box].astype(np.float64)
    if factor > 1:
        fine = ndimage.zoom(fine, factor, order=1, mode="nearest", grid_mode=True)
    occupied = np.argwhere(fine > level)
    weights = fine[tuple(occupied.T)]
    weights *= molecular_weight_kda * 1000 * ELECTRONS_PER_DALTON / weights.sum()
    positions = ((occupied + 0.5) / factor - 0.5 + corner) * voxel_size
    blocks = occupied // max(1, int(cell_size / voxel_size))  # cells that are not whole voxels would beat against them
    positions, weights = _means(positions, weights, np.unique(blocks, axis=0, return_inverse=True)[1].ravel())
    positions -= np.average(positions, axis=0, weights=weights)
    return BeadModel(name, positions.astype(np.float32), weights.astype(np.float32), molecular_weight_kda, source)


def gather(
    positions: np.ndarray, weights: np.ndarray, *, cell_size: float, rounds: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted points (n, 3) to fewer: the mean of each occupied cell, then `rounds` of Lloyd's k-means.

    Keeps the total weight and the weighted centre. The order is by cell, so neighbours stay together.
    """
    _check_cell_size(cell_size)
    cells = np.floor(positions / cell_size).astype(np.int64)
    owner = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    beads, totals = _means(positions, weights, owner)
    for _ in range(rounds):
        owner = np.unique(cKDTree(beads).query(positions)[1], return_inverse=True)[1]
        beads, totals = _means(positions, weights, owner)
    return beads, totals


def _check_cell_size(cell_size: float) -> None:
    if not (np.isfinite(cell_size) and cell_size > 0):
        raise VoxpickError(f"cell size {cell_size} A: it must be > 0")


def _means(positions: np.ndarray, weights: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    totals = np.bincount(owner, weights)
    sums = np.stack([np.bincount(owner, weights * axis) for axis in positions.T], axis=1)
    return sums / totals[:, None], totals
