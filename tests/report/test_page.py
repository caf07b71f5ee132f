import base64
import json
import re
from xml.etree import ElementTree

import numpy as np

from voxpick.evaluate.pairing import score_pairing
from voxpick.evaluate.shrec import score_shrec
from voxpick.particles import Particles
from voxpick.report.page import build_report
from voxpick.volume import Volume

VOLUME = Volume(np.random.default_rng(0).normal(size=(12, 20, 28)).astype(np.float32), 10.0, name="tomo <1>")


def world():
    occupancy = np.zeros((12, 20, 28), np.int16)
    occupancy[2:6, 2:6, 2:6], occupancy[6:10, 10:16, 10:16] = 1, 2
    truth = Particles(np.array([[4, 4, 4], [8, 13, 13]]) * 10.0, ["1s3x", "4d8q"])
    picks = Particles(
        np.array([[4, 4, 4], [8, 13, 13.25], [1, 18, 26]]) * 10.0, ["1s3x", "4cr2", "4d8q"], [0.9, 0.8, 0.25]
    )
    return occupancy, truth, picks


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


def charts_of(page):
    return [ElementTree.fromstring(text).get("aria-label") for text in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_everything_is_inside_the_file():
    occupancy, truth, picks = world()
    score = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0)
    page = build_report(
        VOLUME, picks, truth, score.to_dict(), "A & B", hits=score.hit_ids > 0, settings={"seed": 7, "note": "<b>"}
    )
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:|//)", page) and "@TITLE@" not in page
    assert "<h1>A &amp; B</h1>" in page and "tomo &lt;1&gt;" in page and "&lt;b&gt;" in page
    data = data_of(page)
    assert data["shape"] == [12, 20, 28] and data["factor"] == 1
    name = data["classes"][data["picks"][1][3]]["name"]
    assert (data["picks"][1][:3], name, data["picks"][1][4:]) == ([8.0, 13.0, 13.2], "4cr2", [0.8, 1])
    assert [pick[5] for pick in data["picks"]] == [1, 1, 0] and len(data["truth"]) == 2
    assert data["curve"]["precision"] == [1, 1, round(2 / 3, 6)]
    voxels = base64.b64decode(re.search(r'id="voxels">(.*?)</script>', page, re.S).group(1))
    assert len(voxels) == 12 * 20 * 28
    assert charts_of(page) == [
        "Precision over recall", "Class F1 over molecular weight", "Cumulative F1", "Histogram: score",
        "Confusion matrix",
    ]  # fmt: skip


def test_no_picks_at_all():
    occupancy, truth, _ = world()
    none = Particles(np.empty((0, 3)))
    score = score_shrec(none, truth, occupancy, voxel_size=10.0, z_offset=0)
    page = build_report(VOLUME, none, truth, score.to_dict(), hits=score.hit_ids > 0)
    assert data_of(page)["picks"] == [] and "Confusion matrix" in charts_of(page)
    assert data_of(build_report(VOLUME, none))["classes"] == []


def test_case_of_class_names_does_not_matter():
    occupancy, truth, picks = world()
    picks = picks.with_columns(classes=np.array(["1S3X", "4CR2", "4d8q"], dtype=object))
    truth = truth.with_columns(classes=np.array(["1s3X", "4d8q"], dtype=object))
    score = score_shrec(picks, truth, occupancy, voxel_size=10.0, z_offset=0)
    page = build_report(VOLUME, picks, truth, score.to_dict())
    counts = {entry["name"]: entry["picks"] for entry in data_of(page)["classes"]}
    assert set(counts) == set(score.class_f1) and [counts[name] for name in ("1s3x", "4cr2", "4d8q")] == [1, 1, 1]
    cells = re.search(r"</i>1s3x</td>(.*?)</tr>", page).group(1)
    assert re.findall(r"<td>([^<]*)</td>", cells)[2:4] == ["1", "1"]
    paired = build_report(VOLUME, picks, truth)
    assert [entry["name"] for entry in data_of(paired)["classes"]] == ["4d8q", "1s3X", "4CR2"]


def test_foreign_classes_and_a_pairing_score():
    _, truth, _ = world()
    truth = truth.with_columns(classes=np.array(["</script><b>", "vault"], dtype=object))
    score = score_pairing(truth, truth, radius=30)
    page = build_report(VOLUME, truth, truth, score.to_dict())
    assert page.count("</script>") == 3
    assert [entry["name"] for entry in data_of(page)["classes"]] == ["</script><b>", "vault"]
    assert "Class F1" in charts_of(page)
    assert "molecular weight" not in page and "smallest" not in page, "nobody knows how large they are"
