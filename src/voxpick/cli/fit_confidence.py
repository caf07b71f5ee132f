"""What a model learns about its own scores from picks on tomograms kept out of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from voxpick.cli.held_out import particle_sizes
from voxpick.detect.calibration import ScoreMap, fit_score_map
from voxpick.detect.class_thresholds import above_thresholds, choose_thresholds, expected_threshold
from voxpick.detect.select import apart_by_class
from voxpick.errors import VoxpickError
from voxpick.evaluate.calibration import Reliability, reliability, right_picks
from voxpick.evaluate.shrec import UNNAMED, score_shrec
from voxpick.f_beta import check_beta
from voxpick.particles import Particles

if TYPE_CHECKING:
    from voxpick.cli.truth import ShrecTruth

RAW: dict[str, Any] = {
    "calibrated": False, "lowest_location": 0.0, "class_thresholds": {}, "class_radii": {}, "minimum_score": 0.0
}  # fmt: skip
"""Changes to a detection whose picks serve to fit."""

AIMS = ("located", "named", "none")
RADIUS_SHARES = (0.0, 0.3, 0.45, 0.6)
"""Of a ball of the class's volume: how far the others must stay. Tried in this order; the first of equals wins."""

FOLDS = 5


class NothingFound(VoxpickError):
    """There are no picks to learn from."""


@dataclass(frozen=True)
class Confidence:
    """located, named: what `Model.detection` receives, of the part that finds and of the part that names.

    before, after: calibration of 'located' and 'named' scores; after: every fifth of the picks with the map that the
    other four give. f1: of localisation, before and after thresholds and distances, on the tomograms fitted on.
    """

    located: dict[str, Any]
    named: dict[str, Any]
    before: dict[str, Reliability] = field(default_factory=dict)
    after: dict[str, Reliability] = field(default_factory=dict)
    f1: tuple[float, float] = (float("nan"), float("nan"))


def check_aim(aim: str, beta: float) -> None:
    """Raise VoxpickError for an unknown aim, and a beta that is not positive or beyond MOST_BETA."""
    if aim not in AIMS:
        raise VoxpickError(f"--aim is {aim!r}; choose one of {', '.join(AIMS)}")
    check_beta(beta, "--beta")


def fit_confidence(
    detections: Sequence[tuple[Particles, ShrecTruth]], *, aim: str = "located", beta: float = 1.0
) -> Confidence:
    """Maps of the scores, and thresholds and radii of the classes, from picks made with the changes RAW.

    aim: what is kept: picks whose location score gives the best F-beta of finding particles ('located'), those above a
    threshold for each class, of the best F-beta of that class ('named'), or all ('none'). Raises VoxpickError for an
    unknown aim, and NothingFound.
    """
    check_aim(aim, beta)
    if not sum(len(picks) for picks, _ in detections):
        raise NothingFound("the model finds nothing on these tomograms, so there is nothing to fit; train it longer")
    ordered = [(picks.sorted_by_score(), truth) for picks, truth in detections]
    named = any(_has_names(picks) for picks, _ in ordered)
    graded = named or any(picks.class_scores is not None for picks, _ in ordered)
    radii = choose_radii(ordered) if named else {}
    spaced = [(picks[apart_by_class(picks.centers_zyx, picks.classes, radii)], truth) for picks, truth in ordered]
    judged = [_judged(picks, truth) for picks, truth in spaced]
    where, scores = (np.concatenate([one[key] for one in judged]) for key in ("where", "scores"))
    located, both = (np.concatenate([one[key] for one in judged]) for key in ("located", "named"))
    right = both if named else located
    maps = {"located": fit_score_map(where, located)}
    before, after = {"located": reliability(where, located)}, {"located": cross_validated(where, located)}
    if graded:
        maps["named"] = fit_score_map(scores, right)
    if named:
        before["named"], after["named"] = reliability(scores, both), cross_validated(scores, both)
    final = maps["named"](scores) if graded else maps["located"](where)
    classes = np.concatenate([picks.classes.astype(str) for picks, _ in spaced])
    counts = _counts(ordered)
    particles, lowest, thresholds = sum(counts.values()), 0.0, {}
    if aim == "located":
        lowest, _ = expected_threshold(where, maps["located"](where), particles=particles, beta=beta)
    elif aim == "named":
        numbers = counts if named else dict.fromkeys(np.unique(classes).tolist(), particles)
        thresholds = choose_thresholds(final, classes, right, particles=numbers, beta=beta)
    kept = (where >= lowest) & above_thresholds(final, classes, thresholds)
    raw = np.concatenate([_judged(picks, truth)["located"] for picks, truth in ordered])
    chosen = {"class_thresholds": thresholds, "class_radii": radii}
    return Confidence(
        located={
            "location_calibration": maps["located"].plain(), "lowest_location": lowest, **({} if graded else chosen)
        },
        named={"calibration": maps["named"].plain(), **chosen} if graded else {},
        before=before, after=after, f1=(_f1(raw, particles), _f1(located[kept], particles)),
    )  # fmt: skip


def choose_radii(ordered: Sequence[tuple[Particles, ShrecTruth]]) -> dict[str, float]:
    """Radii in A by class, the share of the class's ball at which localisation F1 is best; none for a share of 0."""
    balls = ball_radii([truth for _, truth in ordered])
    best, chosen = -1.0, 0.0
    for share in RADIUS_SHARES:
        radii = {name: share * radius for name, radius in balls.items()}
        right, kept = 0, 0
        for picks, truth in ordered:
            left = picks[apart_by_class(picks.centers_zyx, picks.classes, radii)]
            right, kept = right + int(_judged(left, truth)["located"].sum()), kept + len(left)
        f1 = 2 * right / max(kept + sum(len(truth.particles) for _, truth in ordered), 1)
        if f1 > best + 1e-9:
            best, chosen = f1, share
    return {name: round(chosen * radius, 2) for name, radius in balls.items()} if chosen else {}


def ball_radii(truths: Sequence[ShrecTruth]) -> dict[str, float]:
    """Radius in A, by class in lower case, of a ball of its particles' mean volume in the occupancy masks."""
    volumes: dict[str, list[float]] = {}
    for truth in truths:
        sizes = particle_sizes(truth.occupancy, len(truth.particles)) * truth.voxel_size**3
        for name, size in zip(truth.particles.classes, sizes, strict=True):
            volumes.setdefault(str(name).lower(), []).append(float(size))
    return {name: float(np.cbrt(np.mean(sizes) * 3 / (4 * np.pi))) for name, sizes in volumes.items()}


def cross_validated(scores: np.ndarray, right: np.ndarray) -> Reliability:
    """How calibrated scores are that a map made from other picks gives; every fold-th pick is held out in turn.

    scores: (n,) in [0, 1]. right: (n,) bool.
    """
    mapped = scores.copy()
    fold = np.random.default_rng(0).permutation(len(scores)) % FOLDS
    for number in range(FOLDS):
        out = fold == number
        if out.any() and not out.all():
            found: ScoreMap = fit_score_map(scores[~out], right[~out])
            mapped[out] = found(scores[out])
    return reliability(mapped, right)


def _judged(picks: Particles, truth: ShrecTruth) -> dict[str, np.ndarray]:
    """Location scores and scores of picks, and whether they are right in place, and in place and name."""
    hits = score_shrec(
        picks, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset,
        frame="tomogram",
    ).hit_ids  # fmt: skip
    assert picks.scores is not None
    where = picks.scores if picks.location_scores is None else picks.location_scores
    return {
        "where": where, "scores": picks.scores, "located": right_picks(picks, hits),
        "named": right_picks(picks, hits, truth.particles.classes),
    }  # fmt: skip


def _counts(detections: Sequence[tuple[Particles, ShrecTruth]]) -> dict[str, int]:
    classes = np.concatenate([truth.particles.classes.astype(str) for _, truth in detections])
    names, counts = np.unique(np.char.lower(classes), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _has_names(picks: Particles) -> bool:
    return bool({str(name).lower() for name in picks.classes} - set(UNNAMED)) and picks.class_scores is not None


def _f1(right: np.ndarray, particles: int) -> float:
    return float(2 * right.sum() / max(len(right) + particles, 1))
