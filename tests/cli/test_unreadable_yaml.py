"""YAML of which PyYAML raises what is not its own, or that is a bomb, and bytes that are no text, are told, or taken as
if they were not there."""

import pytest
from bad_files import TINY, refused

from voxpick.benchmark.datasets import _seed_of
from voxpick.benchmark.settings import load_settings
from voxpick.cli.outputs import keep_foreign_notes
from voxpick.cli.simulation_notes import read_simulation
from voxpick.cli.zoo_specimens import _require_same
from voxpick.errors import VoxpickError
from voxpick.io.run_directory import DATA_FILE, RunDirectory

BOMB = b"a0: &a0 [x, x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (k, k, k - 1, k - 1) for k in range(1, 40))
NO_YAML = [
    b"seed: 2024-02-30\n", b"seed: 0x_\n", b"seed: \xe9\n", b"seed: !!bool x\n", b"seed: !!float ''\n",
    b"seed: !!timestamp x\n", b"seed: " + b"[" * 5000 + b"]" * 5000, BOMB + b"seed: *a39\n", b"seed: &a [*a]\n",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_YAML)
def test_records_that_cannot_be_read(tmp_path, text):
    for name in ("simulation.yaml", "detect.yaml", DATA_FILE, "benchmark.yaml"):
        (tmp_path / name).write_bytes(text)
    assert read_simulation(tmp_path) == {} and _seed_of(tmp_path) == []
    with pytest.raises(VoxpickError, match="is not the specimen that this model needs"):
        _require_same(tmp_path, {"seed": 1, "model": 0, "recipe": {"size_zyx": [8, 8, 8]}})
    with pytest.raises(VoxpickError, match=r"detect\.yaml: was not made by this command"):
        keep_foreign_notes(tmp_path, "detect.yaml", None, ["detect.yaml"], overwrite=False)
    RunDirectory(tmp_path).require_same_data({"mark": "a"})
    with pytest.raises(VoxpickError, match=r"benchmark\.yaml: not a readable YAML file"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, "config.yaml: not a readable YAML file") for text in NO_YAML]
    + [(f"{key}: 1\n".encode(), f"config.yaml: the key {told} is not a name; put it in quotes") for key, told in
       [("3", "3"), ("yes", "True"), ("null", "None")]],
)  # fmt: skip
def test_settings_that_cannot_be_read(monkeypatch, capsys, place, tmp_path, text, expected):
    (tmp_path / "config.yaml").write_bytes(text)
    words = ["train", "truth", *TINY, "--config", tmp_path / "config.yaml", "--output", tmp_path / "m.pt"]
    refused(monkeypatch, capsys, place, words, expected)


def test_an_option_that_cannot_be_read(monkeypatch, capsys, place):
    for value in ("2024-02-30", "0x_", "!!bool x", "[" * 5000, "&a [*a]"):
        words = ["detect", "good.mrc", "-o", "picks", "--model", "model.pt", "--set", f"tile={value}"]
        refused(monkeypatch, capsys, place, words, f"--set tile={value}: the value is not readable YAML")
