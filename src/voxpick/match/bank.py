"""Templates at many orientations: rotated, filtered by CTF and missing wedge, normalised under a mask.

A template is normalised as PyTom does it (Hrabe et al., J. Struct. Biol. 178, 2012): mean 0 and standard deviation 1
under the mask, whose values in [0, 1] are weights, then multiplied by the mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.fft import next_fast_len

from voxpick.errors import VoxpickError
from voxpick.match.filters import Optics, template_filter
from voxpick.match.whitening import Whitening

KEPT_BYTES = 800 << 20
"""Banks up to this size are kept in memory once they are made."""
MOST_DARK = 2.0
"""A density that goes so many times farther below its faces than above them is a dark one."""
EDGE_REACH = 2.5
"""The soft edge ends so many of its widths beyond the radius, where it has fallen to 0.04."""


@dataclass(frozen=True)
class Template:
    """A structure to look for. density: [z, y, x], brighter than its faces, its centre at voxel n // 2 of each side.

    voxel_size: A. radius: A, of the spherical mask; None takes the distance of the farthest voxel of the `structure`.
    Raises VoxpickError for a density that is not 3-D, not finite, constant or dark.
    """

    name: str
    density: np.ndarray
    voxel_size: float
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.density.ndim != 3 or min(self.density.shape) < 3:
            raise VoxpickError(
                f"template {self.name}: shape {self.density.shape}; give a density of 3 dimensions with at least 3 "
                "voxels along each"
            )
        if not np.isfinite(self.density).all():
            raise VoxpickError(f"template {self.name}: the density holds NaN or infinite values")
        level = surroundings(self.density)
        low, high = level - float(self.density.min()), float(self.density.max()) - level
        if high <= 0 or low > MOST_DARK * high:
            raise VoxpickError(
                f"template {self.name}: nothing in it is bright; it goes down to {low:.3g} below its faces and up to "
                f"{high:.3g} above them. Give the density of a structure, and a dark map times -1"
            )
        if self.radius is not None and not (np.isfinite(self.radius) and self.radius > 0):
            raise VoxpickError(f"template {self.name}: radius {self.radius} A; it must be above 0")

    def radius_voxels(self) -> float:
        """Radius of the mask in voxels."""
        if self.radius is not None:
            return self.radius / self.voxel_size
        bright = np.argwhere(structure(self.density)) - np.array(self.density.shape) // 2
        return float(np.linalg.norm(bright, axis=1).max()) + 1


def surroundings(density: np.ndarray) -> float:
    """The median of the faces of a density, which lies about the structure."""
    return float(np.median(np.concatenate([np.take(density, (0, -1), axis=axis).ravel() for axis in range(3)])))


def structure(density: np.ndarray) -> np.ndarray:
    """Which voxels are above a tenth of the way from the faces to the maximum.

    In pieces of at least a tenth of the largest piece's voxels: specks of noise are left out.
    """
    raised = density - surroundings(density)
    pieces, number = ndimage.label(raised > 0.1 * raised.max())
    sizes = np.bincount(pieces.ravel(), minlength=number + 1)
    large = sizes >= 0.1 * sizes[1:].max()
    large[0] = False
    return np.asarray(large[pieces])


def spherical_mask(side: int, radius: float, edge: float) -> np.ndarray:
    """1 within `radius` of voxel side // 2, beyond it exp(-(d / edge)^2 / 2) of the distance d, to 2.5 edges: float32.

    All in voxels; edge 0 makes a hard mask.
    """
    distance = np.linalg.norm(np.indices((side,) * 3) - side // 2, axis=0) - radius
    if edge == 0:
        return (distance <= 0).astype(np.float32)
    soft = np.exp(-0.5 * np.square(np.maximum(distance, 0) / edge))
    return np.where(distance <= EDGE_REACH * edge, soft, 0).astype(np.float32)


def box_side(template: Template, edge: float) -> int:
    """Side in voxels, even and fast to transform, of the cube that holds a mask with an edge of `edge` voxels."""
    return 2 * int(next_fast_len(math.floor(template.radius_voxels() + EDGE_REACH * edge) + 1))


class Bank:
    """One template at all orientations; row k is turned by rotations[k].

    rotations: (n, 3, 3), turning the template actively, on (z, y, x) vectors. side: of the cube that holds the mask.
    edge: width of the mask's edge in voxels. A rotated template is read linearly from a grid twice as fine, to which
    cubic splines interpolate the density.
    """

    def __init__(
        self,
        template: Template,
        rotations: np.ndarray,
        *,
        optics: Optics | None = None,
        tilt_range_deg: tuple[float, float] | None = None,
        whitening: Whitening | None = None,
        edge: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if edge < 0:
            raise VoxpickError(f"template {template.name}: mask edge {edge:g} voxels; it must not be negative")
        radius = template.radius_voxels()
        self.template, self.rotations, self.device = template, rotations, torch.device(device)
        self.radius, self.edge, self._optics = radius, edge, optics
        self.side = box_side(template, edge)
        self.mask = torch.from_numpy(spherical_mask(self.side, radius, edge)).to(device)
        self.weight = float(self.mask.sum(dtype=torch.float64))
        self._matrices = torch.from_numpy(np.asarray(rotations, dtype=np.float32)).to(device)
        self._fine = torch.from_numpy(_twice_as_fine(in_cube(template.density, self.side + 4))).to(device)
        shape = (self.side,) * 3
        self._kept: torch.Tensor | None = None
        self._filter: torch.Tensor | None = None
        if optics is not None or tilt_range_deg is not None:
            self._filter = template_filter(
                shape, template.voxel_size, optics=optics, tilt_range_deg=tilt_range_deg, device=device
            )
        if whitening is not None:
            self._filter = whitening.transfer(shape, device=device) * (1 if self._filter is None else self._filter)
        axis = torch.arange(self.side, dtype=torch.float32, device=self.device) - self.side // 2
        offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        self._inside = offsets.norm(dim=1) <= self.side // 2
        self._offsets = offsets[self._inside]

    def __len__(self) -> int:
        return len(self.rotations)

    def rotated(self, rows: slice | np.ndarray) -> torch.Tensor:
        """The density at the orientations `rows`, neither filtered nor masked: [b, side, side, side].

        The corners beyond the ball that touches the cube's faces are 0.
        """
        matrices = self._matrices[rows if isinstance(rows, slice) else torch.from_numpy(rows).to(self.device)]
        fine_side = self._fine.shape[0]
        source = 2 * (self._offsets @ matrices) + fine_side // 2  # rows of u^T R are R^T u: where the value comes from
        grid = (source * (2 / (fine_side - 1)) - 1).flip(-1)[None, :, None]
        values = torch.nn.functional.grid_sample(
            self._fine[None, None], grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )
        found = torch.zeros((len(matrices), self.side**3), device=self.device)
        found[:, self._inside] = values.view(len(matrices), -1)
        return found.view(-1, self.side, self.side, self.side)

    def normalised(self, rows: slice | np.ndarray) -> torch.Tensor:
        """Templates ready to correlate: filtered, weighted mean 0 and deviation 1 under the mask, times the mask.

        float32 [b, side, side, side]. Raises VoxpickError when a filter leaves nothing of the template.
        """
        values = self.rotated(rows)
        if self._filter is not None:
            spectrum = torch.fft.rfftn(values, dim=(1, 2, 3)) * self._filter
            values = torch.fft.irfftn(spectrum, s=(self.side,) * 3, dim=(1, 2, 3))
        weights = self.mask / self.weight
        values = values - (values * weights).sum(dim=(1, 2, 3), keepdim=True)
        variance = (values.square() * weights).sum(dim=(1, 2, 3), keepdim=True)
        if not bool((variance > 1e-12 * self._fine.max() ** 2).all()):
            raise VoxpickError(self._nothing_left())
        return values * variance.rsqrt() * self.mask

    def _nothing_left(self) -> str:
        size = self.template.voxel_size
        by = "" if self._optics is None else f" at a defocus of {self._optics.defocus_um:g} um"
        doubts = [f"the voxel size {size:g} A", *([] if self._optics is None else ["the defocus, in um,"])]
        return (
            f"template {self.template.name}: nothing is left of it after CTF{by} and missing wedge, under a mask of "
            f"radius {self.radius * size:g} A ({self.radius:.3g} voxels); are {', '.join(doubts)} and the mask right?"
        )

    def kept(self) -> bool:
        """Whether the templates are in memory."""
        return self._kept is not None

    def forget(self) -> None:
        """Give back the memory of kept templates; they are made again when they are asked for."""
        self._kept = None

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """(row numbers, normalised templates [b, side, side, side]) of all rows, `size` at a time."""
        for start in range(0, len(self), size):
            rows = np.arange(start, min(start + size, len(self)))
            yield rows, self.normalised(rows)

    def under_mask(self, size: int) -> Iterator[tuple[int, torch.Tensor]]:
        """(first row, normalised templates [b, D] at the voxels under the mask) of all rows, `size` at a time."""
        self._keep(size)
        inside = self.mask > 0
        for start in range(0, len(self), size):
            if self._kept is not None:
                yield start, self._kept[start : start + size]
            else:
                yield start, self.normalised(slice(start, start + size))[:, inside]

    def some_under_mask(self, rows: np.ndarray, size: int) -> torch.Tensor:
        """The normalised templates [b, D] of some rows at the voxels under the mask, made `size` at a time."""
        self._keep(size)
        if self._kept is not None:
            return self._kept[torch.from_numpy(rows).to(self.device)]
        inside = self.mask > 0
        return torch.cat(
            [self.normalised(rows[first : first + size])[:, inside] for first in range(0, len(rows), size)]
        )

    def _keep(self, size: int) -> None:
        """Make all templates and keep them, unless they are too many."""
        inside = self.mask > 0
        if self._kept is None and 4 * len(self) * int(inside.sum()) <= KEPT_BYTES:
            kept = torch.empty((len(self), int(inside.sum())), device=self.device)
            for rows, templates in self.batches(size):
                kept[rows[0] : rows[0] + len(rows)] = templates[:, inside]
            self._kept = kept


def in_cube(density: np.ndarray, side: int) -> np.ndarray:
    """The density, less the median of its faces, in a cube with voxel n // 2 on side // 2, cut off or filled up with 0.

    What surrounds a structure is 0 this way, so that turned densities have no edge where the cube ends.
    """
    around = surroundings(density)
    cube = np.zeros((side,) * 3, dtype=np.float32)
    target, source = [], []
    for n in density.shape:
        shift = side // 2 - n // 2
        target.append(slice(max(shift, 0), min(n + shift, side)))
        source.append(slice(max(-shift, 0), min(n, side - shift)))
    cube[tuple(target)] = density[tuple(source)] - around
    return cube


def _twice_as_fine(cube: np.ndarray) -> np.ndarray:
    """Cubic splines at half voxels: voxel i goes to 2 i, so that the centre n // 2 of an even side stays the centre."""
    places = (np.arange(2 * len(cube)) - len(cube)) / 2 + len(cube) // 2
    coordinates = np.stack(np.meshgrid(places, places, places, indexing="ij"))
    return np.asarray(ndimage.map_coordinates(cube, coordinates, order=3, mode="grid-constant"), dtype=np.float32)
