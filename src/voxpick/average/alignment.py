"""What an alignment is asked for: which detail, how far, how fine, and what its bank of turned maps may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from voxpick.average.spectra import band
from voxpick.errors import VoxpickError
from voxpick.wedge import require_tilt_range

BANK_BYTES = 8 << 30
"""Memory for the turned references of one search over all rotations."""


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
