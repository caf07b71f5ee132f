"""The page of an average: sections of the map and its halves, their correlation, scores and directions."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from voxpick.average.fsc import THRESHOLDS
from voxpick.report.axes import Axes, count_ticks
from voxpick.report.charts import FRACTIONS
from voxpick.report.comparison_charts import HUES, key
from voxpick.report.frame import card, number_tiles, page
from voxpick.report.pictures import image
from voxpick.report.sections import settings_table

if TYPE_CHECKING:
    from voxpick.average.fsc import ShellCorrelation
    from voxpick.average.half_maps import HalfMapCorrelation
    from voxpick.average.refinement import Refined

PLANES = ("xy", "xz", "yz")
"""As they are seen: along x or y to the right, y or z downwards."""


MAP_HINT = "Bright is density. Each map is shown from its own 1 to its 99.9 percentile."
FSC_HINT = (
    "The correlation that counts is corrected for what the mask adds, which is measured with random phases. Lines: "
    "0.143 and 0.5."
)
DIRECTION_HINT = (
    "Where the beam came from in each particle's own frame, seen from above (equal areas; opposite directions are one; "
    "inner circle: 45 degrees). Even cover fills the missing wedge."
)


def build_average_report(refined: Refined, *, title: str = "Average", settings: Mapping[str, Any] | None = None) -> str:
    """The page as HTML text. settings: what to list of the run."""
    fsc, size = refined.fsc, refined.map.voxel_size
    curves = {"correlation": fsc.correlation, "in the mask": fsc.masked, "without mask": fsc.unmasked,
              "random phases": fsc.randomised}  # fmt: skip
    colours = dict(zip(curves, HUES, strict=False))
    chart = fsc_chart({name: (fsc.frequencies, values) for name, values in curves.items()}, colours)
    maps = {"all particles": refined.map.data, "half 1": refined.halves[0].data, "half 2": refined.halves[1].data}
    hint = FSC_HINT + registration_hint(fsc)
    cards = card("Fourier shell correlation of the half maps", chart + key(list(curves), colours), hint)
    if np.any(refined.poses.scores):
        cards += card("How well each particle fits", value_histogram(refined.poses.scores, label="correlation"))
    cards += card("Directions of view", direction_chart(refined.poses.rotations), DIRECTION_HINT)
    tiles = {"particles": str(len(refined.particles))}
    tiles |= {f"Å at FSC {t:g}": shown_resolution(fsc.resolution(t)) for t in THRESHOLDS}
    body = number_tiles(tiles) + card("Central sections", map_table(maps), MAP_HINT)
    subtitle = f"{len(refined.particles)} particles · box of {refined.map.shape[0]} voxels of {size:g} Å"
    return page(
        title, subtitle, body + f'<div class="charts">{cards}</div>' + settings_table(settings),
        styles=["activation.css"],
    )  # fmt: skip


def map_table(maps: Mapping[str, np.ndarray | None], reasons: Mapping[str, str] | None = None) -> str:
    """A row of three central sections for each map [z, y, x]; None has too few particles, for what reasons, by name."""
    rows = "<tr><th></th>" + "".join(f"<th>{plane}</th>" for plane in PLANES) + "</tr>"
    for name, data in maps.items():
        if data is None:
            reason = "" if reasons is None else f": {escape(reasons[name])}"
            cells = f'<td colspan="3">too few particles{reason}</td>'
        else:
            low, high = np.percentile(data, (1, 99.9))
            cells = "".join(
                f"<td>{image(_grey(section, low, high), f'{name}, {plane}')}</td>"
                for plane, section in zip(PLANES, central_sections(data), strict=True)
            )
        rows += f"<tr><td>{escape(name)}</td>{cells}</tr>"
    return f'<div class="scroll"><table class="maps">{rows}</table></div>'


def central_sections(data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sections [y, x], [z, x] and [z, y] through voxel n // 2."""
    z, y, x = (n // 2 for n in data.shape)
    return data[z], data[:, y], data[:, :, x]


def fsc_chart(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray] | ShellCorrelation], colours: Mapping[str, str]
) -> str:
    """Correlations over frequency (1/A), with the two thresholds. curves: (frequencies, correlation) by name.

    The first shell, which is the mean alone, is left out.
    """
    pairs = {
        name: curve if isinstance(curve, tuple) else (curve.frequencies, curve.correlation)
        for name, curve in curves.items()
    }
    pairs = {name: (frequencies[1:], values[1:]) for name, (frequencies, values) in pairs.items()}
    highest = max(float(frequencies[-1]) for frequencies, _ in pairs.values())
    low = min(0.0, *(float(np.min(values)) for _, values in pairs.values()))
    axes = Axes((0, highest), (max(-0.4, np.floor(low * 5) / 5), 1.02))
    content = "".join(axes.line([0, highest], [level, level], style="iso") for level in THRESHOLDS)
    for name, (frequencies, values) in pairs.items():
        points = " ".join(
            f"{axes.x(a):.1f},{axes.y(max(b, axes.y_range[0])):.1f}" for a, b in zip(frequencies, values, strict=True)
        )
        content += f'<polyline class="series" style="stroke:{colours[name]}" points="{points}"/>'
    ticks = [tick / 1000 for tick in count_ticks(1000 * highest) if tick <= 1001 * highest]
    return axes.draw(
        content, x_ticks=ticks, y_ticks=FRACTIONS, x_label="frequency (1/Å)", y_label="correlation",
        name="Fourier shell correlation",
    )  # fmt: skip


def value_histogram(values: np.ndarray, *, label: str, bins: int = 25) -> str:
    """How many particles have which value."""
    counts, edges = np.histogram(values, bins=bins)
    ticks = count_ticks(float(counts.max(initial=0)))
    axes = Axes((float(edges[0]), float(edges[-1])), (0, ticks[-1]))
    content = "".join(
        axes.bar(low, high, 0, count, style="right", title=f"{low:.3f} to {high:.3f}: {count}")
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
    )
    x_ticks = [round(float(tick), 3) for tick in np.linspace(edges[0], edges[-1], 5)]
    return axes.draw(content, x_ticks=x_ticks, y_ticks=ticks, x_label=label, y_label="particles", name=label)


def direction_chart(rotations: np.ndarray) -> str:
    """The beam's direction (z) in the frame of the map, for each particle: dots on an equal-area disc of a half sphere.

    rotations: (n, 3, 3), of the map onto each particle, in (z, y, x).
    """
    beam = rotations.transpose(0, 2, 1)[:, :, 0]
    beam = beam * np.where(beam[:, :1] < 0, -1, 1)
    stretch = 1 / np.sqrt(np.maximum(1 + beam[:, 0], 1e-9))
    axes = Axes((-1.05, 1.05), (-1.05, 1.05), width=332)
    circle = np.linspace(0, 2 * np.pi, 73)
    content = "".join(axes.line(r * np.cos(circle), r * np.sin(circle), style="thread") for r in (0.541, 1.0))
    size = 3.0 if len(beam) < 300 else 1.5
    content += "".join(axes.dot(x, y, radius=size) for y, x in np.clip(beam[:, 1:] * stretch[:, None], -1, 1).tolist())
    chart = axes.draw(content, x_ticks=(), y_ticks=(), x_label="x", y_label="y", name="Directions of view")
    return f'<div style="max-width:360px;margin:0 auto">{chart}</div>'


def registration_hint(fsc: HalfMapCorrelation) -> str:
    """What the half maps were made to agree on, where one was laid onto the other; else nothing."""
    if not np.isfinite(fsc.registered):
        return ""
    return (
        f" One half map was laid onto the other, on detail down to {fsc.registered:.0f} Å, on which those of noise "
        f"agree then too: maps that agree on nothing finer than {fsc.conclusive:.0f} Å have no resolution."
    )


def shown_resolution(value: float) -> str:
    """A resolution in A; a dash where the maps do not agree, or on nothing that noise would not agree on."""
    return "–" if not np.isfinite(value) else f"{value:.1f}"


def _grey(section: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 [y, x] from low to high."""
    if not high > low:
        return np.full(section.shape, 128, dtype=np.uint8)
    scaled = np.clip((section.astype(np.float64) - low) / (high - low), 0, 1)
    grey: np.ndarray = np.rint(scaled * 255).astype(np.uint8)
    return grey
