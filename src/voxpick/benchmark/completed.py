"""The tables of tables.json with what the papers print as it is known today: to be read anew, nothing is run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voxpick.benchmark.published import ACCURACY_COLUMNS, CLASS_COLUMNS
from voxpick.benchmark.published_rows import PRINTED
from voxpick.benchmark.tables import DIGITS, Table, copied, note_on
from voxpick.benchmark.writing import row_to_dict

Written = Mapping[str, Any]
"""A table of `tables_to_dict`."""

OF_CLASSES = {"class_f1": (*CLASS_COLUMNS, "mean"), "class_accuracy": ACCURACY_COLUMNS}
"""Tables that may have columns for more classes, and the columns that they always have."""


def complete(tables: Mapping[str, Written]) -> dict[str, dict[str, Any]]:
    """The tables of any state of this package, with today's published rows."""
    return {key: {**table, **(_published_anew(key, table) if key in PRINTED else {})} for key, table in tables.items()}


def _published_anew(key: str, table: Written) -> dict[str, Any]:
    """Note and rows with the published ones of today."""
    columns = table["columns"]
    head = Table(key, "", "", columns, [], DIGITS.get(key, {}))
    ours = [row for row in table["rows"] if not row["published"]]
    more = sorted(set(columns) - set(OF_CLASSES.get(key, columns)))
    return {"note": note_on(key, more), "rows": ours + [row_to_dict(row, head) for row in copied(key, columns)]}
