"""The report of a benchmark: the papers' tables and figures, published numbers beside ours, in one HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import accumulate
from typing import Any

from voxpick.report import comparison_charts as compare
from voxpick.report.charts import confusion_chart
from voxpick.shrec_classes import SHREC20_WEIGHTS_KDA

Table = Mapping[str, Any]
LESS_IS_BETTER = ("FP", "FN", "MH", "RO", "AD", "miss_rate")
NO_CONTEST = ("RR", "training", "training memory", "inference", "inference memory")


def build_benchmark_report(
    title: str,
    tables: Mapping[str, Table],
    confusions: Mapping[str, Mapping[str, Any]],
    *,
    subtitle: str = "",
    failed: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as HTML text.

    tables: as in tables.json: under a key a title, note, columns and rows of cells. confusions: labels and counts
    [true, claimed] by entry. failed: title, seed, error and the last lines of the log of entries without a result.
    """
    classes, location = tables["class_f1"], tables["localisation"]
    ours = [row["name"] for row in location["rows"] if not row["published"]]
    printed = list(dict.fromkeys(row["name"] for row in classes["rows"] if row["published"]))
    like = {row["name"]: row["like"] for row in location["rows"] if not row["published"]}
    colours = compare.hues(ours, printed, like)
    body = _overview(location, classes, like, colours)
    body += _section(location)
    body += _section(classes) + _figures(classes, colours) + _section(tables["size_groups"])
    body += _section(tables["class_accuracy"]) + _matrices(confusions) + _section(tables["costs"])
    for key, table in tables.items():
        if key.startswith("sweep_"):
            body += _sweep(table, colours)
    style = (files("voxpick.report") / "assets" / "style.css").read_text(encoding="utf-8")
    page = (files("voxpick.report") / "assets" / "benchmark.html").read_text(encoding="utf-8")
    parts = {
        "TITLE": escape(title),
        "SUBTITLE": escape(subtitle),
        "STYLE": style,
        "WARNINGS": "".join(_failure(item) for item in failed),
        "BODY": body,
        "FOOTER": "Made by voxpick. † copied from a paper, not measured here: other tomograms, machines and budgets.",
    }
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], page)


def _means(row: Mapping[str, Any]) -> list[float | None]:
    return [None if cell is None else cell.get("mean") for cell in row["cells"]]


def _series(table: Table, *, published: bool, columns: int) -> dict[str, list[float | None]]:
    """Values of our rows, or of the published ones under 'published NAME', for the first so many columns."""
    lead = "published " if published else ""
    return {
        f"{lead}{row['name']}": _means(row)[:columns] for row in table["rows"] if bool(row["published"]) == published
    }


def _overview(location: Table, classes: Table, like: Mapping[str, str], colours: Mapping[str, str]) -> str:
    cards = ""
    for heading, table, column in (
        ("Localisation F1", location, "F1"),
        ("Mean class F1", classes, "mean"),
    ):
        at = table["columns"].index(column)
        known = {row["name"]: _means(row)[at] for row in table["rows"] if row["published"]}
        rows = []
        for row in table["rows"]:
            if not row["published"]:
                cell = row["cells"][at] or {}
                rows.append((row["name"], cell.get("mean"), cell.get("spread"), known.get(like.get(row["name"], ""))))
        chart = compare.dots_chart(rows, colours, name=heading)
        cards += _card(
            heading, "Hollow: published for this method. Line: standard deviation over tomograms and seeds.", chart
        )
    return f'<div class="charts">{cards}</div>'


def _figures(classes: Table, colours: Mapping[str, str]) -> str:
    """Cumulative F1 (Fig. 10) and F1 over weight (Fig. 11), ours and published side by side."""
    names = [name for name in classes["columns"] if name in SHREC20_WEIGHTS_KDA]
    cards = ""
    for whose, published in (("this run", False), ("published †", True)):
        series = _series(classes, published=published, columns=len(names))
        sums = {name: list(accumulate(value or 0.0 for value in row)) for name, row in series.items()}
        chart = compare.class_lines(sums, names, colours, name=f"Cumulative F1, {whose}", label="cumulative F1")
        hint = "Running sum of the class F1 from the smallest class on; dashed: a perfect result. SHREC'20, Fig. 10."
        cards += _card(f"Cumulative F1, {whose}", hint, chart + compare.key(list(series), colours))
    for whose, published in (("this run", False), ("published †", True)):
        series = _series(classes, published=published, columns=len(names))
        chart = compare.weight_lines(series, names, SHREC20_WEIGHTS_KDA, colours, name=f"F1 and weight, {whose}")
        cards += _card(
            f"F1 and molecular weight, {whose}", "SHREC'20, Fig. 11.", chart + compare.key(list(series), colours)
        )
    return f'<div class="charts pair">{cards}</div>'


def _matrices(confusions: Mapping[str, Mapping[str, Any]]) -> str:
    """Fig. 12."""
    if not confusions:
        return ""
    figures = "".join(
        f"<div><h3>{escape(name)}</h3>{confusion_chart(part['labels'], part['counts'])}</div>"
        for name, part in confusions.items()
    )
    hint = "Particles, summed over test tomograms and seeds; the shade is the share of the row. SHREC'20, Fig. 12."
    return _card("Confusion matrices", hint, f'<div class="matrices">{figures}</div>')


def _sweep(table: Table, colours: Mapping[str, str]) -> str:
    values = [float(text) for text in table["columns"]]
    series = _series(table, published=False, columns=len(values))
    y_label, _, x_label = table["title"].partition(" against ")
    chart = compare.value_lines(series, values, colours, name=table["title"], x_label=x_label, y_label=y_label)
    content = f'<div class="wide">{chart}</div>{compare.key(list(series), colours)}{_table(table)}'
    return _card(table["title"], table["note"], content)


def _section(table: Table) -> str:
    return _card(table["title"], table["note"], _table(table))


def _table(table: Table) -> str:
    """Ours, then the published rows; the best number of each part stands out."""
    columns, published = table["columns"], any(row["published"] for row in table["rows"])
    head = "".join(f"<th>{escape(text)}</th>" for text in ("", *columns))
    head += '<th class="source">source</th>' if published else ""
    body = ""
    for copied in (False, True):
        rows = [row for row in table["rows"] if bool(row["published"]) == copied]
        if rows and copied:
            body += f'<tr class="divide"><th colspan="{len(columns) + 2}">Published</th></tr>'
        best = [_best([_means(row)[k] for row in rows], column) for k, column in enumerate(columns)]
        for row in rows:
            cells = "".join(
                f"<td>{_number(text, best=value is not None and value == top)}</td>"
                for text, value, top in zip(row["shown"], _means(row), best, strict=True)
            )
            source = f'<td class="source">{escape(row["source"] or "this run")}</td>' if published else ""
            body += f"<tr{' class=published' if copied else ''}><td>{escape(row['name'])}</td>{cells}{source}</tr>"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(text: str, *, best: bool) -> str:
    """A shown cell, its standard deviation small beneath it."""
    mean, _, spread = text.partition(" ± ")
    shown = f"<b>{escape(mean)}</b>" if best else escape(mean)
    return shown + (f"<small>± {escape(spread)}</small>" if spread else "")


def _best(values: Sequence[float | None], column: str) -> float | None:
    known = [value for value in values if value is not None]
    if column in NO_CONTEST or len(known) < 2 or len(set(known)) < 2:
        return None
    return min(known) if column in LESS_IS_BETTER else max(known)


def _failure(item: Mapping[str, Any]) -> str:
    log = escape("\n".join(item["log"]))
    more = f"<details><summary>last lines of its log</summary><pre>{log}</pre></details>" if log else ""
    who = f"<b>{escape(item['title'])}</b>, seed {item['seed']}, failed: "
    return f'<div class="warning">{who}{escape(item["error"])}{more}</div>'


def _card(title: str, hint: str, content: str) -> str:
    note = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f'<section class="card"><h2>{escape(title)}</h2>{note}{content}</section>'
