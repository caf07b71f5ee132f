"""A tomogram in a few numbers: made again elsewhere it is alike, another in its place is not.

The notes of a simulated tomogram tell how it was made (`training_marks.simulated_mark`), not whether the file beside
them is still what was made. Made again on another machine its values differ in the last bits, or in all of their noise.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import numpy as np

    from voxpick.io.run_directory import RunDirectory
    from voxpick.volume import Volume

SLABS, CELL, MOST_CELLS = 8, 3, 4096
"""Slabs of the central half of z, one cell thick; voxels along a side of a cell; cells that are kept of all slabs."""
STEP = 1 / 32
"""Of the cells' standard deviation: how finely they are kept."""
LEAST_CORRELATION = {True: 0.9, False: 0.07}
"""Of the cells: where the noise is the same, and where it may be another, so that specimens alone are alike. Chance
makes 1 over the root of their number."""
MOST_CHANGE = 0.1
"""Of the deviation, for itself and for the mean: filtered tomograms differ by more."""
SAME_NOISE = "cpu"
"""Where noise is drawn alike on every machine; what GPUs draw depends on their kind."""


def sketch(tomogram: Volume, drawn_on: object = None) -> str:
    """Where its noise was drawn, mean, deviation and cells of a tomogram as text, for `is_alike`."""
    import numpy as np

    nz, ny, nx = tomogram.shape
    z_side, y_side, x_side = (min(CELL, n) for n in (nz, ny, nx))
    rows, columns = ny // y_side, nx // x_side
    last = nz - nz // 4 - z_side
    moments, cells = [], []
    for z in np.unique(np.linspace(min(nz // 4, last), last, SLABS).astype(int)):
        slab = np.asarray(tomogram.data[z : z + z_side], dtype=np.float64)
        moments.append((slab.mean(), np.square(slab).mean()))
        whole = slab[:, : rows * y_side, : columns * x_side].reshape(-1, rows, y_side, columns, x_side)
        mean = whole.mean(axis=(0, 2, 4)).ravel()
        cells.append(mean - mean.mean())
    first, second = np.mean(moments, axis=0)
    values = np.concatenate(cells)
    values = values[:: -(-len(values) // MOST_CELLS)]
    steps = np.clip(np.rint(values / max(float(values.std()), 1e-300) / STEP), -127, 127).astype(np.int8)
    deviation, text = np.sqrt(max(second - first**2, 0.0)), base64.b64encode(steps.tobytes()).decode()
    return f"{'-'.join(str(drawn_on).split())} {first:.6g} {deviation:.6g} {text}"


def folder_sketch(folder: Path, tomogram: Volume) -> str:
    """That of the tomogram of a model folder, whose notes tell where its noise was drawn."""
    from voxpick.cli.simulation_notes import NOISE, read_simulation

    return sketch(tomogram, read_simulation(folder).get(NOISE))


def is_alike(before: str, now: str) -> bool:
    """Whether two sketches may be of one tomogram, made twice. Raises ValueError for what is no sketch."""
    import numpy as np

    (drawn_on, mean, deviation, cells), (other_on, other_mean, other_deviation, other_cells) = _read(before), _read(now)
    scale = max(deviation, other_deviation)
    if abs(mean - other_mean) > MOST_CHANGE * scale or abs(deviation - other_deviation) > MOST_CHANGE * scale:
        return False
    if len(cells) != len(other_cells):
        return False
    lengths = float(np.linalg.norm(cells) * np.linalg.norm(other_cells))
    least = LEAST_CORRELATION[drawn_on == other_on == SAME_NOISE]
    return lengths == 0 or float(cells @ other_cells) >= least * lengths


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


def _read(text: str) -> tuple[str, float, float, np.ndarray]:
    import numpy as np

    drawn_on, mean, deviation, cells = text.split()
    values = np.frombuffer(base64.b64decode(cells), dtype=np.int8).astype(np.float64)
    return drawn_on, float(mean), float(deviation), values
