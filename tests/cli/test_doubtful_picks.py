"""Commands that take picks tell of places and units that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from voxpick.cli import build_app
from voxpick.cli.pick_files import warn_of_strays
from voxpick.cli.training_data import gather
from voxpick.io.formats import write_particles
from voxpick.io.mrc import write_mrc
from voxpick.particles import Particles
from voxpick.volume import Volume

SHAPE = (24, 40, 32)
SIDES = np.array(SHAPE) * 10.0


@pytest.mark.parametrize(
    ("low", "high", "number", "warned"),
    [
        (0.0, 0.09, 6, True), (0.46, 0.54, 6, True), (0.0, 0.9, 6, False), (0.0, 0.09, 4, False),
        (0.0, (0.9, 0.09, 0.09), 6, False),
    ],
)  # fmt: skip
def test_picks_in_a_tenth_of_each_axis_are_told(
    capsys: pytest.CaptureFixture[str], low: float, high: float | tuple[float, ...], number: int, warned: bool
) -> None:
    part = np.linspace(low, high, number).reshape(number, -1)
    tomogram = Volume(np.zeros(SHAPE, np.float32), 10.0, "tomogram")
    warn_of_strays(Path("picks.csv"), Particles(part * SIDES), tomogram, Path("TS.mrc"))
    told = capsys.readouterr().err
    assert told.startswith(f"voxpick: warning: picks.csv: all {number} picks lie within") == warned
    assert ("320 x 400 x 240 A" in told) == warned


def test_targets_and_train_tell_of_positions_in_nm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    write_mrc(tmp_path / "TS.mrc", rng.normal(size=SHAPE).astype(np.float32), voxel_size=10.0)
    write_particles(tmp_path / "nm.csv", Particles(rng.uniform(0, 0.1, (8, 3)) * SIDES))
    gather([tmp_path / "TS.mrc"], picks=[tmp_path / "nm.csv"], radius=["60"], partial=None)
    told = capsys.readouterr().err
    assert "picks lie within a tenth of each side" in told and "of 8 picks lie wholly in the balls of earlier" in told
    words = ["targets", tmp_path / "TS.mrc", tmp_path / "nm.csv", "--radius", "30", "-o", tmp_path / "masks"]
    done = CliRunner().invoke(build_app(), [str(word) for word in words])
    assert done.exit_code == 0 and "picks lie within a tenth of each side" in done.stderr


@pytest.mark.parametrize(
    ("name", "warned"), [("80S ribosome", True), ("#1", True), ("pol'", True), ("beta-gal_2", False)]
)
def test_train_tells_of_classes_that_detect_does_not_write_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, warned: bool
) -> None:
    """An hour of training later `detect` refused them."""
    write_mrc(tmp_path / "TS.mrc", np.zeros(SHAPE, np.float32) + np.arange(32, dtype=np.float32), voxel_size=10.0)
    places = np.array([[60.0, 100, 100], [150, 300, 250]])
    write_particles(tmp_path / "p.csv", Particles(places, classes=np.array([name, "other"], dtype=object)))
    gather([tmp_path / "TS.mrc"], picks=[tmp_path / "p.csv"], radius=["40"], partial=None)
    told = capsys.readouterr().err
    assert ("rename it in the picks, or detect with --format csv" in told) == warned == (f"class {name!r}" in told)
