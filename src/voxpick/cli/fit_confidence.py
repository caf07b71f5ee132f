"""What a model learns about its own scores from picks on tomograms kept out of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from voxpick.cli.held_out import particle_sizes
from voxpick.detect.calibration import ScoreMap, fit_score_map
from voxpick.detect.class_thresholds import above_thresholds, choose_thresholds, expected_threshold
from voxpick.detect.select import Spacing
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
"""Changes to a detection by which scores are as they come and all picks stay, but for those too close to others."""
UNSPACED: dict[str, Any] = {**RAW, "keep_apart": False}
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
    detections: Sequence[tuple[Particles, ShrecTruth]], *, aim: str = "located", beta: float = 1.0,
    spacing: Spacing | None = None,
) -> Confidence:  # fmt: skip
    """Maps of the scores, and thresholds and radii of the classes, from picks made with the changes UNSPACED.

    spacing: of the detection; the picks do not have it yet, as detection drops weak picks before others for them.

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
    spacing = spacing or Spacing()
    radii = choose_radii(ordered, spacing) if named else {}
    spaced = [spacing.kept(picks, radii) for picks, _ in ordered]
    judged = _judged_rows(ordered, spaced)
    where, scores, located = judged["where"], judged["scores"], judged["located"]
    maps = {"located": fit_score_map(where, located)}
    before, after = {"located": reliability(where, located)}, {"located": cross_validated(where, located)}
    if graded:
        maps["named"] = fit_score_map(scores, judged["named"] if named else located)
    if named:
        both = judged["named"]
        before["named"], after["named"] = reliability(scores, both), cross_validated(scores, both)
    counts = _counts(ordered)
    cut = choose_cut(judged, maps, counts, aim=aim, beta=beta, named=named)
    seen = [_seen(picks, rows, radii, cut, spacing) for (picks, _), rows in zip(ordered, spaced, strict=True)]
    cut = choose_cut(_judged_rows(ordered, seen), maps, counts, aim=aim, beta=beta, named=named)
    raw = _judged_rows(ordered, [spacing.kept(picks, {}) for picks, _ in ordered])["located"]
    kept = _judged_rows(ordered, [_detected(picks, radii, cut, spacing) for picks, _ in ordered])["located"]
    chosen = {"class_thresholds": cut.thresholds, "class_radii": radii}
    particles = sum(counts.values())
    return Confidence(
        located={
            "location_calibration": maps["located"].plain(), "lowest_location": cut.lowest, **({} if graded else chosen)
        },
        named={"calibration": maps["named"].plain(), **chosen} if graded else {},
        before=before, after=after, f1=(_f1(raw, particles), _f1(kept, particles)),
    )  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """The lowest location score of picks that are kept, and the lowest final score by class, as the `maps` give it."""

    maps: dict[str, ScoreMap]
    lowest: float
    thresholds: dict[str, float]

    def keeps(self, where: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Which picks (n,) have enough of both."""
        final = _final(self.maps, where, scores)
        return (where >= self.lowest) & above_thresholds(final, classes, self.thresholds)


def choose_cut(
    judged: dict[str, np.ndarray], maps: dict[str, ScoreMap], counts: dict[str, int], *, aim: str, beta: float,
    named: bool,
) -> Cut:  # fmt: skip
    """The cut that serves the aim on judged picks (`_judged_rows`). counts: of the particles, by class."""
    where, lowest, thresholds, particles = judged["where"], 0.0, {}, sum(counts.values())
    if aim == "located":
        lowest, _ = expected_threshold(where, maps["located"](where), particles=particles, beta=beta)
    elif aim == "named":
        classes, final = judged["classes"], _final(maps, where, judged["scores"])
        numbers = counts if named else dict.fromkeys(np.unique(classes).tolist(), particles)
        right = judged["named" if named else "located"]
        thresholds = choose_thresholds(final, classes, right, particles=numbers, beta=beta)
    return Cut(maps, lowest, thresholds)


def _final(maps: dict[str, ScoreMap], where: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Calibrated scores of picks with these location scores and scores."""
    return maps["named"](scores) if "named" in maps else maps["located"](where)


def _detected(picks: Particles, radii: dict[str, float], cut: Cut, spacing: Spacing) -> np.ndarray:
    """The picks, best first, that detection keeps (`detect.select`): weak ones are gone before they can drop others."""
    assert picks.scores is not None
    kept = cut.keeps(_where(picks), picks.scores, picks.classes)
    kept[kept] = spacing.kept(picks[kept], radii)
    return kept


def _seen(
    picks: Particles, spaced: np.ndarray, radii: dict[str, float], cut: Cut, spacing: Spacing
) -> np.ndarray:  # fmt: skip
    """The picks that a cut near this one is to be judged on: those detected, and of weaker ones those `spaced`."""
    assert picks.scores is not None
    strong = cut.keeps(_where(picks), picks.scores, picks.classes)
    return _detected(picks, radii, cut, spacing) | (spaced & ~strong)


def choose_radii(ordered: Sequence[tuple[Particles, ShrecTruth]], spacing: Spacing) -> dict[str, float]:
    """Radii in A by class, the share of the class's ball at which localisation F1 is best; none for a share of 0."""
    balls = ball_radii([truth for _, truth in ordered])
    best, chosen = -1.0, 0.0
    for share in RADIUS_SHARES:
        radii = {name: share * radius for name, radius in balls.items()}
        right, kept = 0, 0
        for picks, truth in ordered:
            left = picks[spacing.kept(picks, radii)]
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
    """Location scores, scores and classes of picks, and whether they are right in place, and in place and name."""
    hits = score_shrec(
        picks, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset,
        frame="tomogram",
    ).hit_ids  # fmt: skip
    assert picks.scores is not None
    return {
        "where": _where(picks), "scores": picks.scores, "classes": picks.classes.astype(str),
        "located": right_picks(picks, hits), "named": right_picks(picks, hits, truth.particles.classes),
    }  # fmt: skip


def _judged_rows(
    ordered: Sequence[tuple[Particles, ShrecTruth]], rows: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:  # fmt: skip
    """What `_judged` says of these rows (bool) of the picks of each tomogram, one tomogram after another."""
    found = [_judged(picks[some], truth) for (picks, truth), some in zip(ordered, rows, strict=True)]
    return {key: np.concatenate([one[key] for one in found]) for key in found[0]}


def _where(picks: Particles) -> np.ndarray:
    """Location scores, or the scores of picks that have none."""
    found = picks.scores if picks.location_scores is None else picks.location_scores
    assert found is not None
    return found


def _counts(detections: Sequence[tuple[Particles, ShrecTruth]]) -> dict[str, int]:
    classes = np.concatenate([truth.particles.classes.astype(str) for _, truth in detections])
    names, counts = np.unique(np.char.lower(classes), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _has_names(picks: Particles) -> bool:
    return bool({str(name).lower() for name in picks.classes} - set(UNNAMED)) and picks.class_scores is not None


def _f1(right: np.ndarray, particles: int) -> float:
    return float(2 * right.sum() / max(len(right) + particles, 1))
