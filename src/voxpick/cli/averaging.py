"""What `voxpick average` and `voxpick agreement` share: how to average, the reference, and the boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import typer

from voxpick.average.alignment import Alignment
from voxpick.average.parts import Averaging
from voxpick.average.subtomograms import Subtomograms, extract, join
from voxpick.errors import VoxpickError
from voxpick.match.rotations import number_of_rotations, rotation_grid
from voxpick.precision import choose_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxpick.particles import Particles
    from voxpick.volume import Volume

MOST_SIDE = 2048
"""Voxels along a box: of one, no transform has room, and the voxel size is wrong or the radius."""
WIDEST_LOCAL = 90.0
"""Degrees between orientations beyond which a local search is none."""
NAMELESS = "tomogram"
"""What readers take for the name of a tomogram where a file has none."""


def make_averaging(
    voxel_size: float,
    *,
    radius: float,
    box: int | None = None,
    edges: str = "drop",
    iterations: int = 6,
    local: bool = False,
    step: float = 20.0,
    finest: float = 3.0,
    low_pass: float | None = None,
    max_shift: float | None = None,
    tilts: tuple[float, float] = (-60.0, 60.0),
    bright: bool = False,
    device: str = "cpu",
    radius_option: str = "--radius",
) -> Averaging:
    """Settings from options; lengths in A. The box is 3 radii and even, unless it is given.

    radius_option: what the command calls the radius. Raises VoxpickError for settings that make no sense together: a
    mask that is wider than the box, shifts past half of it, and steps that are no angles.
    """
    if edges not in ("drop", "pad"):
        raise VoxpickError(f"--edges is {edges!r}; choose drop or pad")
    if not 0 < radius < float("inf"):
        raise VoxpickError(f"{radius_option} is {radius:g}; it must be a positive number of A")
    side = int(min(2 * np.ceil(1.5 * radius / voxel_size), MOST_SIDE + 1)) if box is None else box
    if side > MOST_SIDE:
        raise VoxpickError(
            f"{radius_option} {radius:g} A and voxels of {voxel_size:g} A make boxes of more than {MOST_SIDE} voxels a "
            "side; set the right voxel size with --voxel-size, or give a smaller radius or --box"
        )
    if side * voxel_size < 2 * radius:
        raise VoxpickError(
            f"--box {side} is {side * voxel_size:g} A wide, which is less than the mask of {radius_option} {radius:g}, "
            f"twice as wide as that; take at least {int(np.ceil(2 * radius / voxel_size))} voxels, or a smaller radius"
        )
    if max_shift is not None and max_shift > side * voxel_size / 2:
        raise VoxpickError(
            f"--max-shift {max_shift:g} is more than half the box, {side * voxel_size / 2:g} A: a centre would leave "
            "it; take a smaller one, or a larger --box"
        )
    if local and not 0 < step <= WIDEST_LOCAL:
        raise VoxpickError(
            f"--step {step:g}: --local searches around the orientations that picks have; give at most {WIDEST_LOCAL:g} "
            "degrees, or leave --local out"
        )
    alignment = Alignment(
        radius=radius,
        low_pass=max(radius / 2, 3 * voxel_size) if low_pass is None else low_pass,
        max_shift=default_max_shift(radius, voxel_size) if max_shift is None else max_shift,
        step_deg=step,
        finest_deg=finest,
        tilt_range_deg=tilts,
        device=str(choose_device(device)),
    )
    everywhere = not local and iterations > 0
    if everywhere:
        alignment.require_room(number_of_rotations(step), box=side, voxel_size=voxel_size)
    return Averaging(
        alignment,
        side,
        iterations,
        rotation_grid(step) if everywhere else None,
        edges=cast("Literal['drop', 'pad']", edges),
        dark=not bright,
    )


def default_max_shift(radius: float, voxel_size: float) -> float:
    """A quarter of the radius, one to three voxels; A.

    A poor map draws small particles wherever noise is like it, up to the limit: with three voxels, those of SHREC'20's
    smallest complexes ended half a radius away from exact picks, which also blurs the next map.
    """
    return min(max(radius / 4, voxel_size), 3 * voxel_size)


def read_reference(name: str, volume: Volume, box: int) -> np.ndarray:
    """A built-in structure, or a PDB, mmCIF or MRC file, as a bright map [box, box, box] of the volume's voxels.

    Raises VoxpickError for a file that holds several structures, or a map of other voxels.
    """
    from voxpick.cli.templates import read_templates

    found = read_templates([name], volume)
    if len(found) != 1:
        raise VoxpickError(f"--reference {name}: holds {len(found)} structures; give one")
    return in_box(found[0].density, box)


def in_box(data: np.ndarray, box: int) -> np.ndarray:
    """A map [z, y, x] cut, or padded with the mean of its faces, to a cube about its centre, voxel n // 2."""
    faces = np.concatenate([np.take(data, (0, -1), axis=axis).ravel() for axis in range(3)])
    cube = np.full((box,) * 3, faces.mean(), dtype=np.float32)
    low = [n // 2 - box // 2 for n in data.shape]
    source = tuple(slice(max(a, 0), min(a + box, n)) for a, n in zip(low, data.shape, strict=True))
    target = tuple(slice(s.start - a, s.stop - a) for a, s in zip(low, source, strict=True))
    cube[target] = data[source]
    return cube


def cut_boxes(path: Path, volumes: list[Volume], how: Averaging, *, only: str | None) -> Subtomograms:
    """The picks' boxes in all tomograms, those of class `only` if given.

    Of several tomograms, those without picks, or with none whose box fits, are left out with a warning.
    Raises VoxpickError for two tomograms of one name, or of two voxel sizes, a box that does not fit into the only one,
    and where nothing is left.
    """
    from voxpick.average.parts import leaves_no_box
    from voxpick.average.subtomograms import require_box, require_one_voxel_size

    names = [volume.name for volume in volumes]
    _require_own_names(names)
    require_one_voxel_size(volumes)
    if len(volumes) == 1:
        require_box(volumes[0], how.box)
    parts, lost, known = [], 0, set()
    left_out: dict[str, str] = {}
    for volume in volumes:
        picks = _picks_in(volume, path, among=names)
        known |= {str(name) for name in picks.classes}
        if only is not None:
            picks = picks[picks.classes == only]
        if len(picks) == 0:
            left_out[volume.name] = "no picks" if only is None else f"no picks of class {only!r}"
        elif leaves_no_box(volume, picks, how):
            left_out[volume.name] = f"no box of {how.box} voxels of its {len(picks)} picks lies within it"
            lost += len(picks)
        else:
            parts.append(extract(volume, picks, box=how.box, edges=how.edges, dark=how.dark))
    if not parts and known and only is not None and only not in known:
        others = ", ".join(sorted(known))
        raise VoxpickError(f"{path}: holds no picks of class {only!r} in {', '.join(names)}, but {others}")
    why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
    if not parts:
        ways = ["take a smaller --box, or --edges pad"] if lost else []
        ways += ["with several tomograms, picks name theirs"] if len(volumes) > 1 else []
        raise VoxpickError("; ".join([f"{path}: nothing to average ({why})", *ways]))
    if why:
        typer.echo(f"voxpick: warning: left out: {why}", err=True)
    found = join(parts)
    return replace(found, dropped=found.dropped + lost)


def _require_own_names(names: list[str]) -> None:
    """Raise VoxpickError for two tomograms of one name."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VoxpickError(
            f"{names.count(twice)} tomograms are called {twice}: the same particles would be in both half-sets; give "
            "each tomogram once, and each its own name"
        )


def _picks_in(volume: Volume, path: Path, *, among: Sequence[str]) -> Particles:
    """The picks of a file that name this tomogram; where it is the only one given, those that name none as well.

    among: the names of all. Raises VoxpickError for picks without names where several are given.
    """
    from voxpick.cli.pick_files import read_picks, warn_of_another
    from voxpick.io.formats import read_particles

    if len(among) == 1:
        picks = read_picks(
            path, tomogram=volume.name, voxel_size=volume.voxel_size, shape=volume.shape, purpose="average"
        )
        warn_of_another(path, picks, volume.name)
        return picks
    picks = read_particles(path, voxel_size=volume.voxel_size, shape=volume.shape)
    if {str(name) for name in np.asarray(picks.tomograms)} == {NAMELESS} and NAMELESS not in among:
        raise VoxpickError(
            f"{path}: its picks name no tomogram, and of several they have to; add the names (rlnTomoName in STAR "
            "files, tomogram in CSV), or average one tomogram at a time"
        )
    return picks[np.asarray(picks.tomograms).astype(str) == volume.name]
