"""`voxpick benchmark shrec20` with the real commands, on specimens of a few particles."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from voxpick.benchmark.launch import DEVICE_MEMORY
from voxpick.cli import main
from voxpick.cli.device_memory import note_device_memory


def voxpick(monkeypatch, *words) -> int:
    """Run a command in this process; its exit code."""
    monkeypatch.setattr("sys.argv", ["voxpick", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_from_settings_to_report(tmp_path, monkeypatch, capsys):
    recipe = {"size": [40, 64, 72], "thickness": 48, "particles": 5, "classes": "4d8q,4cr2", "snr": 0.5, "tilt_step": 6}
    options = [w for k, v in recipe.items() if k != "size" for w in (f"--{k.replace('_', '-')}", v)]
    for name, seed in (("training", 1), ("validation", 2)):
        command = ("simulate", "shrec20", tmp_path / name, "--seed", seed, "--size", "40,64,72", *options)
        assert voxpick(monkeypatch, *command, "--threads", 1) == 0
    settings, out = tmp_path / "settings", tmp_path / "out"
    settings.mkdir()
    benchmark = {
        "data": {
            "recipe": recipe,
            "training": {"folders": ["../training/model_0"]},
            "validation": {"folders": ["../validation/model_0"]},
            "test": {"seed": 3},
        },
        "minutes": None, "threads": 1, "validation_side": 0, "device": "cpu",
    }  # fmt: skip
    small = {
        "localizer": {"steps": 3, "patch": 24, "network_settings": {"depth": 7}},
        "classifier": {"steps": 2, "patch": 16, "batch": 2, "network_settings": {"depth": 5}},
    }
    entries = {
        "vp": {"method": "vp-detector", "changes": small},
        "bad": {"method": "vp-detector", "model_of": "vp", "detection": {"slab": "900:950"}},
        "dog": {"method": "dog", "detection": {"radius": 90, "deviations": 2}},
    }
    for name, content in {"benchmark": benchmark, **entries}.items():
        (settings / f"{name}.yaml").write_text(yaml.safe_dump(content))
    assert voxpick(monkeypatch, "benchmark", "shrec20", settings, "--output", out) == 1
    assert "bad, seed 0: failed" in capsys.readouterr().out

    result = json.loads((out / "vp/seed_0/result.json").read_text())
    assert [stage["stage"] for stage in result["stages"]] == ["localizer", "classifier"]
    assert all(5e7 < part["peak_bytes"] < 3e9 for part in (*result["stages"], *result["tests"]))
    score = result["tests"][0]["score"]
    assert score["particles"] == 5
    assert score["localisation"]["TP"] + score["localisation"]["FN"] == 5
    assert result["tests"][0]["score"]["strict"]["localisation"]["MH"] == 0
    failed = json.loads((out / "bad/seed_0/result.json").read_text())
    assert "900:950" in "".join(failed["log"])
    untrained = json.loads((out / "dog" / "seed_0" / "result.json").read_text())
    assert untrained["status"] == "done" and untrained["stages"] == []
    assert untrained["tests"][0]["score"]["localisation"]["RR"] > 0

    tables = json.loads((out / "tables.json").read_text())["tables"]
    row = next(row for row in tables["localisation"]["rows"] if row["name"] == "vp")
    assert [cell["mean"] for cell in row["cells"][:2]] == [score["localisation"][name] for name in ("RR", "TP")]
    assert "| vp |" in (out / "tables.md").read_text()
    shown = {row["name"]: row["shown"] for row in tables["class_f1"]["rows"] if not row["published"]}
    assert set(shown["dog"]) == {"-"} != set(shown["vp"])
    costs = {
        row["name"]: dict(zip(tables["costs"]["columns"], row["shown"], strict=True)) for row in tables["costs"]["rows"]
    }
    assert costs["dog"]["training"] == "-" != costs["dog"]["inference"]
    assert "900:950" in (out / "report.html").read_text()


def test_unknown_training_settings_are_refused_before_the_first_simulation(tmp_path, monkeypatch, capsys):
    data = {"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"seed": 3}}
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump({"data": data}))
    (tmp_path / "one.yaml").write_text("method: vp-detector\nchanges: {localizer: {colour: 1}}\n")
    assert voxpick(monkeypatch, "benchmark", "shrec20", tmp_path, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "one.yaml: localizer" in said
    assert "colour" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["report.html", "tables.md", "tables.json"])
def test_tables_that_no_benchmark_wrote_are_kept(tmp_path, monkeypatch, capsys, name):
    data = {"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"seed": 3}}
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump({"data": data}))
    (tmp_path / "one.yaml").write_text("method: vp-detector\nmodel: vp-detector\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("[1]")
    for more in ([], ["--tables-only"]):
        assert voxpick(monkeypatch, "benchmark", "shrec20", tmp_path, "--output", tmp_path / "out", *more) == 2
        assert f"{name}: was not made by this command" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [(name, "[1]")]


@pytest.mark.parametrize(("entry", "complaint"), [
    ("method: vp-detector\ndetection: {tresh: 0.5}", "one.yaml: detection: tresh = 0.5: .*known: .*halo"),
    ("method: yopo\ndetection: {stride: 0}", "one.yaml: detection: stride = 0"),
    ("method: tm-f\ndetection: {angle: 20}", "one.yaml: detection: angle = 20"),
    ("method: dog\npaper_detection: true", "one.yaml: paper_detection: dog has no steps"),
])  # fmt: skip
def test_misspelt_detection_settings_are_refused_before_the_first_simulation(
    tmp_path, monkeypatch, capsys, entry, complaint
):
    data = {"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"seed": 3}}
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump({"data": data}))
    (tmp_path / "one.yaml").write_text(entry)
    assert voxpick(monkeypatch, "benchmark", "shrec20", tmp_path, "--output", tmp_path / "out") == 2
    assert re.search(complaint, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path, monkeypatch, capsys):
    settings = Path(__file__).parents[2] / "benchmarks" / "shrec20" / "claims"
    command = ("benchmark", "shrec20", settings, "--output", tmp_path / "out", "--minutes", 4, "--dry-run")
    assert voxpick(monkeypatch, *command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "shipped (vp-detector), seeds 0: no training"
    assert lines[3] == "densenet (densenet), seeds 0, 1: classifier 4 min, localizer of shipped"
    assert lines[-1] == "5 entries, 16 minutes of training in all"  # 2 seeds of 2 * 4 minutes
    assert not (tmp_path / "out").exists()


def test_memory_of_a_gpu_is_written_where_it_is_asked_for(tmp_path, monkeypatch):
    note, used = tmp_path / "note", {0: 5, 1: 7}
    cuda = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: len(used), max_memory_allocated=used.__getitem__
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    note_device_memory()
    assert not note.exists()  # nobody asked
    monkeypatch.setenv(DEVICE_MEMORY, str(note))
    note_device_memory()
    assert note.read_text() == "7"
