"""From a probability map to particle centres: threshold, opening, components, splitting of touching particles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from voxpick.detect.foreground import Foreground, connected, foreground_of, opened_foreground
from voxpick.detect.mean_shift import VoxelBalls, bin_seeds, mean_shift, nearest_mode
from voxpick.detect.watershed import split_points
from voxpick.errors import VoxpickError

SPLITS = ("watershed", "mean-shift", "components")
SEEDS = ("bins", "centroids")
CLUSTER_CENTERS = ("modes", "means")


@dataclass(frozen=True)
class Located:
    """n particles found in a map, in voxels.

    centers: (n, 3) z, y, x. sizes: n voxel counts. scores: n confidences in [0, 1].
    voxels, owner: flat index of every foreground voxel and the particle 0..n-1 it belongs to.
    """

    centers: np.ndarray
    sizes: np.ndarray
    scores: np.ndarray
    voxels: np.ndarray
    owner: np.ndarray
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.centers)

    def painted(self, values: np.ndarray) -> np.ndarray:
        """A map [z, y, x] with values[k] at the voxels of particle k and 0 elsewhere, in the dtype of `values`."""
        canvas = np.zeros(int(np.prod(self.shape)), dtype=values.dtype)
        canvas[self.voxels] = values[self.owner]
        return canvas.reshape(self.shape)

    def moved(self, sections: int, shape: tuple[int, int, int]) -> Located:
        """The same particles, `sections` further in z, in a volume of `shape` with the same y and x."""
        voxels = self.voxels + sections * shape[1] * shape[2]
        centers = self.centers + np.array([sections, 0, 0])
        return Located(centers, self.sizes, self.scores, voxels, self.owner, shape)


def locate(
    probability: np.ndarray | Foreground,
    *,
    threshold: float = 0.5,
    split: str = "watershed",
    bandwidth: float = 6.0,
    minimum_size: int = 30,
    opening: int = 0,
    seeds: str = "bins",
    cluster_centers: str = "modes",
    neck: float = 0.6,
    smoothing: float = 0.5,
    connectivity: int = 6,
) -> Located:
    """Particles in a probability map or boolean mask [z, y, x], or in the foreground of one.

    threshold: foreground is above it (ignored for a mask and for a Foreground). opening: iterations.
    minimum_size: voxels; smaller components and clusters are dropped. split, how touching particles are told apart:
    'mean-shift' as VP-Detector (`bandwidth`, voxels, is its one parameter; `seeds`, where it begins), 'watershed' for
    particles of many sizes (`neck`, `smoothing`, see watershed.split_component), 'components' not at all.
    seeds: 'centroids' are those of the components, as in VP-Detector; a component with nothing within a bandwidth of
    its centroid, such as a ring, begins at its voxel nearest to it. One seed a component: particles may merge, and none
    that touch are split. 'bins' adds the well-filled cubes of components larger than the kernel, and takes a voxel of
    each cube of a hollow one.
    Centres are modes for 'mean-shift', or by cluster_centers = 'means' the plain means of the clusters' voxels; else
    centroids weighted with the probability. The confidence is the mean probability of the particle's voxels within a
    bandwidth of its centre (1 for a mask).
    Raises VoxpickError for an unknown split, seeds or centres, and for a bandwidth that is not positive.
    """
    if split not in SPLITS:
        raise VoxpickError(f"detect: unknown split {split!r}; one of {', '.join(SPLITS)}")
    if seeds not in SEEDS:
        raise VoxpickError(f"detect: unknown seeds {seeds!r} of mean-shift; one of {', '.join(SEEDS)}")
    if cluster_centers not in CLUSTER_CENTERS:
        raise VoxpickError(
            f"detect: unknown cluster_centers {cluster_centers!r} of mean-shift; one of {', '.join(CLUSTER_CENTERS)}"
        )
    if not bandwidth > 0:
        raise VoxpickError(f"detect: the bandwidth is {bandwidth} voxels; it must be positive")
    found = probability if isinstance(probability, Foreground) else foreground_of(probability, threshold=threshold)
    found = opened_foreground(found, iterations=opening)
    owner, sizes = connected(found, connectivity=connectivity)
    large = sizes >= minimum_size
    if not large.all():
        keep = large[owner]
        found, owner, sizes = found.kept(keep), (np.cumsum(large, dtype=np.int32) - 1)[owner[keep]], sizes[large]
    modes = None
    if split == "mean-shift" and len(found):
        modes, owner = _mean_shift_split(found, owner, sizes, bandwidth, seeds)
    elif split == "watershed":
        owner = _watershed_split(found, owner, sizes, neck=neck, smoothing=smoothing, minimum_size=minimum_size)
    return _collected(found, owner, modes, bandwidth, minimum_size, means=cluster_centers == "means")


def _mean_shift_split(
    found: Foreground, owner: np.ndarray, sizes: np.ndarray, bandwidth: float, seeds: str
) -> tuple[np.ndarray, np.ndarray]:
    balls = VoxelBalls(found)
    centers = _centroids(found, owner, len(sizes))
    _, filled = balls.means(centers, bandwidth)
    hollow = (filled == 0)[owner]  # as rings are
    starts = [centers[filled > 0]]
    if seeds == "centroids":
        starts.append(_innermost(found.kept(hollow), owner[hollow], centers))
    else:
        crowded = found.kept((sizes > 4 / 3 * np.pi * bandwidth**3)[owner])
        starts.append(_spread(found.kept(hollow), bandwidth))
        starts.append(bin_seeds((points for _, points in crowded.points()), bandwidth=bandwidth))
    modes, _ = mean_shift(balls, np.concatenate(starts), bandwidth=bandwidth)
    nearest = np.empty(len(found), dtype=np.int32)
    for chosen, points in found.points():
        nearest[chosen] = nearest_mode(points, modes)
    return modes, nearest


def _innermost(found: Foreground, owner: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The voxel (n, 3) of each owner that has any which is nearest to its centre (k, 3)."""
    points = np.stack(np.unravel_index(found.voxels, found.shape), axis=1)
    order = np.lexsort((np.square(points - centers[owner]).sum(axis=1), owner))
    _, first = np.unique(owner[order], return_index=True)
    return points[order[first]]


def _spread(found: Foreground, distance: float) -> np.ndarray:
    """A voxel (n, 3) of each cube of side `distance` that holds any."""
    points = np.stack(np.unravel_index(found.voxels, found.shape), axis=1)
    _, first = np.unique((points // distance).astype(np.int64), axis=0, return_index=True)
    return points[first]


def _watershed_split(
    found: Foreground, owner: np.ndarray, sizes: np.ndarray, *, neck: float, smoothing: float, minimum_size: int
) -> np.ndarray:
    particle = np.empty(len(found), dtype=np.int32)
    number = 0
    for chosen in _members(owner, sizes):
        if len(chosen) < 2 * minimum_size:
            particle[chosen] = number
            number += 1
            continue
        points = np.stack([axis.astype(np.int32) for axis in np.unravel_index(found.voxels[chosen], found.shape)])
        pieces = split_points(points, neck=neck, smoothing=smoothing)
        particle[chosen] = pieces + number
        number += int(pieces.max()) + 1
    return particle


def _members(owner: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """The voxels of each owner 0..n-1, as indices into `owner`."""
    order = np.argsort(owner, kind="stable")
    last = np.cumsum(sizes)
    for stop, size in zip(last, sizes, strict=True):
        yield order[stop - size : stop]


def _centroids(found: Foreground, owner: np.ndarray, number: int) -> np.ndarray:
    """(number, 3) centroids (z, y, x) in voxels of the owners 0..number-1, weighted with the probability if known."""
    total, sums = np.zeros(number), np.zeros((3, number))
    for chosen, points in found.points():
        who = owner[chosen]
        weight = np.ones(len(who))
        if found.values is not None:
            weight = found.values[chosen].astype(np.float64) + 1e-12
        total += np.bincount(who, weights=weight, minlength=number)
        for axis in range(3):
            sums[axis] += np.bincount(who, weights=weight * points[:, axis], minlength=number)
    return (sums / np.maximum(total, 1e-300)).T


def _collected(
    found: Foreground, owner: np.ndarray, modes: np.ndarray | None, bandwidth: float, minimum_size: int, *,
    means: bool = False,
) -> Located:  # fmt: skip
    """Drop small clusters, number the rest from 0 and compute their centres and confidences.

    means: of all of a cluster's voxels alike, instead of the modes.
    """
    sizes = np.bincount(owner, minlength=0 if modes is None else len(modes))  # a mode may be nearest to no voxel
    keep = sizes >= max(minimum_size, 1)
    if not keep.all():
        stays = keep[owner]
        found, owner = found.kept(stays), (np.cumsum(keep, dtype=np.int32) - 1)[owner[stays]]
    sizes = sizes[keep]
    if modes is None or means:
        centers = _centroids(found if modes is None else replace(found, values=None), owner, len(sizes))
    else:
        centers = modes[keep]
    return Located(centers, sizes, _scores(found, owner, centers, bandwidth), found.voxels, owner, found.shape)


def _scores(found: Foreground, owner: np.ndarray, centers: np.ndarray, bandwidth: float) -> np.ndarray:
    """Mean probability of each particle's voxels within a bandwidth of its centre; of all where there are none."""
    n = len(centers)
    if found.values is None or not n:
        return np.ones(n)
    near_count, near_sum, count, total = np.zeros((4, n))
    for chosen, points in found.points():
        who, value = owner[chosen], found.values[chosen].astype(np.float64)
        near = np.square(points - centers[who]).sum(axis=1) <= bandwidth**2
        count += np.bincount(who, minlength=n)
        total += np.bincount(who, value, n)
        near_count += np.bincount(who[near], minlength=n)
        near_sum += np.bincount(who[near], value[near], n)
    core = near_sum / np.maximum(near_count, 1)
    return np.clip(np.where(near_count > 0, core, total / np.maximum(count, 1)), 0, 1)
