"""Alignment of subtomograms to a map, over the frequencies that the tilt series measured.

The score is the constrained cross-correlation (Foerster et al., doi:10.1073/pnas.0409178102): the correlation of the
subtomogram with the turned and shifted map, both reduced to the frequencies outside the missing wedge, which lies alike
in all subtomograms. How it is computed: `pose_search`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from voxpick.average.alignment import Alignment
from voxpick.average.pose_search import PoseSearch
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError


@dataclass(frozen=True)
class Poses:
    """rotations (n, 3, 3) turn the map into the particle; shifts_zyx (n, 3), voxels from the box centre to it.

    scores: (n,), the constrained cross-correlation in [-1, 1]; 0 where it was not measured.
    """

    rotations: np.ndarray
    shifts_zyx: np.ndarray
    scores: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Poses:
        return Poses(self.rotations[rows], self.shifts_zyx[rows], self.scores[rows])


def align(
    subtomograms: Subtomograms,
    reference: np.ndarray,
    settings: Alignment,
    *,
    rotations: np.ndarray | None = None,
    start: Poses | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Poses:
    """The poses in which the reference [box, box, box] fits each subtomogram best.

    rotations: (r, 3, 3), searched for every subtomogram with all shifts up to max_shift; then neighbours of the best,
    at half the step, a quarter and so on. Without rotations the search begins at `start`, with step_deg.
    Raises VoxpickError when neither is given or the reference has another box.
    """
    if reference.shape != (subtomograms.box,) * 3:
        raise VoxpickError(
            f"the reference has shape {reference.shape}, the subtomograms {(subtomograms.box,) * 3}; use one box"
        )
    if rotations is None and start is None:
        raise VoxpickError("alignment needs rotations to search or poses to start from")
    search = PoseSearch(subtomograms, reference, settings)
    found, n = [], len(subtomograms)
    size = search.batch(0 if rotations is None else len(rotations))
    bank = None if rotations is None else search.bank(rotations)
    for first in range(0, n, size):
        rows = np.arange(first, min(first + size, n))
        boxes = search.coefficients(rows)
        origins = search.tensor(subtomograms.offsets_zyx[rows])
        if bank is not None and rotations is not None:
            turned, shifts = search.everywhere(boxes, origins, bank, search.tensor(rotations))
            step = settings.step_deg / 2
        else:
            assert start is not None
            turned, shifts = search.tensor(start.rotations[rows]), search.tensor(start.shifts_zyx[rows])
            step = settings.step_deg
        found.append(search.nearby(boxes, origins, turned, shifts, step))
        if progress:
            progress(int(rows[-1]) + 1, n)
    columns = (torch.cat(column).cpu().numpy().astype(np.float64) for column in zip(*found, strict=True))
    return Poses(*columns)
