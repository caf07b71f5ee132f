"""simulate -> train -> detect -> evaluate -> report, through the commands, on easy data."""

import json

import pytest

from voxpick.cli import main


def voxpick(monkeypatch, *words) -> int:
    """Run a command in this process; its exit code."""
    monkeypatch.setattr("sys.argv", ["voxpick", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_from_atoms_to_scored_picks(tmp_path, monkeypatch, capsys):
    easy = (
        "--classes",
        "4d8q,4cr2",
        "--size",
        "56,80,96",
        "--thickness",
        "64",
        "--particles",
        "7",
        "--snr",
        "0.5",
        "--tilt-step",
        "4",
    )
    for name, seed in (("train", 1), ("held_out", 2)):
        assert (
            voxpick(monkeypatch, "simulate", "shrec20", tmp_path / name, "--seed", seed, *easy, "--threads", "1") == 0
        )
    small = [f"--set=network_settings.{key}" for key in ("depth=14",)]
    run = (
        "train",
        "--method",
        "vp-detector",
        tmp_path / "train/model_0",
        "--validation",
        tmp_path / "held_out/model_0",
        "--output",
        tmp_path / "m.pt",
        "--threads",
        "1",
        *small,
    )
    quick = ("--set", "patch=40", "--set", "average_decay=0.9", "--set", "learning_rate=0.005")
    assert voxpick(monkeypatch, *run, "--stage", "localizer", "--steps", "60", *quick) == 0
    assert voxpick(monkeypatch, *run, "--stage", "classifier", "--steps", "8", "--set", "batch=2") == 0
    tomogram = tmp_path / "held_out/model_0/reconstruction.mrc"
    assert (
        voxpick(
            monkeypatch,
            "detect",
            tomogram,
            "--model",
            tmp_path / "m.pt",
            "--output",
            tmp_path / "picks",
            "--threads",
            "1",
        )
        == 0
    )
    for suffix in ("star", "csv", "txt"):
        scores = tmp_path / f"{suffix}.json"
        picks = tmp_path / f"picks/reconstruction.{suffix}"
        assert (
            voxpick(
                monkeypatch, "evaluate", picks, tmp_path / "held_out/model_0", "--frame", "tomogram", "--json", scores
            )
            == 0
        )
    by_suffix = {s: json.loads((tmp_path / f"{s}.json").read_text())["localisation"] for s in ("star", "csv", "txt")}
    assert by_suffix["star"]["F1"] >= 0.8
    assert by_suffix["star"]["TP"] == by_suffix["csv"]["TP"] == by_suffix["txt"]["TP"]
    page = tmp_path / "report.html"
    words = ("report", tomogram, tmp_path / "picks/reconstruction.star", "--truth", tmp_path / "held_out/model_0")
    assert voxpick(monkeypatch, *words, "--output", page) == 0
    assert "<html" in page.read_text()[:200].lower()


def test_the_shipped_weights_find_particles(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("voxpick.cli.demo.DEMO_SIZE", (80, 112, 128))
    assert voxpick(monkeypatch, "demo", "--seed", 1_000_000_005, "--output", tmp_path / "demo") == 0
    files = {path.name for path in (tmp_path / "demo").iterdir()}
    assert files == {"model_0", "picks.star", "picks.csv", "picks.txt", "report.html"}
    printed = capsys.readouterr().out
    f1 = float(printed.split("F1 ")[-1].split(",")[0])
    assert f1 == pytest.approx(1.0, abs=0.2), printed
