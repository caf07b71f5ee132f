"""The 1024-byte header of MRC2014 files: read, checked against the file's length, and written.

Read here rather than by `mrcfile.open`, whose warnings and errors name neither file nor value; the layout is
`mrcfile.dtypes.HEADER_DTYPE`. Either byte order, any axis order and IMOD's unsigned bytes are understood.
"""

from __future__ import annotations

import gzip
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from voxpick.errors import VoxpickError

MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
MAX_ANISOTROPY = 0.01
_OTHER_MODES = {3: "complex 16-bit", 4: "complex Fourier", 101: "4-bit"}
_TIFF2MRC = "for instance with IMOD's tif2mrc"
_IN_PYTHON = "in Python by voxpick.io.mrc.write_mrc(path, array, voxel_size=A)"
_FOREIGN = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), ("a TIFF file", "it, " + _TIFF2MRC)),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", f"the volume that h5py reads from it, {_IN_PYTHON}"),
    b"\x93NUMPY": ("a NumPy file", "it, " + _IN_PYTHON),
    b"BZh": ("a bzip2 file", "it with bunzip2"),
    b"\xfd7zXZ\0": ("an xz file", "it with unxz"),
    b"PK\x03\x04": ("a zip or .npz file", "the volume in it, " + _IN_PYTHON),
}
"""How files of other kinds begin (TIFF and BigTIFF in either byte order): what they are, and what makes MRC of them."""
_ZARR_MARKS = (".zgroup", ".zarray", "zarr.json")
"""A folder with one of these is a Zarr store, of version 2 or 3."""
_IMOD_STAMP, _IMOD_SIGNED = 1146047817, 1
_GZIP_RATIO = 1032
"""How many times smaller gzip makes a file at most."""
_BYTE_ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")


@dataclass(frozen=True)
class MrcHeader:
    """What the first 1024 bytes say. shape: (z, y, x) of the array returned; voxel_size_xyz: A, 0 where unknown."""

    shape: tuple[int, int, int]
    voxel_size_xyz: tuple[float, float, float]
    dtype: np.dtype
    offset: int
    axes: tuple[int, int, int]
    space_group: int
    sections_per_volume: int


def read_header(path: str | Path) -> MrcHeader:
    """Read and check the header and the length of the file. Raises VoxpickError naming the file and the value."""
    path = Path(path)
    if path.is_dir():
        raise VoxpickError(f"{path}: {_folder(path)}")
    if not path.is_file():
        raise VoxpickError(f"{path}: no such file")
    with open_maybe_gzip(path) as stream:
        raw = read_bytes(stream, HEADER_DTYPE.itemsize, path)
    if len(raw) < HEADER_DTYPE.itemsize:
        raise VoxpickError(f"{path}: not an MRC file, or truncated: {len(raw)} bytes, the header alone has 1024")
    for mark, (kind, how) in _FOREIGN.items():
        if raw.startswith(mark):
            raise VoxpickError(f"{path}: {kind}; make an MRC file of {how}")
    orders = [np.frombuffer(raw, dtype=HEADER_DTYPE.newbyteorder(order))[0] for order in _BYTE_ORDERS]
    plausible = [(h, order) for h, order in zip(orders, _BYTE_ORDERS, strict=True) if _is_plausible(h)]
    if not plausible:
        hint = f"; make one of an EM file that emfile reads, {_IN_PYTHON}" if path.suffix.lower() == ".em" else ""
        raise VoxpickError(f"{path}: not an MRC file (no valid MRC header in its first 1024 bytes){hint}")
    fields, order = min(plausible, key=lambda found: _voxels(found[0]))  # bytes have a mode, 0, that reads both ways
    mode = int(fields["mode"])
    if mode not in MODES:
        raise VoxpickError(f"{path}: MRC mode {mode} ({_OTHER_MODES[mode]} data) is no tomogram; save it as float32")
    dtype = np.dtype(np.uint8 if mode == 0 and _has_unsigned_bytes(raw, order) else MODES[mode]).newbyteorder(order)
    header = _interpret(fields, dtype)
    _check_length(path, header, has_map_id=bytes(fields["map"])[:3] == b"MAP")
    return header


def _folder(path: Path) -> str:
    """What a folder in a volume's place is."""
    if path.suffix == ".zarr" or any((path / mark).is_file() for mark in _ZARR_MARKS):
        return f"a Zarr store, maybe an OME-Zarr; make an MRC file of the level that zarr reads from it, {_IN_PYTHON}"
    return "is a folder; give an MRC file"


def _is_plausible(fields: np.void) -> bool:
    sides = [int(fields[name]) for name in ("nx", "ny", "nz")]
    return min(sides) > 0 and int(fields["mode"]) in {*MODES, *_OTHER_MODES} and int(fields["nsymbt"]) >= 0


def _voxels(fields: np.void) -> int:
    return int(fields["nx"]) * int(fields["ny"]) * int(fields["nz"])


def _has_unsigned_bytes(raw: bytes, order: str) -> bool:
    stamp, flags = np.frombuffer(raw[152:160], dtype=f"{order}i4")
    return stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED


def _interpret(fields: np.void, dtype: np.dtype) -> MrcHeader:
    axes = (int(fields["maps"]), int(fields["mapr"]), int(fields["mapc"]))
    if sorted(axes) != [1, 2, 3]:
        axes = (3, 2, 1)
    stored = [int(fields[name]) for name in ("nz", "ny", "nx")]
    shape = tuple(stored[axes.index(axis)] for axis in (3, 2, 1))
    cell, grid = fields["cella"], [int(fields[name]) for name in ("mx", "my", "mz")]
    sizes = tuple(float(cell[axis]) / n if n > 0 else 0.0 for axis, n in zip("xyz", grid, strict=True))
    if int(fields["ispg"]) == 0 and grid[2] == 1 and shape[0] > 1:  # an image stack has no depth of its own
        sizes = (sizes[0], sizes[1], sizes[0])
    return MrcHeader(
        shape=(shape[0], shape[1], shape[2]),
        voxel_size_xyz=(sizes[0], sizes[1], sizes[2]),
        dtype=dtype,
        offset=HEADER_DTYPE.itemsize + int(fields["nsymbt"]),
        axes=axes,
        space_group=int(fields["ispg"]),
        sections_per_volume=grid[2],
    )


def _check_length(path: Path, header: MrcHeader, *, has_map_id: bool) -> None:
    expected = header.offset + int(np.prod(header.shape, dtype=object)) * header.dtype.itemsize
    found = path.stat().st_size
    if is_gzip(path):
        if expected > found * _GZIP_RATIO:
            raise VoxpickError(
                f"{path}: truncated, or its header is damaged: {found} bytes of gzip cannot hold shape {header.shape}"
            )
        return
    if not has_map_id and found != expected:
        raise VoxpickError(f"{path}: not an MRC file (no 'MAP' mark, and its length does not fit its header)")
    if found < expected:
        raise VoxpickError(
            f"{path}: truncated: {found} bytes, but a header of shape {header.shape} {header.dtype.name} needs "
            f"{expected}; copy the file again"
        )
    section = int(np.prod(header.shape[1:], dtype=object)) * header.dtype.itemsize
    if found - expected >= max(section, 1):
        warnings.warn(
            f"{path}: {found - expected} bytes follow what its header tells of, shape {header.shape} "
            f"{header.dtype.name}, and are not read; if sections are missing, mend the header",
            stacklevel=2,
        )


def cubic_voxel_size(header: MrcHeader, path: str | Path) -> float:
    """The one voxel size, A. Raises VoxpickError where the header says none, or voxels that are not cubes."""
    sizes = np.array(header.voxel_size_xyz)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise VoxpickError(f"{path}: the header gives a voxel size of {_times(sizes)} A; set it with --voxel-size")
    if np.ptp(sizes) > MAX_ANISOTROPY * sizes.max():
        raise VoxpickError(
            f"{path}: voxels are {_times(sizes)} A (x, y, z); voxpick needs cubic voxels: "
            "resample the volume, or set --voxel-size if the header is wrong"
        )
    return float(f"{sizes.mean():.7g}")


def require_voxel_size(voxel_size: float, path: str | Path) -> None:
    """Raise VoxpickError, naming the file, unless a voxel size (A) that the user gave is a number above 0."""
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise VoxpickError(f"{path}: --voxel-size {voxel_size:g}: a voxel size is a number above 0, in A")


def _times(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:g}" for size in sizes)


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip, by its first bytes, whatever its name."""
    with open(path, "rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def open_maybe_gzip(path: Path) -> IO[bytes]:
    """The file's bytes to read, uncompressed."""
    return gzip.open(path, "rb") if is_gzip(path) else open(path, "rb")  # type: ignore[return-value]


def read_bytes(stream: IO[bytes], count: int, path: Path) -> bytes:
    """At most `count` bytes, fewer at the end. Raises VoxpickError for a gzip file that is cut off or damaged."""
    try:
        return stream.read(count)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise VoxpickError(f"{path}: the gzip file is truncated or damaged ({error}); copy it again") from error


def header_bytes(array: np.ndarray, dtype: np.dtype, voxel_size: float, *, is_stack: bool) -> bytes:
    """The header of a file that holds `array` [z, y, x] as `dtype`, little-endian; voxel_size: A."""
    header = np.zeros((), dtype=HEADER_DTYPE.newbyteorder("<"))
    nz, ny, nx = array.shape
    mz = 1 if is_stack else nz
    header["nx"], header["ny"], header["nz"] = nx, ny, nz
    header["mx"], header["my"], header["mz"] = nx, ny, mz
    header["mode"] = next(mode for mode, kind in MODES.items() if dtype == kind)
    header["cella"] = (nx * voxel_size, ny * voxel_size, mz * voxel_size)
    header["cellb"] = (90, 90, 90)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"] = 0 if is_stack else 1
    header["nversion"] = 20141
    header["map"], header["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    low, high, mean, deviation = _statistics(array)
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = low, high, mean, deviation
    header["nlabl"] = 1
    header["label"][0] = b"voxpick".ljust(80)
    return header.tobytes()


def _statistics(array: np.ndarray) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation, one section at a time."""
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    for section in array:
        wide = np.asarray(section, dtype=np.float64)
        low, high = min(low, float(wide.min())), max(high, float(wide.max()))
        total += float(wide.sum())
        squares += float(np.square(wide).sum())
    mean = total / array.size
    return low, high, mean, float(np.sqrt(max(squares / array.size - mean**2, 0.0)))
