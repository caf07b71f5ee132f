import json
import statistics

import numpy as np
import pytest

from voxpick.benchmark import published as paper
from voxpick.benchmark.claims import claims_table, units, verdict
from voxpick.benchmark.completed import complete
from voxpick.benchmark.settings import Claim, Entry
from voxpick.benchmark.tables import build_tables, confusions
from voxpick.benchmark.writing import duration, memory, tables_to_dict, tables_to_markdown
from voxpick.report.benchmark_page import build_benchmark_report
from voxpick.shrec_classes import SHREC20_BY_WEIGHT, SHREC20_SIZE_GROUPS

ENTRIES = {"vp": Entry(method="vp-detector", title="Ours"), "umc": Entry(method="umc"), "bad": Entry(method="yopo")}


def run(entry, seed, stages, tests, sweep=()):
    return {"entry": entry, "seed": seed, "status": "done", "stages": stages, "tests": tests, "sweep": list(sweep)}


@pytest.fixture
def results(scored):
    def test(tp, f1, seconds, size, **about):
        return {"tomogram": "t", "seconds": seconds, "peak_bytes": size, "score": scored(tp, f1), **about}

    parts = [{"stage": "localizer", "seconds": 100.0, "peak_bytes": 3e9}]
    parts += [{"stage": "classifier", "seconds": 50.0, "peak_bytes": 2e9}]
    swept = [test(t, 0.1 * t, 1.0, 1, varied="snr", value=v) for t, v in ((2, 0.01), (6, 0.1))]
    return [
        run("vp", 0, parts, [test(8, 0.5, 60.0, 1e9), test(9, 0.6, 80.0, 1e9)], swept),
        run("vp", 1, [{**parts[0], "seconds": 250.0}], [test(7, 0.7, 70.0, 4e9)], [swept[1]]),
        run("umc", 0, [], [test(4, 0.2, 5.0, 5e8)]),
        {"entry": "bad", "seed": 0, "status": "failed", "error": "no", "log": ["Killed"]},
    ]


def rows(tables, key):
    return {row["name"]: dict(zip(tables[key]["columns"], row["cells"], strict=True)) for row in tables[key]["rows"]}


def shown(tables, key):
    return {row["name"]: dict(zip(tables[key]["columns"], row["shown"], strict=True)) for row in tables[key]["rows"]}


def test_means_and_spreads_are_those_by_hand(results):
    tables = tables_to_dict(build_tables(results, ENTRIES))
    ours = rows(tables, "localisation")["Ours"]
    assert ours["TP"] == {"mean": 8.0, "spread": 1.0, "n": 3}  # of 8, 9 and 7
    assert ours["F1"]["mean"] == pytest.approx(0.8)
    assert ours["F1"]["spread"] == pytest.approx(0.1)
    assert shown(tables, "localisation")["Ours"]["FP"] == "2.0 ± 1.0"
    assert shown(tables, "localisation")["umc"]["TP"] == "4"
    assert rows(tables, "class_f1")["Ours"]["mean"]["mean"] == pytest.approx(0.6)
    assert rows(tables, "class_accuracy")["umc"]["small"] == {"mean": pytest.approx(0.2), "spread": None, "n": 1}
    costs = rows(tables, "costs")["Ours"]
    assert costs["training"]["mean"] == 200.0  # (100 + 50 and 250) / 2
    assert costs["training memory"]["mean"] == 3e9
    assert costs["inference"] == {"mean": 70.0, "spread": 10.0, "n": 3}
    assert shown(tables, "costs")["Ours"]["inference"] == "1 m 10 s ± 10 s"
    assert rows(tables, "costs")["umc"]["training"] is None
    assert "bad" not in rows(tables, "localisation")


def test_sweeps_have_a_column_for_every_value(results):
    tables = tables_to_dict(build_tables(results, ENTRIES))
    assert tables["sweep_snr_location"]["columns"] == ["0.01", "0.1"]
    found = rows(tables, "sweep_snr_location")
    assert set(found) == {"Ours"}
    assert found["Ours"]["0.01"] == {"mean": 0.2, "spread": None, "n": 1}
    assert found["Ours"]["0.1"] == {"mean": 0.6, "spread": 0.0, "n": 2}
    assert rows(tables, "sweep_snr_class")["Ours"]["0.1"]["mean"] == pytest.approx(0.6)
    assert "sweep_tilt_limit_class" not in tables


def test_confusions_add_up(results):
    assert confusions(results, ENTRIES)["Ours"] == {
        "labels": ["0", "1s3x", "4d8q"], "counts": [[0, 0, 0], [3, 9, 3], [0, 3, 12]],
    }  # fmt: skip


def test_confusions_add_up_by_the_names_of_classes(scored):
    """A class may be missing from one of the tomograms, or stand elsewhere."""
    tests = [{"tomogram": name, "seconds": 1.0, "peak_bytes": 1, "score": scored()} for name in "abc"]
    tests[1]["score"]["confusion"] = {"labels": ["0", "4d8q"], "counts": [[0, 2], [1, 5]]}
    tests[2]["score"]["confusion"] = {"labels": ["0", "9abc", "1s3x"], "counts": [[0, 0, 0], [0, 7, 1], [0, 2, 0]]}
    assert confusions([run("umc", 0, [], tests)], ENTRIES)["umc"] == {
        "labels": ["0", "1s3x", "4d8q", "9abc"],
        "counts": [[0, 0, 2, 0], [1, 3, 1, 2], [1, 1, 9, 0], [0, 1, 0, 7]],
    }


def test_every_table_has_mean_and_spread_of_the_seeds(scored):
    results = []
    for seed, tp in enumerate((6, 7, 8)):
        test = {"tomogram": "t", "seconds": 10.0 * tp, "peak_bytes": 1e8 * tp, "score": scored(tp, tp / 20)}
        swept = [{**test, "varied": what, "value": value} for what, value in (("snr", 0.01), ("tilt_limit", 60))]
        stage = {"stage": "segmenter", "seconds": 100.0 * tp, "peak_bytes": 2e8 * tp, "device_bytes": 10**9 * tp}
        results.append(run("umc", seed, [stage], [{**test, "device_bytes": 10**8 * tp}], swept))
    tables = tables_to_dict(build_tables(results, ENTRIES))
    assert len(tables) == 9
    for key in tables:
        constant = ("RR", "MH", "RO", "AD")
        for column, cell in rows(tables, key)["umc"].items():
            assert cell["n"] == 3 and (cell["spread"] > 0 or column in constant), (key, column)
    assert rows(tables, "class_f1")["umc"]["4d8q"] == {
        "mean": pytest.approx(0.35),
        "spread": pytest.approx(0.05),
        "n": 3,
    }
    assert shown(tables, "size_groups")["umc"]["large"] == "0.350 ± 0.050"
    assert shown(tables, "costs")["umc"]["training GPU memory"] == "7.00 GB ± 1.00 GB"
    assert shown(tables, "costs")["umc"]["inference GPU memory"] == "700 MB ± 100 MB"
    assert shown(tables, "sweep_tilt_limit_class")["umc"]["60"] == "0.350 ± 0.050"


def test_picks_without_names_have_no_place_in_the_tables_of_classes(results):
    results[2]["names"] = False
    tables = tables_to_dict(build_tables(results, ENTRIES))
    assert shown(tables, "localisation")["umc"]["F1"] == "0.400"
    for key in ("class_f1", "size_groups", "class_accuracy"):
        assert set(shown(tables, key)["umc"].values()) == {"-"} != set(shown(tables, key)["Ours"].values())
    assert set(confusions(results, ENTRIES)) == {"Ours"}
    assert "training GPU memory" not in tables["costs"]["columns"]


def claimed(measure):
    return Claim(says="C", source="P", **{"with": "vp", "without": "umc"}, measure=measure)


def test_claims_are_told_from_pairs(scored):
    results = []
    for seed, (tp, other, f1) in enumerate([(9, 6, 0.5), (10, 6, 0.4), (8, 6, 0.6)]):
        for name, hits, value in (("vp", tp, 0.5), ("umc", other, f1)):
            test = {"tomogram": "t", "seconds": 1.0, "peak_bytes": 1, "score": scored(hits, value)}
            test["score"]["localisation"]["MH"] = hits - 6
            results.append(run(name, seed, [], [test]))
    results.append(run("vp", 3, [], [results[0]["tests"][0]]))  # has no partner
    table = claims_table([claimed("F1"), claimed("small"), claimed("MH")], results)
    shown = [cell.text for row in table.rows for cell in row.cells[4:]]
    assert shown == ["3", "3", "yes", "3", "3", "open", "3", "3", "no"]
    assert table.rows[0].cells[3].mean == pytest.approx(0.3)  # of 0.3, 0.4 and 0.2
    assert table.rows[0].cells[3].spread == pytest.approx(0.1)
    assert table.rows[1].cells[3].mean == pytest.approx(0.0)
    assert "Claimed by: P." in table.note
    assert claims_table([claimed("F1")], results[:2]).rows[0].cells[6].text == "open"  # one pair says nothing


def test_the_page_shows_claims_and_leaves_unnamed_picks_out_of_the_class_figures(results):
    results[2]["names"] = False
    tables = build_tables(results, ENTRIES)
    for test in results[0]["tests"] + results[1]["tests"]:
        test["tomogram"] = "t"
    tables.append(claims_table([claimed("F1")], results))
    page = build_benchmark_report("T", complete(tables_to_dict(tables)), confusions(results, ENTRIES))
    assert "What the papers claim" in page and "<td>open</td>" in page
    figures = page[page.index("Cumulative F1, this run") :]
    key = figures[figures.index('<p class="key">') : figures.index("</p>", figures.index('<p class="key">'))]
    assert "Ours" in key and "umc" not in key


@pytest.mark.parametrize("measure", ["mean", "small", "medium", "large"])
def test_claims_on_classes_pass_over_picks_without_names(scored, measure):
    results = []
    for seed in range(3):
        for name, tp in (("vp", 9), ("umc", 6)):
            test = {"tomogram": "t", "seconds": 1.0, "peak_bytes": 1, "score": scored(tp + seed % 2, tp / 10)}
            results.append({**run(name, seed, [], [test]), "names": name == "vp"})
    of_classes, of_places = claims_table([claimed(measure), claimed("F1")], results).rows
    assert [cell.text for cell in of_classes.cells[4:]] == ["0", "0", "open"] and of_classes.cells[2].mean is None
    assert of_places.cells[4].text == "3"


def test_classes_of_ones_own_follow_those_of_shrec(results):
    for test in results[0]["tests"]:
        for key in ("class_f1", "class_accuracy"):
            test["score"][key] = {"mine": 0.25, **test["score"][key], "actin": 0.75}
    tables = tables_to_dict(build_tables(results, ENTRIES))
    assert tables["class_f1"]["columns"] == [*paper.CLASS_COLUMNS, "actin", "mine", "mean"]
    assert tables["class_accuracy"]["columns"] == [*paper.ACCURACY_COLUMNS, "actin", "mine"]
    for key in ("class_f1", "class_accuracy"):
        assert shown(tables, key)["Ours"]["mine"] == "0.250 ± 0.000" and shown(tables, key)["umc"]["mine"] == "-"
        assert all(len(row["cells"]) == len(tables[key]["columns"]) for row in tables[key]["rows"])
        assert "not of SHREC'20 come after" in tables[key]["note"]
    assert rows(tables, "class_f1")["UMC"]["mean"]["mean"] == pytest.approx(0.905, abs=0.001)
    assert ">mine</th>" in build_benchmark_report("T", complete(tables), {})


def test_sums_of_f1_leave_out_classes_that_are_absent(results):
    for result in results[:3]:
        for test in result["tests"]:
            test["score"]["class_f1"] = {**dict.fromkeys(SHREC20_BY_WEIGHT, 0.5), "3qm1": None}
    page = build_benchmark_report("T", complete(tables_to_dict(build_tables(results, ENTRIES))), {})
    assert "Ours, 3gl1: 1.000" in page and "Ours, 1s3x: 0.500" in page and "Ours, 3qm1" not in page


def seeds(*gains):
    return {(seed, "t"): gain for seed, gain in enumerate(gains)}


def tomograms(*gains):
    return {(0, f"t{k}"): gain for k, gain in enumerate(gains)}


@pytest.mark.parametrize("gains", [seeds, tomograms])
def test_a_difference_is_sure_beyond_students_t(gains):
    assert verdict(gains(0.15, 0.2, 0.25), less=False) == "yes"  # 0.2 against 4.30 * 0.029
    assert verdict(gains(0.15, 0.2, 0.25), less=True) == "no"
    assert verdict(gains(0.1, 0.2, 0.3), less=False) == "open"  # 0.2 against 4.30 * 0.058
    assert verdict(gains(-3, -4), less=True) == "open"  # 3.5 against 12.7 * 0.5
    assert verdict(gains(-3.9, -4), less=True) == "yes"
    assert verdict(gains(0.1, 0.1), less=False) == "yes"
    assert verdict(gains(0.0, 0.0), less=False) == "open"
    assert verdict(gains(0.5), less=False) == "open"


def test_tomograms_of_one_seed_are_one_observation():
    two_seeds = {(seed, f"t{k}"): gain for seed, gain in ((0, 0.3), (1, 0.1)) for k in range(3)}
    assert units(two_seeds) == pytest.approx([0.3, 0.1])
    assert verdict(two_seeds, less=False) == "open"  # of six equal pairs it would have been 'yes'
    assert units(tomograms(0.1, 0.2)) == [0.1, 0.2]


def test_no_effect_is_seldom_called_one():
    """Seeds that differ, and tomograms that differ less: 'yes' or 'no' in one of twenty, whatever is repeated."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(2000):
        spread = rng.normal(size=2)
        gains = {(seed, f"t{k}"): spread[seed] + rng.normal(scale=0.5) for seed in range(2) for k in range(3)}
        wrong += verdict(gains, less=False) != "open"
    assert 0.035 < wrong / 2000 < 0.065


def test_published_rows_stand_in_every_table_and_say_so(results):
    tables = tables_to_dict(build_tables(results, ENTRIES))
    json.dumps(tables, allow_nan=False)
    for key in ("localisation", "class_f1", "size_groups", "class_accuracy", "costs"):
        published = [row for row in tables[key]["rows"] if row["published"]]
        assert published
        assert all("Table" in row["source"] or "section" in row["source"] for row in published)
        assert not any(row["source"] for row in tables[key]["rows"] if not row["published"])
    text = tables_to_markdown("T", tables, ["Failed: bad"])
    assert (
        "| UMC | 2781 | 2642 | 68 | 140 | 68 | 0 | 1.873 | 0.949 | 0.950 | 0.051 | 0.949 | SHREC'20, Table 3 (publ"
        in text
    )
    assert "| Ours | 10.0 ± 0.0 | 8.0 ± 1.0 |" in text
    assert "\n\nFailed: bad\n\n" in text


def test_the_published_tables_are_whole_and_agree_with_themselves():
    methods = ["3D MS-D", "DeepFinder", "3D ResNet", "YOPO", "Dn3DUnet", "UMC", "TM-T", "TM-F"]
    for table in (paper.SHREC20_TABLE3, paper.SHREC20_TABLE4, paper.SHREC20_TABLE6):
        assert list(table) == methods
    assert list(paper.SHREC20_TABLE7) == [*methods[:6], "TM-T/TM-F GPU", "TM-T/TM-F CPU"]
    for name, row in {**paper.SHREC20_TABLE3, **paper.VPDETECTOR_TABLE1}.items():
        value = dict(zip(paper.TABLE3_COLUMNS, row, strict=True))
        assert value["TP"] + value["FN"] == 2782, name
        assert value["recall"] == pytest.approx(value["TP"] / 2782, abs=0.002), name
        assert value["precision"] == pytest.approx(value["TP"] / value["RR"], abs=0.002), name
        harmonic = 2 * value["recall"] * value["precision"] / (value["recall"] + value["precision"])
        assert value["F1"] == pytest.approx(harmonic, abs=0.002), name
    assert set(paper.CLASS_COLUMNS) == set(SHREC20_BY_WEIGHT)
    for name, groups in paper.SHREC20_TABLE6.items():
        f1 = dict(zip(paper.CLASS_COLUMNS, paper.SHREC20_TABLE4[name], strict=True))
        for group, value in zip(paper.GROUP_COLUMNS, groups, strict=True):
            assert value == pytest.approx(statistics.fmean(f1[c] for c in SHREC20_SIZE_GROUPS[group]), abs=0.0011), name
    assert statistics.fmean(paper.SHREC20_TABLE4["DeepFinder"]) == pytest.approx(0.871, abs=5e-4)  # section 5
    for name, row in paper.VPDETECTOR_TABLE3.items():
        value = dict(zip(paper.ACCURACY_COLUMNS, row, strict=True))
        for group, members in SHREC20_SIZE_GROUPS.items():
            assert value[group] == pytest.approx(statistics.fmean(value[c] for c in members), abs=0.0055), name


def test_dilated_densenets_table_is_whole_and_stands_where_it_can_be_compared(results):
    classes = {*SHREC20_BY_WEIGHT, "4b4t"} - {"4cr2"}
    assert set(paper.DENSENET_COLUMNS) == classes
    plain, dilated = (
        dict(zip(paper.DENSENET_COLUMNS, paper.DENSENET_TABLE2[name], strict=True))
        for name in ("3D-DenseNet", "3D-Dilated-DenseNet")
    )
    gains = [
        statistics.fmean(dilated[name] - plain[name] for name in group)
        for group in (("1s3x", "3qm1", "3gl1"), ("3d2f", "1u6g", "2cg9", "3h84"), ("1qvr", "1bxn", "3cf3"))
    ]
    assert gains == pytest.approx([0.053, 0.068, 0.037], abs=5e-4)  # which its text gives other groups
    tables = tables_to_dict(build_tables(results, ENTRIES))
    row = shown(tables, "class_f1")["3D-Dilated-DenseNet"]
    assert (row["4cr2"], row["4d8q"], row["mean"]) == ("-", "0.997", "0.762")
    row = shown(tables, "size_groups")["3D-Dilated-DenseNet"]
    assert list(row.values()) == ["0.609", "0.820", "-"]  # large has 4cr2
    assert "3D-DenseNet 1.000, 3D-Dilated-DenseNet 1.000" in tables["class_f1"]["note"]


def test_durations_and_sizes():
    assert [duration(s) for s in (3.24, 59.6, 130, 3600, 9000)] == [
        "3.2 s",
        "1 m 00 s",
        "2 m 10 s",
        "1 h 00 m",
        "2 h 30 m",
    ]
    assert [memory(n) for n in (5e8, 2.346e9)] == ["500 MB", "2.35 GB"]
