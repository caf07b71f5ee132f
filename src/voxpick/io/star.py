"""RELION particle STAR files: written for RELION 5 (or 4), read from 3.x, 4 and 5.

RELION 5 measures from the centre of the tomogram, voxel N/2 (shape / 2, not (shape - 1) / 2), in A, x first;
RELION 4 in pixels of the tilt series from the first voxel. Frames and angles: docs/geometry.md. voxpick adds columns
whose names start with vpx; RELION keeps columns it does not know. RELION 5's Import > Coordinates reads the first block
of a file alone, and its programs take optics from tomograms.star where particles bring none; so `particles` is the
first block, there are no optics, and the sizes of the tomograms, for voxpick itself, come last. Rows begin with a
number or a path: one that began with a name such as data_1 or _1 would be read as the start of a block or a column.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import starfile

from voxpick.errors import VoxpickError
from voxpick.io.atomic import write_text
from voxpick.io.foreign import confidences, warn_of_another_size
from voxpick.io.relion_angles import relion_to_rotations, rotations_to_relion
from voxpick.io.star_tables import (
    ANGLES,
    CAMERA,
    CENTRED,
    CLASS_COLUMNS,
    CLASS_SCORE,
    LOCATION_SCORE,
    NAME,
    ORIGINS,
    PIXEL_ORIGINS,
    PIXEL_SIZE,
    PIXELS,
    SCORE,
    SIZES,
    SIZES_BLOCK,
    SUBTOMOGRAM_ANGLES,
    above_zero,
    fits,
    image_pixel_size,
    number_columns,
    one_of_each,
    read_tables,
    stored_sizes,
    text_column,
    tomogram_names,
)
from voxpick.particles import Particles
from voxpick.shrec_classes import CLASS_IDS


def write_star(
    path: str | Path,
    particles: Particles,
    *,
    voxel_size: float | None = None,
    shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    relion: Literal[4, 5] = 5,
) -> None:
    """Write a particles STAR file; `write_import_list` says how it goes into RELION 5.

    voxel_size, shape: A and voxels (z, y, x) of the tomogram, the same for all tomograms in the table; or shapes by
    name of the tomogram. relion=4 writes optics, whose rlnTomoTiltSeriesPixelSize says voxel_size, of which size its
    pixels are. rlnClassNumber holds the SHREC'20 id where all names are SHREC'20's, else the place in the sorted names;
    vpxClassName holds the name.
    Raises VoxpickError when voxel_size, or for RELION 5 shape, is missing.
    """
    if voxel_size is None or (shape is None and relion == 5):
        raise VoxpickError(
            f"{path}: RELION {relion} coordinates need the voxel size{' and shape' if relion == 5 else ''} "
            "of the tomogram; give them"
        )
    require_star_names(path, particles)
    centers_xyz = particles.centers_zyx[:, ::-1]
    assert particles.tomograms is not None
    names = np.array([str(name) for name in particles.tomograms], dtype=object)
    sizes = None if shape is None else _sizes(path, names, shape, voxel_size)
    table: dict[str, object] = {}
    if relion == 5:
        assert sizes is not None
        table |= dict(zip(CENTRED, (centers_xyz - sizes.loc[names].to_numpy() / 2).T, strict=True))
    else:
        table |= dict(zip(PIXELS, (centers_xyz / voxel_size).T, strict=True))
    table[NAME] = names
    if particles.rotations is not None:
        table |= dict(zip(ANGLES, rotations_to_relion(particles.rotations).T, strict=True))
    table["rlnTomoParticleName"] = _particle_names(particles)
    if relion == 4:
        table["rlnOpticsGroup"] = 1
    table["rlnClassNumber"] = _class_numbers(particles.classes)
    table["vpxClassName"] = particles.classes
    for name, scores in (
        (SCORE, particles.scores),
        (LOCATION_SCORE, particles.location_scores),
        (CLASS_SCORE, particles.class_scores),
    ):
        if scores is not None:
            table[name] = scores
    blocks = {"particles": pd.DataFrame(table)}
    if relion == 4:
        optics = pd.DataFrame({"rlnOpticsGroup": [1], "rlnOpticsGroupName": "opticsGroup1", PIXEL_SIZE: voxel_size})
        blocks = {"optics": optics, **blocks}
    if sizes is not None and len(sizes):
        blocks[SIZES_BLOCK] = sizes.assign(rlnTomoName=sizes.index)
    write_text(path, starfile.to_string(blocks, float_format="%.6f"))


def write_import_list(path: str | Path, files: Mapping[str, Path]) -> None:
    """Write the list that RELION 5's Import > Coordinates asks for: STAR files of picks by name of their tomogram."""
    table = pd.DataFrame({"rlnTomoImportParticleFile": [str(p) for p in files.values()], "rlnTomoName": list(files)})
    write_text(path, starfile.to_string({"tomograms": table}))


def star_holds(name: str) -> bool:
    """Whether STAR files can hold a name: one with characters to see, and no #, quotation mark, tab or line's end."""
    return bool(name.strip()) and not any(mark in name for mark in "#'\"\t") and len(name.splitlines()) == 1


def require_star_names(path: str | Path, particles: Particles) -> None:
    """Raise VoxpickError for the name of a class or tomogram that STAR files cannot hold."""
    for name in (*particles.classes, *([] if particles.tomograms is None else particles.tomograms)):
        if not star_holds(str(name)):
            raise VoxpickError(
                f"{path}: STAR files cannot hold the name {name!r}; leave out #, quotation marks and tabs"
            )


def _sizes(
    path: str | Path, names: np.ndarray, shape: Sequence[int] | Mapping[str, Sequence[int]], voxel_size: float
) -> pd.DataFrame:
    """Sizes in A of the tomograms, the columns SIZES, by name: of those that particles name, or that shapes are of."""
    shapes = shape if isinstance(shape, Mapping) else dict.fromkeys(names, shape)
    missing = next((name for name in names if name not in shapes), None)
    if missing is not None:
        raise VoxpickError(f"{path}: particles are of tomogram {missing!r}; shapes are given of {', '.join(shapes)}")
    sizes = np.array([shapes[name][::-1] for name in shapes], dtype=np.float64).reshape(-1, 3) * voxel_size
    return pd.DataFrame(sizes, columns=SIZES, index=pd.Index(list(shapes), dtype=object))


def read_star(path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None) -> Particles:
    """Read the particles of a RELION 3.x, 4 or 5 STAR file, with or without optics.

    voxel_size, shape: A and voxels (z, y, x) of the tomogram. Centred (RELION 5) coordinates need both, unless voxpick
    wrote the file. Pixel coordinates are scaled by the file's rlnTomoTiltSeriesPixelSize, else by voxel_size, with a
    warning where its images have pixels of another size, which some programs count in. Refined
    shifts (rlnOrigin*Angst, or RELION 3.0's rlnOrigin* in pixels) are applied, and rlnTomoSubtomogram* angles combined
    with rlnAngle*. Figures of merit outside [0, 1] are mapped linearly onto it. Classes: vpxClassName, rlnParticleName
    or rlnClassNumber. Tomograms that are named by files are called after those, without folder, suffix and rec_.
    A table without rows is no particles. Raises VoxpickError for a missing or foreign file, missing columns, and values
    that are not finite numbers.
    """
    frame, optics, sizes = read_tables(path)
    if not len(frame):
        return Particles(np.zeros((0, 3)))
    angles = number_columns(frame, ANGLES, path)
    sub_angles = number_columns(frame, SUBTOMOGRAM_ANGLES, path)
    rotations = None if angles is None else relion_to_rotations(angles)
    box = None if sub_angles is None else relion_to_rotations(sub_angles)
    if box is not None:
        rotations = box if rotations is None else box @ rotations
    centers_zyx = _centers_xyz(frame, optics, sizes, path, voxel_size, shape)[:, ::-1]
    origins = _origins(frame, path, voxel_size)
    if origins is not None:
        shifts = origins[:, ::-1]
        centers_zyx = centers_zyx - (shifts if box is None else np.einsum("nij,nj->ni", box, shifts))
    names = text_column(frame, CLASS_COLUMNS)
    return Particles(
        centers_zyx,
        classes=np.empty(0, dtype=object) if names is None else names,
        scores=_scores(frame, SCORE, path),
        location_scores=_scores(frame, LOCATION_SCORE, path),
        class_scores=_scores(frame, CLASS_SCORE, path),
        rotations=rotations,
        tomograms=tomogram_names(frame),
    )


def _particle_names(particles: Particles) -> list[str]:
    """tomogram/1, tomogram/2, ... counted within each tomogram, as RELION does."""
    tomograms = pd.Series(particles.tomograms, dtype=object)
    counts = tomograms.groupby(tomograms).cumcount() + 1
    return [f"{tomogram}/{count}" for tomogram, count in zip(tomograms, counts, strict=True)]


def _class_numbers(classes: np.ndarray) -> np.ndarray:
    names = sorted({str(name) for name in classes})
    known = all(name in CLASS_IDS for name in names)
    numbers = CLASS_IDS if known else {name: index for index, name in enumerate(names, start=1)}
    return np.array([numbers[str(name)] for name in classes], dtype=np.int64)


def _centers_xyz(
    frame: pd.DataFrame,
    optics: pd.DataFrame,
    sizes: pd.DataFrame,
    path: str | Path,
    voxel_size: float | None,
    shape: Sequence[int] | None,
) -> np.ndarray:
    """Centres in A, x first: (n, 3), before refined shifts. Raises VoxpickError where nothing says their unit."""
    centred = number_columns(frame, CENTRED, path)
    if centred is not None:
        if voxel_size is not None and shape is not None:
            size = np.array(shape[::-1]) * voxel_size
            _warn_of_another_tomogram(sizes, size, voxel_size, path)
            return centred + size / 2
        if all(name in sizes for name in SIZES):
            return centred + _of_tomogram(frame, sizes, path) / 2
        raise VoxpickError(
            f"{path}: {CENTRED[0]} is measured from the tomogram's centre, so its size is needed; give the tomogram "
            "itself (--tomogram, where the command has it), or picks in pixels or as CSV in A"
        )
    pixels = number_columns(frame, PIXELS, path)
    if pixels is None:
        needed = CENTRED if CENTRED[0] in frame else PIXELS
        raise VoxpickError(f"{path}: needs all of {', '.join(needed)}")
    if PIXEL_SIZE in optics:
        return pixels * _of_optics_group(frame, optics, path)
    if voxel_size is None:
        raise VoxpickError(f"{path}: {PIXELS[0]} is in pixels of unknown size; set it with --voxel-size")
    if (of_images := image_pixel_size(frame, optics)) is not None:
        warn_of_another_size(of_images, voxel_size, path)
    return pixels * voxel_size


def _warn_of_another_tomogram(sizes: pd.DataFrame, size: np.ndarray, voxel_size: float, path: str | Path) -> None:
    """A warning where no size that voxpick wrote into the file is that of the tomogram (A, x first)."""
    stored = stored_sizes(sizes)
    if len(stored) and not fits(stored, size, voxel_size):
        said, now = (" x ".join(f"{length:g}" for length in lengths) for lengths in (stored[0], size))
        warnings.warn(
            f"{path}: was written of a tomogram of {said} A (x, y, z), but this one has {now} A; if its voxel size is "
            "another now, so are the places of the picks: take the voxel size that they were picked with",
            stacklevel=2,
        )


def _origins(frame: pd.DataFrame, path: str | Path, voxel_size: float | None) -> np.ndarray | None:
    """Refined shifts in A, x first: (n, 3). RELION 3.0 has them in pixels of its images, whose size its camera says."""
    origins = number_columns(frame, ORIGINS, path)
    pixels = number_columns(frame, PIXEL_ORIGINS, path)
    if origins is not None or pixels is None or not pixels.any():
        return origins
    if all(name in frame for name in CAMERA):
        camera = above_zero(frame, CAMERA, path, "particle")
        return pixels * 1e4 * camera[:, :1] / camera[:, 1:]
    if voxel_size is None:
        raise VoxpickError(f"{path}: {PIXEL_ORIGINS[0]} is in pixels of unknown size; set it with --voxel-size")
    return pixels * voxel_size


def _of_tomogram(frame: pd.DataFrame, sizes: pd.DataFrame, path: str | Path) -> np.ndarray:
    """The size in A, x first, of each particle's tomogram: (n, 3); the only one where names are missing."""
    sizes = one_of_each(sizes, NAME, path, SIZES_BLOCK)
    values = above_zero(sizes, SIZES, path, SIZES_BLOCK)
    nameless = next((name for name, table in (("particles", frame), (SIZES_BLOCK, sizes)) if NAME not in table), None)
    if nameless is not None and len(values) == 1:
        return np.repeat(values, len(frame), axis=0)
    if nameless is not None:
        raise VoxpickError(
            f"{path}: the {nameless} table has no column {NAME}, which says whose of {len(values)} sizes a row has; "
            "add it, or leave one tomogram in the file"
        )
    rows = pd.Index(sizes[NAME]).get_indexer(pd.Index(frame[NAME]))
    if (rows < 0).any():
        missing = frame[NAME].iloc[int(np.argmax(rows < 0))]
        raise VoxpickError(f"{path}: the table {SIZES_BLOCK} has no size of tomogram {missing}")
    return values[rows]


def _of_optics_group(frame: pd.DataFrame, optics: pd.DataFrame, path: str | Path) -> np.ndarray:
    """The pixel size of each particle's optics group, (n, 1); the first where groups are not named."""
    optics = one_of_each(optics, "rlnOpticsGroup", path, "optics")
    values = above_zero(optics, [PIXEL_SIZE], path, "optics")
    if "rlnOpticsGroup" not in frame or "rlnOpticsGroup" not in optics:
        return np.repeat(values[:1], len(frame), axis=0)
    rows = pd.Index(optics["rlnOpticsGroup"]).get_indexer(pd.Index(frame["rlnOpticsGroup"]))
    if (rows < 0).any():
        missing = frame["rlnOpticsGroup"].iloc[int(np.argmax(rows < 0))]
        raise VoxpickError(f"{path}: particles are of optics group {missing}, which the optics table does not list")
    return values[rows]


def _scores(frame: pd.DataFrame, column: str, path: str | Path) -> np.ndarray | None:
    values = number_columns(frame, [column], path)
    return None if values is None else confidences(values[:, 0])
