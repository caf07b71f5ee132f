"""Alignment of subtomograms to a map, over the frequencies that the tilt series measured.

The score is the constrained cross-correlation (Foerster et al., doi:10.1073/pnas.0409178102): the correlation of the
subtomogram with the turned and shifted map, both reduced to the frequencies outside the missing wedge, which lies alike
in all subtomograms. It is summed in Fourier space: the map's transform is read where the turned measured frequencies
fall, and all scores of a set of rotations and shifts are one matrix product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from voxpick.average.fsc import soft_sphere
from voxpick.average.spectra import Band, Spectrum, band, map_spectrum
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError
from voxpick.wedge import require_tilt_range

SCORES_AT_ONCE = 1 << 24
"""Scores of a matrix product, and numbers that go into it, to bound memory: 64 MiB, and four times that in between."""
BANK_BYTES = 8 << 30
"""Memory for the turned references of one search over all rotations."""
AT_ONCE = 256
"""Rotations for which the reference is turned at a time."""
EDGE = 2.0
"""Voxels over which masks fall off."""
PASSES = 2
"""Local searches at each angular step, so that a pose may move further than one step."""


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
    search = _Search(subtomograms, reference, settings)
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


class _Search:
    """The subtomograms and the reference of one alignment, in Fourier space."""

    def __init__(self, subtomograms: Subtomograms, reference: np.ndarray, settings: Alignment) -> None:
        size, n = subtomograms.voxel_size, subtomograms.box
        self.data, self.settings, self.n = subtomograms.data, settings, n
        self.max_shift = settings.max_shift / size
        inner = soft_sphere((n,) * 3, radius=settings.radius / size, edge=EDGE)
        outer = soft_sphere((n,) * 3, radius=settings.radius / size + self.max_shift, edge=EDGE)
        self.mask, self.outside = self.tensor(outer), self.tensor(1 - inner)
        self.spectrum: Spectrum = map_spectrum(self.from_background(self.tensor(reference)) * self.tensor(inner))
        self.highest = min(size / settings.low_pass, 0.5)
        self.band: Band = band(n, highest=self.highest, tilt_range_deg=settings.tilt_range_deg, device=settings.device)
        if len(self.band.where) == 0:
            raise VoxpickError(
                f"no detail coarser than {settings.low_pass:g} A fits into a box of {n * size:g} A; take a finer one"
            )
        self.weights = self.band.weights.sqrt()

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self.settings.device)

    def batch(self, rotations: int) -> int:
        """Subtomograms at a time."""
        shifts = len(self.shift_grid(self.max_shift, self.spacing)) if rotations else 27
        numbers = max(shifts * max(2 * len(self.weights), rotations), 2 * 27 * 3 * len(self.weights))
        return max(1, SCORES_AT_ONCE // numbers)

    @property
    def spacing(self) -> float:
        """Voxels between shifts of the first search: a quarter of the finest period, at least 1."""
        return max(1.0, 0.25 / self.highest)

    def shift_grid(self, reach: float, spacing: float) -> torch.Tensor:
        """Shifts (t, 3) on a cubic grid, at most `reach` voxels long."""
        count = math.floor(reach / spacing + 1e-9)
        axis = np.arange(-count, count + 1) * spacing
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        return self.tensor(grid[np.linalg.norm(grid, axis=1) <= reach + 1e-9])

    def from_background(self, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes (..., n, n, n) less their mean outside the particle's sphere, so that masking cuts no step."""
        weight = self.outside.sum().clamp(min=1e-6)
        return boxes - (boxes * self.outside).sum((-3, -2, -1), keepdim=True) / weight

    def coefficients(self, rows: np.ndarray) -> torch.Tensor:
        """Weighted coefficients (b, m) of masked subtomograms, of length 1."""
        boxes = self.from_background(self.tensor(self.data[rows])) * self.mask
        values = self.band.coefficients(boxes) * self.weights
        return values / values.abs().square().sum(1, keepdim=True).sqrt().clamp(min=1e-20)

    def turned(self, rotations: torch.Tensor) -> torch.Tensor:
        """Weighted coefficients (..., 2 m) of the reference turned by rotations (..., 3, 3), real, of length 1."""
        values = self.spectrum(self.band.frequencies @ rotations) * self.weights
        values = values / values.abs().square().sum(-1, keepdim=True).sqrt().clamp(min=1e-20)
        return torch.cat([values.real, values.imag], dim=-1)

    def bank(self, rotations: np.ndarray) -> torch.Tensor:
        """`turned` for all rotations searched: (r, 2 m)."""
        self.settings.require_bank(len(rotations), len(self.weights))
        bank = torch.empty((len(rotations), 2 * len(self.weights)), device=self.settings.device)
        for part, some in zip(bank.split(AT_ONCE), self.tensor(rotations).split(AT_ONCE), strict=True):
            part[:] = self.turned(some)
        return bank

    def shifted(self, boxes: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
        """Coefficients of boxes (b, m) moved back by shifts (b, t, 3): real (b, t, 2 m)."""
        angle = 2 * math.pi * (shifts @ self.band.frequencies.T)
        moved = boxes[:, None] * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([moved.real, moved.imag], dim=-1)

    def everywhere(
        self, boxes: torch.Tensor, origins: torch.Tensor, bank: torch.Tensor, rotations: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best of all rotations and shifts: (b, 3, 3) and (b, 3)."""
        grid = origins[:, None] + self.shift_grid(self.max_shift, self.spacing)
        number, count = torch.arange(len(boxes), device=boxes.device), len(rotations)
        score = torch.full((len(boxes),), -torch.inf, device=boxes.device)
        row, shift = torch.zeros_like(number), grid[:, 0].clone()
        for some in grid.split(max(1, SCORES_AT_ONCE // (len(boxes) * max(bank.shape[1], count))), dim=1):
            found, best = (self.shifted(boxes, some) @ bank.T).flatten(1).max(1)
            better = found > score
            score = torch.where(better, found, score)
            row = torch.where(better, best % count, row)
            shift = torch.where(better[:, None], some[number, best // count], shift)
        return rotations[row], shift

    def nearby(
        self, boxes: torch.Tensor, origins: torch.Tensor, rotations: torch.Tensor, shifts: torch.Tensor, step: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Better rotations, shifts and their scores: the neighbours at `step` degrees, at half of it, and so on."""
        cube = np.array(sorted(itertools.product((-1, 0, 1), repeat=3), key=np.linalg.norm), dtype=float)
        reach, number = self.spacing / 2, torch.arange(len(boxes), device=boxes.device)
        scores = torch.zeros(len(boxes), device=boxes.device)
        while True:
            turns = self.tensor(Rotation.from_rotvec(cube * step, degrees=True).as_matrix())
            for _ in range(PASSES):
                places = shifts[:, None] + self.tensor(cube) * (reach if self.max_shift > 0 else 0.0)
                away = places - origins[:, None]
                places = origins[:, None] + away * (self.max_shift / away.norm(dim=-1).clamp(min=1e-9)).clamp(
                    max=1
                ).unsqueeze(-1)
                candidates = rotations[:, None] @ turns
                found = self.shifted(boxes, places) @ self.turned(candidates).transpose(1, 2)
                scores, best = found.flatten(1).max(1)
                shifts, rotations = places[number, best // len(turns)], candidates[number, best % len(turns)]
            if step <= self.settings.finest_deg:
                return rotations, shifts, scores
            step, reach = step / 2, max(reach / 2, 0.125)
