"""From raw scores to scores that are the chance of being right, fitted on validation picks.

Isotonic regression by pool-adjacent-violators: Zadrozny and Elkan, KDD (2002). For few picks the sigmoid of Platt
(1999) on the logit of the score, with his targets.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from voxpick.errors import VoxpickError

ORDER_SHARE = 1e-3
"""How much of the raw score stays in a calibrated one, so that picks on one step of the map keep their order."""

FEW_PICKS = 200
FEW_OUTCOMES = 30
"""With fewer picks, or fewer right or wrong ones, than these a map of two numbers is fitted instead of steps."""

LOGIT_LIMIT = 12.0
SMALLEST_SLOPE = 0.05


class ScoreMap(BaseModel):
    """A rising map of [0, 1] into itself, as plain numbers that travel in `Model.detection`.

    isotonic: straight lines through the points (knots, values), level beyond them.
    platt: sigmoid(slope * logit(score) + shift). picks: how many it was fitted on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["isotonic", "platt"]
    knots: list[float] = Field(default_factory=list)
    values: list[float] = Field(default_factory=list)
    slope: float = Field(1.0, gt=0)
    shift: float = 0.0
    picks: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _rises(self) -> ScoreMap:
        for name in ("knots", "values"):
            column = getattr(self, name)
            if any(b < a for a, b in pairwise(column)) or not all(0 <= v <= 1 for v in column):
                raise ValueError(f"{name} must rise and lie in [0, 1]")
        if len(self.knots) != len(self.values) or (self.kind == "isotonic" and not self.knots):
            raise ValueError(f"{len(self.knots)} knots and {len(self.values)} values; give one value a knot")
        return self

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Calibrated scores, in the order of the raw ones, of which a share of ORDER_SHARE is mixed in for that."""
        scores = np.asarray(scores, dtype=np.float64)
        if self.kind == "platt":
            mapped = expit(self.slope * _logit(scores) + self.shift)
        else:
            mapped = np.interp(scores, self.knots, self.values)
        return (1 - ORDER_SHARE) * mapped + ORDER_SHARE * scores

    def plain(self) -> dict[str, Any]:
        """What `Model.detection` holds."""
        return self.model_dump(exclude_defaults=True)


class ConfidenceSettings(BaseModel):
    """What every detection knows of scores; a model brings it along in `Model.detection`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    calibrated: bool = Field(True, description="give scores as the model's maps have them, not as they come")
    calibration: ScoreMap | None = Field(None, description="from the score of named picks to the chance of being right")
    location_calibration: ScoreMap | None = Field(None, description="the same for the location score")
    lowest_location: float = Field(
        0.0, ge=0, le=1, description="picks with a lower location score, as it was before calibration, are left out"
    )
    class_thresholds: dict[str, float] = Field(
        default_factory=dict, description="by class, the lowest score (calibrated, where there is a map) that is kept"
    )
    class_radii: dict[str, float] = Field(
        default_factory=dict, description="A by class; picks closer to a better one than both radii are left out"
    )


OF_NAMES = ("calibration", "class_thresholds")
"""Those that hold for the names of one model on centres it was tried with, and for no others."""


def fit_score_map(scores: np.ndarray, right: np.ndarray) -> ScoreMap:
    """The map for scores (n,) in [0, 1] of picks of which `right` (n,) bool were right.

    Isotonic, or Platt's with few picks. Raises VoxpickError without picks or where lengths differ.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if len(scores) == 0 or scores.shape != right.shape:
        raise VoxpickError(f"calibration: {len(scores)} scores, {len(right)} outcomes; give one of each for every pick")
    if len(scores) < FEW_PICKS or min(right.sum(), (~right).sum()) < FEW_OUTCOMES:
        return _platt(scores, right)
    return _isotonic(scores, right)


def isotonic_regression(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of y by a function that never falls with x, weighted: its distinct x, rising, and values there.

    x, y, weights: (n,), the weights above 0. Pool adjacent violators: blocks of neighbours that fall are replaced by
    their mean until none is left.
    """
    distinct, inverse = np.unique(x, return_inverse=True)
    weight = np.bincount(inverse, weights)
    mean = np.bincount(inverse, weights * y) / weight
    values: list[float] = []
    loads: list[float] = []
    sizes: list[int] = []
    for value, load in zip(mean.tolist(), weight.tolist(), strict=True):
        size = 1
        while values and values[-1] >= value:
            total = loads[-1] + load
            value = (values.pop() * loads[-1] + value * load) / total
            load, size = total, size + sizes.pop()
            loads.pop()
        values.append(value)
        loads.append(load)
        sizes.append(size)
    return distinct, np.repeat(values, sizes)


def _isotonic(scores: np.ndarray, right: np.ndarray) -> ScoreMap:
    """Half a wrong pick at the best score and half a right one at the worst keep the ends off 0 and 1."""
    x = np.append(scores, [scores.min(), scores.max()])
    y = np.append(right.astype(np.float64), [1.0, 0.0])
    knots, values = isotonic_regression(x, y, np.append(np.ones(len(scores)), [0.5, 0.5]))
    flat = np.diff(values) == 0
    inner = np.concatenate([[False], flat]) & np.concatenate([flat, [False]])  # within a step: the line is the same
    kept = ~inner
    return ScoreMap(  # knots are not rounded: most scores of a saturated network differ by less than 1e-6 from 1
        kind="isotonic", knots=knots[kept].tolist(), values=np.round(values[kept], 6).tolist(), picks=len(scores)
    )  # fmt: skip


def _platt(scores: np.ndarray, right: np.ndarray) -> ScoreMap:
    """Maximum likelihood of slope and shift, with targets (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) instead of 1 and 0."""
    x, n1 = _logit(scores), int(right.sum())
    target = np.where(right, (n1 + 1) / (n1 + 2), 1 / (len(right) - n1 + 2))

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        at = p[0] * x + p[1]
        value = -np.mean(target * log_expit(at) + (1 - target) * log_expit(-at))
        error = (expit(at) - target) / len(x)
        return float(value), np.array([error @ x, error.sum()])

    found = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(SMALLEST_SLOPE, None), (None, None)])
    slope, shift = (round(float(value), 6) for value in found.x)
    return ScoreMap(kind="platt", slope=slope, shift=shift, picks=len(scores))


def _logit(scores: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.clip(logit(scores), -LOGIT_LIMIT, LOGIT_LIMIT)
