"""Boxes cut out of a tomogram around particles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.particles import Particles, joined
from voxpick.volume import Volume

MARGIN = 8
"""Voxels around a box that are shifted with it by a Fourier phase and then cut off. They fade towards the mean, so that
no step where they end, and the other face begins, rings into the box."""


@dataclass(frozen=True)
class Subtomograms:
    """Cubes float32 (n, box, box, box) about n particles, each of mean 0 and deviation 1 where it lies in the volume.

    voxel_size: A.
    offsets_zyx: (n, 3) voxels from the box centre (voxel box // 2) to the particle's centre; 0 after a sub-voxel shift.
    dropped: how many of the particles asked for were left out; padded: how many of those here reach over an edge,
    beyond which they are 0.
    """

    data: np.ndarray
    particles: Particles
    voxel_size: float
    offsets_zyx: np.ndarray
    dropped: int = 0
    padded: int = 0

    def __len__(self) -> int:
        return len(self.data)

    @property
    def box(self) -> int:
        """Voxels along a side."""
        return int(self.data.shape[1])


def extract(
    volume: Volume,
    particles: Particles,
    *,
    box: int,
    edges: Literal["drop", "pad"] = "drop",
    subvoxel: bool = True,
    dark: bool = False,
) -> Subtomograms:
    """Cut a cube of `box` voxels around every particle.

    edges: a box that reaches over an edge of the volume is dropped, or padded with its own mean, which is 0.
    A particle whose centre lies outside is dropped. subvoxel: shift each box by a Fourier phase so that the particle
    sits on the box centre; else it sits within half a voxel of it, see offsets_zyx. dark: particles are darker than
    their surroundings (as in a tomogram as reconstructed), so boxes are multiplied by -1. Memory: that of the boxes.
    Raises VoxpickError for no particles, a box that is larger than the volume, most centres outside, and no box left.
    """
    if len(particles) == 0:
        raise VoxpickError(f"{volume.name}: there are no picks to cut out")
    require_box(volume, box)
    outside = int((~centred_within(volume, particles)).sum())
    if outside > len(particles) / 2:
        raise VoxpickError(
            f"{volume.name}: {outside} of {len(particles)} picks lie outside the volume of shape {volume.shape} with "
            f"voxels of {volume.voxel_size:g} A; check the voxel size and the frame of the picks"
        )
    voxels = particles.voxels(volume.voxel_size)
    nearest = np.rint(voxels).astype(np.int64)
    starts = nearest - box // 2
    shape = np.array(volume.shape)
    within = ((nearest >= 0) & (nearest < shape)).all(axis=1)
    whole = ((starts >= 0) & (starts + box <= shape)).all(axis=1)
    rows = np.flatnonzero(within if edges == "pad" else whole)
    if len(rows) == 0:
        raise VoxpickError(
            f"{volume.name}: all {len(particles)} boxes of {box} voxels reach over an edge of the volume of shape "
            f"{volume.shape} (z, y, x); take a smaller --box, or --edges pad"
        )
    data = np.empty((len(rows), box, box, box), dtype=np.float32)
    offsets = voxels[rows] - nearest[rows]
    for cube, row, offset in zip(data, rows, offsets, strict=True):
        values, inside = _cut(volume.data, starts[row], box)
        if subvoxel:
            values = _moved(_cut(volume.data, starts[row] - MARGIN, box + 2 * MARGIN)[0], -offset)
        cube[:] = _normalised(values, inside) * np.float32(-1 if dark else 1)
    return Subtomograms(
        data,
        particles[rows],
        volume.voxel_size,
        np.zeros_like(offsets) if subvoxel else offsets,
        dropped=len(particles) - len(rows),
        padded=int((~whole[rows]).sum()),
    )


def join(parts: Sequence[Subtomograms]) -> Subtomograms:
    """The subtomograms of several tomograms as one set. Raises VoxpickError when box or voxel size differ."""
    first = parts[0]
    if len(parts) == 1:
        return first
    require_one_voxel_size(parts)
    for part in parts:
        if part.box != first.box:
            raise VoxpickError(f"boxes of {first.box} and {part.box} voxels cannot be averaged together; cut alike")
    return Subtomograms(
        np.concatenate([part.data for part in parts]),
        joined([part.particles for part in parts]),
        first.voxel_size,
        np.concatenate([part.offsets_zyx for part in parts]),
        dropped=sum(part.dropped for part in parts),
        padded=sum(part.padded for part in parts),
    )


def require_one_voxel_size(things: Sequence[Volume | Subtomograms]) -> None:
    """Raise VoxpickError where the voxel sizes of volumes or subtomograms differ by more than a thousandth."""
    first = things[0].voxel_size
    for thing in things:
        if abs(thing.voxel_size - first) > 1e-3 * first:
            raise VoxpickError(
                f"tomograms of {first:g} A and {thing.voxel_size:g} A voxels cannot be averaged together; "
                "give tomograms of one voxel size"
            )


def shifted(data: np.ndarray, shifts_zyx: np.ndarray) -> np.ndarray:
    """Boxes (n, z, y, x) moved by (n, 3) voxels through a Fourier phase, around the edges: float32."""
    shape = data.shape[1:]
    axes = [np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2])]
    result = np.empty(data.shape, dtype=np.float32)
    for row, shift in enumerate(shifts_zyx):
        phases = [np.exp(-2j * np.pi * axis * step) for axis, step in zip(axes, shift, strict=True)]
        spectrum = np.fft.rfftn(data[row]) * phases[0][:, None, None] * phases[1][:, None] * phases[2]
        result[row] = np.fft.irfftn(spectrum, s=shape, axes=(0, 1, 2))
    return result


def require_box(volume: Volume, box: int) -> None:
    """Raise VoxpickError for a box of less than 4 voxels, or that does not fit into the volume."""
    if box < 4 or box > min(volume.shape):
        raise VoxpickError(
            f"{volume.name}: a box of {box} voxels does not fit into the volume of shape {volume.shape} (z, y, x); "
            f"take 4 to {min(volume.shape)}"
        )


def centred_within(volume: Volume, particles: Particles) -> np.ndarray:
    """Whether each particle's centre lies in a voxel of the volume: bool (n,)."""
    voxels = particles.voxels(volume.voxel_size)
    return np.asarray(((voxels >= -0.5) & (voxels <= np.array(volume.shape) - 0.5)).all(axis=1))


def _cut(data: np.ndarray, start: np.ndarray, box: int) -> tuple[np.ndarray, tuple[slice, ...]]:
    """The cube that begins at voxel `start`, and the window of it that lies inside the volume.

    What lies outside the volume mirrors what lies inside.
    """
    low = np.maximum(start, 0)
    high = np.minimum(start + box, data.shape)
    values = np.asarray(data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], dtype=np.float32)
    inside = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    missing = [(part.start, box - part.stop) for part in inside]
    return np.pad(values, missing, mode="symmetric") if np.any(missing) else values, inside


def _moved(cube: np.ndarray, shift_zyx: np.ndarray) -> np.ndarray:
    """What lies within the MARGIN of a cube, moved by less than a voxel."""
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(MARGIN) + 0.5) / MARGIN)
    fade = np.concatenate([ramp, np.ones(len(cube) - 2 * MARGIN), ramp[::-1]]).astype(np.float32)
    mean = cube.mean(dtype=np.float64).astype(np.float32)
    moved = shifted(((cube - mean) * fade[:, None, None] * fade[:, None] * fade)[None], shift_zyx[None])[0]
    return moved[(slice(MARGIN, -MARGIN),) * 3] + mean


def _normalised(cube: np.ndarray, inside: tuple[slice, ...]) -> np.ndarray:
    """The cube less its mean `inside`, over its deviation there, and 0 elsewhere; a constant one becomes 0."""
    values = cube[inside].astype(np.float64)
    deviation = values.std()
    result = np.zeros_like(cube)
    if deviation > 1e-12:
        result[inside] = (values - values.mean()) / deviation
    return result
