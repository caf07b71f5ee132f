"""Charts that compare methods: several named lines in one frame, and one dot per method beside its published value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from voxpick.report.axes import Axes, count_ticks, svg
from voxpick.report.charts import FRACTIONS, WEIGHT_TICKS

HUES = (
    "#3f7fbf", "#e07b28", "#3e9b50", "#c94a53", "#8a63b8", "#1ba3a3", "#b8952a", "#d1679f", "#8c6a4f", "#6f7d8c",
    "#5b57d1", "#7fa832",
)  # fmt: skip
"""Told apart on a light and a dark page."""

Series = Mapping[str, Sequence[float | None]]


def hues(ours: Sequence[str], published: Sequence[str], like: Mapping[str, str]) -> dict[str, str]:
    """A colour for each name of ours, and for each published name under 'published NAME': that of the first of ours
    that is like it, or one that is still free."""
    colours = {name: HUES[k % len(HUES)] for k, name in enumerate(ours)}
    twins: dict[str, str] = {}
    for name in ours:
        twins.setdefault(like.get(name, ""), colours[name])
    free = [hue for hue in HUES if hue not in colours.values()] or list(HUES)
    count = 0
    for name in published:
        if name not in twins:
            twins[name] = free[count % len(free)]
            count += 1
    return {**colours, **{f"published {name}": twins[name] for name in published}}


def class_lines(series: Series, classes: Sequence[str], colours: Mapping[str, str], *, name: str, label: str) -> str:
    """One line per name over the classes, smallest first, such as the cumulative F1 of SHREC'20, Fig. 10."""
    n = len(classes)
    largest = max((value for row in series.values() for value in row if value is not None), default=1.0)
    top = n if largest > 1 else 1
    ticks = [tick for tick in count_ticks(top, n=6) if tick <= top]
    axes = Axes((0.7, n + 0.3), (0, top * 1.02), bottom=62)
    content = axes.line([0.7, *range(1, n + 1)], [0.7, *range(1, n + 1)], style="iso") if largest > 1 else ""
    content += _lines(axes, series, list(range(1, n + 1)), list(classes), colours)
    for k, text in enumerate(classes, start=1):
        content += (
            f'<text class="tick" transform="translate({axes.x(k) + 4:.0f} {axes.height - axes.bottom + 12}) '
            f'rotate(-45)" text-anchor="end">{escape(text)}</text>'
        )
    return axes.draw(content, x_ticks=(), y_ticks=ticks, x_label="classes, smallest first", y_label=label, name=name)


def weight_lines(
    series: Series, classes: Sequence[str], weights: Mapping[str, float], colours: Mapping[str, str], *, name: str
) -> str:
    """Class F1 over molecular weight in kDa (logarithmic), as in SHREC'20, Fig. 11."""
    at = [weights[text] for text in classes]
    low, high = min(at) / 1.25, max(at) * 1.25
    axes = Axes((low, high), (0, 1.05), log_x=True)
    content = _lines(axes, series, at, [f"{c}, {w:g} kDa" for c, w in zip(classes, at, strict=True)], colours)
    ticks = [tick for tick in WEIGHT_TICKS if low <= tick <= high]
    return axes.draw(
        content, x_ticks=ticks, y_ticks=FRACTIONS, x_label="molecular weight (kDa)", y_label="class F1", name=name
    )


def value_lines(
    series: Series, values: Sequence[float], colours: Mapping[str, str], *, name: str, x_label: str, y_label: str
) -> str:
    """F1 over the value of what a sweep varies; logarithmic where the largest value is over 4 times the smallest."""
    log = max(values) > 4 * min(values) > 0
    pad = 1.15 if log else max((max(values) - min(values)) * 0.08, 1e-9 + 0.05 * abs(max(values)))
    span = (min(values) / pad, max(values) * pad) if log else (min(values) - pad, max(values) + pad)
    axes = Axes(span, (0, 1.05), log_x=log)
    content = _lines(axes, series, list(values), [f"{value:g}" for value in values], colours)
    return axes.draw(content, x_ticks=values, y_ticks=FRACTIONS, x_label=x_label, y_label=y_label, name=name)


def dots_chart(
    rows: Sequence[tuple[str, float | None, float | None, float | None]], colours: Mapping[str, str], *, name: str
) -> str:
    """One line per method: (name, value, its standard deviation, the published value); published ones are hollow."""
    longest = max((len(title) for title, *_ in rows), default=0)
    left, step, top = max(250, 20 + round(6.6 * longest)), 26, 8  # about 6 a letter
    width = left + 410
    bottom = top + step * len(rows)
    scale = (width - left - 70) / 1.0
    parts = []
    for tick in FRACTIONS:
        x = left + scale * tick
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>')
    for k, (title, value, spread, printed) in enumerate(rows):
        y, hue = top + step * (k + 0.5), colours.get(title, "var(--accent)")
        parts.append(f'<text class="label" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(title)}</text>')
        if value is not None and spread:
            ends = [left + scale * min(max(value + sign * spread, 0), 1) for sign in (-1, 1)]
            line = f'x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}" style="stroke:{hue}"'
            parts.append(f'<line class="whisker" {line}/>')
        if printed is not None:
            parts.append(
                _dot(left + scale * printed, y, f"{title}, published: {printed:.3f}", f"stroke:{hue}", "hollow")
            )
        if value is not None:
            parts.append(_dot(left + scale * value, y, f"{title}: {value:.3f}", f"fill:{hue}", ""))
            parts.append(f'<text class="mark" x="{width - 58}" y="{y + 4:.1f}">{value:.3f}</text>')
    return svg(width, bottom + 26, "".join(parts), name=name)


def key(names: Sequence[str], colours: Mapping[str, str]) -> str:
    """The legend under a chart."""
    items = (f'<span><i style="background:{colours[name]}"></i>{escape(_plain(name))}</span>' for name in names)
    return f'<p class="key">{"".join(items)}</p>'


def _lines(axes: Axes, series: Series, xs: Sequence[float], labels: Sequence[str], colours: Mapping[str, str]) -> str:
    content = ""
    for name, row in series.items():
        points = [
            (x, float(y), label)
            for x, y, label in zip(xs, row, labels, strict=True)
            if y is not None and not math.isnan(y)
        ]
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y, _ in points)
        content += f'<polyline class="series" style="stroke:{colours[name]}" points="{path}"/>'
        for x, y, label in points:
            content += axes.dot(x, y, radius=3, title=f"{_plain(name)}, {label}: {y:.3f}", fill=colours[name])
    return content


def _dot(x: float, y: float, title: str, style: str, kind: str) -> str:
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="5"'
    return f'<circle class="{kind}" {place} style="{style}"><title>{escape(title)}</title></circle>'


def _plain(name: str) -> str:
    return name.removeprefix("published ")
