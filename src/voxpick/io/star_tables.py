"""The tables of RELION's particle STAR files: what their columns are called, and reading them, checked."""

from __future__ import annotations

import linecache
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import starfile

from voxpick.errors import VoxpickError
from voxpick.io.foreign import names_of_files, read_text
from voxpick.io.mrc_header import MAX_ANISOTROPY

CENTRED = ["rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst"]
PIXELS = ["rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"]
ANGLES = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
SUBTOMOGRAM_ANGLES = ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
ORIGINS = ["rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"]
PIXEL_ORIGINS = ["rlnOriginX", "rlnOriginY", "rlnOriginZ"]
CAMERA = ["rlnDetectorPixelSize", "rlnMagnification"]
SIZES = ["vpxTomogramSizeXAngst", "vpxTomogramSizeYAngst", "vpxTomogramSizeZAngst"]
NAME = "rlnTomoName"
TOMOGRAM_COLUMNS = (NAME, "rlnMicrographName")
CLASS_COLUMNS = ("vpxClassName", "rlnParticleName", "rlnClassNumber")
SCORE, LOCATION_SCORE, CLASS_SCORE = "rlnAutopickFigureOfMerit", "vpxLocationScore", "vpxClassScore"
PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"
SIZES_BLOCK = "voxpick"
_COUNTED = {PIXELS[0], CENTRED[0], PIXEL_SIZE, SIZES[0], "CoordinateX"}
"""Columns of the tables whose rows have to be whole; the last is of CBOX files."""
_VALUE, _COMMENT = re.compile(r'"[^"]*"|#.*|[^ \t#]+'), "#"
OTHER_TABLES = {
    "rlnTomoImportParticleFile": "it lists files of picks; give one of those",
    "rlnTomoParticlesFile": "it is an optimisation set; give the particles file that it names",
    "rlnTomoTiltSeriesStarFile": "it lists tomograms, as tomograms.star does; give the file of particles",
}
"""Columns of RELION's other files, by which they are known, and what to do."""


def read_tables(path: str | Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The tables of particles, of optics and of tomograms' sizes (the last two empty where there are none).

    Raises VoxpickError for a file that is missing or no STAR file, rows that are not whole, and any but one table with
    coordinates.
    """
    strings = [*TOMOGRAM_COLUMNS, "vpxClassName", "rlnParticleName", "rlnTomoParticleName"]
    text = read_text(path, "a STAR file")
    names = [line.split()[0] for line in text.splitlines() if line.startswith("data_")]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VoxpickError(f"{path}: has two blocks {twice}; join their tables or take one out")
    require_whole_rows(text, path)
    try:
        blocks = blocks_of(text, strings)
    except VoxpickError:
        raise
    except Exception as error:  # the parser raises whatever its parts raise
        nothing = isinstance(error, TypeError)  # of a block with neither a table nor a value
        reason = "a block without a table" if nothing else " ".join(str(error).split())[:120] or type(error).__name__
        raise VoxpickError(f"{path}: not a readable STAR file ({reason})") from error
    tables = {
        name: pd.DataFrame([block]) if isinstance(block, dict) else block
        for name, block in blocks.items()
        if block is not None
    }
    if not tables:
        raise VoxpickError(f"{path}: not a STAR file (no data_ block with a table)")
    placed = {name: table for name, table in tables.items() if PIXELS[0] in table or CENTRED[0] in table}
    if len(placed) > 1:
        two = " and ".join(f"data_{name}" for name in list(placed)[:2])
        raise VoxpickError(f"{path}: has coordinates in two blocks, {two}; join their tables or take one out")
    found = next(iter(placed.values()), None)
    if found is None:
        columns = [str(column) for table in tables.values() for column in table.columns]
        hint = next((f"; {way}" for name, way in OTHER_TABLES.items() if name in columns), "")
        raise VoxpickError(f"{path}: no {PIXELS[0]} or {CENTRED[0]} column; found {', '.join(columns[:12])}{hint}")
    if found.columns.duplicated().any():
        column = found.columns[found.columns.duplicated()][0]
        raise VoxpickError(f"{path}: has two columns {column}; take one out")
    return found, tables.get("optics", pd.DataFrame()), tables.get(SIZES_BLOCK, pd.DataFrame())


def written_sizes(path: str | Path) -> np.ndarray:
    """Sizes in A, x first, of the tomograms that a STAR file of voxpick's is of: (n, 3); no rows in those of others."""
    return stored_sizes(read_tables(path)[2])


def stored_sizes(sizes: pd.DataFrame) -> np.ndarray:
    """As `written_sizes`, of the table of them."""
    if not len(sizes) or any(name not in sizes for name in SIZES):
        return np.zeros((0, 3))
    return sizes[SIZES].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)


def fits(sizes: np.ndarray, size: np.ndarray, voxel_size: float) -> bool:
    """Whether one of the sizes (n, 3) is that of a tomogram, all in A; what binning drops is less than a voxel."""
    return bool((np.abs(sizes - size) <= MAX_ANISOTROPY * size + voxel_size).all(axis=1).any())


def require_whole_rows(text: str, path: str | Path) -> None:
    """Raise VoxpickError for a row of a table with coordinates, or of what belongs to it, that is not whole.

    starfile fills a row that was cut short, and takes one that begins with the name data_1 or _1 for another block or
    column: particles were lost without a word, or ended in tomograms that there are not.
    """
    head: list[str] = []
    in_head = False
    for number, line in enumerate(_lines(text), start=1):
        values = _values(line)
        if not values:
            continue
        begins = next((mark for mark in ("data_", "_") if values[0].startswith(mark)), None)
        if head and len(values) > 1 and (begins == "data_" or (begins == "_" and in_head)):
            raise VoxpickError(
                f"{path}, line {number}: a row begins with {values[0]!r}, which is how blocks and columns of STAR "
                "files begin; move another column to the front"
            )
        if values[0] == "loop_" or begins == "data_":
            head, in_head = [], values[0] == "loop_"
        elif in_head and begins == "_":
            head.append(values[0][1:])
        else:
            in_head = False
            if _COUNTED & {*head} and len(values) != len(head):
                raise VoxpickError(
                    f"{path}, line {number}: {len(values)} values for {len(head)} columns; the file may be cut short"
                )


def _values(line: str) -> list[str]:
    """The values of a line, without a comment behind them."""
    found = _VALUE.findall(line.replace("'", '"'))
    return found[: next((k for k, value in enumerate(found) if value[0] == _COMMENT), None)]


def blocks_of(text: str, strings: list[str]) -> dict[str, Any]:
    """The blocks of a STAR file's text by name, the columns `strings` as text. Raises whatever starfile does,
    and VoxpickError where there is no room for a temporary file.

    Lines of comment are emptied first: starfile takes one behind the head of an empty table for its first row.
    """
    lines = ("" if line.lstrip().startswith("#") else line for line in _lines(text))
    with _temporary_file("\n".join(lines)) as plain:
        linecache.clearcache()  # starfile reads through it
        return starfile.read(plain, always_dict=True, parse_as_string=strings)


def _lines(text: str) -> list[str]:
    """The lines of a text with ends of any kind, of which starfile knows one alone; other splitters know too many."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


@contextmanager
def _temporary_file(text: str) -> Iterator[Path]:
    """A file of the text, as starfile reads files alone. Raises VoxpickError where none can be made."""
    with ExitStack() as stack:
        try:
            folder = tempfile.gettempdir()
            plain = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))) / "plain.star"
            plain.write_text(text, encoding="utf-8")
        except OSError as error:
            place = tempfile.tempdir or "no temporary folder"
            raise VoxpickError(
                f"{place}: cannot be written to ({error.strerror or error}), and reading STAR and CBOX files needs a "
                "temporary file; make room there, or set TMPDIR to another folder"
            ) from error
        yield plain


def text_column(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray | None:
    """The first of the columns that is there, as strings."""
    found = next((name for name in columns if name in frame), None)
    return None if found is None else np.array([str(value) for value in frame[found]], dtype=object)


def tomogram_names(frame: pd.DataFrame) -> np.ndarray | None:
    """The names of the particles' tomograms, without what files have besides, as RELION 3 and Warp name them."""
    found = text_column(frame, TOMOGRAM_COLUMNS)
    return None if found is None else names_of_files(found)


def number_columns(frame: pd.DataFrame, columns: list[str], path: str | Path) -> np.ndarray | None:
    """(n, columns) floats, or None unless all columns are there. Raises VoxpickError for any that is not finite."""
    if any(name not in frame for name in columns):
        return None
    values = frame[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        found = frame[columns[column]].iloc[row]
        line = _line_of_row(path, int(row))
        raise VoxpickError(f"{path}, line {line}: {columns[column]} is {found}; it must be a finite number")
    return values


def above_zero(table: pd.DataFrame, columns: list[str], path: str | Path, block: str) -> np.ndarray:
    """Columns of a table as numbers (n, columns). Raises VoxpickError for any that is not above 0."""
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if not len(values) or not (np.isfinite(values) & (values > 0)).all():
        bad = np.argwhere(~(np.isfinite(values) & (values > 0)))
        row, column = bad[0] if len(bad) else (0, 0)
        found = table[columns[column]].iloc[row] if len(values) else "missing"
        raise VoxpickError(f"{path}: {columns[column]} of the {block} table is {found}; it must be a number above 0")
    return values


def image_pixel_size(frame: pd.DataFrame, optics: pd.DataFrame) -> float | None:
    """A: of the images of the first particle, as RELION 3 and Warp say it; None where the tables do not."""
    for table, columns in ((frame, CAMERA), (frame, ["rlnPixelSize"]), (optics, ["rlnImagePixelSize"])):
        if len(table) and all(name in table for name in columns):
            values = table[columns].iloc[0].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                size = 1e4 * values[0] / values[1] if columns is CAMERA else values[0]
            if np.isfinite(size) and size > 0:
                return float(f"{size:.6g}")
    return None


def one_of_each(table: pd.DataFrame, key: str, path: str | Path, block: str) -> pd.DataFrame:
    """A table without repeated rows. Raises VoxpickError for a column twice and for a key with two different rows."""
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise VoxpickError(f"{path}: the {block} table has two columns {twice[0]}; take one out")
    table = table.drop_duplicates()
    if key in table and table[key].duplicated().any():
        name = table[key][table[key].duplicated()].iloc[0]
        raise VoxpickError(f"{path}: the {block} table has {key} {name} twice, with different values; leave one")
    return table


def _line_of_row(path: str | Path, row: int) -> int:
    """The line, from 1, of a row of the particle table."""
    in_table, count = False, -1
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        word = line.split()[0] if line.strip() else ""
        in_table = in_table or word in (f"_{PIXELS[0]}", f"_{CENTRED[0]}")
        if in_table and word and word[0] not in "_#":
            count += 1
        if count == row:
            return number
    return 0
