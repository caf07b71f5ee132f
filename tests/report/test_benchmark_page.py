import re
from xml.etree import ElementTree

from voxpick.benchmark.completed import complete
from voxpick.benchmark.settings import Entry
from voxpick.benchmark.tables import build_tables, confusions
from voxpick.benchmark.writing import tables_to_dict
from voxpick.report.benchmark_page import build_benchmark_report
from voxpick.shrec_classes import SHREC20_BY_WEIGHT

ENTRIES = {"a": Entry(method="umc", title="A & <b>"), "c": Entry(method="vp-detector")}


def page(entries=ENTRIES) -> str:
    location = dict.fromkeys(("RR", "TP", "FP", "FN", "MH", "RO"), 10) | dict.fromkeys(
        ("AD", "recall", "precision", "miss_rate", "F1"), 0.5
    )
    each = {name: k / 12 for k, name in enumerate(SHREC20_BY_WEIGHT)}
    score = {
        "localisation": location, "class_f1": each, "mean_class_f1": 0.4583, "class_accuracy": each,
        "size_groups": {"small": 0.1, "medium": 0.5, "large": 0.9},
        "confusion": {"labels": ["0", *SHREC20_BY_WEIGHT], "counts": [[1] * 13] * 13},
    }  # fmt: skip
    test = {"tomogram": "t", "seconds": 12.0, "peak_bytes": 1e9, "score": score}
    sweep = [{**test, "varied": what, "value": v} for what, v in (("snr", 0.01), ("snr", 0.1), ("tilt_limit", 50))]
    results = [
        {"entry": name, "seed": 0, "status": "done", "stages": [], "tests": [test], "sweep": sweep} for name in entries
    ]
    tables, failed = (
        build_tables(results, entries),
        [{"title": "x<y", "seed": 1, "error": "e", "log": ["last", "<line>"]}],
    )
    return build_benchmark_report(
        "T @STYLE@ <1>", complete(tables_to_dict(tables)), confusions(results, entries), subtitle="s", failed=failed
    )


def test_every_figure_is_inside_the_file():
    text = page()
    assert re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert "<script" not in text
    names = [ElementTree.fromstring(svg).get("aria-label") for svg in re.findall(r"<svg.*?</svg>", text, re.S)]
    assert names == [
        "Localisation F1", "Mean class F1", "Cumulative F1, this run", "Cumulative F1, published †",
        "F1 and weight, this run", "F1 and weight, published †", "Confusion matrix", "Confusion matrix",
        "Localisation F1 against SNR", "Mean class F1 against SNR",
        "Localisation F1 against largest tilt", "Mean class F1 against largest tilt",
    ]  # fmt: skip
    assert len(re.findall("<h2>", text)) == 2 + 6 + 4 + 1 + 4


def test_names_are_escaped_and_failures_shown():
    text = page()
    assert "A &amp; &lt;b&gt;" in text
    assert "A & <b>" not in text
    assert "x&lt;y</b>, seed 1, failed: e" in text
    assert "last\n&lt;line&gt;" in text
    assert "<h1>T @STYLE@ &lt;1&gt;</h1>" in text


def test_numbers_of_the_charts():
    text = page()
    assert "A &amp; &lt;b&gt;, 4d8q: 5.500" in text  # sum of 0/12 to 11/12
    assert "UMC, 4d8q: 10.856" in text
    assert "A &amp; &lt;b&gt;, published: 0.949" in text
    assert "c, published: 0.951" in text
    assert "A &amp; &lt;b&gt;, 0.01: 0.500" in text
    matrix = [len(re.findall("<rect", svg)) for svg in re.findall(r"<svg.*?</svg>", text, re.S)]
    assert matrix[6:8] == [13 * 13, 13 * 13]


def test_naming_alone_is_not_set_beside_whole_detections():
    """Dilated-DenseNet's paper names subtomograms that the truth cuts out; its means stood as hollow dots."""
    text = page({"a": Entry(method="densenet"), "b": Entry(method="dilated-densenet"), "c": Entry(method="umc")})
    assert "a, published" not in text and "b, published" not in text
    assert len(re.findall("c, published: ", text)) == 2
    told = "Of naming alone, where the truth finds: SHREC&#x27;19&#x27;s CNN, 3D-DenseNet, 3D-Dilated-DenseNet."
    assert text.count(told) == 2
