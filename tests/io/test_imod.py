"""IMOD models, byte by byte."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.io.formats import read_particles, write_particles
from voxpick.io.imod import MODEL
from voxpick.particles import Particles

SHAPE, VOXEL = (12, 20, 28), 7.84


def imod_model(objects: list[tuple[bytes, list[list[tuple[float, float, float]]]]], *, flags: int = 0) -> bytes:
    """A model as the specification has it, byte by byte, with chunks that voxpick does not use."""
    data = b"IMODV1.2" + b"model".ljust(128, b"\0") + struct.pack(">4i", 28, 20, 12, len(objects))
    data += struct.pack(
        ">I4i6f5ifii3f", flags, 1, 1, 0, 255, *[0.0] * 3, *[1.0] * 3, 0, 0, 0, 3, 128, 0.784, -9, 0, 0, 0, 0
    )
    assert len(data) == 240
    for name, contours in objects:
        data += b"OBJT" + name.ljust(64, b"\0") + bytes(64) + struct.pack(">iIii", len(contours), 1 << 9, 0, 0)
        data += struct.pack(">3fi8B2i", 0, 1, 0, 0, *[1] * 8, 1, 0)
        for points in contours:
            data += b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0)
            data += b"".join(struct.pack(">3f", *point) for point in points)
            data += b"SIZE" + struct.pack(">i", 4 * len(points)) + bytes(4 * len(points))
        data += b"MESH" + struct.pack(">2iI2h", 2, 3, 0, 0, 0) + bytes(36) + b"IMAT" + struct.pack(">i", 16) + bytes(16)
    return data + b"MINX" + struct.pack(">i", 72) + bytes(72) + b"IEOF"


def test_imod_by_hand(tmp_path: Path) -> None:
    """The centre of the first voxel is at (0.5, 0.5, 0); names are classes; the pixel size has a unit."""
    path = tmp_path / "p.mod"
    path.write_bytes(imod_model([(b"ribosome", [[(0.5, 0.5, 0)], [(10.5, 5.5, 3)]]), (b"", [[(1, 2, 3)]])]))
    with pytest.warns(UserWarning, match=r"says 7\.84 A a pixel"):
        found = read_particles(path, voxel_size=10)
    np.testing.assert_allclose(found.centers_zyx, [[0, 0, 0], [30, 50, 100], [30, 15, 5]])
    assert found.classes.tolist() == ["ribosome", "ribosome", "object_2"]
    np.testing.assert_allclose(read_particles(path).centers_zyx[1], np.array([3, 5, 10]) * VOXEL)
    path.write_bytes(imod_model([(b"a", [[(1, 2, 3)]])], flags=1 << 16))
    with pytest.raises(VoxpickError, match=r"p\.mod: was saved with y and z swapped"):
        read_particles(path, voxel_size=10)
    path.write_bytes(imod_model([(b"a", [[(1, float("nan"), 3)]])]))
    with pytest.raises(VoxpickError, match=r"point 1 is \[1.0, nan, 3.0\]"):
        read_particles(path, voxel_size=10)


def test_an_imod_model_of_another_pixel_size_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.mod"
    path.write_bytes(imod_model([(b"a", [[(10.5, 5.5, 3)]])]))
    with pytest.warns(
        UserWarning, match=r"p\.mod: says 7\.84 A a pixel, .* the 10 A of the tomogram or of --voxel-size"
    ):
        found = read_particles(path, voxel_size=10)
    np.testing.assert_allclose(found.centers_zyx, [[30, 50, 100]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_particles(path, voxel_size=7.9)
        read_particles(path)


@pytest.mark.parametrize(("unit", "angstrom"), [(-2, 1e8), (-6, 1e4), (-9, 10.0), (-10, 1.0), (-12, 0.01)])
def test_the_pixel_size_of_a_model_has_a_unit(tmp_path: Path, unit: int, angstrom: float) -> None:
    """A power of ten of a metre, from centimetres to picometres; 0 says pixels."""
    path, model = tmp_path / "p.mod", imod_model([(b"a", [[(10.5, 5.5, 3)]])])
    at = model.index(struct.pack(">fi", 0.784, -9))
    path.write_bytes(model[:at] + struct.pack(">fi", 3.0 / angstrom, unit) + model[at + 8 :])
    np.testing.assert_allclose(read_particles(path).centers_zyx, [[9, 15, 30]], rtol=1e-5)
    for size, other in ((3.0, 0), (3.0, -1), (3.0, -13), (0.0, -9), (-3.0, -9)):
        path.write_bytes(model[:at] + struct.pack(">fi", size, other) + model[at + 8 :])
        with pytest.raises(VoxpickError, match=r"p\.mod: .* a size unknown here; set it with --voxel-size"):
            read_particles(path)


def test_imod_as_written(tmp_path: Path) -> None:
    """Scattered points, one object a class, in a volume of the shape given."""
    particles = Particles(np.array([[3, 5, 7], [11, 19, 27.0]]) * 10, classes=np.array(["b", "a"]))
    write_particles(tmp_path / "p.mod", particles, voxel_size=10, shape=SHAPE)
    data = (tmp_path / "p.mod").read_bytes()
    header = MODEL.unpack_from(data)
    assert header[2:6] == (28, 20, 12, 2) and (header[22], header[23]) == (1.0, -9) and data.endswith(b"IEOF")
    name, flags = data[244:308], struct.unpack_from(">I", data, 376)[0]
    assert data[240:244] == b"OBJT" and name.rstrip(b"\0") == b"b" and flags & 1 << 9
    assert struct.unpack_from(">3f", data, 420 + 16 + 4) == (7.5, 5.5, 3)
    for name in ("a" * 64, "a\nb", "\0"):
        with pytest.raises(VoxpickError, match="cannot hold the class name"):
            write_particles(tmp_path / "q.mod", particles.with_columns(classes=[name, "b"]), voxel_size=10)
    with pytest.raises(VoxpickError, match=r"q\.mod.* one tomogram, and these picks have 2"):
        write_particles(tmp_path / "q.mod", particles.with_columns(tomograms=np.array(["a", "b"])), voxel_size=10)


@pytest.mark.parametrize("cut", [3, 100, 240, 300, 420, 430, 445, -2, -40])
def test_truncated_imod_models_are_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "p.mod"
    path.write_bytes(imod_model([(b"ribosome", [[(0.5, 0.5, 0), (1, 2, 3)]])])[:cut])
    with pytest.raises(VoxpickError, match=r"p\.mod: (not a binary IMOD model|ends early)"):
        read_particles(path, voxel_size=10)


@pytest.mark.parametrize("length", [-1, -8, -(2**31), 2**31 - 1])
def test_lengths_in_imod_models_that_lead_elsewhere_are_refused(tmp_path: Path, length: int) -> None:
    path, model = tmp_path / "p.mod", imod_model([(b"ribosome", [[(0.5, 0.5, 0)]])])
    for chunk in (b"CONT", b"SIZE", b"MESH"):
        at = model.index(chunk) + 4
        path.write_bytes(model[:at] + struct.pack(">i", length) + model[at + 4 :])
        with pytest.raises(VoxpickError, match=r"p\.mod: ends early or is damaged"):
            read_particles(path, voxel_size=10)
