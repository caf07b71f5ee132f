"""Dynamo tables: angles, pixels and columns by hand."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes
from voxpick.io.dynamo import dynamo_to_rotations, rotations_to_dynamo
from voxpick.io.formats import read_particles, write_particles
from voxpick.particles import Particles


def about(axis: int, degrees: float) -> np.ndarray:
    """The right-handed elementary rotation about x (0), y (1) or z (2), written out."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        [
            [[1, 0, 0], [0, c, -s], [0, s, c]],
            [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        ][axis]
    )


def test_dynamo_angles() -> None:
    """tdrot, tilt, narot turn the template clockwise about z, the new x and the new z."""
    tdrot, tilt, narot = 30.0, 60.0, 75.0
    matrix = swap_axes(dynamo_to_rotations(np.array([[tdrot, tilt, narot]])))[0]
    np.testing.assert_allclose(matrix, about(2, -tdrot) @ about(0, -tilt) @ about(2, -narot), atol=1e-12)
    np.testing.assert_allclose(matrix.T, about(2, narot) @ about(0, tilt) @ about(2, tdrot), atol=1e-12)
    more = swap_axes(dynamo_to_rotations(np.array([[tdrot, tilt, narot + 40]])))[0]
    np.testing.assert_allclose(more @ [0, 0, 1], matrix @ [0, 0, 1], atol=1e-12)  # narot turns about the own axis
    np.testing.assert_allclose(rotations_to_dynamo(dynamo_to_rotations(np.array([[10, 20, 30]]))), [[10, 20, 30]])


def test_dynamo_angles_against_relions() -> None:
    """One particle refined in both programs, as the tests of the package eulerangles have it.

    RELION's matrix, Rz(-psi) Ry(-tilt) Rz(-rot), turns the reference into the particle.
    """
    rot, tilt, psi = 137.7, 1.1777, 42.727
    expected = about(2, -psi) @ about(1, -tilt) @ about(2, -rot)
    found = swap_axes(dynamo_to_rotations(np.array([[-47.273, 1.1777, -132.3]])))[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_dynamo_by_hand(tmp_path: Path) -> None:
    """Pixel 1 is the first; shifts are added; what is 0 throughout is unknown; apix serves where nothing is said."""
    row = [0.0] * 35
    row[0], row[3:6], row[19], row[21], row[23:26] = 5, [0.5, 0, -1], 20210101, 2, [1, 2, 13]
    path = tmp_path / "p.tbl"
    path.write_text("% comment\n" + " ".join(f"{value:.9g}" for value in row) + "\n")
    found = read_particles(path, voxel_size=10)
    np.testing.assert_allclose(found.centers_zyx, [[110, 10, 5]])
    assert found.rotations is None and found.scores is not None and found.scores.tolist() == [1]
    assert found.tomograms is not None and (found.classes[0], found.tomograms[0]) == ("2", "20210101")
    with pytest.raises(VoxpickError, match=r"p\.tbl.*--voxel-size"):
        read_particles(path)
    path.write_text(" ".join(f"{value:g}" for value in [*row, 7.5]) + "\n")
    np.testing.assert_allclose(read_particles(path).centers_zyx, [[82.5, 7.5, 3.75]])
    with pytest.warns(UserWarning, match=r"p\.tbl: says 7\.5 A a pixel, .* the 10 A"):
        np.testing.assert_allclose(read_particles(path, voxel_size=10).centers_zyx, [[110, 10, 5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_particles(path, voxel_size=7.55)


def test_classes_and_tomograms_of_0_are_unknown(tmp_path: Path) -> None:
    """Picks of a table without classes were all called 0."""
    row = [0.0] * 35
    row[23:26] = [1, 2, 13]
    path = tmp_path / "TS_01.tbl"
    path.write_text(" ".join(map(str, row)) + "\n")
    found = read_particles(path, voxel_size=10)
    assert found.tomograms is not None and (found.classes[0], found.tomograms[0]) == ("particle", "TS_01")
    row[19], row[21] = 7, 2
    path.write_text(path.read_text() + " ".join(map(str, row)) + "\n")
    both = read_particles(path, voxel_size=10)
    assert both.tomograms is not None
    assert both.classes.tolist() == ["0", "2"] and both.tomograms.tolist() == ["0", "7"]


def test_a_pixel_size_that_only_some_rows_have_is_none(tmp_path: Path) -> None:
    row = [0.0] * 36
    row[23:26] = [2, 2, 2]
    lines = [" ".join(map(str, [*row[:35], apix])) for apix in (0, 7.5)]
    (tmp_path / "p.tbl").write_text("\n".join(lines))
    with pytest.raises(VoxpickError, match=r"p\.tbl.*--voxel-size"):
        read_particles(tmp_path / "p.tbl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(read_particles(tmp_path / "p.tbl", voxel_size=10).centers_zyx, [[10, 10, 10]] * 2)


def test_dynamo_as_written(tmp_path: Path) -> None:
    particles = Particles(
        np.array([[30, 50, 70], [0, 10, 20.0], [0, 0, 0]]),
        classes=np.array(["3cf3", "1s3x", "4cr2"]),
        tomograms=np.array(["b", "a", "b"]),
    )
    write_particles(tmp_path / "p.tbl", particles, voxel_size=10)
    written = np.loadtxt(tmp_path / "p.tbl")
    assert written.shape == (3, 42)
    np.testing.assert_allclose(written[:, 23:26], [[8, 6, 4], [3, 2, 1], [1, 1, 1]])
    assert written[:, 0].tolist() == [1, 2, 3] and written[:, 21].tolist() == [1, 2, 4]  # SHREC'20 ids
    assert written[:, 19].tolist() == [2, 1, 2] and not written[:, 3:9].any()
    assert (written[:, 1:3] == 1).all() and (written[:, 35] == 10).all()  # aligned, averaged; apix


def test_upright_particles_are_written_without_a_warning(tmp_path: Path) -> None:
    """At a tilt of 0 one of the other two angles is free, which is no matter for a user."""
    turns = dynamo_to_rotations(np.array([[25.0, 0, 40], [10, 180, 5]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_particles(tmp_path / "p.tbl", Particles(np.ones((2, 3)), rotations=turns), voxel_size=10)
    back = read_particles(tmp_path / "p.tbl").rotations
    assert back is not None
    np.testing.assert_allclose(back, turns, atol=1e-7)
