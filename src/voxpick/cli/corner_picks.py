"""Picks whose extent tells that their unit is another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

if TYPE_CHECKING:
    from voxpick.particles import Particles
    from voxpick.volume import Volume

SEVERAL, CORNER = 5, 0.1
"""Picks from which on their extent tells a wrong unit; the part of each axis that they then lie in."""


def warn_of_a_corner(path: Path, picks: Particles, tomogram: Volume) -> None:
    """A warning where all of several picks lie in a tenth of each axis, as those in nm do where A are meant."""
    if len(picks) < SEVERAL:
        return
    voxels = picks.voxels(tomogram.voxel_size)
    if (np.ptp(voxels, axis=0) <= CORNER * np.array(tomogram.shape)).all():
        z, y, x = (np.array(tomogram.shape) * tomogram.voxel_size).tolist()
        typer.echo(
            f"voxpick: warning: {path}: all {len(picks)} picks lie within a tenth of each side of the tomogram "
            f"({x:g} x {y:g} x {z:g} A in x, y, z), as places in nm or voxels do that are given as A; check their unit",
            err=True,
        )
