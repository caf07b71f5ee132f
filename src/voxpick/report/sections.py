"""The parts of the report below the viewer: summary tiles, charts and tables, each as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from voxpick.particles import Particles
from voxpick.report import charts
from voxpick.report.calibration_charts import reliability_chart, right_and_wrong_histogram
from voxpick.report.frame import card, number_tiles
from voxpick.shrec_classes import SHREC20_TABLE1

COLUMN_HELP = {
    "RR": "picks reported", "TP": "particles found", "FP": "picks on no particle", "FN": "particles missed",
    "MH": "particles hit more than once", "RO": "picks outside", "AD": "mean distance to the centre, voxels",
    "AD_A": "mean distance to the centre, A",
}  # fmt: skip

CALIBRATED = {
    "named": {"score": "score", "right": "on a particle that no better pick is on, and of its class"},
    "located": {"score": "location score", "right": "on a particle that no better pick is on"},
}


def tiles(picks: Particles, truth: Particles | None, score: Mapping[str, Any] | None) -> str:
    """The numbers to see first."""
    found = (score or {}).get("localisation", {})
    values = {"picks": str(len(picks))}
    if truth is not None:
        values["true particles"] = str(len(truth))
    named = {"F1, location": "F1", "F, location": "F", "recall": "recall", "precision": "precision"}
    values |= {label: fraction(found[name]) for label, name in named.items() if name in found}
    if score and "mean_class_f1" in score:
        values["mean class F1"] = fraction(score["mean_class_f1"])
    if score and "seconds" in score:
        values["seconds"] = cell(score["seconds"])
    if score and (calibration := score.get("calibration")):
        values["calibration error"] = cell(calibration.get("named", calibration["located"])["ece"])
    return number_tiles(values)


def chart_section(
    picks: Particles, score: Mapping[str, Any] | None, hits: np.ndarray | None, colours: Mapping[str, str]
) -> str:
    """All charts that the data allow."""
    cards = []
    if score and score.get("precision_recall"):
        hint = "Every point is a lowest score: raising it moves the curve to the left."
        cards.append(card("Precision and recall", charts.precision_recall_chart(score["precision_recall"]), hint))
    if score and score.get("class_f1"):
        f1 = score["class_f1"]
        weights = score.get("molecular_weight_kda") or {
            name: row.weight_kda for name, row in SHREC20_TABLE1.items() if name in f1
        }
        ordered = dict(sorted(f1.items(), key=lambda item: (weights.get(item[0]) or np.inf, item[0])))
        weighed = all(weights.get(name) for name in f1)
        cards.append(
            card(
                "Class F1 and molecular weight" if weighed else "Class F1",
                charts.class_f1_chart(ordered, weights, colours),
                "1: all particles of the class were found and named so, and no other particle was given its name.",
            )
        )
        if weighed:
            cards.append(
                card(
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
            cards.append(card(f"Histogram: {name}", charts.score_histogram(values, hits, name=name) + key))
    if score and score.get("calibration"):
        cards += _calibration_cards(score["calibration"])
    if score and score.get("confusion"):
        matrix = charts.confusion_chart(score["confusion"]["labels"], score["confusion"]["counts"])
        hint = "Rows: what a particle is. Columns: what it was called. The shade is the share of the row."
        cards.append(card("Confusion matrix", matrix, hint, wide=True))
    return f'<div class="charts">{"".join(cards)}</div>' if cards else ""


def _calibration_cards(calibration: Mapping[str, Any]) -> list[str]:
    """Reliability curve and histogram of the score of named picks, and of the location score."""
    cards: list[str] = []
    for kind, what in CALIBRATED.items():
        if not (found := calibration.get(kind)):
            continue
        hint = (
            f"Right: {what['right']}. Expected calibration error {cell(found['ece'])} (exact scores of so few picks "
            f"would show {cell(found['ece_by_chance'])}), Brier score {cell(found['brier'])}. Bars: 95 % intervals."
        )
        chart = reliability_chart(found, score=what["score"], right="share right")
        bars = right_and_wrong_histogram(found, score=what["score"]) + _key("right", "wrong")
        cards += [
            card(f"Reliability: {what['score']}", chart, hint),
            card(f"Right and wrong by {what['score']}", bars, f"Right: {what['right']}."),
        ]
    return cards


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


def fraction(value: float | None) -> str:
    """A number from 0 to 1, always to three decimals; a dash for none."""
    return "–" if value is None or value != value else f"{value:.3f}"


def weight(value: float | None) -> str:
    """A molecular weight in kDa."""
    return "–" if value is None else f"{value:.1f}"


def _named(name: str, colours: Mapping[str, str]) -> str:
    return f'<i style="background:{colours.get(name, "var(--accent)")}"></i>{escape(name)}'


def _row_sums(confusion: Mapping[str, Any] | None) -> dict[str, int]:
    if not confusion:
        return {}
    return {name: int(sum(counts)) for name, counts in zip(confusion["labels"], confusion["counts"], strict=True)}


def _key(right: str = "on a particle", wrong: str = "on none") -> str:
    return (
        f'<p class="key"><i style="background:var(--accent)"></i>{right}'
        f'<i style="background:var(--wrong)"></i>{wrong}</p>'
    )


def _section(title: str, content: str) -> str:
    return card(title, f'<div class="scroll">{content}</div>')


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, raw_header: bool = False, style: str = "") -> str:
    head = "".join(f"<th>{name if raw_header else escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table class='{style}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
