"""IMOD models (.mod, binary, V1.2): points of objects, whose names are the classes.

Layout and coordinates as in IMOD's documentation (bio3d.colorado.edu/imod/doc/binspec.html): big-endian; coordinates in
pixels, x from 0 to NX and y from 0 to NY, but z from -0.5 to NZ - 0.5. So the centre of voxel (i, j, k), x first, is at
(i + 0.5, j + 0.5, k).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.atomic import atomic_path
from voxpick.io.foreign import read_bytes, require_known, require_one, voxels_xyz, warn_of_another_size
from voxpick.particles import Particles

MODEL = struct.Struct(">8s128s4iI4i3f3f5ifii3f")
OBJECT = struct.Struct(">64s64siI2i3fi8B2i")
CONTOUR = struct.Struct(">iI2i")
MESH = struct.Struct(">2iI2h")
CENTRE_XYZ = np.array([0.5, 0.5, 0.0])
"""Where IMOD has the centre of the first voxel."""
Z_FROM_MINUS_HALF, NOT_BY_3DMOD, SEEN_FLIPPED = 1 << 10, 1 << 11, 1 << 16
OPEN, SCATTERED = 1 << 3, 1 << 9
STYLE = (0, 3, 1, 1, 0, 0, 0, 0)
"""Of an object: circles as symbols, their size, line widths 1, then style, flags, padding and transparency."""
COLOURS = ((0, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 0, 0), (0, 0, 1))


def read_imod(path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None) -> Particles:
    """Read all points of all contours; the class is the object's name, or object_1, ...; the tomogram the file's name.

    voxel_size: A; where it is not given, the model's pixel size if it has a unit of length; with a warning where the
    two are more than 1 % apart. Coordinates count from the part of the volume on which the model was drawn. Meshes
    and everything else is passed over.
    Raises VoxpickError for a missing file, one that is no such model or ends early, one drawn with y and z swapped, and
    points that are not finite.
    """
    data = read_bytes(path, "a binary IMOD model")
    if data[:4] != b"IMOD" or len(data) < MODEL.size:
        text = " (it is text: write it again with 3dmod)" if data[:4] == b"imod" else ""
        raise VoxpickError(f"{path}: not a binary IMOD model{text}")
    if data[4:8] != b"V1.2":
        raise VoxpickError(f"{path}: is an IMOD model {data[4:8]!r}; only V1.2 is read, which 3dmod writes")
    header = MODEL.unpack_from(data)
    if header[6] & SEEN_FLIPPED:
        raise VoxpickError(f"{path}: was saved with y and z swapped; save it from 3dmod without -Y")
    names, points = _points(data, path)
    if not len(points):
        return Particles(np.zeros((0, 3)))
    if not np.isfinite(points).all():
        row = int(np.argmin(np.isfinite(points).all(axis=1)))
        raise VoxpickError(f"{path}: point {row + 1} is {points[row].tolist()}; points are finite")
    pixel, unit = header[22], header[23]
    if -12 <= unit <= -2 and np.isfinite(pixel) and pixel > 0:
        stored = float(f"{pixel:.6g}") * 10.0 ** (unit + 10)
        warn_of_another_size(stored, voxel_size, path)
        voxel_size = stored if voxel_size is None else voxel_size
    size = require_known(voxel_size, path, "an IMOD model")
    return Particles(
        (points - CENTRE_XYZ)[:, ::-1] * size,
        classes=np.array(names, dtype=object),
        tomograms=np.full(len(points), Path(path).stem, dtype=object),
    )


def write_imod(
    path: str | Path, particles: Particles, *, voxel_size: float | None = None, shape: Sequence[int] | None = None
) -> None:
    """Write an object of scattered points for each class, most confident first; scores and rotations are not stored.

    voxel_size: A, also written as the model's pixel size. shape: voxels (z, y, x) of the tomogram, else that of the
    picks. Raises VoxpickError when voxel_size is missing, for several tomograms, of which a model holds one, and for
    class names of more than 63 bytes.
    """
    size = require_known(voxel_size, path, "an IMOD model")
    require_one(particles.tomograms, path, "tomogram", "")
    require_short_names(path, particles)
    ordered = particles.sorted_by_score()
    points = voxels_xyz(ordered, size) + CENTRE_XYZ
    extent = np.ceil(points.max(axis=0, initial=0)).astype(int) + 1 if shape is None else shape[::-1]
    names = np.array([str(name) for name in ordered.classes], dtype=object)
    chunks = []
    for index, name in enumerate(dict.fromkeys(names)):
        of_class = points[names == name].astype(">f4")
        colour = COLOURS[index % len(COLOURS)]
        chunks.append(b"OBJT" + OBJECT.pack(name.encode(), b"", 1, OPEN | SCATTERED, 0, 0, *colour, 5, *STYLE, 0, 0))
        chunks.append(b"CONT" + CONTOUR.pack(len(of_class), 0, 0, 0) + of_class.tobytes())
    head = MODEL.pack(
        b"IMODV1.2", b"voxpick", *map(int, extent), len(chunks) // 2, Z_FROM_MINUS_HALF | NOT_BY_3DMOD,
        1, 1, 0, 255, 0, 0, 0, 1, 1, 1, 0, 0, 0, 3, 128, size / 10, -9, 0, 0, 0, 0,
    )  # fmt: skip
    with atomic_path(path) as temporary:
        temporary.write_bytes(head + b"".join(chunks) + b"IEOF")


def require_short_names(path: str | Path, particles: Particles) -> None:
    """Raise VoxpickError for class names that an IMOD object cannot have."""
    for name in dict.fromkeys(map(str, particles.classes)):
        if len(name.encode()) > 63 or not name.isprintable():
            raise VoxpickError(
                f"{path}: IMOD models cannot hold the class name {name!r}; use at most 63 plain characters"
            )


def _points(data: bytes, path: str | Path) -> tuple[list[str], np.ndarray]:
    """The object's name and the coordinates, x first, of every point."""
    names: list[str] = []
    points: list[np.ndarray] = [np.zeros((0, 3))]
    at, objects, name = MODEL.size, 0, ""
    while True:
        chunk, at = data[at : at + 4], at + 4
        try:
            if chunk == b"IEOF":
                return names, np.concatenate(points)
            if chunk == b"OBJT":
                objects += 1
                name = OBJECT.unpack_from(data, at)[0].split(b"\0")[0].decode("utf-8", "replace").strip()
                sizes = [OBJECT.size]
            elif chunk == b"CONT":
                count = CONTOUR.unpack_from(data, at)[0]
                sizes = [CONTOUR.size, 12 * count]
                if count > 0:
                    points.append(np.frombuffer(data, ">f4", 3 * count, at + CONTOUR.size).reshape(-1, 3).astype(float))
                    names += [name or f"object_{objects}"] * count
            elif chunk == b"MESH":
                vertices, indices = MESH.unpack_from(data, at)[:2]
                sizes = [MESH.size, 12 * vertices, 4 * indices]
            else:
                sizes = [4, struct.unpack_from(">i", data, at)[0]]
            if min(sizes) < 0 or at + sum(sizes) > len(data):
                raise ValueError("a length leads out of the file")
        except (struct.error, ValueError) as error:
            raise VoxpickError(
                f"{path}: ends early or is damaged, at byte {at} of {len(data)}; copy it again"
            ) from error
        at += sum(sizes)
