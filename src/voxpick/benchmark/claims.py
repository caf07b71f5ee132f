"""What papers claim of two systems, told from runs on the same tomograms with the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from voxpick.benchmark.settings import Claim, Entry
from voxpick.benchmark.tables import Cell, Row, Table, average

Result = dict[str, Any]

LESS = ("MH",)
"""Measures that are better when they are lower."""
SURE = 2.0
"""Standard errors by which a mean difference has to be off 0."""


def claims_table(claims: Sequence[Claim], results: Sequence[Result], entries: Mapping[str, Entry]) -> Table:
    """A row for each claim: both means, and the difference of the pairs of the same seed and tomogram."""
    columns = ["measure", "with", "without", "difference", "pairs", "holds"]
    rows = []
    for claim in claims:
        pairs = _pairs(claim, results)
        gains = [a - b for a, b in pairs]
        difference = average(gains)
        rows.append(Row(claim.says, [
            Cell(text=claim.measure), average(a for a, _ in pairs), average(b for _, b in pairs), difference,
            Cell(text=str(len(pairs))), Cell(text=verdict(gains, less=claim.measure in LESS)),
        ]))  # fmt: skip
    said = "; ".join(dict.fromkeys(claim.source for claim in claims if claim.source))
    note = (
        "Pairs are runs on one tomogram with one seed. MH counts particles with several results, fewer are better; "
        "small, medium and large are mean class F1 of the size groups. 'yes' and 'no' where the mean difference is "
        f"more than {SURE:g} standard errors off 0, 'open' where it is not or there is one pair alone."
    )
    note += f" Claimed by: {said}." if said else ""
    return Table("claims", "What the papers claim", note, columns, rows)


def verdict(gains: Sequence[float], *, less: bool) -> str:
    """'yes', 'no' or 'open' for the differences of pairs; less: whether negative ones are for the claim."""
    if len(gains) < 2:
        return "open"
    found = average(gains)
    assert found.mean is not None and found.spread is not None
    if abs(found.mean) <= SURE * found.spread / math.sqrt(found.n):
        return "open"
    return "yes" if (found.mean < 0) == less else "no"


def _pairs(claim: Claim, results: Sequence[Result]) -> list[tuple[float, float]]:
    first, second = (_values(name, claim.measure, results) for name in (claim.with_, claim.without))
    return [(first[key], second[key]) for key in first if key in second]


def _values(name: str, measure: str, results: Sequence[Result]) -> dict[tuple[int, str], float]:
    """By seed and tomogram."""
    found = {}
    for result in results:
        if result["entry"] == name and result["status"] == "done":
            for test in result["tests"]:
                value = _read(test["score"], measure)
                if value is not None and not math.isnan(value):
                    found[result["seed"], test["tomogram"]] = float(value)
    return found


def _read(score: Result, measure: str) -> float | None:
    if measure in ("F1", "MH"):
        return score["localisation"][measure]
    return score["mean_class_f1"] if measure == "mean" else score["size_groups"].get(measure)
