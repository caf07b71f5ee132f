"""Which picks, of the files that `voxpick train --picks` is given, are those of which tomogram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import numpy as np

    from voxpick.particles import Particles
    from voxpick.volume import Volume

FATE = ", so nothing is learnt from them"


def picks_for(volume: Volume, tomograms: Sequence[Path], index: int, files: Sequence[Path]) -> Particles:
    """The picks of one of the tomograms: of the file in its place, or of the only file, by the tomogram's name.

    Of any other number of files, such as copick's, which hold a class each, all picks that name the tomogram.
    """
    from voxpick.cli.pick_files import read_picks, warn_of_strays

    count = len(tomograms)
    if len(files) not in (1, count):
        return _joined(volume, tomograms, index, files)
    path = files[index] if len(files) == count else files[0]
    particles = read_picks(
        path, tomogram=volume.name, voxel_size=volume.voxel_size, shape=volume.shape, purpose="learn from"
    )
    names: np.ndarray | None = particles.tomograms
    if len(files) < count and names is not None and any(str(name) != volume.name for name in names):
        raise VoxpickError(f"{path}: holds no picks of {volume.name!r}, but of {names[0]!r}; give a file for each")
    warn_of_strays(path, particles, volume, tomograms[index], fate=FATE)
    return particles


def _joined(volume: Volume, tomograms: Sequence[Path], index: int, files: Sequence[Path]) -> Particles:
    """The picks of the tomogram in all files, in their order."""
    import numpy as np

    from voxpick.cli.pick_files import read_all_picks, the_tomogram, warn_of_strays
    from voxpick.io.mrc import tomogram_name
    from voxpick.particles import joined

    known, parts = {tomogram_name(path) for path in tomograms}, []
    for path in files:
        picks = read_all_picks(path, voxel_size=volume.voxel_size, shape=volume.shape)
        names = np.array([str(name) for name in ([] if picks.tomograms is None else picks.tomograms)], dtype=object)
        if len(tomograms) == 1 and the_tomogram(path, picks) is None:
            names[:] = volume.name
        if len(names) and not known & {*names}:
            raise VoxpickError(
                f"{path}: says its picks are of {names[0]!r}, which is none of the tomograms; {len(files)} files of "
                f"picks for {len(tomograms)} tomograms have to name theirs; else give one for all, or one for each"
            )
        here = picks[names == volume.name].with_columns(tomograms=names[names == volume.name])
        if len(here):
            warn_of_strays(path, here, volume, tomograms[index], fate=FATE)
            parts.append(here)
    if not parts:
        raise VoxpickError(f"{files[0]} and {len(files) - 1} more: hold no picks of {volume.name!r} to learn from")
    return joined(parts)
