"""Which of the picks stay: those in the ice, with enough confidence, that are not too close to a better one."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from voxpick.detect.settings import DetectSettings
from voxpick.detect.slab import Slab
from voxpick.particles import Particles


def selected(particles: Particles, settings: DetectSettings, slab: Slab, voxel_size: float) -> Particles:
    """The picks in level ice with at least `minimum_score` and `minimum_distance`, most confident first.

    slab: in sections of the tomogram, whose voxels have `voxel_size` A. Networks fire at random in vacuum, rarely; such
    a pick spoils more than itself, for one stray z makes the SHREC scoring move all (`evaluate.shrec`).
    """
    assert particles.scores is not None
    particles = particles[slab.holds(particles.centers_zyx[:, 0] / voxel_size)]
    assert particles.scores is not None
    particles = particles[particles.scores >= settings.minimum_score].sorted_by_score()
    return particles[apart(particles.centers_zyx, settings.minimum_distance)]


def apart(centers: np.ndarray, distance: float) -> np.ndarray:
    """Which of the centres (n, 3), best first, are kept when each kept one drops all later ones closer than `distance`.

    Bool (n,). Same unit for both; a distance of 0 keeps all.
    """
    keep = np.ones(len(centers), dtype=bool)
    if distance <= 0 or len(centers) < 2:
        return keep
    pairs = cKDTree(centers).query_pairs(distance, output_type="ndarray")
    pairs = pairs[np.linalg.norm(centers[pairs[:, 0]] - centers[pairs[:, 1]], axis=1) < distance]
    pairs.sort(axis=1)
    for first, second in pairs[np.argsort(pairs[:, 0], kind="stable")]:
        if keep[first]:
            keep[second] = False
    return keep
