"""Bad files end every command with one line that names them, exit code 2, and no file under the final name."""

import numpy as np
import pytest
from bad_files import SHAPE, refused, run, write_folder

from voxpick.io.mrc import write_mrc

VOLUMES = {
    "cut.mrc": "truncated", "text.mrc": "not an MRC file", "empty.mrc": "0 bytes", "folder.mrc": "is a folder",
    "zero.mrc": "0 x 0 x 0 A", "negative.mrc": "-10 x -10 x -10 A", "flat_voxels.mrc": "10 x 10 x 20 A",
    "complex.mrc": "mode 4", "four.mrc": "4-D stack of 2 volumes", "nan.mrc": "(3, 4, 5) is nan", "two.mrc": "2-D",
    "absent.mrc": "no such file",
}  # fmt: skip
MATCH = ["--template", "1s3x", "--step", 90, "--slab", "off"]


@pytest.mark.parametrize("name", VOLUMES)
@pytest.mark.parametrize("command", ["detect", "report", "structures", "match", "average", "targets", "agreement"])
def test_volumes(monkeypatch, capsys, place, command, name):
    words = {
        "detect": ["detect", "good.mrc", name, "--model", "model.pt", "--output", "picks"],
        "report": ["report", name, "good.csv", "--output", "page.html"],
        "structures": ["structures", "build", name, "--mass-kda", 300, "--output", "bank.npz"],
        "match": ["match", name, *MATCH, "--output", "picks"],
        "average": ["average", "two.csv", name, "--radius", 30, "--output", "average"],
        "targets": ["targets", name, "good.csv", "--radius", 30, "--output", "masks"],
        "agreement": [
            "agreement", "two.csv", "two.csv", "--radius", 30, "--tomogram", name, "--particle-radius", 30,
            "--output", "agreement",
        ],
    }[command]  # fmt: skip
    if command == "detect" and name in (
        "nan.mrc",
        "two.mrc",
        "zero.mrc",
        "negative.mrc",
        "flat_voxels.mrc",
        "four.mrc",
    ):
        words.remove("good.mrc")  # these are found when their turn comes, after the first file's picks are whole
    refused(monkeypatch, capsys, place, words, name, VOLUMES[name])


def test_voxels_of_1_a_are_believed_when_a_person_says_so(monkeypatch, capsys, place):
    """Programs that know no voxel size write 1 A; rescaled from that, nothing would be left of a tomogram."""
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    write_mrc(place / "one.mrc", data, voxel_size=1.0)
    detect = ["detect", "one.mrc", "--model", "model.pt", "--output", "picks"]
    train = ["train", "one.mrc", "--picks", "good.csv", "--radius", 50, "--output", "mine.pt"]
    for words in (detect, train):
        refused(monkeypatch, capsys, place, words, "one.mrc", "1 A, which is what programs write that do not know it")
    code, _, _ = run(monkeypatch, capsys, place, *detect, "--voxel-size", 10)
    assert code == 0 and (place / "picks" / "one.star").is_file()


def test_a_constant_volume_is_nothing_to_pick(monkeypatch, capsys, place):
    words = ["detect", "constant.mrc", "--model", "model.pt", "--output", "picks"]
    refused(monkeypatch, capsys, place, words, "constant.mrc: ", "constant (3.5)")


PICKS = {
    "empty.csv": "empty", "empty.star": "not a STAR file", "empty.txt": "no picks", "header.csv": "no picks",
    "letters.csv": "line 2: y_angstrom is 'abc'", "infinite.csv": "'inf'", "words.txt": "line 1: 'x' is not a number",
    "text.star": "not a STAR file", "columns.csv": "found a, b", "score.csv": "score is 7", "truth": "",
    "absent.csv": "no such", "far.csv": "lies at x 1e+300", "twice.csv": "two columns x_angstrom",
    "flat.csv": "column 'z_angstrom' is missing", "latin.star": "is not UTF-8", "blocks.star": "two blocks data_picks",
    "halves.star": "coordinates in two blocks, data_a and data_b",
}  # fmt: skip


@pytest.mark.parametrize("name", PICKS)
def test_picks(monkeypatch, capsys, place, name):
    if PICKS[name] == "no picks":  # nothing was found: that is a score, and there is a tomogram to look at
        code, lines, _ = run(monkeypatch, capsys, place, "evaluate", name, "truth")
        assert (code, lines) == (0, [f"WARNING: {name}: holds no picks"])
        code, _, _ = run(monkeypatch, capsys, place, "report", "good.mrc", name, "--output", "page.html")
        (place / "page.html").unlink()
        assert code == 0
        return
    refused(monkeypatch, capsys, place, ["evaluate", name, "truth"], name, PICKS[name])
    refused(monkeypatch, capsys, place, ["report", "good.mrc", name, "--output", "page.html"], name, PICKS[name])


WITH_PICKS = {
    "average": "average {} good.mrc --radius 30 -o average",
    "targets": "targets good.mrc {} --radius 30 -o masks",
    "agreement": "agreement two.csv {} --radius 30 -o agreement",
    "agreement of it": "agreement {} two.csv --radius 30 -o agreement",
}


@pytest.mark.parametrize("command", WITH_PICKS)
@pytest.mark.parametrize("name", PICKS)
def test_picks_to_average_and_to_compare(monkeypatch, capsys, place, command, name):
    words = [word.format(name) for word in WITH_PICKS[command].split()]
    refused(monkeypatch, capsys, place, words, name, PICKS[name])


def test_unknown_classes_are_named_and_picks_outside_are_told(monkeypatch, capsys, place):
    code, lines, _ = run(monkeypatch, capsys, place, "evaluate", "unknown.csv", "truth")
    assert code == 0 and "'banana'" in lines[0] and "3cf3" in lines[0]
    code, lines, _ = run(monkeypatch, capsys, place, "evaluate", "outside.csv", "truth", "--frame", "tomogram")
    assert code == 0 and any("1 of 2 picks lie outside" in line for line in lines)
    code, lines, _ = run(monkeypatch, capsys, place, "report", "good.mrc", "outside.csv", "-o", "page.html")
    (place / "page.html").unlink()
    assert code == 0 and "1 of 2 picks lie outside" in lines[0]


MODELS = {
    "good.csv": "not a voxpick model file", "cut.pt": "not a voxpick model file", "parts.pt": "damaged",
    "format99.pt": "format 1", "weights_missing.pt": "damaged", "classifier.pt": "no localizer", "absent.pt": "no such",
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_model_files(monkeypatch, capsys, place, name):
    words = ["detect", "good.mrc", "--model", name, "--output", "picks"]
    refused(monkeypatch, capsys, place, words, name, MODELS[name])


@pytest.mark.parametrize(
    ("member", "expected"),
    [("reconstruction.mrc", "no such file"), ("occupancy_mask.mrc", "no such file"), ("class_mask.mrc", "no such file"),
     ("particle_locations.txt", "no such file")],
)  # fmt: skip
def test_folders_without_a_member(monkeypatch, capsys, place, member, expected):
    held = (place / "truth" / member).rename(place / "held")
    try:
        refused(monkeypatch, capsys, place, ["train", "truth", "--steps", 1, "--output", "m.pt"], member, expected)
    finally:
        held.rename(place / "truth" / member)


def test_folders_whose_parts_do_not_fit(monkeypatch, capsys, place, tmp_path):
    volume = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    write_folder(tmp_path / "a", volume)
    picks = place / "good.csv"
    write_mrc(tmp_path / "a" / "reconstruction.mrc", volume[:8], voxel_size=10)
    refused(monkeypatch, capsys, place, ["evaluate", picks, tmp_path / "a"], "does not fit into reconstruction.mrc")
    write_mrc(tmp_path / "a" / "reconstruction.mrc", volume, voxel_size=10)
    write_mrc(tmp_path / "a" / "occupancy_mask.mrc", np.full((12, *SHAPE[1:]), -1, np.int16), voxel_size=10)
    refused(monkeypatch, capsys, place, ["evaluate", picks, tmp_path / "a"], "occupancy_mask.mrc", "-1")
    write_mrc(tmp_path / "a" / "occupancy_mask.mrc", np.full((12, *SHAPE[1:]), 9, np.int16), voxel_size=10)
    words = ["train", tmp_path / "a", "--steps", 1, "--output", "m.pt"]
    refused(monkeypatch, capsys, place, words, "holds particle 9", "lists 2")
