import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from voxpick.benchmark.launch import launch
from voxpick.benchmark.machine import code_digest, commit
from voxpick.benchmark.plan import stage_minutes
from voxpick.cli.benchmark import _run, budget_of, write_tables
from voxpick.errors import VoxpickError
from voxpick.io.mrc import write_mrc

TWO = {"vp": {"method": "vp-detector"}, "umc": {"method": "umc", "detection": {"threshold": 0.3, "split": "none"}}}


def names(calls):
    return [call[0] for call in calls]


def option(call, name):
    return call[call.index(name) + 1]


def test_two_entries_are_trained_detected_and_scored(bench):
    bench.settings(TWO, threads=2)
    results = bench.run()
    calls = bench.calls()
    assert names(calls) == ["simulate"] * 3 + ["train", "detect"] + ["train", "train", "detect"]
    assert [option(call, "--stage") for call in calls if call[0] == "train"] == ["segmenter", "localizer", "classifier"]
    assert [option(call, "--minutes") for call in calls if call[0] == "train"] == ["10", "5", "5"]
    assert {option(call, "--threads") for call in calls} == {"2"}
    assert [call[i + 1] for call in calls[4:5] for i, word in enumerate(call) if word == "--set"] == [
        "split=none", "threshold=0.3",
    ]  # fmt: skip
    assert results["vp"]["tests"][0]["score"]["parts"] == {"localizer": "vp-detector", "classifier": "vp-detector"}
    assert results["vp"]["status"] == results["umc"]["status"] == "done"
    for stage in (*results["vp"]["stages"], results["umc"]["tests"][0]):
        assert 0.005 < stage["seconds"] < 20
        assert 3e6 < stage["peak_bytes"] < 60e6  # a bare interpreter, not this process


def test_a_rerun_does_nothing_and_changes_run_what_they_touch(bench):
    bench.settings(TWO)
    bench.run()
    bench.calls()
    bench.run()
    assert bench.calls() == []
    bench.settings({**TWO, "umc": {"method": "umc", "title": "new name"}})
    bench.run()
    assert names(bench.calls()) == ["detect"]  # other detection settings, the same model
    bench.settings({**TWO, "vp": {"method": "vp-detector", "changes": {"classifier": {"gamma": 1.0}}}})
    bench.run()
    calls = bench.calls()
    assert names(calls) == ["detect", "train", "detect"]
    assert option(calls[1], "--stage") == "classifier"
    bench.settings(TWO, minutes=20)
    bench.run()
    assert names(bench.calls()) == ["train", "detect", "train", "train", "detect"]
    bench.settings(TWO, minutes=20, data={"training": {"seed": 7}, "validation": {"seed": 2}, "test": {"seed": 3}})
    bench.run()
    assert names(bench.calls()) == ["simulate", "train", "detect", "train", "train", "detect"]


def test_what_fails_leaves_the_others_and_is_tried_again(bench):
    bench.settings({**TWO, "named": {"method": "densenet", "localizer": "vp"}})
    bench.trouble("kill umc/seed_0", "exit segmenter")
    results = bench.run()
    assert {name: result["status"] for name, result in results.items()} == {
        "vp": "done", "umc": "failed", "named": "done",
    }  # fmt: skip
    assert "killed by the system" in results["umc"]["error"]
    assert results["umc"]["log"] == ["about to fail"]
    bench.trouble("exit vp/seed_0")
    bench.calls()
    assert bench.run()["umc"]["status"] == "done"
    assert names(bench.calls()) == ["train", "detect"]  # vp was done before the trouble
    bench.settings({**TWO, "named": {"method": "densenet", "localizer": "vp"}}, minutes=3)
    results = bench.run()
    assert "exit code 3" in results["vp"]["error"]
    assert "needs the model of vp" in results["named"]["error"]


def test_what_a_failed_command_says_is_told(bench):
    """The exit code alone was, and the reason had to be looked up in a log."""
    bench.settings(TWO)
    bench.trouble("error vp/seed_0")
    assert "failed: no room (exit code 3); see " in bench.run()["vp"]["error"]


def test_parts_of_other_entries(bench):
    bench.settings({
        **TWO,
        "named": {"method": "densenet", "localizer": "vp"},
        "lent": {"method": "umc", "classifier": "vp"},
        "again": {"method": "vp-detector", "model_of": "named", "paper_detection": True},
    })  # fmt: skip
    results = bench.run()
    parts = {name: result["tests"][0]["score"]["parts"] for name, result in results.items()}
    assert parts["named"] == parts["again"] == {"localizer": "vp-detector", "classifier": "densenet"}
    assert parts["lent"] == {"segmenter": "umc", "localizer": "vp-detector", "classifier": "vp-detector"}
    trained = {name: [(s["stage"], s["minutes"]) for s in result["stages"]] for name, result in results.items()}
    assert trained["named"] == [("classifier", 5), ("localizer", 5)]
    assert trained["lent"] == [("segmenter", 5), ("classifier", 5)]
    assert sorted(trained["again"]) == sorted(trained["named"])
    assert next(call for call in bench.calls() if "--paper" in call)[0] == "detect"


def test_any_entry_is_named_by_the_classifier_of_any(bench):
    (bench.root / "settings").mkdir()
    given = {"localizer": "given", "classifier": "given"}
    (bench.root / "settings" / "given.pt").write_text(json.dumps(given))
    bench.settings({
        **TWO,
        "yopo": {"method": "yopo", "classifier": "vp"},
        "given": {"method": "vp-detector", "model": "given.pt"},
        "lent": {"method": "vp-detector", "model": "given.pt", "classifier": "vp"},
        "found": {"method": "umc", "classifier": "given"},
        "tm": {"method": "template", "classifier": "vp"},
        "dog": {"method": "blobs", "classifier": "tm"},
        "on-dog": {"method": "densenet", "localizer": "dog"},
    })  # fmt: skip
    results = bench.run()
    assert {result["status"] for result in results.values()} == {"done"}
    parts = {name: result["tests"][0]["score"]["parts"] for name, result in results.items()}
    both = {"localizer": "vp-detector", "classifier": "vp-detector"}
    assert parts["yopo"] == {"classifier": "vp-detector", "localizer": "vp-detector"}
    assert parts["lent"] == both and parts["given"] == given and parts["found"] == {"segmenter": "umc", **given}
    assert parts["tm"] == {"match": "template", **both} and parts["dog"] == {"match": "blobs", **both}
    assert parts["on-dog"] == {"match": "blobs", "classifier": "densenet"}
    trained = {name: [(s["stage"], s["minutes"]) for s in result["stages"]] for name, result in results.items()}
    assert trained["yopo"] == [("classifier", 5), ("classifier", 5)]
    assert trained["tm"] == trained["dog"] == trained["lent"] == [("classifier", 5)]
    assert trained["found"] == [("segmenter", 10)] and trained["on-dog"] == [("classifier", 10)]
    assert results["dog"]["names"] and results["dog"]["stages"][0]["from"] == "vp"
    bench.calls()
    bench.run()
    assert bench.calls() == []


def test_the_training_of_a_finder_called_classifier_is_in_the_costs(bench):
    finder = {"method": "yopo", "changes": {"classifier": {"minutes": 4}}}
    bench.settings({"yopo": finder, "named": {"method": "densenet", "localizer": "yopo"}})
    stages = bench.run()["named"]["stages"]
    assert [(s["stage"], s["minutes"], s.get("from")) for s in stages] == [
        ("classifier", 6, None), ("classifier", None, "yopo"),
    ]  # fmt: skip


@pytest.mark.parametrize(("trouble", "told"), [
    (lambda: {}["F1"], "KeyError: 'F1'"), (lambda: [][0], "IndexError: list index out of range"),
])  # fmt: skip
def test_an_error_of_any_kind_in_scoring_leaves_the_other_entries(bench, trouble, told):
    bench.settings(TWO)

    def score(picks, truth):
        return trouble() if "umc" in picks.read_text() else {}

    runner = dataclasses.replace(bench.runner(), score=score)
    runner.run()
    failed, done = runner.results()
    assert (failed["entry"], failed["status"], failed["error"]) == ("umc", "failed", told)
    assert failed["log"][0].startswith("Traceback") and any("trouble()" in line for line in failed["log"])
    assert (done["entry"], done["status"]) == ("vp", "done")


def test_a_score_that_json_cannot_hold_fails_its_entry_alone(bench):
    bench.settings(TWO)
    runner = dataclasses.replace(bench.runner(), score=lambda picks, _: {"F1": float("nan")})
    runner.run()
    assert [result["status"] for result in runner.results()] == ["failed", "failed"]


def test_templates_are_told_the_tilts_of_each_tomogram(bench):
    """They kept a wedge of 60 degrees on tomograms of 50 and 70."""
    (simulated := bench.root / "simulated").mkdir()
    for file in ("particle_locations.txt", "occupancy_mask.mrc", "reconstruction.mrc"):
        (simulated / file).write_text(file)
    write_mrc(simulated / "occupancy_mask.mrc", np.zeros((2, 3, 4), np.int8), voxel_size=10)
    write_mrc(simulated / "reconstruction.mrc", np.zeros((2, 3, 4), np.float32), voxel_size=10)
    (simulated / "simulation.yaml").write_text("tilt_angles_deg: [-40, 0, 45]\n")
    data = {"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"seed": 3}}
    entries = {
        "tm": {"method": "template"}, "set": {"method": "template", "detection": {"tilt_range": [-20, 20]}},
        "dog": {"method": "blobs"}, "umc": {"method": "umc"},
    }  # fmt: skip

    def told():
        found = {}
        for call in (call for call in bench.calls() if call[0] in ("detect", "match")):
            entry, tomogram = Path(option(call, "--output")).parts[-4], Path(option(call, "--output")).name
            found.setdefault(entry, {})[tomogram] = option(call, "--set") if "--set" in call else None
        return found

    bench.settings(entries, data=data, sweep={"tilt_limit": [50, 60, 70], "seed": 9})
    bench.run()
    names = ["test_model_0", *(f"sweep_tilt_limit_{limit}_model_0" for limit in (50, 60, 70))]
    own = [None, "tilt_range=[-50.0, 49.0]", None, "tilt_range=[-70.0, 68.0]"]  # every 3 degrees from the lowest on
    assert told() == {
        "tm": dict(zip(names, own, strict=True)), "set": dict.fromkeys(names, "tilt_range=[-20, 20]"),
        "dog": dict.fromkeys(names), "umc": dict.fromkeys(names),
    }  # fmt: skip
    bench.run()
    assert bench.calls() == []
    bench.settings({"tm": {"method": "template"}}, data={**data, "test": {"folders": ["../simulated"]}})
    bench.run()
    assert list(told()["tm"].values()) == ["tilt_range=[-40.0, 45.0]"]


def test_minutes_are_split_by_share(bench):
    bench.settings({"vp": {"method": "vp-detector", "split": {"localizer": 1, "classifier": 3}}})
    runner = bench.runner()
    assert stage_minutes("vp", runner.settings, runner.methods) == {"localizer": 2.5, "classifier": 7.5}
    bench.settings({"vp": {"method": "vp-detector", "changes": {"classifier": {"steps": 3}}}})
    runner = bench.runner()
    assert stage_minutes("vp", runner.settings, runner.methods) == {"localizer": 5, "classifier": None}


def test_training_tomograms_and_sweep(bench):
    sweep = {"snr": [0.01, 0.1], "tilt_limit": [50], "seed": 9}
    bench.settings({"two": {"method": "umc", "training": [2]}}, seeds=[0, 4], sweep=sweep)
    results = bench.run()
    calls = bench.calls()
    train = [call for call in calls if call[0] == "train"]
    assert [[word for word in call if "data/training" in word] for call in train] == [
        [str(bench.root / "out/data/training/model_1")]
    ] * 2
    assert [option(call, "--seed") for call in train] == ["0", "4"]
    swept = [(option(c, "--snr"), option(c, "--tilt-limit"), option(c, "--seed")) for c in calls if c[0] == "simulate"]
    assert swept[3:] == [("0.01", "60", "9"), ("0.1", "60", "9"), ("0.004", "50", "9")]
    found = [(test["varied"], test["value"]) for test in results["two"]["sweep"]]
    assert found == [("snr", 0.01), ("snr", 0.1), ("tilt_limit", 50)]
    assert names(calls).count("detect") == 2 * 4


def test_what_learns_nothing_is_run_once_and_scored_beside_the_others(bench):
    entries = {
        "tm": {"method": "template", "detection": {"classes": ["1s3x", "4d8q"], "threshold": 0.5}},
        "dog": {"method": "blobs"},
        "vp": {"method": "vp-detector"},
    }
    bench.settings(entries, seeds=[0, 4])
    results = bench.run()
    calls = bench.calls()
    assert names(calls) == ["simulate"] * 3 + ["match"] * 2 + ["train", "train", "detect"] * 2
    tm = calls[4]
    assert option(tm, "--method") == "template" and "--model" not in tm
    assert [tm[k + 1] for k, word in enumerate(tm) if word == "--template"] == ["1s3x", "4d8q"]
    assert [tm[k + 1] for k, word in enumerate(tm) if word == "--set"] == ["threshold=0.5"]
    assert results["tm"]["tests"][0]["score"]["parts"] == {"match": "template"}
    assert [results[name]["stages"] for name in ("tm", "dog")] == [[], []]
    assert {name: result["names"] for name, result in results.items()} == {"tm": True, "dog": False, "vp": True}
    assert bench.runner().runs() == [("dog", 0), ("tm", 0), ("vp", 0), ("vp", 4)]
    bench.run()
    assert bench.calls() == []
    bench.settings({**entries, "dog": {"method": "template", "title": "blobs no more"}}, seeds=[0, 4])
    bench.run()
    assert names(bench.calls()) == ["match"]  # another method under the same name


def test_a_trained_file_serves_all_seeds(bench):
    (bench.root / "settings").mkdir()
    (bench.root / "settings" / "given.pt").write_text(json.dumps({"localizer": "vp-detector"}))
    bench.settings({
        "given": {"method": "vp-detector", "model": "given.pt"},
        "named": {"method": "densenet", "localizer": "given"},
    }, seeds=[0, 4])  # fmt: skip
    bench.run()
    calls = bench.calls()
    assert names(calls) == ["simulate"] * 3 + ["detect", "train", "detect", "train", "detect"]
    results = bench.runner().results()
    assert [(result["entry"], result["seed"], result["status"]) for result in results] == [
        ("given", 0, "done"), ("named", 0, "done"), ("named", 4, "done"),
    ]  # fmt: skip


def test_memory_of_a_gpu_is_taken_down(bench):
    bench.settings({"umc": {"method": "umc"}})
    (bench.root / "gpu").write_text("123456")
    result = bench.run()["umc"]
    assert result["stages"][0]["device_bytes"] == 123456
    assert result["tests"][0]["device_bytes"] is None  # the stand-in's detection uses none


def test_only_some_entries(bench):
    bench.settings({**TWO, "named": {"method": "densenet", "localizer": "vp"}})
    assert set(bench.run(only=["named"])) == {"named", "vp"}
    with pytest.raises(VoxpickError, match="no entry 'x'"):
        bench.run(only=["x"])


def test_interrupted_training_goes_on_from_its_checkpoint(bench):
    bench.settings({"umc": {"method": "umc"}})
    bench.trouble("exit segmenter")
    bench.run()
    run_dir = bench.root / "out/umc/seed_0/model_segmenter_run"
    run_dir.mkdir()
    (run_dir / "checkpoint.pt").write_text("x")
    record = bench.root / "out/umc/seed_0/steps/train_segmenter.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "seconds": 100.0, "peak_bytes": 10**9}))
    bench.trouble()
    bench.calls()
    stage = bench.run()["umc"]["stages"][0]
    assert "--resume" in bench.calls()[0]
    assert 100 < stage["seconds"] < 120
    assert stage["peak_bytes"] == 10**9


def test_a_killed_benchmark_keeps_the_time_of_its_command(bench):
    """What its launcher wrote down when it ended the command is counted once, where the training goes on."""
    bench.settings({"umc": {"method": "umc"}})
    bench.trouble("exit segmenter")
    bench.run()
    folder = bench.root / "out/umc/seed_0"
    (folder / "model_segmenter_run").mkdir()
    (folder / "model_segmenter_run" / "checkpoint.pt").write_text("x")
    record = folder / "steps" / "train_segmenter.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "seconds": 0.0}))
    usage = {"code": -15, "seconds": 100.0, "peak": 2**21}
    (folder / "steps" / "train_segmenter.usage").write_text(json.dumps(usage))
    bench.trouble()
    bench.calls()
    stage = bench.run()["umc"]["stages"][0]
    assert "--resume" in bench.calls()[0]
    assert 100 < stage["seconds"] < 120 and stage["peak_bytes"] >= 2**31
    assert not (folder / "steps" / "train_segmenter.usage").exists()


def test_results_of_other_settings_are_told(bench):
    bench.settings(TWO, minutes=8)
    bench.run()
    assert bench.runner().outdated() == [] and budget_of(bench.runner().results()) == "8 minutes of training each"
    assert bench.runner().finished() == [("umc", 0), ("vp", 0)] and bench.runner().finished(["vp"]) == [("vp", 0)]
    bench.calls()
    bench.settings({**TWO, "new": {"method": "umc"}}, minutes=60)
    runner = bench.runner()
    assert runner.outdated() == [("umc", 0), ("vp", 0)] and bench.calls() == []
    assert runner.finished() == []
    assert budget_of(runner.results()) == "8 minutes of training each"
    write_tables(runner, outdated=runner.outdated())
    assert "Made under other settings or data: umc, seed 0; vp, seed 0" in (bench.root / "out/tables.md").read_text()
    assert "8 minutes of training each" in (page := (bench.root / "out/report.html").read_text())
    assert "2 made under other settings or data" in page


def test_results_of_other_code_are_told_and_kept(bench):
    bench.settings({"umc": {"method": "umc"}})
    result = bench.run()["umc"]
    assert result["code"] == code_digest() and result["machine"]["commit"] == commit()
    path = bench.root / "out/umc/seed_0/result.json"
    path.write_text(json.dumps({**result, "code": "another", "machine": {**result["machine"], "commit": "a1b2c3"}}))
    bench.calls()
    bench.run()
    assert bench.calls() == []
    write_tables(bench.runner())
    assert "Made by other code: umc, seed 0, commit a1b2c3" in (bench.root / "out/tables.md").read_text()
    assert "1 made by other code" in (bench.root / "out/report.html").read_text()
    path.write_text(json.dumps({key: value for key, value in result.items() if key not in ("code", "machine")}))
    write_tables(bench.runner())  # of an earlier version
    assert "Made by other code: umc, seed 0\n" in (bench.root / "out/tables.md").read_text()


@pytest.mark.parametrize("content", ["{}", '{"status": "done"}', "[" * 5000, '{"entry": "umc", "se', "\0" * 300])
def test_a_damaged_result_is_made_again(bench, content):
    """A KeyError ended --dry-run and --tables-only, a RecursionError the whole benchmark."""
    bench.settings({"umc": {"method": "umc"}})
    before = bench.run()["umc"]
    (bench.root / "out/umc/seed_0/result.json").write_text(content)
    bench.calls()
    assert bench.runner().finished() == []
    assert bench.run()["umc"] == before and bench.calls() == []  # its steps are done


def test_a_model_trained_anew_is_detected_with_anew(bench):
    """The settings were the same, so what borrowed the model kept its old result."""
    bench.settings({**TWO, "named": {"method": "densenet", "localizer": "vp"}})
    results = bench.run()
    shutil.rmtree(bench.root / "out/vp")
    bench.calls()
    bench.run()  # the stand-in trains a model of the same content
    assert names(bench.calls()) == ["train", "train", "detect"]
    bench.calls()
    (bench.root / "out/vp/seed_0/model.pt").write_text(json.dumps({"localizer": "another", "classifier": "another"}))
    assert bench.runner().outdated() == [("named", 0), ("vp", 0)]
    parts = {name: result["tests"][0]["score"]["parts"] for name, result in bench.run().items()}
    assert names(bench.calls()) == ["detect", "detect"]
    assert parts["named"] == {"localizer": "another", "classifier": "densenet"} and parts["umc"] == {"segmenter": "umc"}
    for name in ("vp", "named"):  # as earlier versions wrote them
        result = json.loads((path := bench.root / f"out/{name}/seed_0/result.json").read_text())
        path.write_text(json.dumps({key: value for key, value in result.items() if key != "models"}))
    (bench.root / "out/vp/seed_0/model.pt").write_text("{}")
    bench.run()
    assert bench.calls() == [] and results["named"]["models"] != results["vp"]["models"]


def test_a_borrower_detects_again_in_the_run_that_trains_its_donor_anew(bench):
    entries = {"umc": {"method": "umc"}, "again": {"method": "umc", "model_of": "umc", "detection": {"threshold": 0.3}}}
    bench.settings(entries)
    bench.run()
    shutil.rmtree(bench.root / "out/umc")
    (bench.root / "salt").write_text(", anew")
    bench.calls()
    results = bench.run()
    assert names(bench.calls()) == ["train", "detect", "detect"]
    assert results["again"]["tests"][0]["score"]["parts"] == {"segmenter": "umc, anew"}


def test_one_entry_under_other_settings_leaves_the_results_of_the_others(bench):
    """Those of all others were removed."""
    bench.settings(TWO)
    bench.run()
    bench.settings(TWO, minutes=1)
    assert set(bench.run(only=["umc"])) == {"umc", "vp"}
    assert bench.runner().outdated() == [("vp", 0)]


def test_tomograms_that_no_benchmark_made_are_kept(bench):
    bench.settings(TWO)
    mine = bench.root / "out/data/test/model_0"
    mine.mkdir(parents=True)
    with pytest.raises(VoxpickError, match=r"out/data/test: was not made by a benchmark .* give another --output"):
        bench.run()
    assert mine.exists() and not (bench.root / "out/vp").exists()
    mine.rename(bench.root / "elsewhere")
    mine.parent.rmdir()
    bench.run()
    other = {"training": {"seed": 7}, "validation": {"seed": 2}, "test": {"seed": 3}}
    bench.settings(TWO, data=other)
    assert bench.run()["vp"]["status"] == "done"  # its own are replaced


def test_an_interrupted_simulation_goes_on(bench):
    bench.settings({"umc": {"method": "umc"}})
    bench.trouble("exit data/training")
    with pytest.raises(VoxpickError, match="exit code 3"):
        bench.run()
    made = bench.root / "out/data/training/model_0"
    made.mkdir(parents=True)
    (made / "reconstruction.mrc").write_text("mine")
    bench.trouble()
    bench.calls()
    bench.run()
    calls = [call for call in bench.calls() if call[0] == "simulate"]
    assert ["--resume" in call for call in calls] == [True, False, False]
    assert ["--overwrite" in call for call in calls] == [False, True, True]
    assert (made / "reconstruction.mrc").read_text() == "mine"


def bench_command(bench, only=()) -> int:
    """The exit code of the command."""
    try:
        _run(bench.runner(), list(only))
    except typer.Exit as stop:
        return stop.exit_code
    return 0


def test_tables_tell_what_is_outdated_where_the_data_fail(bench):
    bench.settings(TWO)
    bench.run()
    data = {"training": {"seed": 1, "models": 2}, "validation": {"seed": 2}, "test": {"seed": 5}}
    bench.settings(TWO, data=data)
    bench.trouble("exit data/test")
    with pytest.raises(VoxpickError, match="exit code 3"):
        bench_command(bench)
    assert "Made under other settings or data: umc, seed 0; vp, seed 0" in (bench.root / "out/tables.md").read_text()


def test_only_what_was_run_counts_as_failed(bench):
    bench.settings(TWO)
    bench.trouble("exit umc/seed_0")
    assert bench_command(bench) == 1
    assert bench_command(bench, ["vp"]) == 0
    assert bench_command(bench, ["umc"]) == 1


COUNTS_SIGTERM = """
import pathlib, signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
pathlib.Path(sys.argv[1]).write_text("ready")
until = time.monotonic() + 60
while time.monotonic() < until:
    time.sleep(0.1)
    if asked and until > time.monotonic() + 3:
        until = time.monotonic() + 3
pathlib.Path(sys.argv[1]).write_text(str(len(asked)))
"""


def test_the_command_of_a_killed_benchmark_is_asked_once_to_end(tmp_path):
    """A training that is asked twice ends at once, without its checkpoint."""
    note = tmp_path / "asked"
    code = (
        "import sys; from pathlib import Path; from voxpick.benchmark.launch import launch\n"
        "launch([sys.executable, '-I', '-S', '-c', *sys.argv[2:]], Path(sys.argv[1]))"
    )
    benchmark = subprocess.Popen([sys.executable, "-c", code, tmp_path / "log", COUNTS_SIGTERM, note])
    wait_for(lambda: note.exists() and note.read_text() == "ready")
    benchmark.kill()
    benchmark.wait()
    wait_for(lambda: note.read_text() not in ("", "ready"))
    assert note.read_text() == "1"


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_killed_command_took_its_time(tmp_path):
    """Its launcher is killed along with it and writes nothing down."""
    code = "import os, signal, time; time.sleep(0.3); os.kill(os.getppid(), signal.SIGKILL)"
    outcome = launch([sys.executable, "-I", "-S", "-c", code], tmp_path / "log")
    assert outcome.code == -signal.SIGKILL and 0.3 < outcome.seconds < 60


def test_a_stage_is_trained_anew_into_a_file_that_holds_it(bench):
    bench.settings(TWO)
    bench.run()
    bench.calls()
    bench.settings({**TWO, "vp": {"method": "vp-detector", "changes": {"classifier": {"gamma": 1.0}}}})
    bench.run()
    assert "--overwrite" in next(call for call in bench.calls() if call[0] == "train")


def test_memory_of_a_process_is_its_own(tmp_path):
    code = "import os; block = bytearray(80_000_000); block[::4096] = b'x' * len(block[::4096])"
    outcome = launch(["python3", "-c", code], tmp_path / "log")
    assert outcome.code == 0
    assert 80e6 < outcome.peak_bytes < 120e6
    assert launch(["no-such-program"], tmp_path / "log").code != 0


def test_ctrl_c_asks_the_command_once_and_keeps_its_time(tmp_path):
    code = (
        "import signal, sys, time\n"
        "asked = []\n"
        "signal.signal(signal.SIGINT, lambda *_: asked.append(1))\n"
        f"open({str(tmp_path / 'ready')!r}, 'w')\n"
        "while not asked: time.sleep(0.01)\n"
        "time.sleep(0.2); print('asked', len(asked)); sys.exit(130)\n"
    )

    def interrupt():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt) as caught:
            launch([sys.executable, "-c", code], tmp_path / "log")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "log").read_text() == "asked 1\n"
    assert caught.value.outcome.code == 130
    assert 0.2 < caught.value.outcome.seconds < 20
