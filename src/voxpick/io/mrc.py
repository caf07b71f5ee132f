"""MRC files (MRC2014, .mrc .rec .map .st, also .gz): volumes and image stacks, [z, y, x] in memory."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.atomic import atomic_path
from voxpick.io.mrc_header import (
    MAX_ANISOTROPY,
    MODES,
    MrcHeader,
    cubic_voxel_size,
    header_bytes,
    is_gzip,
    open_maybe_gzip,
    read_bytes,
    read_header,
    require_voxel_size,
)
from voxpick.volume import Volume, read_sections

_VOLUME_STACKS = range(401, 631)


def read_mrc(
    path: str | Path,
    *,
    voxel_size: float | None = None,
    name: str | None = None,
    memory_map: bool = True,
) -> Volume:
    """Read a tomogram as a float32 Volume.

    Little-endian float32 files stay on disk (a read-only memory map) unless memory_map is False; every other mode
    (int8, int16, uint16, float16, big-endian, gzip) is converted to float32 in memory while reading.
    voxel_size: A, wins over the header. name: defaults to `tomogram_name`. Looks at every voxel once, one section at a
    time.
    Raises VoxpickError for a missing, truncated or foreign file, 2-D and 4-D data, unknown or non-cubic voxels, NaN.
    """
    if voxel_size is not None:
        require_voxel_size(voxel_size, path)
    header = read_header(path)
    if header.space_group in _VOLUME_STACKS:
        count = header.shape[0] // max(header.sections_per_volume, 1)
        raise VoxpickError(f"{path}: holds a 4-D stack of {count} volumes; give one 3-D tomogram per file")
    if 1 in header.shape:
        raise VoxpickError(f"{path}: holds a single 2-D image, shape {header.shape}; give a 3-D tomogram")
    size = cubic_voxel_size(header, path) if voxel_size is None else float(voxel_size)
    data = _read_data(path, header, memory_map=memory_map)
    if data.dtype != np.float32:
        data = data.astype(np.float32)
    _require_finite(data, path)
    return Volume(data, size, name=tomogram_name(path) if name is None else name)


def read_labels(path: str | Path) -> np.ndarray:
    """Read a mask of integer ids [z, y, x] in the dtype of the file; whole numbers stored as floats become int32.

    Raises VoxpickError for files `read_mrc` would refuse (voxel size aside) and for values that are not whole numbers.
    """
    header = read_header(path)
    data = _read_data(path, header, memory_map=False)
    if data.dtype.kind == "f":
        whole = np.rint(data)
        if not np.array_equal(whole, data):
            raise VoxpickError(f"{path}: a mask of ids holds whole numbers, but this file has values between them")
        data = whole.astype(np.int32)
    if (lowest := int(data.min())) < 0:
        raise VoxpickError(f"{path}: a mask of ids holds whole numbers from 0 on, but this file has {lowest}")
    return data


def read_stack(path: str | Path) -> tuple[np.ndarray, float]:
    """Read an image stack (a tilt series): float32 [image, y, x] and the pixel size in A (0 where unknown).

    Raises VoxpickError for a missing or foreign file, and for pixels that are not square.
    """
    header = read_header(path)
    data = _read_data(path, header, memory_map=True)
    x, y, _ = header.voxel_size_xyz
    if abs(x - y) > MAX_ANISOTROPY * max(x, y):
        raise VoxpickError(f"{path}: pixels are {x:g} x {y:g} A; voxpick needs square pixels")
    return data if data.dtype == np.float32 else data.astype(np.float32), (x + y) / 2


def read_voxel_size(path: str | Path) -> float:
    """The voxel size in A of a volume's header. Raises VoxpickError when it is 0 or the voxels are not cubic."""
    return cubic_voxel_size(read_header(path), path)


def write_mrc(path: str | Path, data: Volume | np.ndarray, *, voxel_size: float | None = None) -> None:
    """Write a volume [z, y, x], whole or not at all; a name ending in .gz is compressed.

    The dtype is kept where MRC has it (int8, int16, uint16, float16, float32); float64 becomes float32, bool int8, and
    other integers the smallest of int8, int16, uint16 that holds them. voxel_size: A; taken from a Volume if absent.
    """
    array = data.data if isinstance(data, Volume) else np.asarray(data)
    size = data.voxel_size if voxel_size is None and isinstance(data, Volume) else voxel_size
    _write(path, array, size, is_stack=False)


def write_stack(path: str | Path, images: np.ndarray, *, pixel_size: float) -> None:
    """Write images [image, y, x] as an image stack (ISPG 0, mz 1); dtypes as in `write_mrc`. pixel_size: A."""
    _write(path, np.asarray(images), pixel_size, is_stack=True)


def _read_data(path: str | Path, header: MrcHeader, *, memory_map: bool) -> np.ndarray:
    """The array in the file's own dtype, native byte order unless memory-mapped, axes turned to [z, y, x]."""
    path = Path(path)
    stored = tuple(header.shape[3 - axis] for axis in header.axes)
    if is_gzip(path):
        count = int(np.prod(stored)) * header.dtype.itemsize
        with open_maybe_gzip(path) as stream:
            raw = read_bytes(stream, header.offset + count, path)[header.offset :]
            while read_bytes(stream, 2**20, path):  # to the end, where gzip's check sum stands
                pass
        if len(raw) < count:
            raise VoxpickError(f"{path}: truncated: {len(raw)} bytes of data, but shape {header.shape} needs {count}")
        data: np.ndarray = np.frombuffer(raw, dtype=header.dtype).reshape(stored)
    else:
        data = np.memmap(path, dtype=header.dtype, mode="r", offset=header.offset, shape=stored)
        if not memory_map:
            data = np.array(data)
    data = data.transpose([header.axes.index(axis) for axis in (3, 2, 1)])
    if not header.dtype.isnative:
        data = data.astype(header.dtype.newbyteorder("="))
    return data


def _require_finite(data: np.ndarray, path: str | Path) -> None:
    for z, section in read_sections(data):
        if not np.isfinite(np.sum(section, dtype=np.float64)):
            y, x = np.argwhere(~np.isfinite(section))[0]
            raise VoxpickError(
                f"{path}: voxel (z, y, x) = ({z}, {y}, {x}) is {section[y, x]}; replace NaN and infinite values first"
            )


def tomogram_name(path: str | Path) -> str:
    """The name of the tomogram in a file: that of the file without suffixes, and without the rec_ of RELION 5.

    RELION reconstructs tomogram TS_01 into rec_TS_01.mrc, and knows particles by TS_01.
    """
    stem = Path(Path(path).name.removesuffix(".gz")).stem
    return stem.removeprefix("rec_") or stem


def _write(path: str | Path, array: np.ndarray, voxel_size: float | None, *, is_stack: bool) -> None:
    if array.ndim != 3 or 0 in array.shape:
        raise VoxpickError(f"{path}: cannot write an array of shape {array.shape}; a volume has 3 dimensions (z, y, x)")
    if voxel_size is None or not (np.isfinite(voxel_size) and voxel_size > 0):
        raise VoxpickError(f"{path}: cannot write with a voxel size of {voxel_size} A; give the right one")
    dtype = mrc_dtype(array, path)
    with atomic_path(path) as temporary:
        opener = gzip.open if Path(path).suffix == ".gz" else open
        with opener(temporary, "wb") as stream:
            stream.write(header_bytes(array, dtype, float(voxel_size), is_stack=is_stack))
            for section in array:
                stream.write(np.ascontiguousarray(section, dtype=dtype.newbyteorder("<")).tobytes())


def mrc_dtype(array: np.ndarray, path: str | Path = "array") -> np.dtype:
    """The dtype MRC holds this array in (see `write_mrc`). Raises VoxpickError when no mode fits."""
    kept = array.dtype.newbyteorder("=")
    if kept in (np.dtype(kind) for kind in MODES.values()):
        return kept
    if kept == np.float64:
        return np.dtype(np.float32)
    if kept.kind == "b":
        return np.dtype(np.int8)
    if kept.kind in "iu":
        low, high = int(array.min()), int(array.max())
        for kind in (np.int8, np.int16, np.uint16):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return np.dtype(kind)
        raise VoxpickError(f"{path}: values {low} to {high} fit no MRC integer mode (-32768..32767 or 0..65535)")
    raise VoxpickError(f"{path}: MRC cannot hold {array.dtype} data; convert it to float32")
