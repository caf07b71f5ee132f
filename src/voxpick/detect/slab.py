"""Where the ice is: the sections of a tomogram that hold specimen, told from vacuum by the skewness of their values.

In vacuum a reconstruction holds back-projected detector noise, a sum of many terms and so nearly Gaussian: its third
moment is zero. Specimen in ice is darker (or brighter) in few places, which skews the values of a section even at
signal-to-noise ratios where nothing can be seen. The variance also rises in the ice, but no more than it drifts over z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.volume import read_sections

BIN = 8
"""Sections; the edges of the ice are found to within one bin."""

BLOCK = 4
CELL_SIDE = 200
MOST_CELLS = 4
LEAST_CONTRAST = 3.0
LEAST_SIGNIFICANCE = 12.0
LEAST_SKEWNESS = 0.02
LEAST_GAIN = 0.1
TAIL = 0.25
VACUUM_PART = 0.35


@dataclass(frozen=True)
class Slab:
    """Sections start..stop of a volume hold its specimen, margin included; `reason` says how that was found.

    ice: the sections where the ice was found, half a bin more at both ends, if it lies level; None if that is unknown.
    skewed: mean skewness of the values in its bins, in standard errors; below 0 where particles are dark; 0 if unknown.
    """

    start: int
    stop: int
    reason: str
    ice: tuple[int, int] | None = None
    skewed: float = 0.0

    def holds(self, z: np.ndarray) -> np.ndarray:
        """Whether sections z (n,), which may be fractional, lie in level ice; all do where it is not known."""
        if self.ice is None:
            return np.ones(len(z), dtype=bool)
        return (z >= self.ice[0]) & (z <= self.ice[1])

    def on_grid(self, scale: float, sections: int) -> slice:
        """The sections of a volume of `sections` whose voxels are 1 / scale as large that cover the slab."""
        return slice(max(int(self.start * scale), 0), min(math.ceil(self.stop * scale), sections))


def choose_slab(data: np.ndarray, setting: str, *, margin: int = 24) -> Slab:
    """The sections of [z, y, x] to look at: 'auto' finds them, 'off' takes all, 'z0:z1' takes those (z1 excluded).

    margin: sections added at both sides by 'auto', in voxels. Raises VoxpickError for any other setting.
    """
    nz = data.shape[0]
    if setting == "off":
        return Slab(0, nz, "the whole volume, as set")
    if setting == "auto":
        skewness = section_skewness(data)
        slab = find_slab(skewness, margin=margin)
        return replace(slab, skewed=skewed_by(skewness[slab.start : slab.stop]))
    try:
        start, stop = (int(part) for part in setting.split(":"))
    except ValueError as error:
        raise VoxpickError(f"detect: slab = {setting!r}; use auto, off, or two sections such as 150:360") from error
    if not 0 <= start < stop <= nz:
        raise VoxpickError(f"detect: slab = {setting}: not within the {nz} sections of the volume, 0:{nz}")
    return Slab(start, stop, "as set")


def skewed_by(skewness: np.ndarray) -> float:
    """Mean of the `section_skewness` (z, cells, cells) of bins of 8 sections over its standard error."""
    number = len(skewness) // BIN
    if number < BLOCK:
        return 0.0
    bins = np.array([part.mean() for part in np.array_split(skewness, number)])
    return float(bins.mean() / max(bins.std(ddof=1) / math.sqrt(number), 1e-12))


def section_skewness(data: np.ndarray) -> np.ndarray:
    """Skewness (z, n, m) of the values of each section of [z, y, x] in a grid of n x m cells, 1 to 4 each by size.

    One section at a time, so a memory-mapped volume stays on disk. The outer sixteenth of y and x is left out.
    """
    nz, ny, nx = data.shape
    inner_y, inner_x = slice(ny // 16, ny - ny // 16), slice(nx // 16, nx - nx // 16)
    rows, columns = (_cell_edges(s.stop - s.start) for s in (inner_y, inner_x))
    moments = np.zeros((2, nz, len(rows) - 1, len(columns) - 1))
    for z, whole in read_sections(data):
        section = np.asarray(whole[inner_y, inner_x], dtype=np.float32)
        section = section - np.float32(section.mean(dtype=np.float64))
        section /= np.float32(max(float(np.abs(section).max()), 1e-30))
        power = section * section
        for moment, values in zip(moments, (power, power * section), strict=True):
            sums = np.add.reduceat(values, columns[:-1], axis=1, dtype=np.float64)
            moment[z] = np.add.reduceat(sums, rows[:-1], axis=0)
    variance, third = moments / (np.diff(rows)[:, None] * np.diff(columns))
    level = np.maximum(variance.mean(axis=(1, 2)), 1e-100)
    return np.asarray(third / level[:, None, None] ** 1.5)


def _cell_edges(length: int) -> np.ndarray:
    number = int(np.clip(length / CELL_SIDE, 1, MOST_CELLS))
    return np.linspace(0, length, number + 1).astype(int)


def find_slab(skewness: np.ndarray, *, margin: int = 24) -> Slab:
    """The slab from the `section_skewness` (z, cells, cells) of a volume, or all sections when that is not certain.

    Least squares find the two edges of a step in the mean skewness of bins of 8 sections; they move outwards over
    bins skewed by a quarter of the step. It is believed only if it stands out (3 standard deviations of a bin, 12 of
    the whole) and if nowhere beyond the margin 32 sections are skewed by a third of it, nor any cell of them by more
    than chance, as a slab tilted in z would be.
    """
    nz = len(skewness)
    whole = Slab(0, nz, "the whole volume: no clear border between ice and vacuum")
    number = nz // BIN
    if number < 2 * BLOCK:
        return whole
    parts = np.array_split(skewness, number)
    edges = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    profile = np.array([part.mean() for part in parts])
    first, last = _best_step(profile)
    outside = np.r_[profile[:first], profile[last:]]
    level = float(profile[first:last].mean())
    noise = max(float(np.sqrt(np.square(outside).mean())) if len(outside) else np.inf, 1e-6)
    significance = abs(level) / noise * np.sqrt(last - first)
    if len(outside) < BLOCK or abs(level) < max(LEAST_CONTRAST * noise, LEAST_SKEWNESS):
        return whole
    first, last = _with_tails(profile, first, last, TAIL * level)
    start, stop = max(int(edges[first]) - margin, 0), min(int(edges[last]) + margin, nz)
    if significance < LEAST_SIGNIFICANCE or stop - start > (1 - LEAST_GAIN) * nz:
        return whole
    if not all(_is_vacuum(part, level) for part in (skewness[:start], skewness[stop:]) if len(part)):
        return whole
    ice = (int(edges[first]), int(edges[last])) if _is_level(parts, first, last) else None
    beyond = BIN // 2
    return Slab(
        start, stop, f"its sections are skewed by {level:.3f}, the others by {noise:.3f}",
        None if ice is None else (ice[0] - beyond, ice[1] + beyond),
    )  # fmt: skip


def _best_step(profile: np.ndarray) -> tuple[int, int]:
    """First and last + 1 of the bins that explain most of the squares of a profile by one constant, 0 elsewhere."""
    sums = np.concatenate([[0.0], np.cumsum(profile)])
    first, last = np.triu_indices(len(sums), 1)
    gain = np.square(sums[last] - sums[first]) / (last - first)
    best = int(gain.argmax())
    return int(first[best]), int(last[best])


def _is_level(parts: list[np.ndarray], first: int, last: int) -> bool:
    """Whether the ice begins and ends in every cell within two bins of the bins first..last of the whole.

    A single cell cannot tell.
    """
    cells = np.stack([part.mean(axis=0).ravel() for part in parts], axis=1)
    steps = np.array([_best_step(cell) for cell in cells])
    return len(cells) > 1 and bool((np.abs(steps - [first, last]) <= 2).all())


def _with_tails(profile: np.ndarray, first: int, last: int, level: float) -> tuple[int, int]:
    """The bins first..last, lengthened at both ends while the next one or the mean of the next two reaches `level`."""
    reach = profile / level
    while first > 0 and max(reach[first - 1], reach[max(first - 2, 0) : first].mean()) >= 1:
        first -= 1
    while last < len(reach) and max(reach[last], reach[last : last + 2].mean()) >= 1:
        last += 1
    return first, last


def _is_vacuum(skewness: np.ndarray, level: float) -> bool:
    """Whether no 32 sections are skewed like the ice, nor any cell of them beyond what chance gives."""
    groups = np.array_split(skewness, max(len(skewness) // (BIN * BLOCK), 1))
    means = np.stack([group.mean(axis=0) for group in groups])
    chance = np.stack([group.std(axis=0) / np.sqrt(len(group)) for group in groups])
    whole = np.abs(means.mean(axis=(1, 2))) < VACUUM_PART * abs(level)
    cells = np.abs(means) < np.maximum(2 * VACUUM_PART * abs(level), 4 * chance)
    return bool(whole.all() and cells.all())
