"""Size and shape of a molecule's density: volume, surface area, sphericity, effective radius (SHREC'20, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy import ndimage

from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.simulate.structures import BeadModel, stamp_density

FINER = (4, 2)
"""Steps per voxel, the first that needs no more than MOST_STEPS; even, so that two boxes make a centred triangle."""

MOST_STEPS = 330
"""Along each side of the sampled cube: about 1 GB of memory."""
MOST_VOXELS = 400
"""Along each side where it is sampled no finer; of more, a computer's memory was gone."""


@dataclass(frozen=True)
class Shape:
    """volume_nm3, area_nm2, sphericity pi^(1/3) (6V)^(2/3) / A and effective_radius_nm 3V / A."""

    volume_nm3: float
    area_nm2: float

    @property
    def sphericity(self) -> float:
        """1 for a sphere, less for anything else (Gubins et al., SHREC'20, equation 1)."""
        return float(np.pi ** (1 / 3) * (6 * self.volume_nm3) ** (2 / 3) / self.area_nm2)

    @property
    def effective_radius_nm(self) -> float:
        """Radius of the sphere with the same ratio of volume to surface (SHREC'20, equation 2)."""
        return 3 * self.volume_nm3 / self.area_nm2


def shape_of(
    model: BeadModel,
    *,
    threshold: float = 0.05,
    voxel_size: float = 10.0,
    orientations: int = 3,
    rng: np.random.Generator | None = None,
) -> Shape:
    """Volume and surface area of the density above threshold (e/A^3) on voxels of voxel_size A, over orientations.

    The density is that of `stamp_density`, sampled four times finer (`sampled_finer`), so that the volume is the mean
    number of voxels above threshold over all positions on the grid, and the surface has no steps. Large models are
    sampled twice finer, or as it is.
    Raises VoxpickError for a model that nowhere reaches the threshold, or that is wider than MOST_VOXELS.
    """
    finer = _finer(model, voxel_size)
    if 2 * model.radius > MOST_VOXELS * voxel_size:
        raise VoxpickError(
            f"structure {model.name}: is {2 * model.radius:.0f} A wide, of which {MOST_VOXELS * voxel_size:g} A can be "
            "measured; is its voxel size right, and does the file hold one molecule?"
        )
    rotations = uniform_rotations_zyx(orientations, rng or np.random.default_rng(20))
    volume = area = 0.0
    for rotation in rotations:
        data = sampled_finer(model, rotation, finer, voxel_size=voxel_size)
        if data.max() <= threshold:
            raise VoxpickError(
                f"structure {model.name}: nowhere denser than {threshold:g} e/A^3, too light for its "
                f"{2 * model.radius:.0f} A: check voxel size and weight, and that the file holds one molecule"
            )
        volume += float(np.count_nonzero(data > threshold))
        area += surface_area(data, threshold)
    step_nm = voxel_size / 10 / finer
    return Shape(volume * step_nm**3 / orientations, area * step_nm**2 / orientations)


def _finer(model: BeadModel, voxel_size: float) -> int:
    return next((n for n in FINER if 2 * (model.radius * n / voxel_size + 2 * n) <= MOST_STEPS), 1)


def sampled_finer(model: BeadModel, rotation_zyx: np.ndarray, finer: int, *, voxel_size: float) -> np.ndarray:
    """The density (e/A^3) that voxels of voxel_size A would hold, at `finer` steps per voxel, 1 or even: a cube
    [z, y, x]."""
    step = voxel_size / finer
    half = int(np.ceil(model.radius / step)) + 2 * finer
    positions = model.positions_zyx @ np.asarray(rotation_zyx, dtype=np.float64).T
    data = stamp_density(positions, model.electrons, (2 * half,) * 3, step, (half * step,) * 3)
    if finer == 1:
        return data
    for axis in range(3):  # a box twice is the triangle of the trilinear histogram; the origins cancel
        data = ndimage.uniform_filter1d(data, finer, axis=axis, mode="constant")
        data = ndimage.uniform_filter1d(data, finer, axis=axis, mode="constant", origin=-1)
    return data


def surface_area(data: np.ndarray, threshold: float) -> float:
    """Area, in squares of the voxel size, of the isosurface of data [z, y, x] at threshold, by marching tetrahedra.

    Each cube of 8 voxel centres is cut into 6 tetrahedra round its diagonal; the field is linear within each.
    The surface is open where it meets the border of the array.
    """
    above = data > threshold
    corners = np.stack([_corner(above, offset) for offset in np.ndindex(2, 2, 2)])
    crossed = np.argwhere(corners.any(axis=0) & ~corners.all(axis=0))
    total = 0.0
    for order in permutations(range(3)):
        steps = np.zeros((4, 3), dtype=np.int64)
        for i, axis in enumerate(order, start=1):
            steps[i:, axis] = 1
        index = crossed[:, None, :] + steps
        values = data[tuple(np.moveaxis(index, -1, 0))].astype(np.float64) - threshold
        total += _tetrahedra_area(np.broadcast_to(steps, index.shape).astype(np.float64), values)
    return total


def _corner(array: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    return array[tuple(slice(o, n - 1 + o) for o, n in zip(offset, array.shape, strict=True))]


def _tetrahedra_area(points: np.ndarray, values: np.ndarray) -> float:
    """Area of the zero surface inside n tetrahedra: points (n, 4, 3), values (n, 4)."""
    order = np.argsort(-values, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    points = np.take_along_axis(points, order[:, :, None], axis=1)
    inside = (values > 0).sum(axis=1)
    total = 0.0
    for count, edges in ((1, ((0, 1), (0, 2), (0, 3))), (3, ((0, 3), (1, 3), (2, 3)))):
        of = inside == count
        total += _triangle_area(*(_crossing(points[of], values[of], a, b) for a, b in edges))
    of = inside == 2
    p, q, r, s = (_crossing(points[of], values[of], a, b) for a, b in ((0, 2), (0, 3), (1, 3), (1, 2)))
    return total + _triangle_area(p, q, r) + _triangle_area(p, r, s)


def _crossing(points: np.ndarray, values: np.ndarray, a: int, b: int) -> np.ndarray:
    share = values[:, a] / (values[:, a] - values[:, b])
    return points[:, a] + share[:, None] * (points[:, b] - points[:, a])


def _triangle_area(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> float:
    return float(np.linalg.norm(np.cross(q - p, r - p), axis=1).sum() / 2)
