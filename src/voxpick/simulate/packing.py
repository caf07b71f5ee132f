"""Particles at random places and orientations in a slab, none overlapping another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.simulate.stamping import Stamp, margin_voxels, stamp

PLACEMENT_ATTEMPTS = 2000
DIRECTIONS = 500
"""Along which structures are measured; some direction lies within 5 degrees of any."""


class Beads(Protocol):
    """What packing needs of a structure: beads (n, 3) in A about the centre, and their electrons (n,)."""

    @property
    def positions_zyx(self) -> np.ndarray: ...
    @property
    def electrons(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Packing:
    """The protein of a specimen and the truth about it; all arrays [z, y, x].

    field: e/A^3, protein only, with `rim` voxels more at both ends of x for what reaches over the edge.
    occupancy: particle number from 1, or 0. occupancy_bbox: the same for bounding boxes.
    centers_zyx: (n, 3) integer voxels. class_index: (n,) index into `names`. rotations_zyx: (n, 3, 3).
    """

    field: np.ndarray
    rim: int
    occupancy: np.ndarray
    occupancy_bbox: np.ndarray
    centers_zyx: np.ndarray
    class_index: np.ndarray
    rotations_zyx: np.ndarray
    names: tuple[str, ...]

    @property
    def density(self) -> np.ndarray:
        """The field without its rim: the shape of the masks."""
        return self.field[:, :, self.rim : self.field.shape[2] - self.rim]

    def class_of(self, occupancy: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Turn particle numbers into class ids; class_ids: (classes,) id of each name."""
        smallest = np.int8 if class_ids.max() <= np.iinfo(np.int8).max else np.int32
        table = np.concatenate([[0], class_ids[self.class_index]]).astype(smallest)
        return table[occupancy]


def pack(
    structures: Mapping[str, Beads],
    rotations_zyx: np.ndarray,
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int],
    voxel_size: float,
    contrast: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Packing:
    """Place one particle for each rotation (n, 3, 3): class uniform, centre uniform over the slab of `shape` voxels.

    contrast: factor on the density of a structure, by name; where it is not named, 1. The masks do not change with it.
    A particle lies wholly inside the slab along z; along y and x its centre does, and the rest may reach over the edge.
    Raises VoxpickError when a particle finds no room in 2000 attempts.
    """
    names = tuple(structures)
    factors = [np.float32((contrast or {}).get(name, 1.0)) for name in names]
    n = len(rotations_zyx)
    reach = max(np.linalg.norm(beads.positions_zyx, axis=1).max() for beads in structures.values())
    rim = int(np.ceil(reach / voxel_size)) + margin_voxels(voxel_size) + 3
    padded = tuple(length + 2 * rim for length in shape)
    density = np.zeros(padded, dtype=np.float32)
    occupancy = np.zeros(padded, dtype=np.uint16)
    boxes = np.zeros(padded, dtype=np.uint16)
    class_index = rng.integers(len(names), size=n)
    centers = np.empty((n, 3), dtype=np.int64)
    for k in range(n):
        beads = structures[names[class_index[k]]]
        piece = stamp(beads.positions_zyx @ rotations_zyx[k].T, beads.electrons, voxel_size=voxel_size)
        low, high = _allowed_centres(piece, shape)
        for _ in range(PLACEMENT_ATTEMPTS):
            centers[k] = rng.integers(low, high)
            window = _window(piece, centers[k] + rim)
            if not occupancy[window][piece.occupied].any():
                break
        else:
            raise VoxpickError(
                f"no room for particle {k + 1} of {n} after {PLACEMENT_ATTEMPTS} attempts; "
                "ask for fewer particles or a larger specimen"
            )
        density[window] += factors[class_index[k]] * piece.density
        occupancy[window][piece.occupied] = k + 1
        boxes[_tight(piece, window)] = k + 1
        if progress:
            progress(k + 1, n)
    inner = tuple(slice(rim, rim + length) for length in shape)
    return Packing(
        field=density[inner[:2]].copy(),
        rim=rim,
        occupancy=occupancy[inner].copy(),
        occupancy_bbox=boxes[inner].copy(),
        centers_zyx=centers,
        class_index=class_index,
        rotations_zyx=rotations_zyx,
        names=names,
    )


def largest_extent(beads: Beads, voxel_size: float) -> int:
    """How many voxels along z a structure takes where it stands on end."""
    directions = np.random.default_rng(0).normal(size=(3, DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    length = np.ptp(beads.positions_zyx @ directions, axis=0).max()
    return int(np.ceil(length / voxel_size)) + 2


def _allowed_centres(piece: Stamp, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """First allowed centre and one past the last, in voxels; the particle stays inside along z."""
    inside = np.flatnonzero(piece.occupied.any(axis=(1, 2)))
    if len(inside) == 0:
        raise VoxpickError("a particle fills no voxel at this voxel size; take a smaller one")
    low = np.array([-(piece.corner[0] + inside[0]), 0, 0])
    high = np.array([shape[0] - (piece.corner[0] + inside[-1]), shape[1], shape[2]])
    if low[0] >= high[0]:
        raise VoxpickError(
            f"the slab is {shape[0]} voxels thick, but a particle of {len(inside)} voxels has to fit; make it thicker"
        )
    return low, high


def _window(piece: Stamp, center: np.ndarray) -> tuple[slice, ...]:
    start = center + piece.corner
    return tuple(slice(int(a), int(a) + n) for a, n in zip(start, piece.density.shape, strict=True))


def _tight(piece: Stamp, window: tuple[slice, ...]) -> tuple[slice, ...]:
    """The window shrunk to the occupied voxels."""
    result = []
    for axis, span in enumerate(window):
        others = tuple(a for a in range(3) if a != axis)
        inside = np.flatnonzero(piece.occupied.any(axis=others))
        result.append(slice(span.start + int(inside[0]), span.start + int(inside[-1]) + 1))
    return tuple(result)
