"""The page of two pickings against each other, with the figures of the DeepFinder paper (2018, Figs. 10, 11, 13)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from voxpick.average.fsc import THRESHOLDS
from voxpick.report.average_page import fsc_chart, map_table, registration_hint, shown_resolution
from voxpick.report.axes import Axes, count_ticks, svg
from voxpick.report.charts import FRACTIONS
from voxpick.report.comparison_charts import HUES, key
from voxpick.report.frame import card, number_tiles, page
from voxpick.report.sections import fraction

if TYPE_CHECKING:
    from voxpick.average.refinement import Refined

OVERLAP_HINT = "Areas are in proportion to the number of picks."
CURVE_HINT = "At each lowest score, with the other picking taken as the truth."
NEAR_HINT = "Share of the picks of each part by distance to the nearest voxel of the mask."
FSC_HINT = (
    "Half maps against each other, corrected for the mask. A part whose curve is near that of as many picks of both is "
    "made of true particles; one near random places is not. Lines: 0.143 and 0.5."
)
AVERAGES_HINT = (
    "All averages but that of both started from the same reference, read to the first low-pass only. What random "
    "places show is the reference's bias. Bright is density."
)


def build_agreement_report(result: Mapping[str, Any], averages: Mapping[str, Refined | None]) -> str:
    """The page as HTML text. result: what agreement.json holds; averages: of the parts by name, None for too few."""
    names = {"both": "both", "only_picks": f"only {result['picks']}", "only_other": f"only {result['other']}"}
    counts = result["picks_against_other"]
    tiles = {names[part]: str(result[part]) for part in names}
    tiles |= {
        "precision": fraction(counts["precision"]),
        "recall": fraction(counts["recall"]),
        "F1": fraction(counts["F"]),
    }
    if result["mean_distance_A"] is not None:
        tiles["Å between a pair"] = f"{result['mean_distance_A']:.1f}"
    cards = card("Overlap", overlap_diagram(result, names), OVERLAP_HINT)
    curves = {name: result["precision_recall"][name] for name in ("precision", "recall", "f1")}
    if len(curves["f1"]):
        colours = dict(zip(curves, HUES, strict=False))
        chart = threshold_chart(result["precision_recall"]["threshold"], curves, colours)
        cards += card(
            "Precision, recall and F1 against the score",
            chart + key(["precision", "recall", "F1"], {**colours, "F1": colours["f1"]}),
            CURVE_HINT,
        )
    if "distance_to_mask" in result:
        found = {names[part]: values for part, values in result["distance_to_mask"].items()}
        colours = dict(zip(found, HUES, strict=False))
        cards += card("Distance to the mask", distance_chart(found, colours) + key(list(found), colours), NEAR_HINT)
    known = {_title(name, names): refined for name, refined in averages.items()}
    colours = dict(zip(known, HUES, strict=False))
    reasons = {_title(name, names): _why_too_few(name, result) for name in averages}
    curves_of = {name: refined.fsc for name, refined in known.items() if refined is not None}
    if curves_of:
        chart = fsc_chart(curves_of, colours) + key(list(curves_of), colours) + _resolutions(known, reasons)
        hints = (f" {name}:{hint}" for name, fsc in curves_of.items() if (hint := registration_hint(fsc)))
        cards += card("Fourier shell correlation of the parts", chart, FSC_HINT + "".join(hints))
    body = number_tiles(tiles) + f'<div class="charts">{cards}</div>'
    if known:
        maps = {name: None if refined is None else refined.map.data for name, refined in known.items()}
        body += card("Averages of the parts", map_table(maps, reasons), AVERAGES_HINT + _left_out(result, names))
    subtitle = f"{result['picks']} against {result['other']} · pairs within {result['radius_A']:g} Å"
    return page("Two pickings", subtitle, body, styles=["activation.css"])


def overlap_diagram(result: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Two circles whose areas and common area are as the numbers of picks."""
    both, left, right = (int(result[part]) for part in ("both", "only_picks", "only_other"))
    sizes = [math.sqrt(max(part + both, 0) / math.pi) for part in (left, right)]
    scale = 105 / max(*sizes, 1e-9)
    apart = circle_distance(sizes[0], sizes[1], both) * scale
    radii = [size * scale for size in sizes]
    width, middle = 460, 135
    start = (width - (radii[0] + apart + radii[1])) / 2 + radii[0]
    places = (start, start + apart)
    shapes = "".join(
        f'<circle cx="{x:.1f}" cy="{middle}" r="{r:.1f}" style="fill:{hue};fill-opacity:.35;stroke:{hue}"/>'
        for x, r, hue in zip(places, radii, HUES, strict=False)
    )
    texts = (
        ((places[0] - radii[0] + places[1] - radii[1]) / 2, left),
        ((max(places[1] - radii[1], places[0] - radii[0]) + min(places[0] + radii[0], places[1] + radii[1])) / 2, both),
        ((places[0] + radii[0] + places[1] + radii[1]) / 2, right),
    )
    shapes += "".join(
        f'<text class="label" x="{x:.1f}" y="{middle + 5}" text-anchor="middle">{count}</text>'
        for x, count in texts
        if count
    )
    for x, hue, part, anchor in ((20, HUES[0], "picks", "start"), (width - 20, HUES[1], "other", "end")):
        name = escape(str(result[part]))
        shapes += f'<text class="label" x="{x}" y="278" text-anchor="{anchor}" style="fill:{hue}">{name}</text>'
    return svg(width, 290, shapes, name=", ".join(f"{names[part]}: {result[part]}" for part in names))


def circle_distance(a: float, b: float, area: float) -> float:
    """How far apart circles of radii a and b share `area`, by bisection; from inside each other to touching."""
    low, high = abs(a - b), a + b
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if lens_area(a, b, middle) > area else (low, middle)
    return (low + high) / 2


def lens_area(a: float, b: float, distance: float) -> float:
    """What circles of radii a and b at a distance have in common."""
    if distance >= a + b:
        return 0.0
    if distance <= abs(a - b):
        return math.pi * min(a, b) ** 2
    first = (distance**2 + a**2 - b**2) / (2 * distance)
    second = distance - first
    halves = ((a, first), (b, second))
    return sum(r**2 * math.acos(max(-1.0, min(1.0, d / r))) - d * math.sqrt(max(r**2 - d**2, 0.0)) for r, d in halves)


def threshold_chart(
    thresholds: Sequence[float], curves: Mapping[str, Sequence[float]], colours: Mapping[str, str]
) -> str:
    """Precision, recall and F1 over the lowest score (Fig. 11); the best F1 is marked."""
    axes = Axes((0, 1), (0, 1.02))
    content = ""
    for name, values in curves.items():
        points = " ".join(f"{axes.x(a):.1f},{axes.y(b):.1f}" for a, b in zip(thresholds, values, strict=True))
        content += f'<polyline class="series" style="stroke:{colours[name]}" points="{points}"/>'
        if len(thresholds) == 1:
            content += axes.dot(thresholds[0], values[0], title=f"{name} {values[0]:.3f}", fill=colours[name])
    best = int(np.argmax(curves["f1"]))
    text = f"best F1 {curves['f1'][best]:.3f} at score {thresholds[best]:.3f}"
    content += axes.dot(thresholds[best], curves["f1"][best], radius=5, title=text, fill=colours["f1"])
    content += f'<text class="mark" x="{axes.x(0.02):.0f}" y="{axes.y(0.04):.0f}">{text}</text>'
    return axes.draw(
        content, x_ticks=FRACTIONS, y_ticks=FRACTIONS, x_label="lowest score", y_label="of the picks kept",
        name="Precision, recall and F1 against the score",
    )  # fmt: skip


def distance_chart(parts: Mapping[str, Mapping[str, Sequence[float]]], colours: Mapping[str, str]) -> str:
    """Shares by distance (A), stepwise, one line a part (Fig. 10); a part without picks has none."""
    highest = max(values["edges_A"][-1] for values in parts.values())
    shares = {name: _shares(values["counts"]) for name, values in parts.items()}
    top = max((max(share) for share in shares.values() if share), default=1.0)
    ticks = [tick / 100 for tick in count_ticks(100 * top)]
    axes = Axes((0, highest), (0, ticks[-1]))
    content = ""
    for name, share in shares.items():
        edges = parts[name]["edges_A"]
        xs = [x for pair in pairwise(edges) for x in pair]
        ys = [y for value in share for y in (value, value)]
        points = " ".join(f"{axes.x(a):.1f},{axes.y(b):.1f}" for a, b in zip(xs, ys, strict=False))
        content += f'<polyline class="series" style="stroke:{colours[name]}" points="{points}"/>' if share else ""
    x_ticks = count_ticks(highest)
    return axes.draw(
        content, x_ticks=[tick for tick in x_ticks if tick <= highest], y_ticks=ticks, x_label="distance (Å)",
        y_label="share of the part's picks", name="Distance to the mask",
    )  # fmt: skip


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else []


def _why_too_few(name: str, result: Mapping[str, Any]) -> str:
    """Why an average may be missing: how many picks of its part leave a box."""
    part, _, rest = name.partition(": ")
    of = "both" if "in both" in rest else part
    count = result[of]
    return f"of {count} picks {count - result['without_box'][of]} leave a whole box in their tomogram, and it takes two"


def _left_out(result: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """A sentence on the picks that are in no average, where there are any."""
    lost = {part: count for part, count in result["without_box"].items() if count}
    listed = ", ".join(f"{count} of {result[part]} {names[part]}" for part, count in lost.items())
    return f" Left out, as they leave no whole box in their tomogram: {listed}." if lost else ""


def _resolutions(averages: Mapping[str, Refined | None], reasons: Mapping[str, str]) -> str:
    head = "".join(f"<th>{text}</th>" for text in ("", "particles", *(f"Å at {t:g}" for t in THRESHOLDS)))
    rows = ""
    for name, refined in averages.items():
        if refined is None:
            rows += f'<tr><td>{escape(name)}</td><td colspan="3">too few: {escape(reasons[name])}</td></tr>'
            continue
        values = "".join(f"<td>{shown_resolution(refined.fsc.resolution(t))}</td>" for t in THRESHOLDS)
        rows += f"<tr><td>{escape(name)}</td><td>{len(refined.particles)}</td>{values}</tr>"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _title(name: str, names: Mapping[str, str]) -> str:
    """The name of an average with the file's name in it."""
    part, colon, rest = name.partition(": ")
    return f"{names.get(part, part)}{colon}{rest}"
