"""Axes of the report's charts: inline SVG whose colours come from the page's style, for light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Axes:
    """A frame of width x height units with data ranges; log_x takes x as logarithmic."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_x: bool = False
    width: int = 460
    height: int = 320
    left: int = 58
    right: int = 18
    top: int = 16
    bottom: int = 48

    def x(self, value: float) -> float:
        """Data to drawing, horizontally."""
        low, high = (math.log(v) if self.log_x else v for v in self.x_range)
        at = math.log(value) if self.log_x else value
        return self.left + (self.width - self.left - self.right) * (at - low) / (high - low)

    def y(self, value: float) -> float:
        """Data to drawing, vertically: larger is higher."""
        low, high = self.y_range
        return self.height - self.bottom - (self.height - self.top - self.bottom) * (value - low) / (high - low)

    def draw(
        self, content: str, *, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str, name: str
    ) -> str:
        """The chart: grid, tick texts, axis labels and the content, as one <svg>. name: what a screen reader says."""
        bottom, middle = self.height - self.bottom, (self.top + self.height - self.bottom) / 2
        grid = [
            f'<line class="grid" x1="{self.left}" x2="{self.width - self.right}" y1="{self.y(t):.1f}" '
            f'y2="{self.y(t):.1f}"/>'
            f'<text class="tick" x="{self.left - 8}" y="{self.y(t) + 4:.1f}" text-anchor="end">{t:g}</text>'
            for t in y_ticks
        ]
        grid += [
            f'<line class="grid" y1="{self.top}" y2="{bottom}" x1="{self.x(t):.1f}" x2="{self.x(t):.1f}"/>'
            f'<text class="tick" x="{self.x(t):.1f}" y="{bottom + 17}" text-anchor="middle">{t:g}</text>'
            for t in x_ticks
        ]
        labels = (
            f'<text class="label" x="{(self.left + self.width - self.right) / 2:.0f}" y="{self.height - 8}" '
            f'text-anchor="middle">{escape(x_label)}</text>'
            f'<text class="label" transform="translate(15 {middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>"
        )
        return svg(self.width, self.height, "".join(grid) + labels + content, name=name)

    def line(self, xs: Iterable[float], ys: Iterable[float], *, style: str) -> str:
        """A polyline through the points; style: a class of the page's style sheet."""
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        return f'<polyline class="{style}" points="{points}"/>'

    def dot(self, x: float, y: float, *, radius: float = 4, title: str = "", fill: str = "var(--accent)") -> str:
        """A point with a tooltip."""
        return (
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" style="fill:{fill}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def bar(self, x0: float, x1: float, y0: float, y1: float, *, style: str, title: str = "") -> str:
        """A filled box between data corners with a tooltip."""
        left, width = self.x(x0), self.x(x1) - self.x(x0)
        return (
            f'<rect class="{style}" x="{left:.1f}" y="{self.y(y1):.1f}" width="{max(width - 1, 0.5):.1f}" '
            f'height="{max(self.y(y0) - self.y(y1), 0):.1f}"><title>{escape(title)}</title></rect>'
        )


def svg(width: float, height: float, content: str, *, name: str) -> str:
    """An <svg> that scales with its box."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(name)}" '
        f'xmlns="http://www.w3.org/2000/svg">{content}</svg>'
    )


def count_ticks(high: float, *, n: int = 5) -> list[float]:
    """0 and about n round whole steps up to at least `high`, for counts."""
    if not high > 0:
        return [0, 1]
    raw = max(high / n, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    return [round(step * k, 10) for k in range(math.ceil(high / step - 1e-9) + 1)]
