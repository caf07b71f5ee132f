"""Charts of a search by template matching: how often which score occurs, and what noise alone would give."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from voxpick.match.histogram import ScoreHistogram
from voxpick.report.axes import Axes
from voxpick.report.frame import card

LONGEST = 90
"""Units of a chart that the longest mark takes, with some room."""
HINT = (
    "Best score of every voxel over all orientations, on a logarithmic scale. Bars: the tomogram. Line: what noise "
    "alone would give. Where the bars leave the line, particles begin."
)


def score_charts(histograms: Mapping[str, ScoreHistogram], notes: Mapping[str, str] | None = None) -> str:
    """One chart for each template, by its name, with what notes say of it."""
    notes = notes or {}
    cards = [
        card(f"Scores: {name}", histogram_chart(found, name=name), notes.get(name, ""))
        for name, found in histograms.items()
    ]
    return card("Scores of template matching", f'<div class="charts">{"".join(cards)}</div>', HINT) if cards else ""


def histogram_chart(found: ScoreHistogram, *, name: str) -> str:
    """Bars of log10(voxels), the curve of noise, and marks where noise is exceeded once and where peaks begin."""
    low, high = float(found.edges[0]), float(found.edges[-1])
    expected = np.zeros(0) if found.expected is None else found.expected
    top = float(np.ceil(np.log10(max(found.counts.max(), expected.max(initial=0), 10))))
    axes = Axes((low, high), (0, top))
    content = ""
    for count, left, right in zip(found.counts, found.edges[:-1], found.edges[1:], strict=True):
        if count:
            said = f"{left:.3f} to {right:.3f}: {int(count)} voxels"
            content += axes.bar(left, right, 0, max(float(np.log10(count)), 0.02 * top), style="right", title=said)
    if found.expected is not None:
        middles = (found.edges[:-1] + found.edges[1:]) / 2
        shown = found.expected >= 1
        content += axes.line(middles[shown], np.log10(found.expected[shown]), style="noise")
    for value, text in ((found.chance, "once by chance"), (found.lowest, "kept from here")):
        if value is not None and low < value < high:
            content += axes.line((value, value), (0, top), style="iso")
            content += _said(axes, value, top, text)
    ticks = [round(t, 2) for t in np.linspace(low, high, 6)]
    return axes.draw(
        content, x_ticks=ticks, y_ticks=list(range(int(top) + 1)), x_label="score", y_label="voxels, power of ten",
        name=f"Histogram of scores: {name}",
    )  # fmt: skip


def _said(axes: Axes, x: float, y: float, text: str) -> str:
    """The text right of a mark at (x, y), or left of it where the chart ends before the text does."""
    at = axes.x(x)
    place = f'x="{at + 4:.0f}"' if at + LONGEST < axes.width else f'x="{at - 4:.0f}" text-anchor="end"'
    return f'<text class="tick halo" {place} y="{axes.y(y) + 12:.0f}">{text}</text>'
