"""STAR and CBOX files whose rows are not whole, or begin like a block: told by line; particles were lost."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.io.formats import read_particles, write_particles
from voxpick.particles import Particles

RELION5 = (
    "data_particles\n\nloop_\n_rlnCenteredCoordinateXAngst #1\n_rlnCenteredCoordinateYAngst #2\n"
    "_rlnCenteredCoordinateZAngst #3\n_rlnTomoName #4\n"
)
RELION4 = (
    "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnTomoTiltSeriesPixelSize #2\n1 10.0\n\n"
    "data_particles\n\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnCoordinateZ #4\n"
)
CBOX = (
    "data_cryolo\n\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_CoordinateZ #3\n_Width #4\n_Height #5\n_Confidence #6\n"
)
SIZE = {"voxel_size": 10.0, "shape": (20, 24, 28)}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.star", RELION5 + "1 2 3 TS_01\n4 5 6\n", "line 9: 3 values for 4 columns; the file may be cut short"),
        ("a.star", RELION5 + "1 2 3 TS_01\n4", "line 9: 1 values for 4"),
        ("a.star", RELION5 + "1 2 3 TS_01 7\n", "line 8: 5 values for 4"),
        ("a.star", (RELION5 + "1 2 3 TS_01\n4 5 6 # TS_01\n").replace("\n", "\r\n"), "line 9: 3 values for 4"),
        ("a.star", RELION4 + "TS_01 1 2 3\ndata_2 4 5 6\nTS_01 7 8 9\n", "line 16: a row begins with 'data_2'"),
        ("a.star", RELION4 + "_1 1 2 3\nTS_01 7 8 9\n", "line 15: a row begins with '_1'"),
        ("a.star", RELION4.replace("1 10.0", "1") + "TS_01 1 2 3\n", "line 6: 1 values for 2"),
        ("a.star", "data_particles\n", "not a readable STAR file (a block without a table)"),
        ("a.cbox", CBOX + "1 2 3 4 5 0.5\n1 2 3 4 5\n", "line 11: 5 values for 6"),
    ],
)
def test_rows_that_are_not_whole_are_told(tmp_path, name, text, told):
    """They ended as particles of a tomogram without a name, or the rows behind them were taken for another block."""
    (tmp_path / name).write_bytes(text.encode())
    with pytest.raises(VoxpickError) as error:
        read_particles(tmp_path / name, **SIZE)
    assert told in str(error.value)


def test_quotes_comments_and_blank_lines_are_no_rows_cut_short(tmp_path):
    text = RELION5 + "\n1 2 3 'TS 01'\n# a remark\n\n4 5 6 \"TS 01\"   # another\n7\t8\t9\tTS_02  \n\n"
    (tmp_path / "a.star").write_text(text)
    found = read_particles(tmp_path / "a.star", **SIZE)
    assert list(found.tomograms) == ["TS 01", "TS 01", "TS_02"]
    assert np.allclose(found.centers_zyx - np.array([100, 120, 140]), [[3, 2, 1], [6, 5, 4], [9, 8, 7]])


def test_columns_that_are_missing_are_those_of_the_files_kind(tmp_path):
    (tmp_path / "a.star").write_text(RELION5.replace("_rlnCenteredCoordinateZAngst #3\n", "") + "1 2 TS_01\n")
    with pytest.raises(VoxpickError, match="needs all of rlnCenteredCoordinateXAngst"):
        read_particles(tmp_path / "a.star", **SIZE)


def test_what_voxpick_writes_is_whole(tmp_path):
    names = np.array(["a b", "5p-UTR", "data_1", "_1", "\u96ea"], dtype=object)
    picks = Particles(np.arange(15.0).reshape(5, 3) + 10, classes=names, tomograms=names)
    write_particles(tmp_path / "a.star", picks, **SIZE)
    assert list(read_particles(tmp_path / "a.star", **SIZE).classes) == list(names)
