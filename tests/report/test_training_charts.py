import re
from xml.etree import ElementTree

import pytest

from voxpick.report.training_charts import steps_chart, training_cards, value_ticks

STAGES = {
    "classifier": {
        "A <1>": {
            "loss": [(10, 1.0), (20, 0.5)], "validation_loss": [(20, 0.7)], "validation_score": [(20, 0.3)],
            "validation_accuracy_9abc": [(20, 0.1)], "validation_accuracy_4d8q": [(10, 0.25), (20, 0.5)],
            "validation_accuracy_1s3x": [(20, 0.0)],
        },
        "B": {"loss": [(10, 0.8)]},
    },
    "denoiser": {"B": {"loss": [(10, 0.002)]}},
}  # fmt: skip


def test_a_stage_has_its_losses_in_one_chart_and_its_classes_in_one_for_each_entry():
    text = training_cards(STAGES, {"A <1>": "#111", "B": "#222"})
    assert re.findall("<h2>(.*?)</h2>", text) == [
        "Loss of the classifier", "Validation score of the classifier", "Class accuracy, A &lt;1&gt;",
        "Loss of the denoiser",
    ]  # fmt: skip
    charts = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.S)]
    lines = [
        [(line[0].text, line.get("style")) for line in chart.iter("{http://www.w3.org/2000/svg}polyline")]
        for chart in charts
    ]
    assert lines[0] == [("A <1>", "stroke:#111;"), ("B", "stroke:#222;"), ("A <1>", "stroke:#111;stroke-dasharray:5 4")]
    assert [label for label, _ in lines[2]] == ["1s3x", "4d8q", "9abc"]  # by weight, others after
    assert "<title>4d8q, step 10: 0.250</title>" in text and "Dashed: on the validation tomogram" in text
    assert text.count("Dashed") == 1


def test_no_training_has_no_cards():
    assert training_cards({}, {}) == ""
    assert training_cards({"classifier": {"A": {"loss": []}}}, {}) == "" == training_cards({"classifier": {}}, {})


def test_entries_without_a_colour_get_other_ones():
    text = training_cards(STAGES, {"B": "#222"})
    assert "#222" not in text and len(set(re.findall(r'"stroke:(#\w+);"', text))) >= 2


def test_lines_lie_where_the_axes_say():
    chart = ElementTree.fromstring(steps_chart({"A": [(0, 0.0), (50, 2.0)]}, {"A": "#111"}, name="N", y_label="loss"))
    line = next(chart.iter("{http://www.w3.org/2000/svg}polyline"))
    ticks = {
        float(text.text): (float(text.get("x")), float(text.get("y")))
        for text in chart.iter("{http://www.w3.org/2000/svg}text")
        if text.get("class") == "tick" and text.get("text-anchor") == "middle"
    }
    first, last = (tuple(map(float, point.split(","))) for point in line.get("points").split())
    assert first[0] == ticks[0][0] and last[0] == ticks[50][0]
    assert last[1] < first[1]


@pytest.mark.parametrize(("largest", "ticks"), [
    (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.0012, [0, 0.0005, 0.001, 0.0015]), (0, [0, 1]), (130, [0, 50, 100, 150]),
])  # fmt: skip
def test_ticks_are_round_whatever_the_size(largest, ticks):
    assert value_ticks(largest) == ticks
