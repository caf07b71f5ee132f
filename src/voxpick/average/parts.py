"""Is what one picking alone found the same kind of particle? DeepFinder's check (Moebel et al. 2018, section 3.3).

Three averages tell: A, of the picks in doubt; A_ref, of as many picks drawn from those that both pickings share; and
A_random, of as many boxes at random positions. Correlation grows with number, so all three are of equally many boxes:
picks that leave no box are not counted, and where the sure picks are fewer, that many are drawn from the others. All
start from the same reference, read to the first low-pass only. A part of false picks, or of noise turned to fit the
reference, comes out like A_random, a part of true particles like A_ref. The paper draws random positions without saying
where; here they keep away from all picks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from voxpick.average.alignment import Alignment
from voxpick.average.refinement import Refined, refine
from voxpick.average.subtomograms import centred_within, extract, join
from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.progress import Progress
from voxpick.volume import Volume

CANDIDATES = 50
"""Random places tried for each one wanted."""


@dataclass(frozen=True)
class Averaging:
    """How to cut boxes out and average them. box: voxels along a side; the rest as in `extract` and `refine`."""

    alignment: Alignment
    box: int
    iterations: int
    rotations: np.ndarray | None
    edges: Literal["drop", "pad"] = "drop"
    dark: bool = True


@dataclass(frozen=True)
class PartAverages:
    """A, A_ref and A_random of one part, each of `count` boxes; None where there were not two to average."""

    count: int
    part: Refined | None
    sure: Refined | None
    chance: Refined | None


def average_part(
    volumes: Sequence[Volume],
    part: Particles,
    sure: Particles,
    everything: Particles,
    how: Averaging,
    *,
    reference: np.ndarray,
    rng: np.random.Generator,
    report: Progress | None = None,
) -> PartAverages:
    """A of a part, with A_ref of as many of the sure picks, and A_random of places away from `everything`.

    volumes: the tomograms; picks name theirs, unless there is one. reference: [box, box, box], bright. Of each, as many
    as both the part and the sure picks have boxes, drawn from them; where the sure ones have not two, there is no A_ref
    and the others are of all of the part.
    """
    part, sure = (some[has_box(volumes, some, how)] for some in (part, sure))
    count = len(part) if len(sure) < 2 else min(len(part), len(sure))
    part, drawn = (some[np.sort(rng.permutation(len(some))[:count])] for some in (part, sure))
    places = [
        random_positions(volume, picks_in(volume, everything, volumes), wanted, how, rng=rng)
        for volume in volumes
        if (wanted := len(picks_in(volume, part, volumes)))
    ]
    found = []
    for name, some in (("part", part), ("sure", drawn), ("random", concatenated(places))):
        found.append(average_picks(volumes, some, how, reference=reference, rng=rng, report=_within(report, name)))
    return PartAverages(count, *found)


def average_picks(
    volumes: Sequence[Volume],
    picks: Particles,
    how: Averaging,
    *,
    reference: np.ndarray | None,
    rng: np.random.Generator,
    report: Progress | None = None,
) -> Refined | None:
    """The picks aligned and averaged from a reference or from nothing; None for fewer than two boxes.

    reference: [z, y, x], as large as the boxes. Picks that leave no box (`has_box`) are left out, few or many:
    `require_inside` is for all picks of a picking.
    """
    parts = []
    for volume in volumes:
        mine = picks_in(volume, picks, volumes).with_columns(rotations=None)
        mine = mine[_kept(volume, mine, how)]
        if len(mine):
            parts.append(extract(volume, mine, box=how.box, edges=how.edges, dark=how.dark))
    if sum(len(part) for part in parts) < 2:
        return None
    return refine(
        join(parts), how.alignment, iterations=how.iterations, rng=rng, rotations=how.rotations, reference=reference,
        report=report,
    )  # fmt: skip


def require_inside(volumes: Sequence[Volume], picks: Particles, source: object) -> None:
    """Raise VoxpickError when most picks of `source` lie outside their tomograms, as those of another frame do."""
    parts = [(volume, picks_in(volume, picks, volumes)) for volume in volumes]
    outside = sum(int((~centred_within(volume, mine)).sum()) for volume, mine in parts)
    if 2 * outside > sum(len(mine) for _, mine in parts):
        raise VoxpickError(
            f"{source}: {outside} of {len(picks)} picks lie outside {', '.join(volume.name for volume in volumes)} "
            f"with voxels of {volumes[0].voxel_size:g} A; check the voxel size and the frame of the picks"
        )


def random_positions(
    volume: Volume, picks: Particles, count: int, how: Averaging, *, rng: np.random.Generator
) -> Particles:
    """Positions within the reach of the picks in z, y and x and half a box from the volume's faces, in no order.

    They lie a particle's radius or more from every pick; where there is too little such room, those farthest from picks
    are taken.
    """
    size = volume.voxel_size
    half = how.box // 2 * size
    far = (np.array(volume.shape) - 1) * size - half
    low = np.minimum(np.maximum(picks.centers_zyx.min(axis=0), half), far)
    high = np.maximum(np.minimum(picks.centers_zyx.max(axis=0), far), low)
    places = rng.uniform(low, high, (CANDIDATES * count, 3))
    away = cKDTree(picks.centers_zyx).query(places)[0]
    free = np.flatnonzero(away >= how.alignment.radius)
    rows = free[:count] if len(free) >= count else np.argsort(-away, kind="stable")[:count]
    return Particles(places[rows], tomograms=np.full(len(rows), volume.name, dtype=object))


def picks_in(volume: Volume, picks: Particles, volumes: Sequence[Volume]) -> Particles:
    """The picks of one of the volumes: all when there is but one."""
    if len(volumes) == 1:
        return picks
    return picks[np.asarray(picks.tomograms).astype(str) == volume.name]


def concatenated(tables: Sequence[Particles]) -> Particles:
    """Centres, classes and tomograms of several tables, one after another."""
    if not tables:
        return Particles(np.empty((0, 3)))
    return Particles(
        np.concatenate([table.centers_zyx for table in tables]),
        np.concatenate([table.classes for table in tables]),
        tomograms=np.concatenate([np.asarray(table.tomograms) for table in tables]),
    )


def has_box(volumes: Sequence[Volume], picks: Particles, how: Averaging) -> np.ndarray:
    """Which picks leave a box, bool (n,): those in a tomogram given, and not at its edge unless edges are padded."""
    if len(volumes) == 1:
        return _kept(volumes[0], picks, how)
    found, names = np.zeros(len(picks), dtype=bool), np.asarray(picks.tomograms).astype(str)
    for volume in volumes:
        mine = names == volume.name
        found[mine] = _kept(volume, picks[mine], how)
    return found


def leaves_no_box(volume: Volume, picks: Particles, how: Averaging) -> bool:
    """Whether picks that mostly lie in the volume leave no box; picks that do not are for `extract` to refuse."""
    within = centred_within(volume, picks)
    return bool(2 * within.sum() >= len(picks) and not _kept(volume, picks, how).any())


def _kept(volume: Volume, picks: Particles, how: Averaging) -> np.ndarray:
    """Which picks of one volume `extract` keeps: bool (n,)."""
    nearest, shape = np.rint(picks.voxels(volume.voxel_size)), np.array(volume.shape)
    starts = nearest - how.box // 2
    low, high = (nearest, nearest + 1) if how.edges == "pad" else (starts, starts + how.box)
    kept: np.ndarray = ((low >= 0) & (high <= shape)).all(axis=1)
    return kept


def _within(report: Progress | None, name: str) -> Progress | None:
    if report is None:
        return None
    return lambda step, done, total: report(f"{name}, {step}", done, total)
