"""Tomograms whose ice lies in x and z, as IMOD leaves them before they are rotated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxpick.cli.tomograms import read_tomogram
from voxpick.io.mrc import write_mrc


@pytest.mark.parametrize(
    ("shape", "warned"),
    [((48, 16, 40), True), ((16, 48, 40), False), ((40, 20, 48), False), ((40, 40, 12), False), ((9, 8, 48), False)],
)
def test_a_tomogram_that_is_thin_along_y_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, int, int], warned: bool
) -> None:
    write_mrc(tmp_path / "TS.mrc", np.zeros(shape, np.float32), voxel_size=10)
    assert read_tomogram(tmp_path / "TS.mrc", None).shape == shape
    told = capsys.readouterr().err
    assert ("has 40 x 16 x 48 voxels (x, y, z) and so is thin along y" in told) == warned == ("thin" in told)


def test_a_simulated_one_is_meant_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mrc(tmp_path / "reconstruction.mrc", np.zeros((48, 16, 40), np.float32), voxel_size=10)
    (tmp_path / "simulation.yaml").write_text("seed: 1\n")
    read_tomogram(tmp_path / "reconstruction.mrc", None)
    assert not capsys.readouterr().err
