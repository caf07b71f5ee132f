import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from voxpick.average.align import Poses
from voxpick.average.half_maps import HalfMapCorrelation
from voxpick.average.refinement import Refined
from voxpick.geometry import uniform_rotations_zyx
from voxpick.particles import Particles
from voxpick.report.agreement_page import build_agreement_report, circle_distance, lens_area, overlap_diagram
from voxpick.report.average_page import build_average_report, central_sections, direction_chart
from voxpick.volume import Volume

RESULT = {
    "picks": "network.csv", "other": "expert.csv", "radius_A": 80.0, "both": 30, "only_picks": 10, "only_other": 20,
    "mean_distance_A": 12.5, "picks_against_other": {"precision": 0.75, "recall": 0.6, "F": 2 / 3},
    "precision_recall": {"threshold": [0.9, 0.5], "precision": [1.0, 0.75], "recall": [0.4, 0.6], "f1": [0.571, 0.667]},
}  # fmt: skip
NAMES = {"both": "both", "only_picks": "only network.csv", "only_other": "only expert.csv"}


@pytest.fixture(scope="module")
def refined():
    rng = np.random.default_rng(0)
    maps = [Volume(rng.normal(size=(8, 8, 8)).astype(np.float32), 10.0, name=str(k)) for k in range(3)]
    frequencies = np.arange(5) / 80
    curve = np.array([1, 0.9, 0.6, 0.1, -0.05])
    fsc = HalfMapCorrelation(frequencies, curve, curve, curve, np.zeros(5), 0.0375)
    poses = Poses(uniform_rotations_zyx(6, rng), np.zeros((6, 3)), np.linspace(0.2, 0.7, 6))
    particles = Particles(np.zeros((6, 3)), rotations=poses.rotations)
    return Refined(maps[0], (maps[1], maps[2]), fsc, particles, poses, np.arange(6) % 2, (50.0,))


def drawings(page):
    """Every <svg>, parsed: an error here is a broken chart."""
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]


def inside(drawing):
    """Whether all points of polylines lie in the frame."""
    width, height = (float(value) for value in drawing.get("viewBox").split()[2:])
    for line in drawing.iter("{http://www.w3.org/2000/svg}polyline"):
        for pair in line.get("points").split():
            x, y = (float(value) for value in pair.split(","))
            if not (0 <= x <= width and 0 <= y <= height):
                return False
    return True


def unstyled(page):
    """Classes of lines that the page's style sheets do not know: they would be filled black."""
    style = re.search(r"<style>(.*?)</style>", page, flags=re.DOTALL)[1]
    used = set(re.findall(r'<polyline class="([^"]*)"', page))
    return {name for name in used if not re.search(rf"\.{name} {{ fill: none;", style)}


def test_the_page_of_an_average_holds_maps_curves_and_numbers(refined):
    page = build_average_report(refined, title="4d8q & co", settings={"seed": 3})
    assert "<title>4d8q &amp; co</title>" in page and "@" not in re.sub(r"base64,[^\"]*|@media", "", page)
    assert page.count("<img ") == 9 and page.count('class="series"') == 4
    charts = drawings(page)
    assert [chart.get("aria-label") for chart in charts] == [
        "Fourier shell correlation",
        "correlation",
        "Directions of view",
    ]
    assert all(inside(chart) for chart in charts)
    assert f"<b>{refined.fsc.resolution(0.5):.1f}</b><span>Å at FSC 0.5</span>" in page
    assert "<td>seed</td>" in page and page.count("<circle") == 6
    assert not unstyled(page)


def test_sections_go_through_the_box_centre():
    data = np.zeros((4, 6, 8))
    data[2, 3, 4] = 1
    sections = central_sections(data)
    assert [section.shape for section in sections] == [(6, 8), (4, 8), (4, 6)]
    assert [section.max() for section in sections] == [1, 1, 1]


def test_opposite_directions_of_view_are_one():
    turn = np.diag([-1.0, -1.0, 1.0])
    side = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    dots = [re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', direction_chart(r[None])) for r in (np.eye(3), turn, side)]
    assert dots[0] == dots[1] and dots[0] != dots[2]
    x, y = (float(value) for value in dots[2][0])
    assert x == pytest.approx(float(dots[0][0][0]), abs=0.2) and abs(y - float(dots[0][0][1])) > 50


def test_circles_overlap_as_their_sets():
    a, b = math.sqrt(40 / math.pi), math.sqrt(50 / math.pi)
    assert lens_area(a, b, circle_distance(a, b, 30)) == pytest.approx(30)
    assert lens_area(2, 2, 0) == pytest.approx(4 * math.pi) and lens_area(1, 2, 3.5) == 0
    half = 2 * (1 * math.acos(0.5) - 0.5 * math.sqrt(0.75))
    assert lens_area(1, 1, 1) == pytest.approx(half)
    for counts in ((30, 10, 20), (0, 5, 5), (7, 0, 0), (0, 0, 4), (3, 0, 9)):
        parts = dict(zip(("both", "only_picks", "only_other"), counts, strict=True))
        drawing = ElementTree.fromstring(overlap_diagram({**RESULT, **parts}, NAMES))
        shown = [node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")][:-2]
        assert sorted(shown) == sorted(str(count) for count in counts if count)


def test_the_page_of_two_pickings_with_and_without_averages(refined):
    plain = build_agreement_report(RESULT, {})
    assert not unstyled(plain)
    assert len(drawings(plain)) == 2 and "best F1 0.667 at score 0.500" in plain
    near = {name: {"edges_A": [0, 50, 100], "counts": [3, 1]} for name in ("both", "only_picks")}
    near["only_other"] = {"edges_A": [0, 50], "counts": [0]}
    averages = {"both": refined, "only_picks": refined, "only_picks: as many random places": None}
    without = {"both": 0, "only_picks": 9, "only_other": 20}
    full = build_agreement_report({**RESULT, "distance_to_mask": near, "without_box": without}, averages)
    charts = drawings(full)
    assert len(charts) == 4 and all(inside(chart) for chart in charts)
    assert "only network.csv: as many random places" in full and full.count("too few particles") == 1
    reason = "of 10 picks 1 leave a whole box in their tomogram, and it takes two"
    assert f"too few particles: {reason}<" in full and f"too few: {reason}<" in full
    left = "Left out, as they leave no whole box in their tomogram: 9 of 10 only network.csv, 20 of 20 only expert.csv."
    assert left in full
    assert full.count("<img ") == 6


def test_no_pair_and_no_curve_still_make_a_page():
    empty = {"threshold": [], "precision": [], "recall": [], "f1": []}
    page = build_agreement_report(
        {**RESULT, "both": 0, "mean_distance_A": None, "precision_recall": empty, "only_picks": 0}, {}
    )
    assert len(drawings(page)) == 1 and "Å between a pair" not in page
