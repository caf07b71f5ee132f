"""The parts of the report below the viewer: summary tiles, charts and tables, each as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from voxpick.particles import Particles
from voxpick.report import charts
from voxpick.shrec_classes import SHREC20_TABLE1

COLUMN_HELP = {
    "RR": "picks reported", "TP": "particles found", "FP": "picks on no particle", "FN": "particles missed",
    "MH": "particles hit more than once", "RO": "picks outside", "AD": "mean distance to the centre, voxels",
    "AD_A": "mean distance to the centre, A",
}  # fmt: skip


def tiles(picks: Particles, truth: Particles | None, score: Mapping[str, Any] | None) -> str:
    """The numbers to see first."""
    found = (score or {}).get("localisation", {})
    values = [("picks", str(len(picks)))]
    if truth is not None:
        values.append(("true particles", str(len(truth))))
    values += [
        (label, cell(found[name]))
        for label, name in (("F1, location", "F1"), ("F, location", "F"), ("recall", "recall"))
        if name in found
    ]
    if "precision" in found:
        values.append(("precision", cell(found["precision"])))
    if score and "mean_class_f1" in score:
        values.append(("mean class F1", cell(score["mean_class_f1"])))
    if "seconds" in (score or {}):
        values.append(("seconds", cell((score or {})["seconds"])))
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{v}</b><span>{k}</span></div>' for k, v in values)
        + "</div>"
    )


def chart_section(
    picks: Particles, score: Mapping[str, Any] | None, hits: np.ndarray | None, colours: Mapping[str, str]
) -> str:
    """All charts that the data allow."""
    cards = []
    if score and score.get("precision_recall"):
        hint = "Every point is a lowest score: raising it moves the curve to the left."
        cards.append(_card("Precision and recall", charts.precision_recall_chart(score["precision_recall"]), hint))
    if score and score.get("class_f1"):
        f1 = score["class_f1"]
        weights = score.get("molecular_weight_kda") or {
            name: row.weight_kda for name, row in SHREC20_TABLE1.items() if name in f1
        }
        ordered = dict(sorted(f1.items(), key=lambda item: (weights.get(item[0]) or np.inf, item[0])))
        cards.append(
            _card(
                "Class F1 and molecular weight",
                charts.class_f1_chart(ordered, weights, colours),
                "1: all particles of the class were found and named so, and no other particle was given its name.",
            )
        )
        cards.append(
            _card(
                "Cumulative class F1",
                charts.cumulative_f1_chart(ordered),
                "Running sum from the smallest class on; dashed: a perfect result.",
            )
        )
    for name, values in (
        ("score", picks.scores),
        ("location score", picks.location_scores),
        ("class score", picks.class_scores),
    ):
        if values is not None and len(values):
            key = "" if hits is None else _key()
            cards.append(_card(f"Histogram: {name}", charts.score_histogram(values, hits, name=name) + key))
    if score and score.get("confusion"):
        matrix = charts.confusion_chart(score["confusion"]["labels"], score["confusion"]["counts"])
        hint = "Rows: what a particle is. Columns: what it was called. The shade is the share of the row."
        cards.append(_card("Confusion matrix", matrix, hint, wide=True))
    return f'<div class="charts">{"".join(cards)}</div>' if cards else ""


def score_tables(picks: Particles, score: Mapping[str, Any] | None, colours: Mapping[str, str]) -> str:
    """Localisation, class and size-group tables; without a score, the number of picks of each class."""
    if not score:
        names, counts = np.unique(picks.classes.astype(str), return_counts=True)
        rows = [[_named(name, colours), str(count)] for name, count in zip(names, counts, strict=True)]
        return _section("Picks", _table(["class", "picks"], rows)) if rows else ""
    found = score.get("localisation", {})
    header = [f'<span title="{escape(COLUMN_HELP.get(name, name))}">{escape(name)}</span>' for name in found]
    html = _section("Localisation", _table(header, [[cell(value) for value in found.values()]], raw_header=True))
    accuracy, weights = score.get("class_accuracy", {}), score.get("molecular_weight_kda", {})
    truth_counts = _row_sums(score.get("confusion"))
    claimed = dict(zip(*np.unique(picks.classes.astype(str), return_counts=True), strict=True)) if len(picks) else {}
    rows = []
    for name, f1 in score.get("class_f1", {}).items():
        known = SHREC20_TABLE1.get(name)
        rows.append([
            _named(name, colours), escape(known.name) if known else "", weight(weights.get(name)),
            cell(truth_counts.get(name)), cell(claimed.get(name, 0)), cell(f1), cell(accuracy.get(name)),
        ])  # fmt: skip
    if rows:
        columns = ["class", "name", "kDa", "particles", "picks", "F1", "accuracy"]
        html += _section("Classes", _table(columns, rows, style="classes"))
    if score.get("size_groups"):
        groups = score["size_groups"]
        html += _section("Mean class F1 by size", _table(list(groups), [[cell(value) for value in groups.values()]]))
    if score.get("segmentation"):
        overall = {name: score["segmentation"][name] for name in ("VA", "MVA", "MIoU")}
        html += _section("Segmentation", _table(list(overall), [[cell(value) for value in overall.values()]]))
    return html


def settings_table(settings: Mapping[str, Any] | None) -> str:
    """What the run was told."""
    if not settings:
        return ""
    body = "".join(
        f'<tr><td>{escape(str(name))}</td><td class="text">{escape(str(value))}</td></tr>'
        for name, value in settings.items()
    )
    return _section("Settings of the run", f"<table><tbody>{body}</tbody></table>")


def cell(value: Any) -> str:
    """A number as the page shows it; a dash for none."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) and value != int(value) else f"{value:g}"


def weight(value: float | None) -> str:
    """A molecular weight in kDa."""
    return "–" if value is None else f"{value:.1f}"


def _named(name: str, colours: Mapping[str, str]) -> str:
    return f'<i style="background:{colours.get(name, "var(--accent)")}"></i>{escape(name)}'


def _row_sums(confusion: Mapping[str, Any] | None) -> dict[str, int]:
    if not confusion:
        return {}
    return {name: int(sum(counts)) for name, counts in zip(confusion["labels"], confusion["counts"], strict=True)}


def _card(title: str, content: str, hint: str = "", *, wide: bool = False) -> str:
    note = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f'<section class="card{" wide" if wide else ""}"><h2>{escape(title)}</h2>{note}{content}</section>'


def _key() -> str:
    return (
        '<p class="key"><i style="background:var(--accent)"></i>on a particle'
        '<i style="background:var(--wrong)"></i>on none</p>'
    )


def _section(title: str, content: str) -> str:
    return f'<section class="card"><h2>{escape(title)}</h2><div class="scroll">{content}</div></section>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, raw_header: bool = False, style: str = "") -> str:
    head = "".join(f"<th>{name if raw_header else escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table class='{style}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
