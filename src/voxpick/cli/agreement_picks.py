"""The picks that `voxpick agreement` compares: read in one frame, of one class, of tomograms that both name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from voxpick.particles import Particles
    from voxpick.volume import Volume

UNKNOWN_SIZE = 1.0
"""A, in the headers of programs that do not know the voxel size."""


def frame_of(
    near: Path | None, volumes: Sequence[Volume], voxel_size: float | None
) -> tuple[np.ndarray | None, float | None, tuple[int, int, int] | None]:
    """The mask [z, y, x], and voxel size (A) and shape of what the picks lie in, where a mask or a tomogram tells.

    Raises VoxpickError for a mask of another shape or of other voxels than a tomogram's; of the voxels a mask may say
    nothing, and voxel_size is right where header and tomogram are both wrong. Without either of them the mask has to
    know its voxels: those of UNKNOWN_SIZE are refused.
    """
    from voxpick.io.mrc import read_labels, read_voxel_size
    from voxpick.io.mrc_header import read_header

    mask = None if near is None else read_labels(near)
    for volume in volumes:
        if mask is not None and mask.shape != volume.shape:
            raise VoxpickError(f"{near}: has shape {mask.shape} (z, y, x), the tomogram {volume.shape}; take one frame")
    if near is not None and volumes and voxel_size is None and any(read_header(near).voxel_size_xyz):
        size, other = read_voxel_size(near), volumes[0].voxel_size
        if size != UNKNOWN_SIZE and abs(size - other) > 0.01 * other:
            raise VoxpickError(
                f"{near}: has voxels of {size:g} A, the tomogram {other:g} A; take one frame, or say "
                "--voxel-size where a header is wrong"
            )
    if volumes:
        return mask, volumes[0].voxel_size, volumes[0].shape
    if mask is None or near is None:
        return None, voxel_size, None
    size = read_voxel_size(near) if voxel_size is None else voxel_size
    if voxel_size is None and size == UNKNOWN_SIZE:
        raise VoxpickError(
            f"{near}: its header says voxels of {size:g} A, as of programs that do not know; say --voxel-size, which "
            "may be 1"
        )
    return mask, size, mask.shape


def require_inside_mask(near: Path, mask: np.ndarray, size: float, pickings: Mapping[Path, Particles]) -> None:
    """Raise VoxpickError where most picks of a file lie outside the mask. size: of its voxels, A."""
    from voxpick.average.parts import require_inside
    from voxpick.volume import Volume

    for path, picks in pickings.items():
        require_inside([Volume(mask, size, name=str(near))], picks, path)


def require_mask_of(path: Path, near: Path, size: float, shape: tuple[int, int, int]) -> None:
    """Raise VoxpickError where a STAR file of voxpick's says that its tomogram is not as large as the mask `near`.

    size, shape: A and voxels (z, y, x) of the mask. RELION's places count from the middle, so they would move.
    """
    import numpy as np

    from voxpick.io.star_tables import fits, written_sizes

    if path.suffix.lower() != ".star":
        return
    stored, mine = written_sizes(path), np.array(shape[::-1]) * size
    if len(stored) and not fits(stored, mine, size):
        said, now = (" x ".join(f"{length:g}" for length in lengths) for lengths in (stored[0], mine))
        raise VoxpickError(
            f"{near}: covers {now} A (x, y, z), but {path} has picks in a tomogram of {said} A; give a mask of the "
            "tomogram's shape, and --voxel-size where its header is wrong"
        )


def read_picking(
    path: Path, volumes: Sequence[Volume], size: float | None, shape: tuple[int, int, int] | None
) -> Particles:
    """The picks of a file; where it names several tomograms, those of the volumes, each in its own frame.

    size, shape: A and voxels (z, y, x) of what the picks lie in, where known. Raises VoxpickError for none.
    """
    import numpy as np

    from voxpick.cli.pick_files import read_all_picks
    from voxpick.io.formats import read_particles
    from voxpick.particles import joined

    picks = read_all_picks(path, voxel_size=size, shape=shape)
    names, wanted = np.asarray(picks.tomograms).astype(str), [volume.name for volume in volumes]
    if volumes and {*names} & {*wanted} and (len({*names}) > 1 or len(volumes) > 1):
        parts = []
        for volume in volumes:
            here = read_particles(path, voxel_size=volume.voxel_size, shape=volume.shape)
            parts.append(here[np.asarray(here.tomograms).astype(str) == volume.name])
        picks = joined(parts)
        _tell_of_others(path, {*names} - {*wanted})
    elif volumes and (len({*names}) > 1 or len(volumes) > 1):
        picks = picks[:0]
    if len(picks) == 0:
        of = f" of {' or '.join(wanted)}" if len(names) else ""
        raise VoxpickError(f"{path}: holds no picks{of}, so there is nothing to compare")
    return picks


def _tell_of_others(path: Path, names: set[str]) -> None:
    """A warning that picks of other tomograms than those given are not compared."""
    if names:
        some = ", ".join(sorted(names)[:3] + ["..."] * (len(names) > 3))
        others = "another tomogram" if len(names) == 1 else f"{len(names)} other tomograms"
        typer.echo(f"voxpick: warning: {path}: picks of {others} are left out ({some})", err=True)


def of_class(path: Path, picks: Particles, only: str | None) -> Particles:
    """The picks of class `only`, where it is given. Raises VoxpickError for none, naming the file."""
    if only is None:
        return picks
    known = sorted({str(name) for name in picks.classes})
    if only not in known:
        raise VoxpickError(f"{path}: holds no picks of class {only!r}, but {', '.join(known)}")
    return picks[picks.classes == only]


def check_tomograms(a: Particles, b: Particles, path_a: Path, path_b: Path, near: Path | None) -> None:
    """Refuse pickings that name several tomograms and share none, and one mask for several; tell what one alone has."""
    names = [{str(name) for name in table.to_frame()["tomogram"]} for table in (a, b)]
    if max(len(mine) for mine in names) == 1:
        _warn_of_two_tomograms(a, b, path_a, path_b)
        return
    if near is not None:
        raise VoxpickError(f"{near}: is the mask of one tomogram, but the picks name several; compare one at a time")
    if not names[0] & names[1]:
        listed = [", ".join(sorted(mine)[:3]) for mine in names]
        raise VoxpickError(f"{path_a} names the tomograms {listed[0]}, {path_b} {listed[1]}; none is in both")
    for path, lone in ((path_a, names[0] - names[1]), (path_b, names[1] - names[0])):
        if lone:
            some = sorted(lone)[:3] + ["..."] * (len(lone) > 3)
            typer.echo(
                f"voxpick: warning: {path}: alone has picks in {', '.join(some)}; they count as found by it alone",
                err=True,
            )


def _warn_of_two_tomograms(a: Particles, b: Particles, path_a: Path, path_b: Path) -> None:
    """A warning where two files each name one tomogram, and not the same."""
    from voxpick.cli.pick_files import the_tomogram

    one, other = the_tomogram(path_a, a), the_tomogram(path_b, b)
    if None not in (one, other) and one != other:
        typer.echo(
            f"voxpick: warning: {path_a}: says its picks are of {one!r}, {path_b} of {other!r}; they are compared as "
            "if of one tomogram",
            err=True,
        )
