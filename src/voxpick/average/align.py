"""Alignment of subtomograms to a map, over the frequencies that the tilt series measured.

The score is the constrained cross-correlation (Foerster et al., doi:10.1073/pnas.0409178102): the correlation of the
subtomogram with the turned and shifted map, both reduced to the frequencies outside the missing wedge, which lies alike
in all subtomograms. How it is computed: `pose_search`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from voxpick.average.pose_search import PoseSearch
from voxpick.average.spectra import band
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError
from voxpick.wedge import require_tilt_range

BANK_BYTES = 8 << 30
"""Memory for the turned references of one search over all rotations."""


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


@dataclass(frozen=True)
class Alignment:
    """How to align. radius: of the particle, A; low_pass: finest detail used, A; max_shift: from the picked centre, A.

    tilt_range_deg: the tilts measured, about y; None for maps without a missing wedge.
    step_deg: distance of the rotations searched; finest_deg: where halving it ends.
    """

    radius: float
    low_pass: float
    max_shift: float
    step_deg: float
    finest_deg: float
    tilt_range_deg: tuple[float, float] | None = (-60.0, 60.0)
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("radius", "low_pass", "step_deg", "finest_deg"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise VoxpickError(f"{name} is {value}; it must be a positive number")
        if not (np.isfinite(self.max_shift) and self.max_shift >= 0):
            raise VoxpickError(f"max_shift is {self.max_shift}; it must be 0 or a positive number of A")
        if self.tilt_range_deg is not None:
            require_tilt_range(self.tilt_range_deg)

    def require_room(self, rotations: int, *, box: int, voxel_size: float) -> None:
        """Raise VoxpickError for rotations whose bank is larger than BANK_BYTES, before they are made.

        box: voxels along a side.
        """
        highest = min(voxel_size / self.low_pass, 0.5)
        self.require_bank(rotations, len(band(box, highest=highest, tilt_range_deg=self.tilt_range_deg).where))

    def finest_low_pass(self, rotations: int, *, box: int, voxel_size: float) -> float:
        """The finest detail, A, that a bank of so many rotations has room for; infinite where it has room for none."""
        measured = band(box, highest=0.5, tilt_range_deg=self.tilt_range_deg).frequencies.norm(dim=-1).sort().values
        fits = BANK_BYTES // (8 * max(rotations, 1))
        if fits >= len(measured):
            return 2 * voxel_size
        too_fine = measured[fits]
        fine = measured[measured < too_fine - 1e-6]
        return 2 * voxel_size / float(fine[-1] + too_fine) if len(fine) else math.inf

    def require_bank(self, rotations: int, coefficients: int) -> None:
        """Raise VoxpickError for so many rotations, step_deg apart, whose complex coefficients exceed BANK_BYTES."""
        size = rotations * 8 * coefficients
        if size > BANK_BYTES:
            fits = math.ceil(10 * self.step_deg * (size / BANK_BYTES) ** (1 / 3)) / 10
            raise VoxpickError(
                f"a step of {self.step_deg:g} degrees makes {rotations} rotations, which with {coefficients} "
                f"coefficients each down to {self.low_pass:.3g} A take {size / 1e9:.1f} GB, and there is room for "
                f"{BANK_BYTES / 1e9:.1f} GB; the smallest step that fits is {fits:g} degrees, and a finer one with a "
                "coarser low_pass"
            )


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
