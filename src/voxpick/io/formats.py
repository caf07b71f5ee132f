"""Particle files by format. A new format is one new file and one line in FORMATS."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.cbox import read_cbox, write_cbox
from voxpick.io.copick import read_copick, write_copick
from voxpick.io.csv import read_csv, write_csv
from voxpick.io.deepfinder import read_deepfinder, write_deepfinder
from voxpick.io.dynamo import read_dynamo, write_dynamo
from voxpick.io.imod import read_imod, write_imod
from voxpick.io.mrc_header import require_voxel_size
from voxpick.io.shrec import SHREC_VOXEL_SIZE, read_locations, write_submission
from voxpick.io.star import read_star, write_star
from voxpick.particles import Particles


class Reader(Protocol):
    """voxel_size: A; shape: voxels (z, y, x) of the tomogram; both None where unknown."""

    def __call__(
        self, path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None
    ) -> Particles: ...


class Writer(Protocol):
    """The inverse of `Reader`."""

    def __call__(
        self,
        path: str | Path,
        particles: Particles,
        *,
        voxel_size: float | None = None,
        shape: Sequence[int] | None = None,
    ) -> None: ...


@dataclass(frozen=True)
class Format:
    """suffixes: the file names it is recognised by, the one to write first."""

    suffixes: tuple[str, ...]
    read: Reader
    write: Writer


def _read_shrec(path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None) -> Particles:
    found = read_locations(path, voxel_size=voxel_size or SHREC_VOXEL_SIZE, allow_empty=True)
    if voxel_size is None and len(found):
        warnings.warn(
            f"{path}: SHREC's text counts voxels of a size that it does not say; {SHREC_VOXEL_SIZE:g} A is taken, "
            "--voxel-size sets another",
            stacklevel=3,
        )
    return found


def _write_shrec(
    path: str | Path, particles: Particles, *, voxel_size: float | None = None, shape: Sequence[int] | None = None
) -> None:
    write_submission(path, particles, voxel_size=SHREC_VOXEL_SIZE if voxel_size is None else voxel_size)


FARTHEST = 1e9
"""A: 10 cm. Positions beyond lie in no tomogram, and overflow where voxels are counted."""
FORMATS = {
    "star": Format((".star",), read_star, write_star),
    "csv": Format((".csv", ".tsv"), read_csv, write_csv),
    "shrec": Format((".txt",), _read_shrec, _write_shrec),
    "copick": Format((".json",), read_copick, write_copick),
    "dynamo": Format((".tbl",), read_dynamo, write_dynamo),
    "cbox": Format((".cbox",), read_cbox, write_cbox),
    "imod": Format((".mod",), read_imod, write_imod),
    "deepfinder": Format((".xml",), read_deepfinder, write_deepfinder),
}


def read_particles(
    path: str | Path,
    *,
    voxel_size: float | None = None,
    shape: Sequence[int] | None = None,
    format: str | None = None,
) -> Particles:
    """Read particles; the suffix of the name chooses the format unless `format` (a key of FORMATS) does.

    voxel_size, shape: A and voxels (z, y, x) of the tomogram, for formats that count voxels or measure from the centre.
    Raises VoxpickError for an unknown format, a missing, malformed or empty file, and whatever the format needs.
    """
    if voxel_size is not None:
        require_voxel_size(voxel_size, path)
    found = format_of(path, format).read(path, voxel_size=voxel_size, shape=shape)
    beyond = np.flatnonzero((np.abs(found.centers_zyx) > FARTHEST).any(axis=1))
    if len(beyond):
        z, y, x = found.centers_zyx[beyond[0]]
        raise VoxpickError(
            f"{path}: row {beyond[0] + 1} lies at x {x:g}, y {y:g}, z {z:g} A, which is in no tomogram; check its unit"
        )
    return found


def write_particles(
    path: str | Path,
    particles: Particles,
    *,
    voxel_size: float | None = None,
    shape: Sequence[int] | None = None,
    format: str | None = None,
) -> None:
    """Write particles, whole or not at all; arguments as in `read_particles`. An empty table is written as such."""
    format_of(path, format).write(path, particles, voxel_size=voxel_size, shape=shape)


def format_of(path: str | Path, name: str | None = None) -> Format:
    """The format called `name`, or that of the suffix. Raises VoxpickError for an unknown one."""
    if name is not None:
        if name not in FORMATS:
            raise VoxpickError(f"{path}: unknown particle format {name!r}; known: {', '.join(FORMATS)}")
        return FORMATS[name]
    suffix = Path(path).suffix.lower()
    for known in FORMATS.values():
        if suffix in known.suffixes:
            return known
    suffixes = ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes)
    raise VoxpickError(f"{path}: {suffix or 'no suffix'} names no particle format; use one of {suffixes}")
