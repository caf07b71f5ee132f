"""crYOLO boxes of tomograms (.cbox): a STAR file with a data_cryolo block, positions in voxels from 0.

_CoordinateX and _CoordinateY are the lower corner of the box, so the centre is half of _Width and _Height further;
_CoordinateZ already is the centre's section, as crYOLO's box manager and scipion-em-sphire read and write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import starfile

from voxpick.errors import VoxpickError
from voxpick.io.atomic import write_text
from voxpick.io.foreign import confidences, read_text, require_known, require_one, voxels_xyz
from voxpick.io.shrec import round_half_away
from voxpick.io.star import require_star_names
from voxpick.io.star_tables import blocks_of, require_whole_rows
from voxpick.particles import Particles

NEEDED = ("CoordinateX", "CoordinateY", "CoordinateZ", "Width", "Height")
SCORE, CLASS = "Confidence", "vpxClassName"


def read_cbox(path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None) -> Particles:
    """Read the boxes of a tomogram: centres and _Confidence (1 where it says <NA>); the tomogram is the file's name.

    voxel_size: A, needed, for the file does not say it. The class is vpxClassName if voxpick wrote the file.
    Raises VoxpickError for a missing or foreign file, missing columns (boxes of micrographs have no _CoordinateZ), and
    values that are not finite numbers.
    """
    table = _table(path)
    if not len(table):
        return Particles(np.zeros((0, 3)))
    size = require_known(voxel_size, path, "a CBOX file")
    values = {name: _numbers(table[name], name, path) for name in NEEDED}
    x = values["CoordinateX"] + values["Width"] / 2
    y = values["CoordinateY"] + values["Height"] / 2
    scores = None
    if SCORE in table:
        unknown = table[SCORE].isna() | (table[SCORE].astype(str) == "<NA>")
        scores = confidences(_numbers(table[SCORE].mask(unknown, 1.0), SCORE, path))
    return Particles(
        np.stack([values["CoordinateZ"], y, x], axis=1) * size,
        classes=table[CLASS].astype(str).to_numpy(dtype=object) if CLASS in table else np.empty(0, dtype=object),
        scores=scores,
        tomograms=np.full(len(table), Path(path).stem, dtype=object),
    )


def write_cbox(
    path: str | Path,
    particles: Particles,
    *,
    voxel_size: float | None = None,
    shape: Sequence[int] | None = None,
    box: int = 20,
) -> None:
    """Write crYOLO's eleven columns and the class (vpxClassName), in row order; and the sections that hold picks.

    voxel_size: A. box: the boxes' side in voxels, which picks do not know; crYOLO's box manager can change it.
    Orientations are not stored. Raises VoxpickError when voxel_size is missing, and for several tomograms, of which
    such a file holds one.
    """
    size = require_known(voxel_size, path, "a CBOX file")
    require_one(particles.tomograms, path, "tomogram", "")
    require_star_names(path, particles)
    x, y, z = voxels_xyz(particles, size).T
    boxes = {"CoordinateX": x - box / 2, "CoordinateY": y - box / 2, "CoordinateZ": z}
    boxes |= dict.fromkeys(("Width", "Height", "Depth", "EstWidth", "EstHeight"), np.full(len(particles), float(box)))
    boxes |= {SCORE: particles.scores, "NumBoxes": np.ones(len(particles)), "Angle": np.zeros(len(particles))}
    blocks = {
        "global": {"cbox_format_version": 1.0},
        "cryolo": pd.DataFrame(boxes | {CLASS: particles.classes}),
        "cryolo_include": pd.DataFrame({"slice_index": np.unique(round_half_away(z))}),
    }
    write_text(path, starfile.to_string(blocks, float_format="%.6f"))


def _table(path: str | Path) -> pd.DataFrame:
    """The data_cryolo block."""
    text = read_text(path, "a CBOX file")
    require_whole_rows(text, path)
    try:
        blocks = blocks_of(text, [CLASS])
    except VoxpickError:
        raise
    except Exception as error:  # the parser raises whatever its parts raise
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise VoxpickError(f"{path}: not a readable CBOX file ({reason})") from error
    block = blocks.get("cryolo")
    if block is None:
        found = ", ".join(f"data_{name}" for name in blocks) or "no block"
        raise VoxpickError(f"{path}: not a CBOX file (no data_cryolo block with boxes; found {found})")
    table = pd.DataFrame([block]) if isinstance(block, dict) else block
    missing = [name for name in NEEDED if name not in table]
    if missing:
        way_out = "; boxes of micrographs have no depth, so pick in tomograms" if missing == ["CoordinateZ"] else ""
        raise VoxpickError(
            f"{path}: column _{missing[0]} is missing; found {', '.join(map(str, table.columns))}{way_out}"
        )
    if table.columns.duplicated().any():
        raise VoxpickError(f"{path}: has two columns _{table.columns[table.columns.duplicated()][0]}; take one out")
    return table


def _numbers(column: pd.Series, name: str, path: str | Path) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise VoxpickError(f"{path}, box {row + 1}: _{name} is {column.iloc[row]}; it must be a finite number")
    return values
