"""`voxpick benchmark shrec20` with the real commands, on specimens of a few particles."""

import json

import yaml

from voxpick.cli import main


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
        "bad": {"method": "vp-detector", "model_of": "vp", "detection": {"tresh": 0.5}},
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
    assert "tresh" in "".join(failed["log"])

    tables = json.loads((out / "tables.json").read_text())["tables"]
    row = next(row for row in tables["localisation"]["rows"] if row["name"] == "vp")
    assert [cell["mean"] for cell in row["cells"][:2]] == [score["localisation"][name] for name in ("RR", "TP")]
    assert "| vp |" in (out / "tables.md").read_text()
    assert "tresh" in (out / "report.html").read_text()


def test_unknown_training_settings_are_refused_before_the_first_simulation(tmp_path, monkeypatch, capsys):
    data = {"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"seed": 3}}
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump({"data": data}))
    (tmp_path / "one.yaml").write_text("method: vp-detector\nchanges: {localizer: {colour: 1}}\n")
    assert voxpick(monkeypatch, "benchmark", "shrec20", tmp_path, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "one.yaml: localizer" in said
    assert "colour" in said
    assert not (tmp_path / "out").exists()
