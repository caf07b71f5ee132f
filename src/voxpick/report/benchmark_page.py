"""The report of a benchmark: the papers' tables and figures, published numbers beside ours, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from voxpick.report import comparison_charts as compare
from voxpick.report.charts import confusion_chart
from voxpick.report.frame import FOOTER, card, page
from voxpick.report.training_charts import Curve, training_cards
from voxpick.shrec_classes import SHREC20_WEIGHTS_KDA

Table = Mapping[str, Any]
SOURCE = ' class="source"'
LESS_IS_BETTER = ("FP", "FN", "MH", "RO", "AD", "miss_rate")
NO_CONTEST = (
    "RR",
    "training",
    "inference",
    "with",
    "without",
    "difference",
    "published with",
    "published without",
    *(f"{part}{kind} memory" for part in ("training", "inference") for kind in ("", " GPU")),
)


def build_benchmark_report(
    title: str,
    tables: Mapping[str, Table],
    confusions: Mapping[str, Mapping[str, Any]],
    *,
    subtitle: str = "",
    failed: Sequence[Mapping[str, Any]] = (),
    curves: Mapping[str, Mapping[str, Mapping[str, Curve]]] | None = None,
) -> str:
    """The page as HTML text.

    tables: as in tables.json, completed: under a key a title, note, columns and rows of cells. confusions: labels and
    counts [true, claimed] by entry. failed: title, seed, error and the last lines of the log of entries without a
    result. curves: of trainings, by stage and entry, as `training_cards` takes them.
    """
    classes, location = tables["class_f1"], tables["localisation"]
    ours = [row["name"] for row in location["rows"] if not row["published"]]
    printed = list(dict.fromkeys(row["name"] for row in classes["rows"] if row["published"]))
    like = {row["name"]: row["like"] for row in location["rows"] if not row["published"]}
    colours = compare.hues(ours, printed, like)
    body = _section(tables["claims"]) if "claims" in tables else ""
    body += _overview(location, classes, like, colours)
    body += _section(location)
    body += _section(classes)
    body += _figures(classes, tables["cumulative_f1"], colours) + _section(tables["cumulative_f1"])
    body += _section(tables["size_groups"])
    body += _section(tables["class_accuracy"])
    body += _section(tables["class_accuracy_pairs"]) if "class_accuracy_pairs" in tables else ""
    body += _matrices(confusions) + _section(tables["costs"])
    for key, table in tables.items():
        if key.startswith("sweep_"):
            body += _sweep(table, colours)
    body += training_cards(curves or {}, colours)
    failures = "".join(_failure(item) for item in failed)
    footer = f"{FOOTER} † copied from a paper, not measured here: other tomograms, machines and budgets."
    return page(title, subtitle, failures + body, styles=["benchmark.css"], footer=footer)


def _means(row: Mapping[str, Any]) -> list[float | None]:
    return [None if cell is None else cell.get("mean") for cell in row["cells"]]


def _series(table: Table, *, published: bool, columns: int) -> dict[str, list[float | None]]:
    """Values of our rows, or of the published ones under 'published NAME', for the first so many columns.

    Rows without any value there, such as those of picks without classes, are left out.
    """
    lead = "published " if published else ""
    found = {
        f"{lead}{row['name']}": _means(row)[:columns] for row in table["rows"] if bool(row["published"]) == published
    }
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def _overview(location: Table, classes: Table, like: Mapping[str, str], colours: Mapping[str, str]) -> str:
    cards = ""
    for heading, table, column in (
        ("Localisation F1", location, "F1"),
        ("Mean class F1", classes, "mean"),
    ):
        at = table["columns"].index(column)
        whole = [row for row in table["rows"] if row["published"] and not row.get("naming_alone")]
        known = {row["name"]: _means(row)[at] for row in whole}
        rows = []
        for row in table["rows"]:
            if not row["published"]:
                cell = row["cells"][at] or {}
                rows.append((row["name"], cell.get("mean"), cell.get("spread"), known.get(like.get(row["name"], ""))))
        chart = compare.dots_chart(rows, colours, name=heading)
        hint = (
            "Hollow: published for this method, of a whole detection; papers that name what the truth finds are left "
            "out. Line: standard deviation over tomograms and seeds."
        )
        cards += card(heading, chart, hint)
    return f'<div class="charts">{cards}</div>'


def _figures(classes: Table, sums: Table, colours: Mapping[str, str]) -> str:
    """Cumulative F1 (Fig. 10) and F1 over weight (Fig. 11), ours and published side by side."""
    naming = ", ".join(row["name"] for row in classes["rows"] if row.get("naming_alone"))
    remark = {True: f" Of naming alone, where the truth finds: {naming}." if naming else "", False: ""}
    names = [name for name in classes["columns"] if name in SHREC20_WEIGHTS_KDA]
    cards = ""
    for whose, published in (("this run", False), ("published †", True)):
        series = _series(sums, published=published, columns=len(names))
        chart = compare.class_lines(series, names, colours, name=f"Cumulative F1, {whose}", label="cumulative F1")
        hint = "Running sum of the class F1 from the smallest class on; dashed: a perfect result. SHREC'20, Fig. 10."
        hint += remark[published]
        cards += card(f"Cumulative F1, {whose}", chart + compare.key(list(series), colours), hint)
    for whose, published in (("this run", False), ("published †", True)):
        series = _series(classes, published=published, columns=len(names))
        chart = compare.weight_lines(series, names, SHREC20_WEIGHTS_KDA, colours, name=f"F1 and weight, {whose}")
        chart += compare.key(list(series), colours)
        cards += card(f"F1 and molecular weight, {whose}", chart, f"SHREC'20, Fig. 11.{remark[published]}")
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
    return card("Confusion matrices", f'<div class="matrices">{figures}</div>', hint)


def _sweep(table: Table, colours: Mapping[str, str]) -> str:
    values = [float(text) for text in table["columns"]]
    series = _series(table, published=False, columns=len(values))
    y_label, _, x_label = table["title"].partition(" against ")
    chart = compare.value_lines(series, values, colours, name=table["title"], x_label=x_label, y_label=y_label)
    content = f'<div class="wide">{chart}</div>{compare.key(list(series), colours)}{_table(table)}'
    return card(table["title"], content, table["note"])


def _section(table: Table) -> str:
    return card(table["title"], _table(table), table["note"])


def _table(table: Table) -> str:
    """Ours, then the published rows, the best number of each part standing out; or pairs of the two, in their order."""
    columns, published = table["columns"], any(row["published"] for row in table["rows"])
    heads = [["", *columns, *(["source"] if published else [])]]
    heads += [[name, *texts, *([""] if published else [])] for name, texts in table.get("under", {}).items()]
    parts = [[row for row in table["rows"] if bool(row["published"]) == copied] for copied in (False, True)]
    if table.get("paired"):
        return _framed(heads, "".join(_line(row, [None] * len(columns), source=True) for row in table["rows"]))
    body = ""
    for rows in filter(None, parts):
        if rows[0]["published"]:
            body += f'<tr class="divide"><th colspan="{len(columns) + 2}">Published</th></tr>'
        best = [_best([_means(row)[k] for row in rows], column) for k, column in enumerate(columns)]
        body += "".join(_line(row, best, source=published) for row in rows)
    return _framed(heads, body)


def _line(row: Mapping[str, Any], best: Sequence[float | None], *, source: bool) -> str:
    """A row of a table, with the best value of each column standing out, and with or without where it is from."""
    cells = "".join(
        f"<td>{_number(text, best=value is not None and value == top)}</td>"
        for text, value, top in zip(row["shown"], _means(row), best, strict=True)
    )
    cells += f'<td class="source">{escape(row["source"] or "this run")}</td>' if source else ""
    return f"<tr{' class=published' if row['published'] else ''}><td>{escape(row['name'])}</td>{cells}</tr>"


def _framed(heads: Sequence[Sequence[str]], body: str) -> str:
    """A table that can be scrolled; heads: lines of its head."""
    texts = ("".join(f"<th{SOURCE if text == 'source' else ''}>{escape(text)}</th>" for text in line) for line in heads)
    head = "".join(f"<tr>{line}</tr>" for line in texts)
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


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
