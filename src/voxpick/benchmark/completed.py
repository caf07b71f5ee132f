"""The tables of tables.json with what the papers print as it is known today, and what follows from their numbers.

Nothing is run again for it, so tables of any earlier state of the package can be completed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxpick.benchmark.published import ACCURACY_COLUMNS, CLASS_COLUMNS
from voxpick.benchmark.published_rows import PRINTED
from voxpick.benchmark.settings import Claim
from voxpick.benchmark.tables import DIGITS, Table, copied, note_on
from voxpick.benchmark.writing import row_to_dict
from voxpick.shrec_classes import SHREC20_WEIGHTS_KDA

Written = Mapping[str, Any]
"""A table of `tables_to_dict`."""

OF_CLASSES = {"class_f1": (*CLASS_COLUMNS, "mean"), "class_accuracy": ACCURACY_COLUMNS}
"""Tables that may have columns for more classes, and the columns that they always have."""


def complete(tables: Mapping[str, Written], claims: Sequence[Claim] = ()) -> dict[str, dict[str, Any]]:
    """The tables with today's published rows, weights of classes, sums of class F1, and what papers say of claims.

    tables: of `tables_to_dict`, or of this function; they are not changed.
    """
    found = {key: {**table, **(_published_anew(key, table) if key in PRINTED else {})} for key, table in tables.items()}
    if "class_f1" in found:
        found["class_f1"]["under"] = _weights(found["class_f1"]["columns"])
        found = _after(found, "class_f1", "cumulative_f1", _running_sums(found["class_f1"]))
    if pairs := _pairs(found.get("class_accuracy", {"rows": ()})):
        found = _after(found, "class_accuracy", "class_accuracy_pairs", pairs)
    if "claims" in found:
        found["claims"] |= _with_published(found["claims"], {claim.says: claim for claim in claims})
    return found


def _published_anew(key: str, table: Written) -> dict[str, Any]:
    """Note and rows with the published ones of today."""
    columns: list[str] = table["columns"]
    head = Table(key, "", "", columns, [], DIGITS.get(key, {}))
    ours = [row for row in table["rows"] if not row["published"]]
    more = sorted(set(columns) - set(OF_CLASSES.get(key, columns)))
    return {"note": note_on(key, more), "rows": ours + [row_to_dict(row, head) for row in copied(key, columns)]}


def _after(tables: Mapping[str, Any], place: str, key: str, table: dict[str, Any]) -> dict[str, Any]:
    """The tables with one more, or a new state of it, behind that at `place`."""
    found: dict[str, Any] = {}
    for name, other in tables.items():
        found |= {name: other} if name != key else {}
        found |= {key: table} if name == place else {}
    return found


def _weights(columns: Sequence[str]) -> dict[str, list[str]]:
    """A line under the head of a table of classes: their molecular weights, for SHREC'20's Fig. 11."""
    return {"kDa": [f"{SHREC20_WEIGHTS_KDA[name]:g}" if name in SHREC20_WEIGHTS_KDA else "" for name in columns]}


def _running_sums(class_f1: Written) -> dict[str, Any]:
    """SHREC'20's Fig. 10 in numbers: sums of the mean class F1, from the smallest class of SHREC'20 on."""
    names = [name for name in class_f1["columns"] if name in SHREC20_WEIGHTS_KDA]
    rows = []
    for row in class_f1["rows"]:
        values = dict(zip(class_f1["columns"], row["cells"], strict=True))
        sums = running_sum([values[name] and values[name]["mean"] for name in names], stop=row["published"])
        cells = [None if value is None else {"mean": round(value, 6)} for value in sums]
        shown = ["-" if value is None else f"{value:.3f}" for value in sums]
        rows.append({**row, "cells": cells, "shown": shown})
    note = (
        "Sum of the class F1 up to each class, smallest first; of a perfect result it is the number of classes. Means "
        "over tomograms and seeds are added. A published row ends at a class that it lacks. SHREC'20, Fig. 10."
    )
    return {"title": "Cumulative F1", "note": note, "columns": names, "rows": rows, "under": _weights(names)}


def running_sum(values: Sequence[float | None], *, stop: bool = False) -> list[float | None]:
    """Sums up to each class that has an F1; None at one that neither occurs nor is claimed, with stop from there on."""
    total, sums, stopped = 0.0, list[float | None](), False
    for value in values:
        stopped |= stop and value is None
        total += value or 0.0
        sums.append(None if value is None or stopped else total)
    return sums


def _pairs(accuracy: Written) -> dict[str, Any] | None:
    """Rows of ours with the names of rows of VP-Detector's Table 3, as they are trained alike, each before its row."""
    printed = {row["name"]: row for row in accuracy["rows"] if row["published"]}
    ours = {row["name"]: row for row in accuracy["rows"] if not row["published"] and row["name"] in printed}
    if not ours:
        return None
    note = (
        "Each of ours beside what the paper printed of the same loss, training tomograms and layers. Class accuracy, "
        "the share of all particles of a class that were found and rightly named, is another measure than F1: false "
        "picks do not count. Ours are trained and scored on other tomograms, and more shortly."
    )
    return {
        "title": "Accuracy of every class beside VP-Detector's Table 3", "note": note, "columns": accuracy["columns"],
        "rows": [row for name in printed if name in ours for row in (ours[name], printed[name])], "paired": True,
    }  # fmt: skip


CLAIMED = ("published with", "published without", "published measure")
"""Last columns of the table of claims."""


def _with_published(table: Written, claims: Mapping[str, Claim]) -> dict[str, Any]:
    """Columns, rows and note of the table of claims with the papers' numbers as printed; '-' for none."""
    if all(claim.published_with is None for claim in claims.values()):
        return {}
    measured = [name for name in table["columns"] if name not in CLAIMED]
    rows = []
    for row in table["rows"]:
        cells: list[dict[str, Any] | None] = [None] * len(CLAIMED)
        claim = claims.get(row["name"])
        if claim is not None and claim.published_with is not None:
            cells = [{"mean": claim.published_with}, {"mean": claim.published_without}]
            cells.append({"text": claim.published_measure or claim.measure})
        shown = ["-" if cell is None else cell.get("text") or f"{cell['mean']:g}" for cell in cells]
        kept = {part: row[part][: len(measured)] for part in ("cells", "shown")}
        rows.append({**row, "cells": kept["cells"] + cells, "shown": kept["shown"] + shown})
    note = table["note"].removesuffix(PUBLISHED_CLAIMS) + PUBLISHED_CLAIMS
    return {"columns": [*measured, *CLAIMED], "rows": rows, "note": note}


PUBLISHED_CLAIMS = (
    " The last columns are the papers' numbers, of their tomograms, networks and times of training; what they measured "
    "is named beside them."
)
