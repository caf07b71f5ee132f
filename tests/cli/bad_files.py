"""Good and bad files for the commands, and how a command is run on them."""

import struct

import numpy as np
import pytest
import torch

from voxpick.cli import main
from voxpick.io.model import save_models
from voxpick.io.mrc import write_mrc
from voxpick.io.shrec_model import write_model
from voxpick.networks.model import Model
from voxpick.particles import Particles

SHAPE = (20, 24, 28)
TINY = ["--set", "network_settings.depth=2", "--set", "network_settings.dilations=[1]", "--set", "patch=8"]


def make_place(here):
    """A folder with a good model folder, picks, a model file, and everything bad the tests ask for."""
    rng = np.random.default_rng(0)
    volume = rng.normal(5, 1, SHAPE).astype(np.float32)
    write_folder(here / "truth", volume)
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


def write_folder(folder, volume):
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
        "two.csv": f"{header}3cf3,110,120,100\n3cf3,150,130,90\n",
        "empty.csv": "", "empty.star": "", "empty.txt": "",
        "unknown.csv": f"{header}banana,70,60,90\n", "letters.csv": f"{header}3cf3,70,abc,90\n",
        "words.txt": "3cf3 1 x 3\n",
        "infinite.csv": f"{header}3cf3,70,inf,90\n", "outside.csv": f"{header}3cf3,70,60,90\n3cf3,-900,60,90\n",
        "text.star": "no table\n", "columns.csv": "a,b\n1,2\n",
        "far.csv": f"{header}3cf3,1e300,60,90\n", "twice.csv": f"x_angstrom,{header}1,3cf3,70,60,90\n",
        "flat.csv": "x_angstrom,y_angstrom\n1,2\n",
        "blocks.star": "data_picks\nloop_\n_rlnCoordinateX\n1\n\ndata_picks\nloop_\n_rlnCoordinateX\n2\n",
        "halves.star": "data_a\nloop_\n_rlnCoordinateX\n1\n\ndata_b\nloop_\n_rlnCoordinateX\n2\n",
        "score.csv": "x_angstrom,y_angstrom,z_angstrom,score\n1,2,3,7\n",
    }.items():  # fmt: skip
        (here / name).write_text(text)
    (here / "latin.star").write_bytes("data_\nloop_\n_rlnTomoName\nprot\xe9ine\n".encode("latin-1"))


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
