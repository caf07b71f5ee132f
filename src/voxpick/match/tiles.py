"""A tomogram in overlapping tiles, each Fourier transformed once and correlated with many templates.

A tile gives the scores of its core: the places whose template lies within the tile, so that nothing wraps around (but
for what little of a template is spread out by cutting it to a band of frequencies). At the faces of the tomogram
templates hang over; what they meet there is the tomogram's mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from voxpick.errors import VoxpickError
from voxpick.match.bank import Bank
from voxpick.match.sampling import EVERY, Sampling, in_band
from voxpick.volume import read_sections

Windows = tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]
"""Places in the volume, and the same places in the core of a tile."""
LARGEST_TILE = 160
MOST_TILE = 512
"""The largest side that settings allow."""
CACHED, BEYOND = 96**3, 1.5
"""Tiles of more voxels than the caches hold take so many times as long a voxel (measured)."""
FRAME, STAGED = 0.45, 1_800_000
"""Putting a template into a tile's frame, as a share of a correlation; tiles of so many places each ask for it anew."""
SMALLEST_VARIANCE = 1e-8
"""Of the tomogram's own: places that vary less, as in empty corners, score 0."""
LEAK = 1e-3
"""Of the tomogram's variance, what is added to a local one where templates are cut to a band of frequencies.

Such templates see a little of what lies beyond their mask, which would be magnified where nothing varies beneath it.
"""


@dataclass(frozen=True)
class Tiling:
    """Tiles of `sides` over a volume of `shape` for templates of `template` voxels; `core` voxels of each get scores.

    sampling: at which places correlations are computed.
    """

    shape: tuple[int, int, int]
    template: int
    sides: tuple[int, int, int]
    sampling: Sampling = EVERY

    @property
    def core(self) -> tuple[int, int, int]:
        """Sides of the part of a tile that gets scores."""
        z, y, x = (_core(side, self.template, self.sampling) for side in self.sides)
        return z, y, x

    @property
    def grid(self) -> tuple[int, int, int]:
        """Places along each axis at which a tile's correlations are computed."""
        extra = 0 if self.sampling.every else 1
        z, y, x = (self.sampling.exactly(core) + extra for core in self.core)
        return z, y, x

    def starts(self) -> list[tuple[int, int, int]]:
        """First place (z, y, x) of each core."""
        ranges = (range(0, n, core) for n, core in zip(self.shape, self.core, strict=True))
        z_range, y_range, x_range = ranges
        return [(z, y, x) for z in z_range for y in y_range for x in x_range]

    def windows(self) -> Iterator[Windows]:
        """(places in the volume, the same places in the core) of each tile."""
        for start in self.starts():
            sizes = [min(core, n - s) for core, n, s in zip(self.core, self.shape, start, strict=True)]
            whole = tuple(slice(s, s + size) for s, size in zip(start, sizes, strict=True))
            part = tuple(slice(0, size) for size in sizes)
            yield (whole[0], whole[1], whole[2]), (part[0], part[1], part[2])


def make_tiling(
    shape: tuple[int, int, int], template: int, *, largest: int = LARGEST_TILE, sampling: Sampling = EVERY
) -> Tiling:
    """The tiles, at most `largest` voxels a side, that cover `shape` in the least time.

    Raises VoxpickError for a template that does not fit into a tile with room to move.
    """
    limits = [side for side in transform_sides(largest, multiple=2 * sampling.voxels) if side >= template + 7]
    if not limits:
        raise VoxpickError(
            f"a template of {template} voxels a side is too large for tiles of {largest}; match at a larger voxel size "
            f"(bin the tomogram), give a smaller radius"
            + (f", or --set tile={2 * template}" if 2 * template <= MOST_TILE else "")
        )
    tilings = []
    for limit in limits:
        fitting = [side for side in limits if side <= limit]
        z, y, x = (_best_side(n, template, fitting, sampling) for n in shape)
        tilings.append(Tiling(shape, template, (z, y, x), sampling))
    return min(tilings, key=_cost)


def _cost(tiling: Tiling) -> float:
    """Time to correlate all tiles with many templates, in voxels of small tiles."""
    voxels, places = math.prod(map(tiling.sampling.exactly, tiling.sides)), math.prod(tiling.grid)
    number = math.prod(math.ceil(n / core) for n, core in zip(tiling.shape, tiling.core, strict=True))
    return number * voxels * (BEYOND if voxels > CACHED else 1) * (1 + FRAME * min(1, places / STAGED))


def transform_sides(largest: int, *, multiple: int = 2) -> list[int]:
    """Multiples up to `largest` of an even number whose only prime factors are 2, 3 and 5: fast to transform."""
    powers = range(8)
    products = {2**a * 3**b * 5**c for a in powers for b in powers for c in powers if a}
    return sorted(side for side in products if side <= largest and side % multiple == 0)


def _best_side(length: int, template: int, fitting: list[int], sampling: Sampling) -> int:
    return min(fitting, key=lambda side: (math.ceil(length / _core(side, template, sampling)) * side, side))


def _core(side: int, template: int, sampling: Sampling) -> int:
    """Voxels of a tile's side that get scores: where places lie farther apart, so that its ends are places both."""
    inside = side - template + 1
    return inside if sampling.every else (inside - 1) // sampling.voxels * sampling.voxels


class TiledVolume:
    """A volume [z, y, x] made ready to be matched: mean 0 and deviation 1, cut into tiles on a device.

    sign: -1 where particles are dark. Raises VoxpickError for NaN and for constant volumes.
    """

    def __init__(self, data: np.ndarray, *, sign: float = 1.0, device: torch.device | str = "cpu") -> None:
        mean = sum(float(section.mean(dtype=np.float64)) for _, section in read_sections(data)) / len(data)
        squares = (float(np.square(section - mean, dtype=np.float64).mean()) for _, section in read_sections(data))
        variance = sum(squares) / len(data)
        if not np.isfinite(variance):
            raise VoxpickError("the volume holds NaN or infinite values; replace them before matching")
        if variance <= 1e-12 * max(mean**2, 1e-300):
            raise VoxpickError(f"the volume is constant ({mean:g}); there is nothing to match")
        self.data, self.mean, self.scale = data, mean, sign / math.sqrt(variance)
        self.device = torch.device(device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along z, y, x."""
        z, y, x = self.data.shape
        return z, y, x

    def box(self, start: tuple[int, int, int], sides: tuple[int, int, int]) -> torch.Tensor:
        """The voxels of a box, which may hang over the faces, where it is 0: float64 [z, y, x] on the device."""
        return torch.from_numpy(self.cut(start, sides)).to(self.device)

    def cut(self, start: tuple[int, int, int], sides: tuple[int, int, int]) -> np.ndarray:
        """The same in main memory."""
        box = np.zeros(sides, dtype=np.float64)
        inside, target = [], []
        for first, side, n in zip(start, sides, self.shape, strict=True):
            low, high = max(first, 0), max(min(first + side, n), 0)
            inside.append(slice(low, max(high, low)))
            target.append(slice(low - first, max(high, low) - first))
        box[tuple(target)] = (self.data[tuple(inside)].astype(np.float64) - self.mean) * self.scale
        return box

    def tile(self, start: tuple[int, int, int], tiling: Tiling) -> torch.Tensor:
        """The tile whose core begins at the place `start`: float64 [z, y, x]."""
        reach = tiling.template // 2
        return self.box((start[0] - reach, start[1] - reach, start[2] - reach), tiling.sides)


Mask = tuple[int, float, float]
"""What a bank's mask depends on: side, radius and edge."""


class PreparedTile:
    """A tile that is transformed once, for all templates; the local deviations are kept for all that share a mask.

    masks: for the masks' transforms, one for all tiles of a tiling.
    """

    def __init__(self, voxels: torch.Tensor, tiling: Tiling, masks: dict[Mask, torch.Tensor] | None = None) -> None:
        self.tiling, self._masks = tiling, {} if masks is None else masks
        self._precise, self._squares = torch.fft.rfftn(voxels), torch.fft.rfftn(voxels.square())
        self.spectrum = self._precise.to(torch.complex64)
        self._inverse: dict[Mask, torch.Tensor] = {}
        self._low: torch.Tensor | None = None

    def in_band(self) -> torch.Tensor:
        """What `correlate_at_places` takes: the low frequencies, scaled to the number of places."""
        if self.tiling.sampling.every:
            return self.spectrum
        if self._low is None:
            z, y, x = map(self.tiling.sampling.exactly, self.tiling.sides)
            low = in_band(in_band(self.spectrum[..., : x // 2 + 1], -2, y), -3, z)
            self._low = low * (z * y * x / math.prod(self.tiling.sides))
        return self._low

    def inverse_deviation(self, bank: Bank) -> torch.Tensor:
        """1 / (weight of the mask times the weighted standard deviation under it), at the voxels of a core: float32.

        It turns a correlation with a normalised template into a score, within -1..1 unless the template is cut to a
        band. 0 where nothing varies.
        """
        key = (bank.side, bank.radius, bank.edge)
        if key not in self._inverse:
            if key not in self._masks:
                self._masks[key] = in_frame(bank.mask.double()[None], self.tiling)[0]
            mask = self._masks[key]
            mean = correlate(self._precise, mask, self.tiling, side=bank.side) / bank.weight
            square = correlate(self._squares, mask, self.tiling, side=bank.side) / bank.weight
            variance = square - mean.square()
            safe = variance.clamp(min=SMALLEST_VARIANCE) + (0 if self.tiling.sampling.every else LEAK)
            inverse = torch.where(variance > SMALLEST_VARIANCE, safe.rsqrt() / bank.weight, 0.0)
            self._inverse[key] = inverse.float()
        return self._inverse[key]


def correlate(
    spectrum: torch.Tensor, templates: torch.Tensor, tiling: Tiling, *, side: int | None = None
) -> torch.Tensor:
    """sum over u of template(u) tile(v + u) for the voxels v of a core.

    spectrum: rfftn of a tile; templates: rfftn of templates in a tile's frame, conjugated, [b, ...]. [b, z, y, x].
    side: of the templates, where they are smaller than those the tiling was made for.
    """
    first = 0 if side is None else tiling.template // 2 - side // 2
    return _inverse(spectrum * templates, tiling.core, tiling.sides[2], first)


def correlate_at_places(spectrum: torch.Tensor, templates: torch.Tensor, tiling: Tiling) -> torch.Tensor:
    """The same at the tiling's places: [b, *tiling.grid].

    spectrum: `PreparedTile.in_band`; templates: `in_frame_in_band`.
    """
    return _inverse(spectrum * templates, tiling.grid, tiling.sampling.exactly(tiling.sides[2]), 0)


def _inverse(product: torch.Tensor, counts: tuple[int, int, int], width: int, first: int) -> torch.Tensor:
    """`counts` values of the inverse rfftn from `first` on; width: of the last axis.

    One axis after the other, and each only where something is left to compute: half the work of the whole transform.
    """
    z, y, x = counts
    values = torch.fft.ifft(product, dim=-3)[..., first : first + z, :, :]
    values = torch.fft.ifft(values, dim=-2)[..., first : first + y, :]
    return torch.fft.irfft(values, n=width, dim=-1)[..., first : first + x]


def in_frame(templates: torch.Tensor, tiling: Tiling) -> torch.Tensor:
    """Conjugated rfftn of templates [b, n, n, n] in a tile's frame, for `correlate`; axis by axis, as most is 0."""
    values = torch.fft.rfft(templates, n=tiling.sides[2], dim=-1)
    values = torch.fft.fft(values, n=tiling.sides[1], dim=-2)
    return torch.fft.fft(values, n=tiling.sides[0], dim=-3).conj().resolve_conj()


def in_frame_in_band(templates: torch.Tensor, tiling: Tiling) -> torch.Tensor:
    """The same for `correlate_at_places`: smaller templates moved to where those of the tiling begin, low frequencies.

    The highest of them, whose sign the places cannot tell, are 0.
    """
    sides, side = tiling.sides, templates.shape[-1]
    first = tiling.template // 2 - side // 2
    z, y, x = map(tiling.sampling.exactly, sides)
    moved = torch.nn.functional.pad(templates, (first, 0) * 3)
    values = torch.fft.rfft(moved, n=sides[2], dim=-1)
    if x < sides[2]:
        values = values[..., : x // 2 + 1].contiguous()
        values[..., -1] = 0
    values = in_band(torch.fft.fft(values, n=sides[1], dim=-2), -2, y, highest=False)
    return in_band(torch.fft.fft(values, n=sides[0], dim=-3), -3, z, highest=False).conj().resolve_conj()
