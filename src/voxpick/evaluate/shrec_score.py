"""What a SHREC scoring found: counts, the confusion matrix, and the figures that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxpick.evaluate.curves import PrecisionRecall
from voxpick.shrec_classes import SHREC20_BY_WEIGHT, SHREC20_SIZE_GROUPS, SHREC20_WEIGHTS_KDA

BACKGROUND = "0"
TABLE3_COLUMNS = ("RR", "TP", "FP", "FN", "MH", "RO", "AD", "recall", "precision", "miss_rate", "F1")
SHREC19_NAMES = {"4b4t": "4cr2"}
"""The proteasome of SHREC'19 and its successor."""


def class_order(true_classes: Sequence[str] | np.ndarray, *, excluded: Sequence[str] = ()) -> tuple[str, ...]:
    """Classes by molecular weight (those of SHREC'20 all, if the truth has any of them), then the others by name."""
    present = {name for name in true_classes if name not in excluded}
    listed = present | set(SHREC20_BY_WEIGHT) if present & set(SHREC20_BY_WEIGHT) else present
    renamed = {new for old, new in SHREC19_NAMES.items() if old in present and new not in present}
    return tuple(sorted(listed - {BACKGROUND} - renamed, key=lambda name: (weight_kda(name) or math.inf, name)))


def weight_kda(name: str) -> float | None:
    """Molecular weight of a SHREC class; None for any other."""
    return SHREC20_WEIGHTS_KDA.get(SHREC19_NAMES.get(name, name))


def f1_scores(confusion: np.ndarray) -> np.ndarray:
    """F1 = 2 TP / (2 TP + FP + FN) of every class of a confusion matrix [true, claimed]; NaN where it is 0 / 0.

    The convention of pycm, which the organisers use: a class that is never claimed has F1 = 0, one that is neither
    true nor claimed has none.
    """
    right = np.diag(confusion).astype(np.float64)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.divide(2 * right, total, out=np.full(len(right), np.nan), where=total > 0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Shrec20Score:
    """Localisation counts and the confusion matrix of one submission.

    labels: "0" (missed, or background) and the classes by molecular weight. confusion: counts [true, claimed] in that
    order. average_distance: voxels; NaN when nothing was found. curve: localisation over the threshold on the score.
    hit_ids: occupancy id that each pick counts for, 0 for none: (picks,). z_shift: voxels to add to the z of every pick
    for the place in the tomogram where it was scored.
    warnings: what a reader must know about the numbers.
    """

    benchmark: str
    strict: bool
    reported: int
    particles: int
    true_positives: int
    false_positives: int
    false_negatives: int
    multiple_hits: int
    outside: int
    average_distance: float
    labels: tuple[str, ...]
    confusion: np.ndarray
    curve: PrecisionRecall
    hit_ids: np.ndarray
    z_shift: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def recall(self) -> float:
        """Distinct particles hit / particles."""
        return _ratio(self.true_positives, self.particles)

    @property
    def precision(self) -> float:
        """Distinct particles hit / picks, so that a duplicate costs; 0 for no picks."""
        return _ratio(self.true_positives, self.reported)

    @property
    def miss_rate(self) -> float:
        """1 - recall."""
        return 1 - self.recall

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 0 when nothing was found."""
        return _ratio(2 * self.recall * self.precision, self.recall + self.precision)

    @property
    def class_f1(self) -> dict[str, float]:
        """F1 of each class, by molecular weight; NaN where the class neither occurs nor is claimed."""
        scores = f1_scores(self.confusion)
        return {name: float(scores[k]) for k, name in enumerate(self.labels) if k > 0}

    @property
    def class_accuracy(self) -> dict[str, float]:
        """Found and rightly named / all particles of a class (VP-Detector, Table 3); NaN for a class without any."""
        count = self.confusion.sum(axis=1)
        return {
            name: float(self.confusion[k, k] / count[k]) if count[k] else math.nan
            for k, name in enumerate(self.labels)
            if k > 0
        }

    @property
    def mean_class_f1(self) -> float:
        """Mean of class_f1 over the classes that have one; NaN for none."""
        return _mean(list(self.class_f1.values()))

    @property
    def size_groups(self) -> dict[str, float]:
        """Mean class F1 of small (< 200 kDa), medium (200-600) and large (> 600) complexes (SHREC'20, Tables 5, 6)."""
        scores = {SHREC19_NAMES.get(name, name): f1 for name, f1 in self.class_f1.items()}
        return {
            group: _mean([scores[name] for name in names if name in scores])
            for group, names in SHREC20_SIZE_GROUPS.items()
        }

    @property
    def table3(self) -> dict[str, float]:
        """The columns of SHREC'20's Table 3."""
        values = (
            self.reported, self.true_positives, self.false_positives, self.false_negatives, self.multiple_hits,
            self.outside, self.average_distance, self.recall, self.precision, self.miss_rate, self.f1,
        )  # fmt: skip
        return dict(zip(TABLE3_COLUMNS, values, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings, lists and dicts, ready for JSON: a missing value is None."""
        return {
            "benchmark": self.benchmark,
            "strict": self.strict,
            "particles": self.particles,
            "localisation": _plain(self.table3),
            "class_f1": _plain(self.class_f1),
            "mean_class_f1": _plain(self.mean_class_f1),
            "class_accuracy": _plain(self.class_accuracy),
            "size_groups": _plain(self.size_groups),
            "molecular_weight_kda": {name: weight_kda(name) for name in self.labels[1:]},
            "confusion": {"labels": list(self.labels), "counts": self.confusion.tolist()},
            "precision_recall": self.curve.to_dict(),
            "warnings": list(self.warnings),
        }


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
