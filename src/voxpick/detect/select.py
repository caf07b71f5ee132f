"""Which of the picks stay: those in the ice, with enough confidence, that are not too close to a better one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from voxpick.detect.class_thresholds import above_thresholds, by_class
from voxpick.detect.settings import DetectSettings, SharedSettings
from voxpick.detect.slab import Slab
from voxpick.particles import Particles


def selected(particles: Particles, settings: SharedSettings, slab: Slab, voxel_size: float) -> Particles:
    """The picks in level ice with calibrated scores, most confident first, that have enough score and distance.

    What is enough: `lowest_location`, `minimum_score`, `class_thresholds`, `minimum_distance` and `class_radii`. Of
    picks closer than `minimum_distance` the better one stays, or by `too_close` = none neither; those without enough
    score are gone before they can drop others. `keep_apart` = False drops none for its distance.
    slab: in sections of the tomogram, whose voxels have `voxel_size` A. Networks fire at random in vacuum, rarely; such
    a pick spoils more than itself, for one stray z makes the SHREC scoring move all (`evaluate.shrec`).
    """
    where = particles.scores if particles.location_scores is None else particles.location_scores
    assert where is not None
    level = slab.holds(particles.centers_zyx[:, 0] / voxel_size)
    particles = particles[level & (where >= settings.lowest_location)].sorted_by_score()
    better = with_calibrated_scores(particles, settings)
    assert better.scores is not None
    kept = above_thresholds(better.scores, better.classes, settings.class_thresholds)
    particles = better if settings.calibrated else particles
    assert particles.scores is not None
    particles = particles[kept & (particles.scores >= settings.minimum_score)]
    if not settings.keep_apart:
        return particles
    return particles[Spacing.of(settings).kept(particles, settings.class_radii)]


@dataclass(frozen=True)
class Spacing:
    """How far picks keep from each other whatever their classes. distance: A; both: of two too close neither stays."""

    distance: float = 0.0
    both: bool = False

    @classmethod
    def of(cls, settings: SharedSettings) -> Spacing:
        """What the settings of a detection say."""
        return cls(settings.minimum_distance, isinstance(settings, DetectSettings) and settings.too_close == "none")

    def kept(self, particles: Particles, radii: Mapping[str, float]) -> np.ndarray:
        """Which of the picks, best first, are far enough from others by this and by the radii of classes: bool (n,)."""
        kept = (alone if self.both else apart)(particles.centers_zyx, self.distance)
        kept[kept] = apart_by_class(particles.centers_zyx[kept], particles.classes[kept], radii)
        return kept


def with_calibrated_scores(particles: Particles, settings: SharedSettings) -> Particles:
    """The same picks in the same order, their scores and location scores mapped where the settings hold a map.

    `calibration` is for named picks; the score of those without a class score is a location score.
    """
    where, located = settings.location_calibration, particles.location_scores
    score = where if particles.class_scores is None else settings.calibration
    assert particles.scores is not None
    return particles.with_columns(
        scores=particles.scores if score is None else score(particles.scores),
        location_scores=located if where is None or located is None else where(located),
    )


def apart(centers: np.ndarray, distance: float) -> np.ndarray:
    """Which of the centres (n, 3), best first, are kept when each kept one drops all later ones closer than `distance`.

    Bool (n,). Same unit for both; a distance of 0 keeps all.
    """
    if distance <= 0 or len(centers) < 2:
        return np.ones(len(centers), dtype=bool)
    pairs, lengths = _near(centers, distance)
    return _best_first(len(centers), pairs[lengths < distance])


def alone(centers: np.ndarray, distance: float) -> np.ndarray:
    """Which of the centres (n, 3) have no other closer than `distance`, whether that is kept or not: bool (n,)."""
    keep = np.ones(len(centers), dtype=bool)
    if distance > 0 and len(centers) > 1:
        pairs, lengths = _near(centers, distance)
        keep[pairs[lengths < distance]] = False
    return keep


def apart_by_class(centers: np.ndarray, classes: np.ndarray, radii: Mapping[str, float]) -> np.ndarray:
    """As `apart`, when a kept centre drops all later ones, of any class, closer than the sum of both classes' radii.

    radii: by class name, in the unit of the centres; a class without one has 0.
    """
    reach = by_class(classes, radii)
    if len(centers) < 2 or reach.max() <= 0:
        return np.ones(len(centers), dtype=bool)
    pairs, lengths = _near(centers, 2 * reach.max())
    return _best_first(len(centers), pairs[lengths < reach[pairs].sum(axis=1)])


def _near(centers: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows (m, 2) of all pairs up to `distance` away, the lower row first, and how far apart they are."""
    pairs = cKDTree(centers).query_pairs(distance, output_type="ndarray")
    pairs.sort(axis=1)
    return pairs, np.linalg.norm(centers[pairs[:, 0]] - centers[pairs[:, 1]], axis=1)


def _best_first(number: int, pairs: np.ndarray) -> np.ndarray:
    """Bool (number,): the rows kept when each kept one drops its later partners."""
    keep = np.ones(number, dtype=bool)
    for first, second in pairs[np.argsort(pairs[:, 0], kind="stable")]:
        if keep[first]:
            keep[second] = False
    return keep
