"""Bad input to every command ends with one line that names it, exit code 2, and no file under the final name."""

import resource
import signal
import struct
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from voxpick import __version__
from voxpick.cli import main
from voxpick.io.atomic import require_writable
from voxpick.io.model import save_models
from voxpick.io.mrc import write_mrc
from voxpick.io.shrec_model import write_model
from voxpick.networks.model import Model
from voxpick.particles import Particles

SHAPE = (20, 24, 28)
TINY = ["--set", "network_settings.depth=2", "--set", "network_settings.dilations=[1]", "--set", "patch=8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a good model folder, picks, a model file, and everything bad the tests ask for."""
    here = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    volume = rng.normal(5, 1, SHAPE).astype(np.float32)
    _write_folder(here / "truth", volume)
    write_mrc(here / "good.mrc", volume, voxel_size=10)
    _write_volumes(here, volume)
    _write_picks(here)
    localizer = Model.create(
        "msdnet", {"in_channels": 1, "classes": 2, "depth": 2, "width": 1, "dilations": [1]},
        classes=["background", "particle"], voxel_size=10.0,
    )  # fmt: skip
    save_models(here / "model.pt", {"localizer": localizer})
    data = torch.load(here / "model.pt", weights_only=True)
    torch.save(data | {"parts": 5}, here / "parts.pt")
    torch.save(data | {"voxpick_model": 99}, here / "format99.pt")
    torch.save({**data, "parts": {"classifier": data["parts"]["localizer"]}}, here / "classifier.pt")
    data["parts"]["localizer"]["state"].popitem()
    torch.save(data, here / "weights_missing.pt")
    (here / "cut.pt").write_bytes((here / "model.pt").read_bytes()[:2000])
    return here


def _write_folder(folder, volume):
    ids = np.zeros((12, *SHAPE[1:]), np.int16)
    ids[3:7, 4:8, 5:9], ids[6:10, 12:16, 18:22] = 1, 2
    classes = (ids * np.array([0, 1, 1])[ids]).astype(np.int8).clip(0, 1)
    write_model(
        folder, grandmodel=classes, class_mask=classes, occupancy_mask=ids, class_bbox=classes, occupancy_bbox=ids,
        projections=np.zeros((3, *SHAPE[1:])), reconstruction=volume,
        particles=Particles(
            np.array([[5.0, 6, 7], [8, 14, 20]]) * 10, classes=np.array(["3cf3", "3cf3"]),
            rotations=np.tile(np.eye(3), (2, 1, 1)),
        ),
    )  # fmt: skip


def _write_volumes(here, volume):
    raw = (here / "good.mrc").read_bytes()
    (here / "cut.mrc").write_bytes(raw[: len(raw) // 2])
    (here / "text.mrc").write_text("This is no volume.\n" * 100)
    (here / "empty.mrc").touch()
    (here / "folder.mrc").mkdir()
    for name, start, values in (
        ("zero", 40, (0.0, 0.0, 0.0)), ("negative", 40, (-280.0, -240.0, -200.0)),
        ("flat_voxels", 40, (280.0, 240.0, 400.0)),
    ):  # fmt: skip
        (here / f"{name}.mrc").write_bytes(raw[:start] + struct.pack("<3f", *values) + raw[start + 12 :])
    (here / "complex.mrc").write_bytes(raw[:12] + struct.pack("<i", 4) + raw[16:])
    (here / "four.mrc").write_bytes(raw[:36] + struct.pack("<i", 10) + raw[40:88] + struct.pack("<i", 401) + raw[92:])
    with_nan = volume.copy()
    with_nan[3, 4, 5] = np.nan
    write_mrc(here / "nan.mrc", with_nan, voxel_size=10)
    write_mrc(here / "constant.mrc", np.full(SHAPE, 3.5, np.float32), voxel_size=10)
    write_mrc(here / "two.mrc", volume[:1], voxel_size=10)
    write_mrc(here / "halves.mrc", volume[:12] * 0 + np.float32(0.5), voxel_size=10)


def _write_picks(here):
    header = "class,x_angstrom,y_angstrom,z_angstrom\n"
    for name, text in {
        "good.csv": f"{header}3cf3,70,60,90\n", "header.csv": header,
        "empty.csv": "", "empty.star": "", "empty.txt": "",
        "unknown.csv": f"{header}banana,70,60,90\n", "letters.csv": f"{header}3cf3,70,abc,90\n",
        "words.txt": "3cf3 1 x 3\n",
        "infinite.csv": f"{header}3cf3,70,inf,90\n", "outside.csv": f"{header}3cf3,70,60,90\n3cf3,-900,60,90\n",
        "text.star": "no table\n", "columns.csv": "a,b\n1,2\n",
        "score.csv": "x_angstrom,y_angstrom,z_angstrom,score\n1,2,3,7\n",
    }.items():  # fmt: skip
        (here / name).write_text(text)


def run(monkeypatch, capsys, place, *words):
    """Exit code and the lines on stderr without the progress."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["voxpick", *map(str, words)])
    before = set(place.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.rpartition(" ")[2].count("/") != 1]
    return stopped.value.code or 0, lines, {path.name for path in set(place.rglob("*")) - before if path.is_file()}


def refused(monkeypatch, capsys, place, words, *expected):
    code, lines, written = run(monkeypatch, capsys, place, *words)
    assert code == 2 and len(lines) == 1 and lines[0].startswith("voxpick: error: "), lines
    for text in expected:
        assert text in lines[0]
    assert not written


VOLUMES = {
    "cut.mrc": "truncated", "text.mrc": "not an MRC file", "empty.mrc": "0 bytes", "folder.mrc": "is a folder",
    "zero.mrc": "0 x 0 x 0 A", "negative.mrc": "-10 x -10 x -10 A", "flat_voxels.mrc": "10 x 10 x 20 A",
    "complex.mrc": "mode 4", "four.mrc": "4-D stack of 2 volumes", "nan.mrc": "(3, 4, 5) is nan", "two.mrc": "2-D",
    "absent.mrc": "no such file",
}  # fmt: skip


@pytest.mark.parametrize("name", VOLUMES)
@pytest.mark.parametrize("command", ["detect", "report", "structures"])
def test_volumes(monkeypatch, capsys, place, command, name):
    words = {
        "detect": ["detect", "good.mrc", name, "--model", "model.pt", "--output", "picks"],
        "report": ["report", name, "good.csv", "--output", "page.html"],
        "structures": ["structures", "build", name, "--mass-kda", 300, "--output", "bank.npz"],
    }[command]
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


def test_a_constant_volume_is_nothing_to_pick(monkeypatch, capsys, place):
    words = ["detect", "constant.mrc", "--model", "model.pt", "--output", "picks"]
    refused(monkeypatch, capsys, place, words, "constant.mrc: ", "constant (3.5)")


PICKS = {
    "empty.csv": "empty", "empty.star": "not a STAR file", "empty.txt": "no particles", "header.csv": "only a header",
    "letters.csv": "line 2: y_angstrom is 'abc'", "infinite.csv": "'inf'", "words.txt": "line 1: 'x' is not a number",
    "text.star": "not a STAR file", "columns.csv": "found a, b", "score.csv": "score is 7", "truth": "",
    "absent.csv": "no such",
}  # fmt: skip


@pytest.mark.parametrize("name", PICKS)
def test_picks(monkeypatch, capsys, place, name):
    refused(monkeypatch, capsys, place, ["evaluate", name, "truth"], name, PICKS[name])
    refused(monkeypatch, capsys, place, ["report", "good.mrc", name, "--output", "page.html"], name, PICKS[name])


def test_unknown_classes_are_named_and_picks_outside_are_told(monkeypatch, capsys, place):
    refused(monkeypatch, capsys, place, ["evaluate", "unknown.csv", "truth"], "unknown.csv", "'banana'", "3cf3")
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
    ("words", "expected"),
    [
        ("detect good.mrc", "Missing option '--output'"),
        ("detect good.mrc -o picks --model model.pt --set unknown=1", "unknown"),
        ("detect good.mrc -o picks --model model.pt --set tile=[1", "--set tile=[1"),
        ("detect good.mrc -o picks --model model.pt --threshold 2", "threshold = 2.0"),
        ("detect good.mrc -o picks --model model.pt --voxel-size 0", "--voxel-size 0"),
        ("detect good.mrc -o picks --model model.pt --device teapot", "--device teapot"),
        ("detect good.mrc -o picks --model model.pt --threads 0", "'--threads'"),
        ("detect good.mrc -o good.csv --model model.pt", "good.csv: cannot be written to"),
        ("detect good.mrc truth/../good.mrc -o picks --model model.pt", "2 tomograms are called good"),
        ("evaluate good.csv truth --voxel-size -4", "--voxel-size -4"),
        ("evaluate good.csv truth --frame banana", "banana"),
        ("evaluate good.csv truth --benchmark shrec22", "shrec22"),
        ("evaluate good.csv truth --segmentation halves.mrc", "halves.mrc: a mask of ids"),
        ("evaluate good.csv truth --json good.mrc/x.json", "good.mrc/x.json: cannot be written"),
        ("evaluate good.csv good.csv --radius nan", "radius is nan"),
        ("evaluate good.csv absent", "absent"),
        ("report good.mrc good.csv -o good.csv/x.html", "good.csv: cannot be written to"),
        ("simulate shrec20 out --size 5,5,5 --particles 2", "5 voxels thick"),
        ("simulate shrec20 out --size 60,60", "--size 60,60"),
        ("simulate shrec20 out --particles 100000", "--particles 100000"),
        ("simulate shrec20 out --size 40,32,36 --particles 5000", "of 5000"),
        ("simulate shrec20 out --tilt-step 0", "--tilt-step 0"),
        ("simulate shrec20 out --tilt-limit 95", "--tilt-limit 95"),
        ("simulate shrec20 out --snr 0", "--snr 0"),
        ("simulate shrec20 out --defocus nan", "--defocus nan"),
        ("simulate shrec20 out --thickness 3", "--thickness 3"),
        ("simulate shrec20 out --size 9,9,9 --particles 2 --voxel-size 1e9", "smaller"),
        ("simulate shrec20 out --size 9,9,9 --particles 2 --voxel-size 1e-3", "not enough memory"),
        ("simulate shrec20 out --orientations upright", "--orientations upright"),
        ("simulate shrec20 out --device teapot", "--device teapot"),
        ("simulate shrec20 out --classes banana", "'banana'"),
        ("simulate shrec20 out --structures good.csv", "good.csv: not a bank"),
        ("simulate shrec20 good.csv", "good.csv: cannot be written to"),
        ("simulate shrec20 out --models 0", "'--models'"),
        ("simulate shrec19 out", "shrec19"),
        ("structures build good.mrc --mass-kda 1 --threshold nan -o bank.npz", "good.mrc: structure good: the thr"),
        ("structures build good.mrc --mass-kda 1 --voxel-size 1e6 -o bank.npz", "no molecule"),
        ("structures build good.mrc --mass-kda 1e-3 -o bank.npz", "nowhere denser"),
        ("structures build good.csv -o bank.npz", "good.csv: unknown type"),
        ("structures list truth", "truth: is a folder"),
        ("train absent --output m.pt", "absent: no such folder"),
        ("train truth --stage third --output m.pt", "'third'"),
        ("train truth --preset slow --output m.pt", "'slow'"),
        ("train truth --minutes 0 --output m.pt", "minutes = 0"),
        ("train truth --minutes inf --output m.pt", "minutes = inf"),
        ("train truth --steps 2 --minutes 3 --output m.pt", "give one budget"),
        ("train truth --steps 2 --set unknown=1 --output m.pt", "'unknown'"),
        ("train truth --steps 2 --set network_settings=5 --output m.pt", "network_settings is 5"),
        ("train truth --steps 2 --set network_settings.banana=1 --output m.pt", "banana"),
        ("train truth --steps 2 --seed -1 --output m.pt", "'--seed'"),
        ("train truth --steps 2 --device teapot --output m.pt", "--device teapot"),
        ("train truth --steps 2 --validation truth --output m.pt", "also training data"),
        ("train truth --steps 2 --output truth", "truth: is a folder"),
        ("train truth --steps 2 --output good.csv/m.pt", "good.csv: cannot be written to"),
        ("train truth --steps 2 --output m.pt --resume", "no checkpoint"),
        ("train truth --steps 2 --start-from good.csv --output m.pt", "good.csv: not a voxpick model"),
        ("train truth --steps 2 --config good.mrc --output m.pt", "good.mrc: not a readable YAML"),
        ("banana", "No such command 'banana'"),
    ],
)  # fmt: skip
def test_options(monkeypatch, capsys, place, words, expected):
    refused(monkeypatch, capsys, place, words.split(), expected)


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
    _write_folder(tmp_path / "a", volume)
    picks = place / "good.csv"
    write_mrc(tmp_path / "a" / "reconstruction.mrc", volume[:8], voxel_size=10)
    refused(monkeypatch, capsys, place, ["evaluate", picks, tmp_path / "a"], "does not fit into reconstruction.mrc")
    write_mrc(tmp_path / "a" / "reconstruction.mrc", volume, voxel_size=10)
    write_mrc(tmp_path / "a" / "occupancy_mask.mrc", np.full((12, *SHAPE[1:]), -1, np.int16), voxel_size=10)
    refused(monkeypatch, capsys, place, ["evaluate", picks, tmp_path / "a"], "occupancy_mask.mrc", "-1")
    write_mrc(tmp_path / "a" / "occupancy_mask.mrc", np.full((12, *SHAPE[1:]), 9, np.int16), voxel_size=10)
    words = ["train", tmp_path / "a", "--steps", 1, "--output", "m.pt"]
    refused(monkeypatch, capsys, place, words, "holds particle 9", "lists 2")


def test_checkpoints_that_are_none_or_of_another_run(monkeypatch, capsys, place, tmp_path):
    words = ["train", "truth", *TINY, "--output", tmp_path / "m.pt", "--run-dir", tmp_path / "run", "--steps"]
    assert run(monkeypatch, capsys, place, *words, 2)[0] == 0
    refused(monkeypatch, capsys, place, [*words, 3, "--resume"], "steps was 2, now 3")
    path = tmp_path / "run" / "checkpoint.pt"
    whole = path.read_bytes()
    state = torch.load(path, weights_only=True)
    for damage in ("optimiser", "fingerprint", "progress"):
        torch.save({key: value for key, value in state.items() if key != damage}, path)
        refused(monkeypatch, capsys, place, [*words, 2, "--resume"], "checkpoint", "without --resume")
    path.write_bytes(whole[: len(whole) // 2])
    refused(monkeypatch, capsys, place, [*words, 2, "--resume"], "checkpoint.pt", "without --resume")
    path.write_bytes(whole)
    (tmp_path / "run" / "log.csv").write_text("step,loss\nmany,little\n")
    refused(monkeypatch, capsys, place, [*words, 2, "--resume"], "log.csv")


@contextmanager
def small_disk():
    """Files end at 10 kB, as they do on a full disk; around the command alone, since pytest writes files too."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("report good.mrc good.csv -o new.html", "new.html"),
        ("detect good.mrc -o new --model model.pt --segmentation", "new/good_segmentation.mrc"),
        (
            "simulate shrec20 new --size 24,28,32 --particles 1 --classes 1s3x --tilt-step 60 --thickness 26",
            "new/model_0",
        ),
    ],
)
def test_a_full_disk_leaves_no_half_file(monkeypatch, capsys, place, words, name):
    with small_disk():
        code, lines, written = run(monkeypatch, capsys, place, *words.split())
    assert code == 2 and name in lines[-1] and "cannot be written" in lines[-1] and "partial" not in lines[-1]
    assert written <= {"good.star", "good.csv", "good.txt"}  # whole ones, written before


def test_memory_that_is_not_there(monkeypatch, capsys, place):
    def exhausted(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("voxpick.detect.pipeline.detect_with_segmentation", exhausted)
    words = ["detect", "good.mrc", "--model", "model.pt", "--output", "picks"]
    refused(monkeypatch, capsys, place, words, "not enough memory")


def test_leftovers_of_a_killed_process_are_no_obstacle(monkeypatch, capsys, place, tmp_path):
    monkeypatch.setattr("os.getpid", lambda: 7)  # containers give the same number again
    (tmp_path / ".model_0.7.partial").mkdir()
    (tmp_path / ".model_0.7.partial" / "grandmodel.mrc").write_text("half")
    words = "--size 24,28,32 --particles 1 --classes 1s3x --tilt-step 60 --thickness 26"
    assert run(monkeypatch, capsys, place, "simulate", "shrec20", tmp_path, *words.split())[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model_0"]
    assert (tmp_path / "model_0" / "simulation.yaml").is_file()


def test_debug_shows_the_traceback(monkeypatch, place):
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["voxpick", "evaluate", "empty.csv", "truth", "--debug"])
    with pytest.raises(Exception, match=r"empty\.csv: is empty"):
        main()


@pytest.mark.parametrize("words", ["simulate shrec20", "detect", "demo", "report"])
def test_help_keeps_the_defaults(monkeypatch, capsys, place, words):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["voxpick", *words.split(), "--help"])
    with pytest.raises(SystemExit):
        main()
    text = capsys.readouterr().out
    default = {
        "simulate shrec20": "as many as x",
        "detect": "the model's",
        "demo": "fresh seed",
        "report": "tomogram's name",
    }
    assert default[words] in text and " . " not in text


def test_version_and_help_without_words(monkeypatch, capsys, place):
    monkeypatch.setattr("sys.argv", ["voxpick", "--version"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code and capsys.readouterr().out.split() == ["voxpick", __version__]
    monkeypatch.setattr("sys.argv", ["voxpick", "simulate"])
    with pytest.raises(SystemExit):
        main()
    written = capsys.readouterr()
    assert "shrec20" in written.out and not written.err


def test_require_writable_leaves_nothing(tmp_path):
    require_writable(tmp_path / "new" / "deep")
    assert not list(tmp_path.iterdir())
    assert Path.cwd().exists()
