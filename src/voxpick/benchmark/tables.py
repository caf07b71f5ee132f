"""The papers' tables from results, the published rows beside ours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from voxpick.benchmark import published as paper
from voxpick.benchmark.published_rows import NOTES, PRINTED
from voxpick.benchmark.settings import Entry

Result = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A value: the mean of n numbers and their standard deviation (of a sample; None for one), or a printed text."""

    mean: float | None = None
    spread: float | None = None
    n: int = 0
    text: str | None = None


@dataclass(frozen=True)
class Row:
    """A line of a table. source: where it was copied from, empty for our own; like: the published name.

    naming_alone: of subtomograms cut out where the truth says, so not to be set beside a whole detection.
    """

    name: str
    cells: list[Cell]
    source: str = ""
    like: str = ""
    naming_alone: bool = False


@dataclass(frozen=True)
class Table:
    """rows: ours first. digits: decimals by column, 3 where not named; unit 's' and 'bytes' are shown in words."""

    key: str
    title: str
    note: str
    columns: list[str]
    rows: list[Row]
    digits: dict[str, int] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


DIGITS = {"localisation": dict.fromkeys(paper.TABLE3_COLUMNS[:6], 0)}
"""Decimals by table and column, 3 where not named."""


def average(values: Iterable[float | None]) -> Cell:
    """Mean and standard deviation of the numbers that are known."""
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if not known:
        return Cell()
    return Cell(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def build_tables(results: Sequence[Result], entries: Mapping[str, Entry]) -> list[Table]:
    """All tables for the entries that have a finished result, in the order of the settings."""
    done = [result for result in results if result["status"] == "done"]
    ours = {name: [result for result in done if result["entry"] == name] for name in entries}
    titles = {name: entry.title or name for name, entry in entries.items() if ours[name]}
    tests = {titles[name]: [test for r in ours[name] for test in r["tests"]] for name in titles}
    runs = {titles[name]: ours[name] for name in titles}
    unnamed = {titles[name] for name in titles if not named(ours[name][0])}
    return [
        _localisation(tests, {titles[name]: paper.PUBLISHED_NAME.get(entries[name].method, "") for name in titles}),
        *(_without_names(table, unnamed) for table in (_class_f1(tests), _size_groups(tests), _class_accuracy(tests))),
        _costs(runs, tests),
        *(_without_names(table, unnamed) if table.key.endswith("_class") else table for table in _sweeps(runs)),
    ]


def named(result: Result) -> bool:
    """Whether the picks have classes."""
    return bool(result.get("names", True))


def _without_names(table: Table, unnamed: Collection[str]) -> Table:
    """The table with empty cells for our rows of these titles, whose picks have no classes."""
    empty = [Cell()] * len(table.columns)
    return replace(
        table,
        rows=[replace(row, cells=empty) if row.name in unnamed and not row.source else row for row in table.rows],
    )


def _rows(tests: Mapping[str, list[Result]], read: Callable[[Result], Sequence[float | None]]) -> list[Row]:
    """One row per entry; read: a scored tomogram to the values of the columns."""
    rows = []
    for title, scored in tests.items():
        columns = zip(*(read(test["score"]) for test in scored), strict=True)
        rows.append(Row(title, [average(column) for column in columns]))
    return rows


def copied(key: str, columns: Sequence[str]) -> list[Row]:
    """The published rows of a table, for these of its columns."""
    return [
        Row(
            printed.name,
            [
                Cell(text=value) if isinstance(value := printed.values.get(column), str)
                else Cell() if value is None else Cell(float(value), None, 1)
                for column in columns
            ],
            printed.source,
            naming_alone=printed.naming_alone,
        )
        for printed in PRINTED.get(key, ())
    ]  # fmt: skip


def _localisation(tests: Mapping[str, list[Result]], like: Mapping[str, str]) -> Table:
    columns = list(paper.TABLE3_COLUMNS)
    rows = _rows(tests, lambda score: [score["localisation"][name] for name in columns])
    rows = [replace(row, like=like[row.name]) for row in rows] + copied("localisation", columns)
    return Table("localisation", "Localisation", note_on("localisation"), columns, rows, DIGITS["localisation"])


def _class_f1(tests: Mapping[str, list[Result]]) -> Table:
    own = _own_classes(tests)
    columns = [*paper.CLASS_COLUMNS, *own, "mean"]
    rows = _rows(tests, lambda score: [*(score["class_f1"].get(c) for c in columns[:-1]), score["mean_class_f1"]])
    rows += copied("class_f1", columns)
    return Table("class_f1", "F1 of every class", note_on("class_f1", own), columns, rows)


def _own_classes(tests: Mapping[str, list[Result]]) -> list[str]:
    """Classes of the test tomograms that are not of SHREC'20, by name."""
    found = {name for scored in tests.values() for test in scored for name in test["score"]["class_f1"]}
    return sorted(found - set(paper.CLASS_COLUMNS))


def note_on(key: str, own: Sequence[str] = ()) -> str:
    """What a table with published rows says of itself; own: its classes that are not of SHREC'20."""
    return NOTES[key] + (" Classes that are not of SHREC'20 come after its." if own else "")


def _size_groups(tests: Mapping[str, list[Result]]) -> Table:
    columns = list(paper.GROUP_COLUMNS)
    rows = _rows(tests, lambda score: [score["size_groups"].get(c) for c in columns])
    rows += copied("size_groups", columns)
    return Table("size_groups", "F1 by size group", note_on("size_groups"), columns, rows)


def _class_accuracy(tests: Mapping[str, list[Result]]) -> Table:
    own = _own_classes(tests)
    columns = [*paper.ACCURACY_COLUMNS, *own]

    def read(score: Result) -> list[float | None]:
        accuracy = [score["class_accuracy"].get(name) for name in paper.CLASS_COLUMNS]
        groups = (accuracy[:5], accuracy[5:10], accuracy[10:])
        by_size = [value for group in groups for value in (*group, average(group).mean)]
        return [*by_size, *(score["class_accuracy"].get(name) for name in own)]

    rows = _rows(tests, read) + copied("class_accuracy", columns)
    return Table("class_accuracy", "Accuracy of every class", note_on("class_accuracy", own), columns, rows)


COSTS = {"": "s", " memory": "bytes", " GPU memory": "bytes"}
"""Columns of the table of costs, for training and for inference, and their units."""


def _costs(runs: Mapping[str, list[Result]], tests: Mapping[str, list[Result]]) -> Table:
    units = {f"{part}{cost}": unit for part in ("training", "inference") for cost, unit in COSTS.items()}
    rows = []
    for title, results in runs.items():
        trained = [result["stages"] for result in results if result["stages"]]
        used = tests[title]
        rows.append(Row(title, [
            average(sum(stage["seconds"] for stage in stages) for stages in trained),
            average(max(stage["peak_bytes"] for stage in stages) for stages in trained),
            average(max((n for n in map(_device_bytes, stages) if n), default=None) for stages in trained),
            average(test["seconds"] for test in used),
            average(test["peak_bytes"] for test in used),
            average(map(_device_bytes, used)),
        ]))  # fmt: skip
    rows += copied("costs", list(units))
    return _without_empty(
        Table("costs", "Time and memory", note_on("costs"), list(units), rows, units=units), " GPU memory"
    )


def _device_bytes(part: Result) -> float | None:
    """Of a stage or a test; None where no GPU was used."""
    return part.get("device_bytes")


def _without_empty(table: Table, ending: str) -> Table:
    """The table without those columns of this ending in which no row has a value."""
    kept = [
        k for k, column in enumerate(table.columns)
        if not column.endswith(ending) or any(row.cells[k].mean is not None for row in table.rows)
    ]  # fmt: skip
    return replace(
        table,
        columns=[table.columns[k] for k in kept],
        rows=[replace(row, cells=[row.cells[k] for k in kept]) for row in table.rows],
    )


def _sweeps(runs: Mapping[str, list[Result]]) -> list[Table]:
    """For each thing varied: location F1 and mean class F1 at every value."""
    names = {"snr": "SNR", "tilt_limit": "largest tilt"}
    tables = []
    for what, label in names.items():
        found = {
            title: [test for result in results for test in result["sweep"] if test["varied"] == what]
            for title, results in runs.items()
        }
        values = sorted({test["value"] for tests in found.values() for test in tests})
        if not values:
            continue
        for key, heading, read in (
            ("location", "Localisation F1", lambda score: score["localisation"]["F1"]),
            ("class", "Mean class F1", lambda score: score["mean_class_f1"]),
        ):
            rows = [
                Row(title, [average(read(t["score"]) for t in tests if t["value"] == value) for value in values])
                for title, tests in found.items()
                if tests
            ]
            note = f"Trained models on new tomograms. {paper.DEEPFINDER18_FIG8}"
            columns = [f"{value:g}" for value in values]
            tables.append(Table(f"sweep_{what}_{key}", f"{heading} against {label}", note, columns, rows))
    return tables


def confusions(results: Sequence[Result], entries: Mapping[str, Entry]) -> dict[str, dict[str, Any]]:
    """Counts [true, claimed] of every entry that names, summed over test tomograms and seeds, with their labels."""
    found: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        for result in results:
            if result["entry"] != name or result["status"] != "done" or not named(result):
                continue
            for test in result["tests"]:
                part, title = test["score"]["confusion"], entry.title or name
                found[title] = _summed(found[title], part) if title in found else part
    return found


def _summed(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables of counts as one, label by label: a class may be absent from one of the tomograms."""
    labels = list(dict.fromkeys([*first["labels"], *second["labels"]]))
    counts = [[0] * len(labels) for _ in labels]
    for part in (first, second):
        places = [labels.index(label) for label in part["labels"]]
        for row, values in zip(places, part["counts"], strict=True):
            for column, value in zip(places, values, strict=True):
                counts[row][column] += value
    return {"labels": labels, "counts": counts}
