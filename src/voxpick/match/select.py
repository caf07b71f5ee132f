"""From the peaks of many templates to one list of picks, as template matching took part in SHREC'20."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxpick.match.bank import Template, structure
from voxpick.match.peaks import Peaks
from voxpick.particles import Particles


def ball_radius(template: Template) -> float:
    """Radius in A of a ball of the volume of the template's structure, or of what its mask holds, if that is given."""
    inside = structure(template.density)
    if template.radius is not None:
        offsets = np.indices(inside.shape) - np.array(inside.shape)[:, None, None, None] // 2
        inside = inside & (np.linalg.norm(offsets, axis=0) <= template.radius_voxels())
    voxels = max(int(inside.sum()), 1)
    return float(template.voxel_size * (3 * voxels / (4 * np.pi)) ** (1 / 3))


def choose(
    peaks: Sequence[Peaks],
    radii: Sequence[float],
    *,
    number: int | None,
    overlap: bool,
    sizes: Sequence[float] | None = None,
) -> list[tuple[int, np.ndarray]]:
    """(class, rows of its peaks that are kept, best first) from the largest class to the smallest.

    Each takes its best `number` peaks (all if None). Without overlap a candidate nearer to a pick already kept, of any
    class, than the sum of both radii is passed over and the next one taken. radii: in voxels, of each class; sizes: by
    which classes are ordered, the radii if None.
    """
    by = radii if sizes is None else sizes
    order = sorted(range(len(peaks)), key=lambda k: -by[k])
    centers, reach = np.zeros((0, 3)), np.zeros(0)
    chosen = []
    for k in order:
        rows: list[int] = []
        for row in range(len(peaks[k])):
            if number is not None and len(rows) >= number:
                break
            place = peaks[k].places[row]
            if not overlap:
                if (np.linalg.norm(centers - place, axis=1) < reach + radii[k]).any():
                    continue
                centers, reach = np.vstack([centers, place]), np.append(reach, radii[k])
            rows.append(row)
        chosen.append((k, np.array(rows, dtype=np.int64)))
    return chosen


def listed_by_class(particles: Particles, names: Sequence[str]) -> Particles:
    """The same picks class after class in the order of `names`, best first within each.

    Scores become (place of the class from the last one + score) / classes, so that whatever sorts by them keeps this
    order; what they were is in `location_scores`.
    """
    assert particles.scores is not None
    place = {name: k for k, name in enumerate(reversed(names))}
    base = np.array([place[str(name)] for name in particles.classes], dtype=np.float64)
    scores = (base + particles.scores) / max(len(names), 1)
    return particles.with_columns(scores=scores, location_scores=particles.scores).sorted_by_score()
