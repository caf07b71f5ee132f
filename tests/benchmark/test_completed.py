"""Tables of an earlier state of the package get what is known of the papers today."""

import copy
import json
import statistics
from pathlib import Path

import pytest

from voxpick.benchmark import published as paper
from voxpick.benchmark.claims import claims_table
from voxpick.benchmark.completed import complete
from voxpick.benchmark.settings import Claim, Entry, load_settings
from voxpick.benchmark.tables import build_tables
from voxpick.benchmark.writing import tables_to_dict, tables_to_markdown
from voxpick.report.benchmark_page import build_benchmark_report
from voxpick.shrec_classes import SHREC20_BY_WEIGHT, SHREC20_SIZE_GROUPS

FOLDER = Path(__file__).parents[2] / "benchmarks" / "shrec20"
ENTRIES = {"a": Entry(method="umc", title="A"), "b": Entry(method="densenet", title="B")}


def written(scored, classes=None, entries=ENTRIES):
    """Tables of two entries of one seed each."""
    results = []
    for name, f1 in (("a", 0.5), ("b", 0.25)):
        score = scored(8, f1)
        score["class_f1"] |= dict.fromkeys(classes or (), 0.1)
        test = {"tomogram": "t", "seconds": 9.0, "peak_bytes": 10**9, "score": score}
        results.append({"entry": name, "seed": 0, "status": "done", "stages": [], "tests": [test], "sweep": []})
    return tables_to_dict(build_tables(results, entries))


def test_published_rows_of_an_earlier_state_are_replaced(scored):
    tables = written(scored, classes=["9abc"])
    old = copy.deepcopy(tables)
    for table in old.values():
        table["rows"] = [row for row in table["rows"] if not row["published"] or row["name"] == "UMC"]
        for row in table["rows"]:
            if row["published"]:
                row["shown"] = ["0"] * len(row["shown"])
        table["note"] = "old"
    before = json.dumps(old)
    new = complete(old)
    for key, table in tables.items():
        assert {part: new[key][part] for part in table} == table
    assert json.dumps(old) == before


def test_claims_get_the_numbers_of_their_papers():
    measured = {"with": "a", "without": "b", "measure": "F1"}
    old = [Claim(says=says, **measured) for says in ("one", "two", "three")]
    tables = tables_to_dict([claims_table(old, [])])
    assert complete(tables, old) == tables  # nothing to add
    new = [
        Claim(says="two", **measured, published_with=0.951, published_without=0.931),
        Claim(says="one", **{**measured, "measure": "MH"}, published_with=1, published_without=87),
        Claim(says="four", **measured, published_with=0.5, published_without=0.4, published_measure="accuracy"),
    ]
    table = complete(tables, new)["claims"]
    assert table["columns"][-3:] == ["published with", "published without", "published measure"]
    assert [row["shown"][-3:] for row in table["rows"]] == [["1", "87", "MH"], ["0.951", "0.931", "F1"], ["-"] * 3]
    assert table["rows"][1]["cells"][-3:] == [{"mean": 0.951}, {"mean": 0.931}, {"text": "F1"}]
    assert [len(row[part]) for row in table["rows"] for part in ("cells", "shown")] == [len(table["columns"])] * 6
    assert "the papers' numbers" in table["note"]
    assert complete({"claims": table}, new) == {"claims": table}


def test_published_numbers_of_claims_are_those_of_the_tables():
    location = {
        name: dict(zip(paper.TABLE3_COLUMNS, row, strict=True))
        for name, row in {**paper.VPDETECTOR_TABLE1, **paper.VPDETECTOR_MEAN_SHIFT}.items()
    }
    accuracy = {
        name: dict(zip(paper.ACCURACY_COLUMNS, row, strict=True)) for name, row in paper.VPDETECTOR_TABLE3.items()
    }
    densenets = {
        name: dict(zip(paper.DENSENET_COLUMNS, row, strict=True)) for name, row in paper.DENSENET_TABLE2.items()
    }
    focal, entropy = "focal, tomograms 1-7, 100 layers", "cross-entropy, tomograms 1-7, {} layers"
    of_entry = {
        ("losses", "focal"): focal, ("losses", "cross-entropy"): entropy.format(100), ("ablations", "focal-100"): focal,
        ("ablations", "cross-entropy-100"): entropy.format(100), ("ablations", "cross-entropy-40"): entropy.format(40),
        ("ablations", "focal-100-two-tomograms"): "focal, tomograms 1,2, 100 layers",
    }  # fmt: skip

    def printed(folder, entry, measure):
        if measure in ("MH", "F1"):
            return location["VP-Detector" if "mean-shift" in entry else "VP-Detector before mean-shift"][measure]
        if folder == "claims":
            values = densenets["3D-Dilated-DenseNet" if "dilated" in entry else "3D-DenseNet"]
            return statistics.fmean(values[name] for name in SHREC20_SIZE_GROUPS.get(measure, values))
        values = accuracy[of_entry[folder, entry]]
        return values[measure] if measure in values else statistics.fmean(values[name] for name in paper.CLASS_COLUMNS)

    count = 0
    for folder in ("ablations", "claims", "losses"):
        for claim in load_settings(FOLDER / folder).benchmark.claims:
            pair = [printed(folder, entry, claim.measure) for entry in (claim.with_, claim.without)]
            assert [claim.published_with, claim.published_without] == pytest.approx(pair, abs=6e-4), claim
            assert (pair[0] < pair[1]) == (claim.measure == "MH"), claim
            assert bool(claim.published_measure) == (claim.measure not in ("MH", "F1")), claim
            count += 1
    assert count == 10


def test_rows_trained_as_those_of_table_3_stand_beside_them(scored):
    names = ["focal, tomograms 1-7, 100 layers", "cross-entropy, tomograms 1-7, 40 layers"]
    entries = {key: Entry(method="vp-detector", title=title) for key, title in zip("ab", names, strict=True)}
    tables = written(scored, entries=entries)
    new = complete(tables)
    keys = list(new)
    assert keys[keys.index("class_accuracy") + 1] == "class_accuracy_pairs"
    rows = new["class_accuracy_pairs"]["rows"]
    assert [(row["name"], row["published"]) for row in rows] == [
        (names[1], False), (names[1], True), (names[0], False), (names[0], True),
    ]  # fmt: skip
    small = new["class_accuracy_pairs"]["columns"].index("small")
    assert [row["shown"][small] for row in rows] == ["0.250", "0.550", "0.500", "0.740"]
    assert complete(new) == new
    page = build_benchmark_report("T", new, {})
    part = page[page.index("beside VP-Detector") :]
    part = part[: part.index("</table>")]
    assert part.index(">0.250<") < part.index(">0.550<") < part.index(">0.500<") < part.index(">0.740<")
    assert "class_accuracy_pairs" not in complete(written(scored))


def test_sums_of_class_f1_are_derived_from_the_means(scored):
    tables = written(scored, classes=["9abc"])
    row = next(row for row in tables["class_f1"]["rows"] if row["name"] == "B")
    at = tables["class_f1"]["columns"].index("3gl1")
    row["cells"][at], row["shown"][at] = None, "-"  # neither in the tomogram nor claimed
    new = complete(tables)
    table = new["cumulative_f1"]
    assert list(new)[list(new).index("class_f1") + 1] == "cumulative_f1"
    assert table["columns"] == list(SHREC20_BY_WEIGHT)  # without 9abc and the mean
    shown = {(row["name"], row["published"]): row["shown"] for row in table["rows"]}
    assert shown["A", False] == [f"{0.5 * k:.3f}" for k in range(1, 13)]
    assert shown["B", False][:4] == ["0.250", "0.500", "-", "0.750"]
    assert shown["UMC", True][-1] == "10.856"
    assert shown["3D-DenseNet", True][-3:] == ["6.604", "-", "-"]  # it has no 4cr2
    assert new["class_f1"]["under"]["kDa"][:2] == ["42.75", "62.62"]
    assert new["class_f1"]["under"]["kDa"][-3:] == ["1952.74", "", ""]
    assert complete(new) == new


def test_markdown_has_weights_and_confusion_matrices(scored):
    text = tables_to_markdown("T", complete(written(scored)), (), {"A <1>": scored()["confusion"]})
    assert "| kDa | 42.75 | 62.62 | 84.61 |" in text and "| A | 0.500 | 1.000 | 1.500 |" in text
    matrix = "| true | 1s3x | 4d8q | missed |\n| --- | ---: | ---: | ---: |\n| 1s3x | 3 | 1 | 1 |\n| 4d8q | 1 | 4 |  |"
    assert f"<details><summary>A &lt;1&gt;</summary>\n\n{matrix}\n\n</details>" in text
    strict = {"labels": ["0", "1s3x"], "counts": [[0, 2], [1, 5]]}
    assert "| 1s3x | 5 | 1 |\n| background | 2 |  |" in tables_to_markdown("T", {}, (), {"A": strict})
    assert "Confusion" not in tables_to_markdown("T", complete(written(scored)))
