"""What the readers and writers of other programs' particle files have in common."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.mrc_header import MAX_ANISOTROPY
from voxpick.particles import Particles
from voxpick.shrec_classes import CLASS_IDS

FILE_SUFFIXES = (".mrc.gz", ".mrc", ".rec", ".tomostar", ".st")
"""Of the files by which people, RELION 3 and Warp name tomograms."""


def read_bytes(path: str | Path, kind: str) -> bytes:
    """The file's bytes. kind, such as 'a Dynamo table', is what the error for a missing file or a folder asks for."""
    if not Path(path).is_file():
        raise VoxpickError(f"{path}: {'is a folder' if Path(path).is_dir() else 'no such file'}; give {kind}")
    return Path(path).read_bytes()


def read_text(path: str | Path, kind: str) -> str:
    """As `read_bytes`, as text. Raises VoxpickError for bytes that are not UTF-8."""
    try:
        return read_bytes(path, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VoxpickError(f"{path}: not {kind}, which is text (byte {error.start} is not UTF-8)") from error


def number(text: str, path: str | Path, line: int, name: str) -> float:
    """A finite number. Raises VoxpickError that names file, line, name and text otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise VoxpickError(f"{path}, line {line}: {name} is {text!r}; it must be a finite number")
    return value


def require_known(voxel_size: float | None, path: str | Path, kind: str) -> float:
    """The voxel size (A). Raises VoxpickError when nobody said it."""
    if voxel_size is None:
        raise VoxpickError(
            f"{path}: {kind} counts positions in voxels, of a size unknown here; set it with --voxel-size"
        )
    return voxel_size


def warn_of_another_size(stored: float, voxel_size: float | None, path: str | Path) -> None:
    """A warning where a file says another pixel size (A) than the one that its positions are counted in."""
    if voxel_size is not None and abs(stored - voxel_size) > MAX_ANISOTROPY * voxel_size:
        warnings.warn(
            f"{path}: says {stored:g} A a pixel, but positions are counted in the {voxel_size:g} A of the tomogram or "
            "of --voxel-size; if they were picked in another tomogram, such as a binned one, write them in A",
            stacklevel=3,
        )


def require_one(values: np.ndarray | None, path: str | Path, what: str, default: str) -> str:
    """The one name that all rows have, `default` of no rows. Raises VoxpickError when they have several."""
    names = sorted({str(value) for value in ([] if values is None else values)})
    if len(names) > 1:
        listed = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        raise VoxpickError(
            f"{path}: such a file holds one {what}, and these picks have {len(names)} ({listed}); "
            f"take a file for each {what}, or another format"
        )
    return names[0] if names else default


def names_of_files(names: np.ndarray) -> np.ndarray:
    """Names of tomograms that are those of files, as `io.mrc.tomogram_name` has them: no folder, no suffix, no rec_.

    They stay as they are where two of them would become one.
    """
    bare = {name: _bare(name) for name in set(names)}
    return names if len(set(bare.values())) < len(bare) else np.array([bare[name] for name in names], dtype=object)


def _bare(name: str) -> str:
    """TS_01 of Tomograms/TS_01/rec_TS_01.mrc or TS_01.tomostar; a name without folder and suffix itself."""
    last = name.rstrip("/").rsplit("/", 1)[-1]
    suffix = next((suffix for suffix in FILE_SUFFIXES if last.lower().endswith(suffix)), "")
    if last == name and not suffix:
        return name
    stem = last[: len(last) - len(suffix)]
    return stem.removeprefix("rec_") or stem or name


def confidences(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Figures of merit as confidences: as they are if all lie in [0, 1], else mapped linearly onto it."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or (values.min() >= 0 and values.max() <= 1):
        return values
    scaled = values / np.abs(values).max()  # the difference of two that are very large is no number
    low, high = scaled.min(), scaled.max()
    return (scaled - low) / (high - low) if high > low else np.ones_like(scaled)


def known_rotations(rotations: np.ndarray) -> np.ndarray | None:
    """None where all rotations are the identity: such files then say that nobody determined them."""
    return None if np.allclose(rotations, np.eye(3), atol=1e-7) else rotations


def numbers_of(names: np.ndarray | None, rows: int, *, first: int = 1, ids: dict[str, int] = CLASS_IDS) -> np.ndarray:
    """A number for each name: itself if all are whole numbers, else its id, else its place in the sorted names."""
    texts = ["1"] * rows if names is None else [str(name) for name in names]
    distinct = sorted(set(texts))
    whole = all(text.isascii() and text.isdigit() and len(text) < 10 for text in distinct)
    if whole and len({int(text) for text in distinct}) == len(distinct):
        return np.array([int(text) for text in texts], dtype=np.int64)
    numbers = (
        ids if all(text in ids for text in distinct) else {text: k for k, text in enumerate(distinct, start=first)}
    )
    return np.array([numbers[text] for text in texts], dtype=np.int64)


def voxels_xyz(particles: Particles, voxel_size: float) -> np.ndarray:
    """Centres in voxels, x first, the first voxel's centre at 0: (n, 3)."""
    return particles.voxels(voxel_size)[:, ::-1]
