"""What papers claim of two systems, told from runs on the same tomograms with the same seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import stdtrit

from voxpick.benchmark.settings import Claim
from voxpick.benchmark.tables import Cell, Row, Table, average, named

Result = dict[str, Any]

OF_ANY_PICKS = ("F1", "MH")
"""Measures that picks without classes have too."""
LESS = ("MH",)
"""Measures that are better when they are lower."""
CONFIDENCE = 0.95
"""Of the two-sided test of a mean difference against 0."""

Gains = Mapping[tuple[int, str], float]
"""Differences by seed and tomogram."""


def claims_table(claims: Sequence[Claim], results: Sequence[Result]) -> Table:
    """A row for each claim: both means, and the difference of the pairs of the same seed and tomogram."""
    columns = ["measure", "with", "without", "difference", "pairs", "independent", "holds"]
    rows = []
    for claim in claims:
        pairs = _pairs(claim, results)
        gains = {key: a - b for key, (a, b) in pairs.items()}
        rows.append(Row(claim.says, [
            Cell(text=claim.measure), average(a for a, _ in pairs.values()), average(b for _, b in pairs.values()),
            average(gains.values()), Cell(text=str(len(pairs))), Cell(text=str(len(units(gains)))),
            Cell(text=verdict(gains, less=claim.measure in LESS)),
        ]))  # fmt: skip
    said = "; ".join(dict.fromkeys(claim.source for claim in claims if claim.source))
    note = (
        "Pairs are runs on one tomogram with one seed. MH counts particles with several results, fewer are better; "
        "small, medium and large are mean class F1 of the size groups. Pairs of one seed share its training, so they "
        "are averaged: independent are the seeds, or the tomograms where there is one seed. 'yes' and 'no' where the "
        f"mean over these is off 0 by Student's t at {CONFIDENCE:.0%}, two-sided; 'open' where it is not, or where "
        "there is one alone."
    )
    note += f" Claimed by: {said}." if said else ""
    return Table("claims", "What the papers claim", note, columns, rows)


def units(gains: Gains) -> list[float]:
    """Differences that are independent of each other: means of the seeds, or the tomograms of the only one."""
    seeds = dict.fromkeys(seed for seed, _ in gains)
    if len(seeds) < 2:
        return list(gains.values())
    return [statistics.fmean(gain for (of, _), gain in gains.items() if of == seed) for seed in seeds]


def verdict(gains: Gains, *, less: bool) -> str:
    """'yes', 'no' or 'open' for the differences of pairs; less: whether negative ones are for the claim."""
    found = average(units(gains))
    if found.n < 2:
        return "open"
    assert found.mean is not None and found.spread is not None
    sure = float(stdtrit(found.n - 1, (1 + CONFIDENCE) / 2))
    if abs(found.mean) <= sure * found.spread / math.sqrt(found.n):
        return "open"
    return "yes" if (found.mean < 0) == less else "no"


def _pairs(claim: Claim, results: Sequence[Result]) -> dict[tuple[int, str], tuple[float, float]]:
    first, second = (_values(name, claim.measure, results) for name in (claim.with_, claim.without))
    return {key: (first[key], second[key]) for key in first if key in second}


def _values(name: str, measure: str, results: Sequence[Result]) -> dict[tuple[int, str], float]:
    """By seed and tomogram; a measure of classes only of picks that have them."""
    found = {}
    for result in results:
        if result["entry"] == name and result["status"] == "done" and (measure in OF_ANY_PICKS or named(result)):
            for test in result["tests"]:
                value = _read(test["score"], measure)
                if value is not None and not math.isnan(value):
                    found[result["seed"], test["tomogram"]] = float(value)
    return found


def _read(score: Result, measure: str) -> float | None:
    if measure in OF_ANY_PICKS:
        return score["localisation"][measure]
    return score["mean_class_f1"] if measure == "mean" else score["size_groups"].get(measure)
