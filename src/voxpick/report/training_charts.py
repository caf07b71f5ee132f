"""How networks learned: loss, validation score and class accuracy against steps (VP-Detector, Figs. 5 and 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from voxpick.report import comparison_charts as compare
from voxpick.report.axes import Axes, count_ticks
from voxpick.report.charts import FRACTIONS
from voxpick.report.frame import card
from voxpick.shrec_classes import SHREC20_BY_WEIGHT

Curve = Sequence[tuple[float, float]]
"""Points (step, value)."""

ACCURACY = "validation_accuracy_"
DASHED = "stroke-dasharray:5 4"


def training_cards(stages: Mapping[str, Mapping[str, Mapping[str, Curve]]], colours: Mapping[str, str]) -> str:
    """Two cards a stage, with all entries in each, then one for each entry whose classes were validated.

    stages: curves by stage, entry and name: 'loss', 'validation_loss', 'validation_score', 'validation_accuracy_CLASS'.
    colours: by entry; others where one has none, as the seeds of an entry.
    """
    names = list(dict.fromkeys(name for entries in stages.values() for name in entries))
    hues = colours if set(names) <= set(colours) else compare.hues(names, [], {})
    cards = ""
    for stage, entries in stages.items():
        losses, held_out, scores = (
            {name: curves[key] for name, curves in entries.items() if curves.get(key)}
            for key in ("loss", "validation_loss", "validation_score")
        )
        if losses or held_out:
            title = f"Loss of the {stage}"
            chart = steps_chart(losses, hues, dashed=held_out, name=title, y_label="loss")
            hint = "Each by its own loss, so levels of different losses do not compare. VP-Detector, Fig. 5."
            hint += " Dashed: on the validation tomogram." if held_out else ""
            cards += card(title, chart + compare.key(list({**losses, **held_out}), hues), hint)
        if scores:
            title = f"Validation score of the {stage}"
            chart = steps_chart(scores, hues, name=title, y_label="score", dots=True)
            cards += card(title, chart + compare.key(list(scores), hues), "What the best weights are chosen by.")
        for name, curves in entries.items():
            cards += _class_card(name, stage, curves)
    return f'<div class="charts pair">{cards}</div>' if cards else ""


def _class_card(name: str, stage: str, curves: Mapping[str, Curve]) -> str:
    """Fig. 6 for one entry; empty where classes were not validated one by one."""
    found = {key.removeprefix(ACCURACY): curve for key, curve in curves.items() if key.startswith(ACCURACY)}
    if not found:
        return ""
    known = [text for text in SHREC20_BY_WEIGHT if text in found]
    classes = [*known, *(text for text in found if text not in known)]
    hues = compare.hues(classes, [], {})
    title = f"Class accuracy, {name}"
    chart = steps_chart({text: found[text] for text in classes}, hues, name=title, y_label="accuracy", dots=True)
    hint = f"Of the {stage} at the true centres of the validation tomogram. VP-Detector, Fig. 6."
    return card(title, chart + compare.key(classes, hues), hint)


def steps_chart(
    series: Mapping[str, Curve], colours: Mapping[str, str], *, name: str, y_label: str,
    dashed: Mapping[str, Curve] | None = None, dots: bool = False,
) -> str:  # fmt: skip
    """A line for each name against steps; dashed: lines of another kind in the same colours; dots: marks the points."""
    kinds = ((series, ""), (dashed or {}, DASHED))
    points = [point for curves, _ in kinds for curve in curves.values() for point in curve]
    x_ticks = count_ticks(max(step for step, _ in points))
    y_ticks = list(FRACTIONS) if dots else value_ticks(max(value for _, value in points))
    axes = Axes((0, x_ticks[-1]), (0, y_ticks[-1] * 1.02))
    content = ""
    for curves, style in kinds:
        for label, curve in curves.items():
            path = " ".join(f"{axes.x(step):.1f},{axes.y(value):.1f}" for step, value in curve)
            said = f"<title>{escape(label)}</title>"
            content += f'<polyline class="series" style="stroke:{colours[label]};{style}" points="{path}">{said}</polyline>'  # fmt: skip  # noqa: E501
            for step, value in curve if dots else ():
                title = f"{label}, step {step:g}: {value:.3f}"
                content += axes.dot(step, value, radius=3, title=title, fill=colours[label])
    return axes.draw(content, x_ticks=x_ticks, y_ticks=y_ticks, x_label="step", y_label=y_label, name=name)


def value_ticks(largest: float) -> list[float]:
    """0 and about five round steps up to `largest` at least, whatever its size."""
    if not largest > 0:
        return [0, 1]
    power = 10.0 ** math.floor(math.log10(largest / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= largest / 5)
    return [float(f"{step * k:.10g}") for k in range(math.ceil(largest / step - 1e-9) + 1)]
