"""The report's charts, each a function from numbers to an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from voxpick.report.axes import Axes, count_ticks, svg

FRACTIONS = (0, 0.2, 0.4, 0.6, 0.8, 1)
WEIGHT_TICKS = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def precision_recall_chart(curve: Mapping[str, Sequence[float]]) -> str:
    """Precision over recall for falling thresholds; the threshold of the best F1 is marked.

    curve: equally long lists threshold, precision, recall, f1, as `PrecisionRecall.to_dict` gives them.
    """
    axes = Axes((0, 1), (0, 1.02))
    content = ""
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recalls = np.linspace(f1 / (2 - f1), 1, 40)
        content += axes.line(recalls, f1 * recalls / (2 * recalls - f1), style="iso")
        content += f'<text class="tick" x="{axes.x(1) - 3:.0f}" y="{axes.y(f1 / (2 - f1)) - 4:.0f}" text-anchor="end">F1 {f1}</text>'  # fmt: skip  # noqa: E501
    if len(curve["recall"]):
        content += axes.line(curve["recall"], curve["precision"], style="curve")
        best = int(np.argmax(curve["f1"]))
        recall, precision = curve["recall"][best], curve["precision"][best]
        text = f"best F1 {curve['f1'][best]:.3f} at score {curve['threshold'][best]:.3f}"
        content += axes.dot(recall, precision, radius=5, title=text)
        anchor = "end" if recall > 0.5 else "start"
        content += (
            f'<text class="mark" x="{axes.x(recall) + (-9 if recall > 0.5 else 9):.0f}" '
            f'y="{max(axes.y(precision) + 18, 34):.0f}" text-anchor="{anchor}">{text}</text>'
        )
    return axes.draw(
        content, x_ticks=FRACTIONS, y_ticks=FRACTIONS, x_label="recall", y_label="precision",
        name="Precision over recall",
    )  # fmt: skip


def class_f1_chart(
    f1: Mapping[str, float | None], weights: Mapping[str, float | None], colours: Mapping[str, str]
) -> str:
    """F1 of each class over its molecular weight in kDa (logarithmic); classes without a weight stand beside it."""
    known = {name: float(w) for name in f1 if f1[name] is not None and (w := weights.get(name))}
    if not known or len(known) < sum(value is not None for value in f1.values()):
        return _class_bars(f1)
    low, high = min(known.values()) / 1.4, max(known.values()) * 1.4
    axes = Axes((low, high), (0, 1.1), log_x=True)
    ordered = sorted(known, key=lambda name: known[name])
    values = [float(f1[name] or 0) for name in ordered]
    content = axes.line([known[name] for name in ordered], values, style="thread")
    placed: list[tuple[float, float]] = []
    for name, value in zip(ordered, values, strict=True):
        title = f"{name}: {known[name]:g} kDa, F1 {value:.3f}"
        content += axes.dot(known[name], value, radius=5, title=title, fill=colours.get(name, "var(--accent)"))
        at = _free_spot(axes.x(known[name]), axes.y(value), placed, bottom=axes.y(0))
        placed.append(at)
        content += f'<text class="mark" x="{at[0]:.0f}" y="{at[1]:.0f}" text-anchor="middle">{escape(name)}</text>'
    ticks = [t for t in WEIGHT_TICKS if low <= t <= high]
    return axes.draw(
        content, x_ticks=ticks, y_ticks=FRACTIONS, x_label="molecular weight (kDa)", y_label="class F1",
        name="Class F1 over molecular weight",
    )  # fmt: skip


def cumulative_f1_chart(f1: Mapping[str, float | None]) -> str:
    """Running sum of the class F1 from the smallest class on, beside the sum of a perfect result (SHREC'20, Fig. 10).

    f1: in the order of molecular weight; None counts as absent.
    """
    names = [name for name, value in f1.items() if value is not None]
    sums = np.cumsum([float(f1[name] or 0) for name in names])
    n = max(len(names), 1)
    ticks = count_ticks(n)
    axes = Axes((0.5, n + 0.5), (0, ticks[-1]), bottom=62)
    content = axes.line([0.5, *range(1, n + 1)], [0.5, *range(1, n + 1)], style="iso")
    content += axes.line(range(1, len(names) + 1), sums, style="curve")
    for k, (name, total) in enumerate(zip(names, sums, strict=True), start=1):
        content += axes.dot(k, total, title=f"up to {name}: {total:.2f} of {k}")
        content += (
            f'<text class="tick" transform="translate({axes.x(k) + 4:.0f} {axes.height - axes.bottom + 12}) '
            f'rotate(-45)" text-anchor="end">{escape(name)}</text>'
        )
    return axes.draw(
        content, x_ticks=(), y_ticks=ticks, x_label="classes, smallest first", y_label="cumulative F1",
        name="Cumulative F1",
    )  # fmt: skip


def confusion_chart(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Counts of true class (rows) against claimed class (columns); the shade is the share of the row.

    labels[0] is "0": a claim of it means missed, a true 0 (strict scoring only) background.
    """
    table = np.asarray(counts, dtype=np.int64)
    rows = [k for k in range(len(labels)) if k > 0 or table[0].any()]
    columns = [*range(1, len(labels)), 0]
    rows = [*rows[1:], 0] if rows and rows[0] == 0 else rows
    cell, left, top = 36, 78, 74
    total = np.maximum(table.sum(axis=1), 1)
    parts = []
    for i, row in enumerate(rows):
        y = top + i * cell
        name = escape(labels[row]) if row else "background"
        parts.append(f'<text class="tick" x="{left - 7}" y="{y + cell / 2 + 4}" text-anchor="end">{name}</text>')
        for j, column in enumerate(columns):
            share = table[row, column] / total[row]
            x = left + j * cell
            shade = "right" if row == column and row else "wrong"
            parts.append(
                f'<rect class="{shade}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
                f'style="fill-opacity:{0.04 + 0.9 * share:.3f}"><title>{name} as '
                f"{escape(labels[column]) if column else 'missed'}: {table[row, column]} ({share:.0%})</title></rect>"
            )
            if table[row, column]:
                tone = "cell strong" if share > 0.5 else "cell"
                parts.append(
                    f'<text class="{tone}" x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle">'
                    f"{table[row, column]}</text>"
                )
    for j, column in enumerate(columns):
        name = escape(labels[column]) if column else "missed"
        at = f"translate({left + j * cell + cell / 2 + 4} {top - 8}) rotate(-55)"
        parts.append(f'<text class="tick" transform="{at}">{name}</text>')
    width, height = left + cell * len(columns) + 30, top + cell * len(rows) + 8
    parts.append(f'<text class="label" x="{left + cell * len(columns) / 2}" y="14" text-anchor="middle">claimed</text>')
    middle = top + cell * len(rows) / 2
    parts.append(f'<text class="label" transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">true</text>')
    return svg(width, height, "".join(parts), name="Confusion matrix")


def score_histogram(scores: np.ndarray, hits: np.ndarray | None, *, name: str, bins: int = 25) -> str:
    """How many picks have which score in [0, 1]; hits (n,) bool, when known, splits them into hits and misses."""
    edges = np.linspace(0, 1, bins + 1)
    mask = np.ones(len(scores), dtype=bool) if hits is None else np.asarray(hits, dtype=bool)
    good, bad = (np.histogram(scores[part], edges)[0] for part in (mask, ~mask))
    ticks = count_ticks(float((good + bad).max(initial=0)))
    axes = Axes((0, 1), (0, ticks[-1]))
    content = ""
    for k, (right, wrong) in enumerate(zip(good, bad, strict=True)):
        span = f"{edges[k]:.2f} to {edges[k + 1]:.2f}"
        said = f"{right} picks" if hits is None else f"{right} on a particle, {wrong} on none"
        content += axes.bar(edges[k], edges[k + 1], 0, right, style="right", title=f"{span}: {said}")
        if wrong:
            content += axes.bar(edges[k], edges[k + 1], right, right + wrong, style="wrong", title=f"{span}: {said}")
    return axes.draw(
        content, x_ticks=FRACTIONS, y_ticks=ticks, x_label=name, y_label="picks", name=f"Histogram: {name}"
    )


def _class_bars(f1: Mapping[str, float | None]) -> str:
    names = [name for name, value in f1.items() if value is not None]
    axes = Axes((0, max(len(names), 1)), (0, 1.02), bottom=62)
    content = ""
    for k, name in enumerate(names):
        value = float(f1[name] or 0)
        content += axes.bar(k + 0.15, k + 0.85, 0, value, style="right", title=f"{name}: F1 {value:.3f}")
        content += (
            f'<text class="tick" transform="translate({axes.x(k + 0.5) + 4:.0f} {axes.height - axes.bottom + 12}) '
            f'rotate(-45)" text-anchor="end">{escape(name)}</text>'
        )
    return axes.draw(content, x_ticks=(), y_ticks=FRACTIONS, x_label="class", y_label="class F1", name="Class F1")


def _free_spot(x: float, y: float, placed: Sequence[tuple[float, float]], *, bottom: float) -> tuple[float, float]:
    """A place for a label near (x, y) that covers no label placed before."""
    for dy in (-11, 19, -24, 32, -37, 45):
        at = (x, y + dy)
        if at[1] < bottom + 2 and at[1] > 12 and all(abs(a - x) > 30 or abs(b - at[1]) > 12 for a, b in placed):
            return at
    return x, y - math.copysign(11, 1)
