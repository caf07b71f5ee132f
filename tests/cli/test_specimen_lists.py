"""A SHREC model folder's own list counts z in its specimen: commands that take picks bring it into the tomogram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from voxpick.cli import build_app
from voxpick.cli.pick_files import read_picks
from voxpick.io.mrc import read_mrc, write_mrc
from voxpick.volume import Volume

SPECIMEN, TOMOGRAM, OFFSET = (12, 24, 24), (24, 24, 24), 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder whose specimen of 12 sections lies in the middle of 24; particles at specimen z 4 and 8."""
    rng = np.random.default_rng(0)
    mask = np.zeros(SPECIMEN, dtype=np.int16)
    mask[4, 12, 6], mask[8, 12, 18] = 1, 2
    write_mrc(tmp_path / "occupancy_mask.mrc", Volume(mask, 10.0))
    write_mrc(tmp_path / "reconstruction.mrc", Volume(rng.normal(size=TOMOGRAM).astype(np.float32), 10.0))
    (tmp_path / "particle_locations.txt").write_text("1bxn 6 12 4 0 0 0\n4d8q 18 12 8 0 0 0\n")
    return tmp_path


def read(path: Path, shape: tuple[int, int, int] = TOMOGRAM, **options: bool) -> list[float]:
    picks = read_picks(path, tomogram="reconstruction", voxel_size=10.0, shape=shape, **options)
    return (picks.centers_zyx[:, 0] / 10.0).tolist()


def test_the_list_of_a_thinner_specimen_moves_into_the_tomogram(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read(folder / "particle_locations.txt") == [4 + OFFSET, 8 + OFFSET]
    told = capsys.readouterr().err
    assert f"specimen of {SPECIMEN[0]} sections; {OFFSET} were added" in told


def test_other_lists_and_scoring_stay_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(folder / "particle_locations.txt", place=False) == [4, 8]
    assert read(folder / "particle_locations.txt", shape=SPECIMEN) == [4, 8]
    assert read(folder / "particle_locations.txt", shape=(24, 30, 24)) == [4, 8]
    submission = folder / "submission.txt"
    submission.write_text("1bxn 6 12 10\n")
    assert read(submission) == [10]
    (folder / "occupancy_mask.mrc").unlink()
    assert read(folder / "particle_locations.txt") == [4, 8]
    assert "were added" not in capsys.readouterr().err


def test_targets_are_drawn_where_the_particles_are(folder: Path) -> None:
    command = ["targets", str(folder / "reconstruction.mrc"), str(folder / "particle_locations.txt")]
    done = CliRunner().invoke(build_app(), [*command, "--shape", "point", "-o", str(folder / "targets")])
    assert done.exit_code == 0, done.output
    mask = read_mrc(folder / "targets" / "class_mask.mrc").data
    sections = np.unique(np.argwhere(np.asarray(mask) > 0)[:, 0])
    assert mask.shape == TOMOGRAM and {4 + OFFSET, 8 + OFFSET} <= {*sections.tolist()}
    assert sections.min() > 4 and np.asarray(mask)[4 + OFFSET, 12, 6] > 0


def test_scoring_a_folder_against_its_own_list_counts_the_frame_once(folder: Path) -> None:
    picks, output = folder / "particle_locations.txt", folder / "score.json"
    command = ["evaluate", str(picks), str(folder), "--frame", "specimen", "--json", str(output)]
    done = CliRunner().invoke(build_app(), command)
    assert done.exit_code == 0, done.output
    assert "were added" not in done.output and '"TP": 2' in output.read_text()
