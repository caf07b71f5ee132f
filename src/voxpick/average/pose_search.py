"""The search for poses in which a map fits subtomograms: scores of many rotations and shifts at once.

Summed in Fourier space: the map's transform is read where the turned measured frequencies fall, and all scores of a set
of rotations and shifts are one matrix product.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from voxpick.average.alignment import Alignment
from voxpick.average.fsc import soft_sphere
from voxpick.average.spectra import Band, Spectrum, band, map_spectrum
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError

SCORES_AT_ONCE = 1 << 24
"""Scores of a matrix product, and numbers that go into it, to bound memory: 64 MiB, and four times that in between."""
AT_ONCE = 256
"""Rotations for which the reference is turned at a time."""
EDGE = 2.0
"""Voxels over which masks fall off."""
PASSES = 2
"""Local searches at each angular step, so that a pose may move further than one step."""


class PoseSearch:
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
