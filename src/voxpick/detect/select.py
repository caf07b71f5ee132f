"""Which of the picks stay: those with enough confidence that are not too close to a better one."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from voxpick.detect.settings import DetectSettings
from voxpick.particles import Particles


def selected(particles: Particles, settings: DetectSettings) -> Particles:
    """The picks with at least `minimum_score` and `minimum_distance`, most confident first."""
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
