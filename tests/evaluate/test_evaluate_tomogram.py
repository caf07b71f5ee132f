"""`voxpick evaluate PICKS OTHER --tomogram`: files that count from a tomogram's middle, or its voxels."""

import json
from pathlib import Path

import numpy as np
import pytest
import starfile
from typer.testing import CliRunner

from voxpick.cli import build_app
from voxpick.io.formats import write_particles
from voxpick.io.mrc import write_mrc
from voxpick.particles import Particles

SHAPE = (12, 20, 28)
PLACES = np.array([[20.0, 50, 200], [70, 120, 30], [100, 10, 10]])


def run(*words):
    return CliRunner().invoke(build_app(), ["evaluate", *map(str, words)])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A tomogram; picks in A and in voxels; a STAR file as RELION 5 writes it, which says no size of the tomogram."""
    write_mrc(tmp_path / "TS.mrc", np.zeros(SHAPE, np.float32), voxel_size=10)
    picks = Particles(PLACES, classes=np.array(["a"] * 3))
    for name in ("picks.csv", "picks.tbl", "own.star"):
        write_particles(tmp_path / name, picks, voxel_size=10, shape=SHAPE)
    table = starfile.read(tmp_path / "own.star")["particles"]
    starfile.write({"particles": table}, tmp_path / "relion.star")
    return tmp_path


def test_a_file_of_relion_5_is_compared_where_its_tomogram_is_given(place: Path) -> None:
    """Its size could not be given at all, so such a file could be scored by no radius."""
    words = [place / "picks.csv", place / "relion.star", "--radius", 5]
    refused = run(*words)
    assert "is measured from the tomogram's centre" in str(refused.exception)
    done = run(*words, "--tomogram", place / "TS.mrc", "--json", place / "score.json")
    assert done.exit_code == 0, done.exception
    assert json.loads((place / "score.json").read_text())["localisation"]["TP"] == 3
    swapped = [place / "relion.star", place / "picks.tbl", "--radius", 5, "--tomogram", place / "TS.mrc"]
    assert run(*swapped, "--json", place / "score.json").exit_code == 0
    assert json.loads((place / "score.json").read_text())["localisation"]["TP"] == 3


def test_a_header_that_does_not_know_its_voxels_is_no_help(place: Path) -> None:
    write_mrc(place / "unset.mrc", np.zeros(SHAPE, np.float32), voxel_size=1)
    words = [place / "picks.csv", place / "relion.star", "--radius", 5, "--tomogram", place / "unset.mrc"]
    assert "unset.mrc: the header gives a voxel size of 1 A" in str(run(*words).exception)
    assert run(*words, "--voxel-size", 10).exit_code == 0


def test_a_model_folder_has_its_tomogram(place: Path) -> None:
    (place / "model_0").mkdir()
    done = run(place / "picks.csv", place / "model_0", "--tomogram", place / "TS.mrc")
    assert "--tomogram" in str(done.exception) and "is a folder" in str(done.exception)
