"""A tomogram in a few numbers: made again elsewhere it is alike, another in its place is not.

The notes of a simulated tomogram tell how it was made (`training_marks.simulated_mark`), not whether the file beside
them is still what was made. Made again on another machine its values differ in the last bits, or in all of their noise;
means over large cells, and the deviation of the whole, hardly do.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import numpy as np

    from voxpick.io.run_directory import RunDirectory
    from voxpick.volume import Volume

SLABS, SECTIONS = 4, 8
"""Of the central half of z, and sections of each that are read."""
CELL, MOST_CELLS = 16, 8
"""Least voxels along a side of a cell, and most cells along a side of a section."""
STEP = 1 / 32
"""Of the cells' standard deviation: how finely they are kept."""
LEAST_CORRELATION = 0.5
"""Of the cells; those of other specimens by the same recipe correlate by chance, up to 0.2 in 256 cells."""
MOST_CHANGE = 0.1
"""Of the deviation, for itself and for the mean: filtered tomograms differ by more."""


def sketch(tomogram: Volume) -> str:
    """Mean, deviation and cells of a tomogram as text, for `is_alike`."""
    import numpy as np

    nz = tomogram.shape[0]
    inner = np.arange(nz // 4, nz - nz // 4)
    moments, cells = [], []
    for slab in np.array_split(inner, min(SLABS, len(inner))):
        some = np.unique(np.linspace(slab[0], slab[-1], min(SECTIONS, len(slab))).astype(int))
        sections = [np.asarray(tomogram.data[z], dtype=np.float64) for z in some]
        moments += [(section.mean(), np.square(section).mean()) for section in sections]
        mean = _cells(np.mean(sections, axis=0))
        cells.append(mean - mean.mean())
    first, second = np.mean(moments, axis=0)
    values = np.concatenate([each.ravel() for each in cells])
    steps = np.clip(np.rint(values / max(float(values.std()), 1e-300) / STEP), -127, 127).astype(np.int8)
    deviation = np.sqrt(max(second - first**2, 0.0))
    return f"{first:.6g} {deviation:.6g} {base64.b64encode(steps.tobytes()).decode()}"


def is_alike(before: str, now: str) -> bool:
    """Whether two sketches may be of one tomogram, made twice. Raises ValueError for what is no sketch."""
    import numpy as np

    (mean, deviation, cells), (other_mean, other_deviation, other_cells) = _read(before), _read(now)
    scale = max(deviation, other_deviation)
    if abs(mean - other_mean) > MOST_CHANGE * scale or abs(deviation - other_deviation) > MOST_CHANGE * scale:
        return False
    if len(cells) != len(other_cells):
        return False
    lengths = float(np.linalg.norm(cells) * np.linalg.norm(other_cells))
    return lengths == 0 or float(cells @ other_cells) >= LEAST_CORRELATION * lengths


def require_alike(run: RunDirectory, sketches: Mapping[str, str]) -> None:
    """Raise VoxpickError where a tomogram is not alike the one in the same place that the run noted.

    sketches: of the tomograms now, by place. What the run did not note is not compared.
    """
    noted = run.sketches()
    for name, now in sketches.items():
        try:
            alike = name not in noted or is_alike(noted[name], now)
        except ValueError:
            continue
        if not alike:
            raise VoxpickError(
                f"{run.path}: the reconstruction.mrc in {name} is not the one that the run began with, nor that one "
                "made again; put it back, or begin another run in another folder"
            )


def _cells(section: np.ndarray) -> np.ndarray:
    """Means of a grid of cells of a section [y, x]."""
    import numpy as np

    rows, columns = (np.linspace(0, n, int(np.clip(n // CELL, 1, MOST_CELLS)) + 1).astype(int) for n in section.shape)
    sums = np.add.reduceat(np.add.reduceat(section, rows[:-1], axis=0), columns[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(columns)))


def _read(text: str) -> tuple[float, float, np.ndarray]:
    import numpy as np

    mean, deviation, cells = text.split()
    return float(mean), float(deviation), np.frombuffer(base64.b64decode(cells), dtype=np.int8).astype(np.float64)
