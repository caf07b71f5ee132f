"""Training masks from coordinates alone: an average's outline at every position, spheres, or points.

The first is how DeepFinder labels voxels (Moebel et al. 2018, Fig. 5): positions, average, threshold, and the mask
pasted at every position in the orientation that alignment found. The paper does not say which threshold: Otsu's, over
the voxels within the particle's radius, is taken unless one is given, or a higher one where that would hold more than
the particle's known volume, and the part around the centre is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.volume import Volume

Inside = Callable[[np.ndarray], np.ndarray]
"""Whether points (3, n), in voxels from the reference's centre and in its frame, lie in the particle: bool (n,)."""


HALVINGS = 30
"""Of the interval in which the threshold of a known volume lies."""
SPECK = 0.1
"""Of the largest piece's voxels: a smaller piece above a threshold is noise, wherever it lies."""
EXTEND = 1.0
"""Voxels by which outlines are moved out: Otsu's threshold lies at about half of the contrast, masks hold the rim."""


@dataclass(frozen=True)
class Masks:
    """class_mask: class number of each voxel, 0 background; occupancy: row + 1 of the particle. Both int16 [z, y, x].

    hidden: rows of the particles that own no voxel, as they lie outside or wholly below earlier ones.
    """

    class_mask: np.ndarray
    occupancy: np.ndarray
    hidden: np.ndarray


@dataclass(frozen=True)
class Outline:
    """The shape of one class: where it is, within `reach` voxels of its centre. turns: whether orientation matters."""

    inside: Inside
    reach: float
    turns: bool = False


def outline_of_map(
    average: Volume, *, radius: float, threshold: float | None = None, extend: float = EXTEND
) -> Outline:
    """The voxels of a map above a threshold, within `radius` A of the box centre and in its `central_part`.

    The outline is moved out by `extend` voxels, but not past the radius, and the cavities that are left are filled: the
    CTF takes the coarse contrast away, and with it that of the inside of large particles. Where the box ends before the
    radius, so does the outline, but for `extend`. Raises VoxpickError when no voxel is above the threshold.
    """
    part, _, _ = central_part(average, radius=radius, threshold=threshold)
    margin = math.ceil(max(extend, 0)) + 2
    part = np.pad(part, margin)
    depth = np.where(part, ndimage.distance_transform_edt(part) - 0.5, 0.5 - ndimage.distance_transform_edt(~part))
    depth += extend
    cavities = ndimage.binary_fill_holes(depth > 0) & (depth <= 0)
    depth[cavities] = 0.5
    half = np.array([n // 2 + margin for n in average.shape])
    axes = np.meshgrid(*(np.arange(n) - h for n, h in zip(part.shape, half, strict=True)), indexing="ij", sparse=True)
    distance = np.sqrt(sum(axis.astype(np.float64) ** 2 for axis in axes))
    depth = np.minimum(depth, radius / average.voxel_size - distance)

    def inside(points: np.ndarray) -> np.ndarray:
        found = ndimage.map_coordinates(depth, points + half[:, None], order=1, mode="constant", cval=-9e9)
        return np.asarray(found > 0)

    return Outline(inside, float(distance[depth > 0].max()) + 1, turns=True)


def level_of_volume(average: Volume, volume: float, *, radius: float) -> float:
    """Otsu's threshold, or the lowest above it at which the central part holds at most `volume` A^3.

    Where an average is poor, particles that turned the wrong way make it a blur that fills its radius, and Otsu's
    threshold an outline many times too large.
    """
    part, low, _ = central_part(average, radius=radius)
    most = volume / average.voxel_size**3
    if part.sum() <= most:
        return low
    high = float(average.data[part].max())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if central_part(average, radius=radius, threshold=middle)[0].sum() > most:
            low = middle
        else:
            high = middle
    return high


def central_part(
    average: Volume, *, radius: float, threshold: float | None = None
) -> tuple[np.ndarray, float, np.ndarray]:
    """Of the voxels above a threshold (Otsu's) within `radius` A: the part nearest the box centre, bool [z, y, x].

    Parts of less than SPECK of the largest one's voxels are left out: a hollow particle has noise nearer its centre.
    Above Otsu's threshold the part is one of those that Otsu's falls into. Also the threshold, and each voxel's
    distance from the box centre in voxels. Raises VoxpickError when there is none.
    """
    data = np.asarray(average.data, dtype=np.float64)
    axes = np.meshgrid(*(np.arange(n) - n // 2 for n in data.shape), indexing="ij", sparse=True)
    distance = np.sqrt(sum(axis.astype(np.float64) ** 2 for axis in axes))
    near = distance <= radius / average.voxel_size
    usual = otsu(data[near])
    level = usual if threshold is None else threshold
    part = _nearest_part((data > min(level, usual)) & near, distance)
    if part is not None and level > usual:
        near = part
        part = _nearest_part((data > level) & near, distance)
    if part is None:
        raise VoxpickError(
            f"{average.name}: no voxel within {radius:g} A of the centre is above {level:g} (highest "
            f"{data[near].max():g}); take a lower threshold, or invert the map if particles are dark"
        )
    return part, level, distance


def _nearest_part(above: np.ndarray, distance: np.ndarray) -> np.ndarray | None:
    """Of the connected parts that are no specks: the one nearest the centre, bool; None where nothing is above."""
    parts, count = ndimage.label(above)
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    large = sizes >= SPECK * sizes[1:].max()
    large[0] = False
    found: np.ndarray = parts == parts.flat[np.where(large[parts], distance, np.inf).argmin()]
    return found


def ball(radius: float, *, voxel_size: float) -> Outline:
    """A ball of `radius` A."""
    reach = radius / voxel_size

    def inside(points: np.ndarray) -> np.ndarray:
        distance: np.ndarray = np.linalg.norm(points, axis=0)
        return distance <= reach

    return Outline(inside, reach)


def _nearest_voxel(points: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.logical_and.reduce((points >= -0.5) & (points < 0.5), axis=0)
    return found


POINT = Outline(_nearest_voxel, 1.0)
"""The voxel nearest to the centre."""


def paste(
    particles: Particles,
    outlines: Mapping[str, Outline],
    numbers: Mapping[str, int],
    *,
    shape: tuple[int, int, int],
    voxel_size: float,
) -> Masks:
    """Each particle's outline at its centre (A, in the frame of the mask) and in its orientation.

    outlines, numbers: by class. Where particles overlap, the voxel is that of the earlier row.
    Raises VoxpickError for no particles, a class without an outline, and orientations that are missing but matter.
    """
    if len(particles) == 0:
        raise VoxpickError("there are no picks to make masks of")
    missing = sorted({str(name) for name in particles.classes} - (set(outlines) & set(numbers)))
    if missing:
        raise VoxpickError(f"class {missing[0]!r} has no shape; give one for each of the classes of the picks")
    if particles.rotations is None and any(outlines[str(name)].turns for name in particles.classes):
        raise VoxpickError("pasting an average needs the orientation of every pick; align them first (voxpick average)")
    class_mask, occupancy = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.int16)
    if len(particles) > np.iinfo(np.int16).max:
        raise VoxpickError(f"{len(particles)} particles are more than a mask can number (32767)")
    hidden = []
    for row, center in enumerate(particles.voxels(voxel_size)):
        name = str(particles.classes[row])
        outline = outlines[name]
        low = np.maximum(np.floor(center - outline.reach), 0).astype(int)
        high = np.minimum(np.ceil(center + outline.reach) + 1, shape).astype(int)
        if (low >= high).any():
            hidden.append(row)
            continue
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        points = np.indices(high - low).reshape(3, -1) + (low - center)[:, None]
        if particles.rotations is not None and outline.turns:
            points = particles.rotations[row].T @ points
        free = outline.inside(points).reshape(high - low) & (occupancy[window] == 0)
        class_mask[window][free], occupancy[window][free] = numbers[name], row + 1
        if not free.any():
            hidden.append(row)
    return Masks(class_mask, occupancy, np.array(hidden, dtype=np.int64))


def otsu(values: np.ndarray, *, bins: int = 256) -> float:
    """The threshold that parts values into two groups with the least variance inside them (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=bins)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * middles)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:-1][best].mean())
