"""Alignment and averaging in turns, on two half-sets that never see each other.

Particles are dealt to the halves before anything is aligned. Each half has its own map, aligned and averaged from its
own particles; what passes between them is the correlation of the maps, which says how fine the next search may look,
and, where they start from nothing, a rigid turn of the second map onto the first. That turn is the best of thousands,
and makes maps of noise agree on all detail it looks at: it looks at none finer than the particle's radius, and the
correlation counts beyond only (`HalfMapCorrelation.conclusive`). With a reference, both halves start from it, read only
to the first low_pass: correlation at finer detail is then the data's own (Scheres and Chen, doi:10.1038/nmeth.2115), at
coarser it may be the reference's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from voxpick.allocation import keep_freed_memory
from voxpick.average.align import Poses, align
from voxpick.average.alignment import Alignment
from voxpick.average.fsc import soft_sphere
from voxpick.average.half_maps import HalfMapCorrelation, half_map_correlation
from voxpick.average.mean import average
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.particles import Particles
from voxpick.progress import Progress, of_step
from voxpick.volume import Volume

FSC_EDGE = 5.0
"""Voxels over which the mask of the correlation falls off; a steep one carries coarse agreement into fine shells."""


@dataclass(frozen=True)
class Refined:
    """map: of all particles; halves: of the two half-sets, in the same frame; fsc: between them, in a soft sphere and
    corrected for it.

    particles: those given, centres moved onto the map's centre, with rotations that turn the map into each.
    poses: the same, in the boxes, with correlations. half_set: (n,) 0 or 1. low_passes: A, of each iteration.
    """

    map: Volume
    halves: tuple[Volume, Volume]
    fsc: HalfMapCorrelation
    particles: Particles
    poses: Poses
    half_set: np.ndarray
    low_passes: tuple[float, ...]


def refine(
    subtomograms: Subtomograms,
    settings: Alignment,
    *,
    iterations: int,
    rng: np.random.Generator,
    rotations: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    report: Progress | None = None,
) -> Refined:
    """Align and average, `iterations` times.

    settings.low_pass is that of the first iteration; later ones use the resolution reached (FSC 0.143), where all
    rotations are searched only as far as memory for them reaches (`Alignment.finest_low_pass`). rotations:
    (r, 3, 3), searched whole in the first half of the iterations (rounded up), then the search is local at half the
    step; None searches locally throughout, from the particles' own rotations. reference: [box, box, box] to start
    from; without it the halves start from their averages at the particles' rotations, or, when those are None, at
    random ones. iterations 0 averages at the particles' rotations without moving anything.
    Raises VoxpickError for fewer than 2 particles, without rotations of either kind, and for more of them than there is
    memory for.
    """
    keep_freed_memory()
    n, known = len(subtomograms), subtomograms.particles.rotations
    if n < 2:
        raise VoxpickError(f"{n} particle makes no two half-sets; give at least 2, better 100")
    if known is None and (rotations is None or iterations == 0):
        raise VoxpickError(
            "the picks have no orientations, so they must be searched for: allow at least one iteration, and not local"
        )
    half_set = np.empty(n, dtype=np.int64)
    half_set[rng.permutation(n)] = np.arange(n) % 2
    first = uniform_rotations_zyx(n, rng) if known is None else np.array(known)
    poses = Poses(first, subtomograms.offsets_zyx.copy(), np.zeros(n))
    halves = [_Half(subtomograms, np.flatnonzero(half_set == k), poses, settings) for k in (0, 1)]
    low_passes: list[float] = []
    low_pass, from_nothing = settings.low_pass, reference is None and known is None
    laid = settings.radius if from_nothing else float("inf")
    finest = 0.0
    if rotations is not None and iterations:
        box, size = subtomograms.box, subtomograms.voxel_size
        settings.require_room(len(rotations), box=box, voxel_size=size)
        finest = min(settings.finest_low_pass(len(rotations), box=box, voxel_size=size), settings.low_pass)
        if from_nothing:
            free = replace(settings, tilt_range_deg=None)
            laid = max(laid, free.finest_low_pass(len(rotations), box=box, voxel_size=size))
    for iteration in range(iterations):
        searched = rotations if iteration < (iterations + 1) // 2 else None
        low_pass = low_pass if searched is None else max(low_pass, finest)
        low_passes.append(low_pass)
        step = settings.step_deg / (1 if searched is not None or rotations is None else 2)
        now = replace(settings, low_pass=low_pass, step_deg=step)
        for k, half in enumerate(halves):
            target = reference if iteration == 0 and reference is not None else half.map
            step_name = f"iteration {iteration + 1}, half {k + 1}"
            half.align(target, now, searched, of_step(report, step_name), recentre=from_nothing)
        if from_nothing and rotations is not None:
            halves[1].turn_onto(halves[0].map, replace(now, low_pass=laid), rotations)
        reached = halves[0].correlation(halves[1], rng, registered=laid).resolution()
        low_pass = min(max(reached, low_pass / 2), settings.low_pass) if np.isfinite(reached) else settings.low_pass
    for half in halves:
        half.write_into(poses)
    size = subtomograms.voxel_size
    return Refined(
        map=average(subtomograms, poses, tilt_range_deg=settings.tilt_range_deg, device=settings.device),
        halves=(Volume(halves[0].map, size, name="half 1"), Volume(halves[1].map, size, name="half 2")),
        fsc=halves[0].correlation(halves[1], rng, registered=laid),
        particles=oriented(subtomograms, poses),
        poses=poses,
        half_set=half_set,
        low_passes=tuple(low_passes),
    )


def oriented(subtomograms: Subtomograms, poses: Poses) -> Particles:
    """The particles with centres moved by what alignment shifted them, and rotations."""
    particles, moved = subtomograms.particles, poses.shifts_zyx - subtomograms.offsets_zyx
    return particles.with_columns(
        centers_zyx=particles.centers_zyx + moved * subtomograms.voxel_size, rotations=poses.rotations
    )


def register(
    moving: np.ndarray, fixed: np.ndarray, settings: Alignment, *, voxel_size: float, rotations: np.ndarray
) -> Poses:
    """The one pose in which the map `fixed` becomes `moving`, both [z, y, x]; neither has a missing wedge.

    rotations: (n, 3, 3) that are tried first, as for `align`. voxel_size: A.
    """
    alone = Subtomograms(moving[None], Particles(np.zeros((1, 3))), voxel_size, np.zeros((1, 3)))
    free = replace(settings, tilt_range_deg=None, finest_deg=min(settings.finest_deg, 1.0))
    return align(alone, fixed, free, rotations=rotations)


def in_turned_frame(poses: Poses, turn: Poses) -> Poses:
    """Poses relative to a map, made relative to the map that becomes it by the one pose `turn`."""
    shifts = poses.shifts_zyx + poses.rotations @ turn.shifts_zyx[0]
    return Poses(poses.rotations @ turn.rotations[0], shifts, poses.scores)


def recentred(poses: Poses, offsets_zyx: np.ndarray) -> Poses:
    """Poses relative to the map moved so that, seen from the map, the picked centres lie around its centre evenly.

    Nothing else holds a map in place that began from nothing: one that is off its centre fits as well, until the shifts
    it takes end at the farthest that are searched. offsets_zyx: (n, 3), voxels from the box centres to the picks.
    """
    away = poses.shifts_zyx - offsets_zyx
    drift = np.einsum("nij,ni->nj", poses.rotations, away).mean(axis=0)
    return Poses(poses.rotations, poses.shifts_zyx - poses.rotations @ drift, poses.scores)


class _Half:
    """A half-set: its particles (rows of all), their poses and their map."""

    def __init__(self, whole: Subtomograms, rows: np.ndarray, poses: Poses, settings: Alignment) -> None:
        self.rows, self.settings, self.poses = rows, settings, poses[rows]
        self.subtomograms = replace(
            whole, data=whole.data[rows], particles=whole.particles[rows], offsets_zyx=whole.offsets_zyx[rows]
        )
        self._average()

    def _average(self) -> None:
        tilts, device = self.settings.tilt_range_deg, self.settings.device
        self.map = average(self.subtomograms, self.poses, tilt_range_deg=tilts, device=device).data

    def write_into(self, poses: Poses) -> None:
        """Put this half's poses into the table of all."""
        for name in ("rotations", "shifts_zyx", "scores"):
            getattr(poses, name)[self.rows] = getattr(self.poses, name)

    def align(
        self, target: np.ndarray, now: Alignment, rotations: np.ndarray | None,
        progress: Callable[[int, int], None] | None, *, recentre: bool,
    ) -> None:  # fmt: skip
        self.poses = align(self.subtomograms, target, now, rotations=rotations, start=self.poses, progress=progress)
        if recentre:
            self.poses = recentred(self.poses, self.subtomograms.offsets_zyx)
        self._average()

    def turn_onto(self, fixed: np.ndarray, now: Alignment, rotations: np.ndarray) -> None:
        turn = register(self.map, fixed, now, voxel_size=self.subtomograms.voxel_size, rotations=rotations)
        self.poses = in_turned_frame(self.poses, turn)
        self._average()

    def correlation(self, other: _Half, rng: np.random.Generator, *, registered: float) -> HalfMapCorrelation:
        size = self.subtomograms.voxel_size
        mask = soft_sphere(self.map.shape, radius=self.settings.radius / size, edge=FSC_EDGE)
        return half_map_correlation(self.map, other.map, voxel_size=size, mask=mask, rng=rng, registered=registered)
