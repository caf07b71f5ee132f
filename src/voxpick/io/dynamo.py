"""Dynamo tables (.tbl): a row of numbers a particle, columns counted from 1.

Columns, angles and pixels as the Dynamo wiki (wiki.dynamo.biozentrum.unibas.ch) has them on the pages Table convention,
Euler angles convention and Volume center. The first pixel is 1, so voxel i is pixel i + 1. The template is turned into
the particle by tdrot about z, tilt about the new x and narot about the new z, all clockwise (left-handed):
R_xyz = Rz(-tdrot) Rx(-tilt) Rz(-narot), the inverse of Rz(narot) Rx(tilt) Rz(tdrot). See docs/geometry.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.geometry import matrix_to_zxz_deg, swap_axes, zxz_to_matrix_xyz
from voxpick.io.atomic import write_text
from voxpick.io.foreign import (
    confidences,
    known_rotations,
    number,
    numbers_of,
    read_text,
    require_known,
    require_one,
    voxels_xyz,
    warn_of_another_size,
)
from voxpick.particles import Particles

COLUMNS = {"dx": 4, "dy": 5, "dz": 6, "tdrot": 7, "tilt": 8, "narot": 9, "cc": 10, "tomo": 20, "class": 22}
COLUMNS |= {"x": 24, "y": 25, "z": 26, "apix": 36}
WIDTH = 42
"""Columns written; tables that end after z, column 26, are read."""


def dynamo_to_rotations(angles_deg: np.ndarray) -> np.ndarray:
    """(n, 3) degrees (tdrot, tilt, narot) -> (n, 3, 3) matrices on (z, y, x) that turn reference into particle."""
    return swap_axes(zxz_to_matrix_xyz(-np.asarray(angles_deg, dtype=np.float64)))


def rotations_to_dynamo(rotations: np.ndarray) -> np.ndarray:
    """The inverse of `dynamo_to_rotations`: tdrot and narot in [-180, 180], tilt in [0, 180] degrees."""
    matrices = swap_axes(np.asarray(rotations).reshape(-1, 3, 3))
    return matrix_to_zxz_deg(matrices.transpose(0, 2, 1))[:, ::-1]


def read_dynamo(path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None) -> Particles:
    """Read a Dynamo table: x y z plus shifts dx dy dz, angles, cc, class and tomogram number (both become names).

    voxel_size: A; where it is not given, that of column 36 (apix); with a warning where a row's is more than 1 % from
    it. What is 0 throughout is unknown: angles, cc, class, and tomogram, which then is the file's name. A cc outside
    [0, 1] is mapped linearly onto it. An empty file is no particles.
    Raises VoxpickError for a missing file, a voxel size that nobody says, lines of fewer than 26 columns or of another
    length than the first, and values in the columns read that are not finite numbers.
    """
    rows: list[dict[str, float]] = []
    width = 0
    for line, text in enumerate(read_text(path, "a Dynamo table").splitlines(), start=1):
        words = text.split()
        if not words or words[0][0] in "%#":
            continue
        width = width or len(words)
        if len(words) != width or width < COLUMNS["z"]:
            wanted = f"line 1 has {width}" if len(words) != width else "Dynamo tables have at least 26"
            raise VoxpickError(f"{path}, line {line}: {len(words)} columns; {wanted}")
        rows.append({k: number(words[c - 1], path, line, k) for k, c in COLUMNS.items() if c <= len(words)})
    if not rows:
        return Particles(np.zeros((0, 3)))
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if "apix" in table and (table["apix"] > 0).all():
        if voxel_size is None:
            voxel_size = float(require_one(table["apix"], path, "pixel size (column 36)", ""))
        farthest = table["apix"][np.argmax(np.abs(table["apix"] - voxel_size))]
        warn_of_another_size(float(farthest), voxel_size, path)
    size = require_known(voxel_size, path, "a Dynamo table")
    pixels = np.stack([table[axis] + table[f"d{axis}"] for axis in "zyx"], axis=1)
    angles = np.stack([table[name] for name in ("tdrot", "tilt", "narot")], axis=1)
    return Particles(
        (pixels - 1) * size,
        classes=_names(table["class"]) if table["class"].any() else np.empty(0, dtype=object),
        scores=confidences(table["cc"]) if table["cc"].any() else None,
        rotations=known_rotations(dynamo_to_rotations(angles)),
        tomograms=_names(table["tomo"]) if table["tomo"].any() else np.full(len(rows), Path(path).stem, dtype=object),
    )


def _names(numbers: np.ndarray) -> np.ndarray:
    return np.array([f"{value:.15g}" for value in numbers], dtype=object)


def write_dynamo(
    path: str | Path, particles: Particles, *, voxel_size: float | None = None, shape: Sequence[int] | None = None
) -> None:
    """Write a Dynamo table in row order, 42 columns: the score is cc; shifts and all that is unknown are 0.

    voxel_size: A, also written as apix. Classes and tomograms become numbers: those they are, the SHREC'20 ids of
    classes, or else places in the sorted names. Angles are 0 where they are unknown.
    Raises VoxpickError when voxel_size is missing.
    """
    size = require_known(voxel_size, path, "a Dynamo table")
    table = np.zeros((len(particles), WIDTH))
    table[:, 0] = np.arange(1, len(particles) + 1)
    table[:, 1:3] = 1  # aligned, averaged
    if particles.rotations is not None and len(particles):
        table[:, 6:9] = rotations_to_dynamo(particles.rotations)
    table[:, 9] = particles.scores
    table[:, 19] = numbers_of(particles.tomograms, len(particles), ids={})
    table[:, 21] = numbers_of(particles.classes, len(particles))
    table[:, 23:26] = voxels_xyz(particles, size) + 1
    table[:, 35] = size
    lines = (" ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in row) + "\n" for row in table)
    write_text(path, "".join(lines))
