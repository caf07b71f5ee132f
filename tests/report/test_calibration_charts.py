"""The report's section on confidence."""

import re
from xml.etree import ElementTree

import numpy as np

from voxpick.evaluate.calibration import confidence, reliability
from voxpick.particles import Particles
from voxpick.report.calibration_charts import reliability_chart, right_and_wrong_histogram
from voxpick.report.sections import chart_section, tiles

SVG = "{http://www.w3.org/2000/svg}"


def found():
    rng = np.random.default_rng(0)
    scores = rng.random(300)
    return reliability(scores, rng.random(300) < scores**2).to_dict()


def test_a_dot_a_bar_and_a_title_for_each_bin():
    told = found()
    chart = ElementTree.fromstring(reliability_chart(told, score="score", right="share right"))
    dots = chart.findall(f"{SVG}circle")
    assert len(dots) == 10 == len([line for line in chart.iter(f"{SVG}polyline") if line.get("class") == "interval"])
    number = told["curve"]["picks"][3]
    assert dots[3].find(f"{SVG}title").text.startswith(f"scores 0.3 to 0.4: {number} picks")
    heights = [float(dot.get("cy")) for dot in dots]
    assert heights[0] > heights[9] and chart.get("aria-label") == "Reliability of the score"


def test_bars_hold_all_picks():
    told = found()
    chart = ElementTree.fromstring(right_and_wrong_histogram(told, score="score"))
    titles = {bar.find(f"{SVG}title").text for bar in chart.findall(f"{SVG}rect")}
    counts = [list(map(int, re.findall(r"(\d+) right, (\d+) wrong", text)[0])) for text in titles]
    assert np.sum(counts, axis=0).tolist() == [told["right"], 300 - told["right"]]


def test_the_section_stands_where_there_is_truth():
    picks = Particles(np.zeros((3, 3)), ["a", "a", "b"], [0.9, 0.5, 0.2])
    told = confidence(picks, np.array([1, 2, 0]), np.array(["a", "b"]))
    html = chart_section(picks, {"calibration": told}, None, {})
    assert "Reliability: score" in html and "Right and wrong by location score" in html
    assert f"Expected calibration error {told['named']['ece']:.3f}" in html
    assert "Reliability" not in chart_section(picks, {"calibration": {}}, None, {})
    assert "calibration error" in tiles(picks, None, {"calibration": told})
