"""The SHREC scoring of picks against an occupancy mask, as its organisers do it, quirks included.

Gubins et al., SHREC 2020: Classification in cryo-electron tomograms, doi:10.1016/j.cag.2020.07.010, section 2.2.
Predictions are rounded before the rule that moves stray ones along z is applied, in the order of their script.
SHREC'19 and SHREC'21 differ in their rules (`evaluate.shrec_rules`). A strict mode stands beside (see `score_shrec`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.evaluate.curves import precision_recall
from voxpick.evaluate.shrec_rules import Benchmark, check_frame, rules_of
from voxpick.evaluate.shrec_score import BACKGROUND, Shrec20Score, class_order, weight_kda
from voxpick.particles import Particles
from voxpick.shrec_classes import CLASS_IDS

UNNAMED = ("particle", "background", BACKGROUND)


def score_shrec(
    picks: Particles,
    truth: Particles,
    occupancy: np.ndarray,
    *,
    voxel_size: float,
    z_offset: int | None = None,
    thickness: int | None = None,
    benchmark: str = "shrec20",
    frame: str = "auto",
    strict: bool = False,
) -> Shrec20Score:
    """Score picks (centres in A, most trusted first) against one SHREC tomogram.

    truth: centres in A in the specimen frame; row i is occupancy id i + 1. occupancy: ids [z, y, x] of the specimen
    (0 where no particle is), in memory or memory-mapped: only the voxels at the picks are read.
    voxel_size: A. z_offset: specimen z + z_offset = tomogram z, in voxels; (tomogram nz - specimen nz) // 2, and the
    organisers' 156 (0 for SHREC'21) when not given. thickness: sections of the tomogram, by which picks lie outside;
    specimen nz + 2 z_offset when not given.
    frame: whose z the picks use; "auto" takes them as tomogram z and applies the organisers' rule: when any rounded z
    lies below z_offset or above z_offset + specimen nz, z_offset is added to *all* picks and a warning is returned.
    strict: no such shift, no clipping (a pick outside is a false positive), one pick a particle (the most confident;
    the others are false positives), and false positives lower the F1 of the class they claim (row 0 of the confusion).
    Distances (AD) are in voxels, between rounded picks and rounded truth. Case of class names does not matter (the
    score has SHREC's in lower case, others as the truth spells them); a name that the truth does not hold names its
    particle wrongly, and a warning is returned.
    Raises VoxpickError for an unknown benchmark or frame, and when mask and truth do not belong together.
    """
    rules = rules_of(benchmark)
    check_frame(frame)
    if len(truth) == 0:
        raise VoxpickError("the truth holds no particles; there is nothing to score against")
    claimed, true_classes = _lower(picks.classes), _lower(truth.classes)
    labels = class_order(true_classes, excluded=rules.excluded)
    placed = _placed(
        picks, occupancy.shape, rules, voxel_size=voxel_size, z_offset=z_offset, thickness=thickness, frame=frame,
        strict=strict,
    )  # fmt: skip
    ids = occupancy_ids(occupancy, placed.voxels - [placed.offset, 0, 0], dilate=rules.dilate)
    _check_together(ids, truth)
    centers = np.vstack([np.zeros(3), rounded_voxels(truth.centers_zyx, voxel_size) + [placed.offset, 0, 0]])
    distances = np.linalg.norm(placed.voxels - centers[ids], axis=1)
    if strict:
        ids[placed.outside] = 0
        ids = _one_to_one(ids, picks)

    counted = np.array([name not in rules.excluded for name in true_classes])
    particles = int(counted.sum())
    if not strict:
        particles += sum(name in rules.still_counted for name in true_classes)
    hits = np.bincount(ids, minlength=len(truth) + 1)
    first = _first_rows(ids, len(truth))
    found = (first >= 0) & counted
    on_target = (ids > 0) & counted[np.maximum(ids, 1) - 1]
    measured = distances[on_target] if rules.all_distances and not strict else distances[first[found]]
    confusion = _confusion(labels, true_classes, claimed, first, counted, background=ids == 0 if strict else None)
    return Shrec20Score(
        benchmark=benchmark,
        strict=strict,
        reported=len(picks),
        particles=particles,
        true_positives=int(found.sum()),
        false_positives=int(hits[0]),
        false_negatives=int((counted & ~found).sum()),
        multiple_hits=int(((hits[1:] > 1) & counted).sum()),
        outside=int(placed.outside.sum()),
        average_distance=float(measured.mean()) if len(measured) else float("nan"),
        labels=(BACKGROUND, *_spelled(labels, truth.classes)),
        confusion=confusion,
        curve=precision_recall(picks.scores, np.where(on_target, ids, 0), particles=particles),
        hit_ids=ids,
        z_shift=placed.z_shift,
        warnings=(
            *placed.warnings,
            *_of_unknown_classes(claimed, known=[*_spelled(labels, truth.classes), *rules.excluded]),
        ),
    )


def rounded_voxels(centers_zyx: np.ndarray, voxel_size: float) -> np.ndarray:
    """Centres in A to whole voxels, halves to even as the organisers' round() does: (n, 3) integers.

    The ninth decimal is dropped first, so that a half which passed through A is still a half.
    """
    return np.rint(np.round(centers_zyx / voxel_size, 9)).astype(np.int64)


def occupancy_ids(occupancy: np.ndarray, voxels: np.ndarray, *, dilate: bool) -> np.ndarray:
    """Particle ids at voxels (n, 3) of the specimen: (n,); 0 outside.

    dilate: the maximum over the voxel and its six neighbours, which is what grey dilation with the 3-D cross holds
    there. The organisers dilate before they pad, so the padding stays empty.
    """
    shape = np.array(occupancy.shape)
    steps = np.vstack([np.zeros((1, 3), int), np.eye(3, dtype=int), -np.eye(3, dtype=int)]) if dilate else [[0, 0, 0]]
    ids = np.zeros(len(voxels), dtype=np.int64)
    for step in np.asarray(steps):
        at = voxels + step
        inside = ((at >= 0) & (at < shape)).all(axis=1)
        z, y, x = at[inside].T
        ids[inside] = np.maximum(ids[inside], np.asarray(occupancy[z, y, x]).astype(np.int64))
    ids[~((voxels >= 0) & (voxels < shape)).all(axis=1)] = 0
    return ids


def _check_together(ids: np.ndarray, truth: Particles) -> None:
    if ids.size and ids.max() > len(truth):
        raise VoxpickError(
            f"the occupancy mask holds particle {ids.max()} but the truth lists {len(truth)} particles; "
            "take both from the same model folder"
        )


def _lower(names: np.ndarray) -> np.ndarray:
    """Class names in lower case; a pick without a class becomes BACKGROUND."""
    lower = [str(name).lower() for name in names]
    return np.array([BACKGROUND if name in UNNAMED else name for name in lower], dtype=object)


def _spelled(labels: Sequence[str], true_classes: np.ndarray) -> list[str]:
    """Classes as the truth has them, but for those of SHREC, which are known by their names in lower case."""
    own = {str(name).lower(): str(name) for name in reversed(true_classes)}
    return [name if weight_kda(name) is not None else own.get(name, name) for name in labels]


def _of_unknown_classes(claimed: np.ndarray, *, known: Sequence[str]) -> list[str]:
    lower = {name.lower() for name in known}
    rows = [row for row, name in enumerate(claimed) if name != BACKGROUND and name not in lower]
    if not rows or not known:  # of particles without names no pick can have a wrong one
        return []
    name = claimed[rows[0]]
    meant = next((each for each in known if str(CLASS_IDS.get(each)) == name), None)
    hint = "" if meant is None else f" {name} is SHREC'20's number of {meant}, which files without names hold."
    return [
        f"{len(rows)} of {len(claimed)} picks have a class that the truth does not hold (pick {rows[0] + 1}: "
        f"{name!r}); their names count as wrong. The classes here are {', '.join(known)}.{hint}"
    ]


@dataclass(frozen=True)
class _Placed:
    """Picks where they are scored.

    voxels: whole ones (n, 3) in the tomogram, clipped to where picks may lie; outside: those that lay beyond, (n,).
    offset: specimen z + offset = tomogram z. z_shift: what to add to the z of the picks as they were given.
    """

    voxels: np.ndarray
    outside: np.ndarray
    offset: int
    z_shift: int
    warnings: list[str]


def _placed(
    picks: Particles, shape: tuple[int, ...], rules: Benchmark, *, voxel_size: float, z_offset: int | None,
    thickness: int | None, frame: str, strict: bool,
) -> _Placed:  # fmt: skip
    """The picks in the tomogram about a specimen of this shape; other settings as of `score_shrec`."""
    offset = given_offset = rules.z_offset if z_offset is None else int(z_offset)
    thin = offset == 0 and rules.shift_rule and not strict
    if thin:  # a tomogram as thick as its specimen: the organisers' script pads by 156 all the same
        offset, thickness, frame = rules.z_offset, None, "auto" if frame == "auto" else "specimen"
    voxels, added, warnings = _tomogram_voxels(picks, voxel_size, offset, shape[0], rules, frame, strict=strict)
    if thin and (voxels[:, 0] >= offset).all() and (voxels[:, 0] <= offset + shape[0]).all():
        warnings = []  # the shift put every pick where it belongs
    lowest, size = _limits(shape, offset, thickness, in_specimen=rules.clip_in_specimen)
    clipped = np.clip(voxels, lowest, lowest + size - 1)
    outside, given = (clipped != voxels).any(axis=1), voxels - [added, 0, 0]
    if outside.all() and ((given < lowest) | (given >= lowest + size)).any(axis=1).all():
        warnings = []  # no pick is in either frame, so something else is wrong with them
    return _Placed(clipped, outside, offset, added - (offset - given_offset), warnings)


def _tomogram_voxels(
    picks: Particles, voxel_size: float, offset: int, nz: int, rules: Benchmark, frame: str, *, strict: bool
) -> tuple[np.ndarray, int, list[str]]:
    """Whole voxels (n, 3) in the tomogram, what was added to every z for it, and why that has to be said."""
    voxels = rounded_voxels(picks.centers_zyx, voxel_size)
    warnings: list[str] = []
    z, added = voxels[:, 0], 0
    stray = (z < offset) | (z > offset + nz)
    if frame == "specimen":
        added = offset
    elif frame == "auto" and not strict and rules.shift_rule and offset > 0 and stray.any():
        row = int(np.flatnonzero(stray)[0])
        warnings.append(
            f"{stray.sum()} of {len(z)} picks have z < {offset} or z > {offset + nz} (pick {row + 1}: z = {z[row]}): "
            f"{offset} was added to the z of ALL picks, as the organisers' script does; one stray pick is enough "
            "for that. State the frame of the picks to prevent it."
        )
        added = offset
    return voxels + [added, 0, 0], added, warnings


def _limits(
    shape: tuple[int, ...], offset: int, thickness: int | None, *, in_specimen: bool
) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and size of the box that picks are clipped to, in the tomogram frame."""
    nz, ny, nx = shape
    if in_specimen:
        return np.array([offset, 0, 0]), np.array([nz, ny, nx])
    return np.zeros(3, dtype=np.int64), np.array([nz + 2 * offset if thickness is None else thickness, ny, nx])


def _first_rows(ids: np.ndarray, n: int) -> np.ndarray:
    """Row of the first-listed pick on each of n particles, -1 for none: (n,)."""
    first = np.full(n + 1, -1, dtype=np.int64)
    values, rows = np.unique(ids, return_index=True)
    first[values] = rows
    return first[1:]


def _one_to_one(ids: np.ndarray, picks: Particles) -> np.ndarray:
    """The ids with all but the most confident pick of each particle set to 0."""
    assert picks.scores is not None
    kept = np.zeros_like(ids)
    order = np.argsort(-picks.scores, kind="stable")
    values, rows = np.unique(ids[order], return_index=True)
    kept[order[rows]] = values
    return kept


def _confusion(
    labels: Sequence[str],
    true_classes: np.ndarray,
    claimed: np.ndarray,
    first: np.ndarray,
    counted: np.ndarray,
    *,
    background: np.ndarray | None,
) -> np.ndarray:
    """Counts [true, claimed] over 0 and the labels; a missed particle is claimed 0, background picks fill row 0."""
    index = {BACKGROUND: 0, **{name: k + 1 for k, name in enumerate(labels)}}
    confusion = np.zeros((len(labels) + 1, len(labels) + 1), dtype=np.int64)
    for row in np.flatnonzero(counted):
        name = claimed[first[row]] if first[row] >= 0 else BACKGROUND
        confusion[index[true_classes[row]], index.get(name, 0)] += 1
    if background is not None:
        for name in claimed[background]:
            confusion[0, index.get(name, 0)] += 1
    return confusion
