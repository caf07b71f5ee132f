"""Charts of what scores are worth: the reliability curve, and how many picks of each score were right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from voxpick.report.axes import Axes, count_ticks
from voxpick.report.charts import FRACTIONS


def reliability_chart(found: Mapping[str, Any], *, score: str, right: str) -> str:
    """Share of right picks over the mean score of each bin, with 95 % intervals, beside the diagonal of an exact score.

    found: as `evaluate.calibration.Reliability.to_dict` gives it. score, right: what the axes say.
    """
    axes = Axes((0, 1), (0, 1.02))
    curve = found["curve"]
    content = axes.line((0, 1), (0, 1), style="iso")
    content += f'<text class="tick" x="{axes.x(0.9) - 8:.0f}" y="{axes.y(0.9):.0f}" text-anchor="end">exact</text>'
    for low, high, mean in zip(curve["lower"], curve["upper"], curve["mean_score"], strict=True):
        content += axes.line((mean, mean), (low, high), style="interval")
    content += axes.line(curve["mean_score"], curve["share_right"], style="curve")
    largest = max(curve["picks"], default=1)
    for k, number in enumerate(curve["picks"]):
        title = (
            f"scores {curve['from'][k]:.1f} to {curve['to'][k]:.1f}: {number} picks, mean score "
            f"{curve['mean_score'][k]:.3f}, right {curve['share_right'][k]:.3f} "
            f"({curve['lower'][k]:.3f} to {curve['upper'][k]:.3f})"
        )
        size = 2.5 + 4 * math.sqrt(number / largest)
        content += axes.dot(curve["mean_score"][k], curve["share_right"][k], radius=round(size, 1), title=title)
    return axes.draw(
        content, x_ticks=FRACTIONS, y_ticks=FRACTIONS, x_label=f"mean {score}", y_label=right,
        name=f"Reliability of the {score}",
    )  # fmt: skip


def right_and_wrong_histogram(found: Mapping[str, Any], *, score: str) -> str:
    """Picks of each bin of the score, the right ones below and the wrong ones above."""
    curve = found["curve"]
    ticks = count_ticks(max(curve["picks"], default=0))
    axes = Axes((0, 1), (0, ticks[-1]))
    content = ""
    for low, high, number, share in zip(curve["from"], curve["to"], curve["picks"], curve["share_right"], strict=True):
        right = round(number * share)
        title = f"{low:.1f} to {high:.1f}: {right} right, {number - right} wrong"
        content += axes.bar(low, high, 0, right, style="right", title=title)
        if number > right:
            content += axes.bar(low, high, right, number, style="wrong", title=title)
    return axes.draw(
        content, x_ticks=FRACTIONS, y_ticks=ticks, x_label=score, y_label="picks", name=f"Right and wrong by {score}"
    )
