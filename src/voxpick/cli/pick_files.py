"""Picks of a tomogram as commands read them from a file, and what is told of those that may not be of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import numpy as np

    from voxpick.particles import Particles
    from voxpick.volume import Volume

NAMELESS = (".txt", ".cbox", ".mod")
"""Files of picks that hold no name of a tomogram."""


def read_picks(
    path: Path,
    *,
    tomogram: str,
    voxel_size: float | None,
    shape: tuple[int, int, int] | None = None,
    year: int = 2020,
    allow_empty: bool = False,
    also: str | None = None,
    purpose: str = "score",
    place: bool = True,
) -> Particles:
    """The picks of a file in the order of the file; of several tomograms in it, those of the one named.

    also: another name of the tomogram, taken where the first is not there. voxel_size (A) and shape (z, y, x) of the
    tomogram serve formats that count voxels; year 2019 reads text as zyx.
    purpose: what they are read to do, for what is told where there are none. place: as for `read_all_picks`.
    Raises VoxpickError for no picks (unless allow_empty), and for several tomograms of which none has the name.
    """
    picks = read_all_picks(path, voxel_size=voxel_size, shape=shape, year=year, place=place)
    names = [tomogram, *([] if also is None else [also])]
    return picks_of(path, picks, names, allow_empty=allow_empty, purpose=purpose)


def read_all_picks(
    path: Path, *, voxel_size: float | None, shape: tuple[int, int, int] | None = None, year: int = 2020,
    place: bool = True,
) -> Particles:  # fmt: skip
    """As `read_picks`, of all tomograms that the file names.

    place: bring the list of a SHREC model folder, whose z counts from the specimen, into the frame of the tomogram of
    `shape`, and say so; scoring, which has its own rules for that, does not.
    """
    from voxpick.io.formats import read_particles
    from voxpick.io.shrec import SHREC_VOXEL_SIZE, read_locations

    if year == 2019 and path.suffix.lower() == ".txt":
        return read_locations(path, year=2019, voxel_size=voxel_size or SHREC_VOXEL_SIZE, allow_empty=True)
    picks = read_particles(path, voxel_size=voxel_size, shape=shape)
    return _placed(path, picks, voxel_size, shape) if place and voxel_size and shape else picks


def _placed(path: Path, picks: Particles, voxel_size: float, shape: tuple[int, int, int]) -> Particles:
    from voxpick.io.mrc_header import read_header
    from voxpick.io.shrec_model import LOCATIONS

    mask = path.absolute().with_name("occupancy_mask.mrc")
    if path.name != LOCATIONS or not mask.is_file():
        return picks
    specimen = read_header(mask).shape
    offset = (shape[0] - specimen[0]) // 2
    if offset <= 0 or tuple(specimen[1:]) != tuple(shape[1:]):
        return picks
    typer.echo(
        f"voxpick: {path}: counts z from its specimen of {specimen[0]} sections; {offset} were added, as the tomogram "
        f"has {shape[0]}",
        err=True,
    )
    return picks.with_columns(centers_zyx=picks.centers_zyx + [offset * voxel_size, 0, 0])


def picks_of(
    path: Path, picks: Particles, tomograms: Sequence[str], *, allow_empty: bool = False, purpose: str = "score"
) -> Particles:
    """The picks of a tomogram: of the first of its names that is there, or all where the file has one tomogram.

    Raises VoxpickError as `read_picks` does.
    """
    import numpy as np

    assert picks.tomograms is not None
    names = {str(name) for name in picks.tomograms}
    if len(names) > 1:
        tomogram = next((name for name in tomograms if name in names), None)
        if tomogram is None:
            listed = ", ".join(sorted(names)[:5])
            raise VoxpickError(
                f"{path}: holds picks of {len(names)} tomograms ({listed}), but none of {tomograms[0]!r}; rename the "
                "file or folder of that name after one of them, or leave the picks of one tomogram in this file"
            )
        picks = picks[np.array([str(name) == tomogram for name in picks.tomograms])]
    if len(picks) == 0 and not allow_empty:
        raise VoxpickError(f"{path}: holds no picks, so there is nothing to {purpose}")
    return picks


def warn_of_another(path: Path, picks: Particles, tomogram: str, *, also: Sequence[str] = ()) -> None:
    """A warning where a file names one tomogram, and not this one, nor by its other names.

    Numbers say nothing, nor does what readers take where a file has no name.
    """
    name = the_tomogram(path, picks)
    if name is not None and name not in (tomogram, *also):
        typer.echo(f"voxpick: warning: {path}: says its picks are of {name!r}, not {tomogram!r}", err=True)


def outside(picks: Particles, tomogram: Volume) -> np.ndarray:
    """Which picks lie outside the tomogram: bool (n,)."""
    import numpy as np

    voxels = picks.voxels(tomogram.voxel_size)
    return np.asarray(((voxels < -0.5) | (voxels > np.array(tomogram.shape) - 0.5)).any(axis=1))


def warn_of_strays(path: Path, picks: Particles, tomogram: Volume, volume: Path, *, fate: str = "") -> None:
    """Warnings where picks of `path` lie outside the tomogram of the file `volume`, are said to be of another one, or
    all lie in one corner.

    fate: what becomes of those outside, where that is to be told.
    """
    from voxpick.cli.corner_picks import warn_of_a_corner

    if number := int(outside(picks, tomogram).sum()):
        typer.echo(
            f"voxpick: warning: {path}: {number} of {len(picks)} picks lie outside {volume}{fate}; "
            "check their unit and frame",
            err=True,
        )
    warn_of_a_corner(path, picks, tomogram)
    warn_of_another(path, picks, tomogram.name)


def the_tomogram(path: Path, picks: Particles) -> str | None:
    """The one tomogram that a file of picks names; None of none, several, or a number."""
    names = {str(name) for name in picks.tomograms} if picks.tomograms is not None else set()
    if len(names) != 1 or path.suffix.lower() in NAMELESS:
        return None
    name = names.pop()
    return None if name.isdigit() or name == "tomogram" else name
