"""SHREC contest files: particle lists as text; the model_N directories of SHREC'20 are in `io.shrec_model`.

Text columns are xyz, everything returned is zyx in A. Frames: see docs/geometry.md; a list of a model directory counts
z in the specimen (0..199), a submission counts it in the tomogram, z_offset voxels higher (156 in SHREC'20).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.geometry import matrix_to_zxz_deg, swap_axes, zxz_to_matrix_xyz
from voxpick.io.atomic import write_text
from voxpick.particles import Particles

SHREC_VOXEL_SIZE = 10.0


def read_locations(
    path: str | Path,
    *,
    voxel_size: float = SHREC_VOXEL_SIZE,
    year: Literal[2019, 2020] = 2020,
    z_offset: int = 0,
    tomogram: str | None = None,
    allow_empty: bool = False,
) -> Particles:
    """Read `pdb x y z [c1 c2 c3]` lines (truth or submission; 2019: `pdb Z Y X a b c`), in the order of the file.

    As in the organisers' script other columns after z are allowed, and not read; angles count when every line has them.
    Row i of the result is occupancy id i + 1. voxel_size: A. z_offset: voxels added to every z, to pass from the
    specimen to the tomogram. Angles, in degrees, become rotations for 2020; those of 2019 are not read, because their
    convention is not documented. Scores are 1: a submission's order is its confidence.
    Raises VoxpickError for a missing file, an empty one (unless allow_empty), and lines that are not of this form, with
    their number.
    """
    names: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 4:
            raise VoxpickError(
                f"{path}, line {number}: {line.strip()[:60]!r} has {len(words)} columns; expected `pdb x y z` or "
                "`pdb x y z c1 c2 c3`"
            )
        names.append(words[0])
        numbers = [_number(word, path, number) for word in words[1:4]]
        rows.append(numbers + ([_angle(word, path, number) for word in words[4:]] if len(words) == 7 else []))
    if not rows and not allow_empty:
        raise VoxpickError(f"{path}: holds no particles")
    if not rows:
        return Particles(np.zeros((0, 3)))
    angles_throughout = all(len(row) == 6 for row in rows)
    values = np.array(rows if angles_throughout else [row[:3] for row in rows])
    voxels = values[:, :3] if year == 2019 else values[:, 2::-1]
    has_angles = angles_throughout and year == 2020
    return Particles(
        (voxels + [z_offset, 0, 0]) * voxel_size,
        classes=np.array(names, dtype=object),
        rotations=swap_axes(zxz_to_matrix_xyz(values[:, 3:])) if has_angles else None,
        tomograms=np.full(len(names), Path(path).stem if tomogram is None else tomogram, dtype=object),
    )


def write_locations(path: str | Path, particles: Particles, *, voxel_size: float = SHREC_VOXEL_SIZE) -> None:
    """Write truth as `pdb x y z c1 c2 c3`: whole voxels, degrees to four decimals, in row order.

    Raises VoxpickError when the particles have no rotations.
    """
    if particles.rotations is None:
        raise VoxpickError(f"{path}: particle_locations needs the rotation of every particle, and these have none")
    require_plain_names(path, particles)
    angles = matrix_to_zxz_deg(swap_axes(particles.rotations))
    voxels = round_half_away(particles.voxels(voxel_size))
    lines = (
        f"{name} {x} {y} {z} {c1:.4f} {c2:.4f} {c3:.4f}\n"
        for name, (z, y, x), (c1, c2, c3) in zip(particles.classes, voxels, angles, strict=True)
    )
    write_text(path, "".join(lines))


def write_submission(path: str | Path, particles: Particles, *, voxel_size: float = SHREC_VOXEL_SIZE) -> None:
    """Write picks as the contest takes them: `pdb x y z` in whole tomogram voxels, most confident first.

    voxel_size: A. Halves are rounded away from zero, as in the contest's own lists. Raises VoxpickError for names of
    classes that such a list cannot hold.
    """
    require_plain_names(path, particles)
    ordered = particles.sorted_by_score()
    voxels = round_half_away(ordered.voxels(voxel_size))
    lines = (f"{name} {x} {y} {z}\n" for name, (z, y, x) in zip(ordered.classes, voxels, strict=True))
    write_text(path, "".join(lines))


def round_half_away(values: np.ndarray) -> np.ndarray:
    """The nearest integers (int64), halves away from zero; np.rint would send 0.5 and 1.5 to 0 and 2."""
    values = np.asarray(values, dtype=np.float64)
    return np.where(values < 0, -np.floor(-values + 0.5), np.floor(values + 0.5)).astype(np.int64)


def require_plain_names(path: str | Path, particles: Particles) -> None:
    """Raise VoxpickError for the name of a class that SHREC lists cannot hold."""
    for name in particles.classes:
        if len(str(name).split()) != 1 or str(name).startswith("#"):
            raise VoxpickError(f"{path}: SHREC lists cannot hold the class name {name!r}; use one word")


def _lines(path: str | Path) -> list[str]:
    if Path(path).is_dir():
        raise VoxpickError(f"{path}: is a folder; give a text file of particle positions")
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise VoxpickError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise VoxpickError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from error


def _angle(word: str, path: str | Path, line: int) -> float:
    """A number; 0 for NaN, as lists of SHREC'21 have of vesicles and gold beads, which have no orientation."""
    return 0.0 if word.lower() == "nan" else _number(word, path, line)


def _number(word: str, path: str | Path, line: int) -> float:
    try:
        value = float(word)
    except ValueError as error:
        raise VoxpickError(f"{path}, line {line}: {word!r} is not a number") from error
    if not np.isfinite(value):
        raise VoxpickError(f"{path}, line {line}: {word!r} is no position; coordinates and angles are finite")
    return value
