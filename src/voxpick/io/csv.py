"""Particles as CSV: one line a particle, x, y, z in A, readable by people and spreadsheets.

Columns written: tomogram, class, x_angstrom, y_angstrom, z_angstrom, score, then where known location_score,
class_score, rot_deg, tilt_deg, psi_deg (RELION's angles, docs/geometry.md).
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.atomic import write_text
from voxpick.io.foreign import names_of_files
from voxpick.io.relion_angles import relion_to_rotations, rotations_to_relion
from voxpick.particles import Particles

POSITIONS = ("x_angstrom", "y_angstrom", "z_angstrom")
ANGLES = ("rot_deg", "tilt_deg", "psi_deg")
SCORES = {"score": "scores", "location_score": "location_scores", "class_score": "class_scores"}
READ = {"class", "tomogram", "x", "y", "z", *POSITIONS, *ANGLES, *SCORES}


def write_csv(
    path: str | Path, particles: Particles, *, voxel_size: float | None = None, shape: Sequence[int] | None = None
) -> None:
    """Write particles in row order; positions to 1e-4 A, scores and angles to 1e-6. Tabs for a name ending in .tsv.

    voxel_size and shape are not needed, and are taken so that every format is called alike.
    """
    columns: dict[str, Sequence[object]] = {
        "tomogram": [] if particles.tomograms is None else list(particles.tomograms),
        "class": list(particles.classes),
    }
    for name, values in zip(POSITIONS, particles.centers_zyx.T[::-1], strict=True):
        columns[name] = [f"{value:.4f}" for value in values]
    for name, attribute in SCORES.items():
        scores = getattr(particles, attribute)
        if scores is not None:
            columns[name] = [f"{value:.6f}" for value in scores]
    if particles.rotations is not None:
        for name, values in zip(ANGLES, rotations_to_relion(particles.rotations).T, strict=True):
            columns[name] = [f"{value:.6f}" for value in values]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if Path(path).suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())


def read_csv(
    path: str | Path,
    *,
    voxel_size: float | None = None,
    shape: Sequence[int] | None = None,
    units: Literal["angstrom", "voxels"] | None = None,
) -> Particles:
    """Read a table with x, y, z columns, named in any case, separated by commas, semicolons or tabs.

    x_angstrom, y_angstrom, z_angstrom are A. Plain x, y, z, or a file without a header whose first three columns are
    numbers, are voxels of voxel_size A (units "voxels", the default once voxel_size is given) or A (units "angstrom").
    Columns tomogram (files lose folder and suffix), class, score, location_score, class_score, rot_deg, tilt_deg and
    psi_deg are read where present.
    Columns of other text are not read, with a warning where there is no class or no tomogram.
    Raises VoxpickError naming file, line and value for missing columns and values that are not numbers.
    A header alone is no particles.
    """
    header, rows, lines = _rows(path)
    if not rows and (all(name in header for name in POSITIONS) or all(name in header for name in "xyz")):
        return Particles(np.zeros((0, 3)))
    if all(name in header for name in POSITIONS):
        positions, scale = POSITIONS, 1.0
    elif all(name in header for name in "xyz"):
        positions, scale = ("x", "y", "z"), _scale(path, units, voxel_size)
    else:
        family = POSITIONS if any(name in header for name in POSITIONS) else tuple("xyz")
        missing = next(name for name in family if name not in header)
        raise VoxpickError(f"{path}: column {missing!r} is missing; found {', '.join(header)}")

    _warn_of_unread(path, header, rows)

    def column(name: str) -> list[str]:
        index = header.index(name)
        return [row[index].strip() for row in rows]

    def numbers(names: Sequence[str]) -> np.ndarray | None:
        if any(name not in header for name in names):
            return None
        return np.array([_floats(column(name), path, lines, name) for name in names]).T

    centers_xyz, angles = numbers(positions), numbers(ANGLES)
    assert centers_xyz is not None
    scores = {attribute: numbers([name]) for name, attribute in SCORES.items()}
    for name, attribute in SCORES.items():
        if (values := scores[attribute]) is not None and (outside := (values < 0) | (values > 1)).any():
            row = int(np.argmax(outside))
            raise VoxpickError(f"{path}, line {lines[row]}: {name} is {values[row, 0]:g}; confidences lie in [0, 1]")
    return Particles(
        centers_xyz[:, ::-1] * scale,
        classes=np.array(column("class") if "class" in header else [], dtype=object),
        rotations=None if angles is None else relion_to_rotations(angles),
        tomograms=names_of_files(np.array(column("tomogram"), dtype=object)) if "tomogram" in header else None,
        **{attribute: None if values is None else values[:, 0] for attribute, values in scores.items()},
    )


def _warn_of_unread(path: str | Path, header: list[str], rows: list[list[str]]) -> None:
    """A warning of columns of text that may hold what `class` or `tomogram` would, under another name."""
    lacking = [name for name in ("class", "tomogram") if name not in header]
    unread = [
        name for name, text in zip(header, rows[0], strict=True)
        if name not in READ and text.strip() and not _is_number(text)
    ]  # fmt: skip
    if lacking and unread:
        warnings.warn(
            f"{path}: has no column {' and no column '.join(lacking)}, and does not read {', '.join(unread[:6])}; "
            "rename what holds them",
            stacklevel=3,
        )


def _scale(path: str | Path, units: str | None, voxel_size: float | None) -> float:
    if units == "angstrom":
        return 1.0
    if voxel_size is None:
        raise VoxpickError(
            f"{path}: columns x, y, z do not say their unit; give --voxel-size if they are voxels, "
            "or name them x_angstrom, y_angstrom, z_angstrom"
        )
    return voxel_size


def _rows(path: str | Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Lower-case header (x, y, z where the file has none), the rows of text, and the line number of each."""
    if not Path(path).is_file():
        raise VoxpickError(f"{path}: {'is a folder' if Path(path).is_dir() else 'no such file'}; give a CSV file")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise VoxpickError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        numbered = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise VoxpickError(f"{path}, line {reader.line_num}: not a CSV file ({error})") from error
    if not numbered:
        raise VoxpickError(f"{path}: is empty")
    header = [cell.strip().lower() for cell in numbered[0][1]]
    if len(header) >= 3 and all(_is_number(cell) for cell in header[:3]):
        header = ["x", "y", "z", *(f"column_{index}" for index in range(4, len(header) + 1))]
    else:
        numbered = numbered[1:]
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise VoxpickError(f"{path}: has two columns {twice}; take one out")
    for line, row in numbered:
        if len(row) != len(header):
            raise VoxpickError(f"{path}, line {line}: {len(row)} values for {len(header)} columns")
    return header, [row for _, row in numbered], [line for line, _ in numbered]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _floats(texts: list[str], path: str | Path, lines: list[int], name: str) -> list[float]:
    values = []
    for text, line in zip(texts, lines, strict=True):
        if not _is_number(text) or not np.isfinite(float(text)):
            hint = ", with a point for the decimals" if _is_number(text.replace(",", ".")) else ""
            raise VoxpickError(f"{path}, line {line}: {name} is {text!r}; it must be a finite number{hint}")
        values.append(float(text))
    return values
