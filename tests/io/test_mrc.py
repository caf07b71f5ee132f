"""MRC: what is written comes back, and other people's files are read."""

from __future__ import annotations

import gzip
import warnings
from itertools import permutations
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from mrc_files import SHAPE, set_header

from voxpick.errors import VoxpickError
from voxpick.io.mrc import read_labels, read_mrc, read_stack, read_voxel_size, tomogram_name, write_mrc, write_stack

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def test_round_trip_is_exact_and_stays_on_disk(path: Path, data: np.ndarray) -> None:
    volume = read_mrc(path)
    np.testing.assert_array_equal(volume.data, data)
    assert (volume.voxel_size, volume.name, volume.shape) == (13.48, "tomo", SHAPE)
    assert isinstance(volume.data, np.memmap) and not volume.data.flags.writeable
    assert not isinstance(read_mrc(path, memory_map=False).data, np.memmap)
    assert read_voxel_size(path) == 13.48


def test_header_is_valid_mrc2014(path: Path, data: np.ndarray) -> None:
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        header = file.header
        assert file.is_volume() and header.ispg == 1
        assert (header.mx, header.my, header.mz) == (28, 20, 12)
        assert header.cella.z == pytest.approx(12 * 13.48)
        assert header.dmean == pytest.approx(data.mean(), abs=1e-6)
        assert header.rms == pytest.approx(data.std(), rel=1e-6)
        assert (header.dmin, header.dmax) == (data.min(), data.max())


@pytest.mark.parametrize(
    ("given", "stored"),
    [("int8", "int8"), ("int16", "int16"), ("uint16", "uint16"), ("float16", "float16"), ("float32", "float32")]
    + [("float64", "float32"), ("bool", "int8"), ("uint8", "int8"), ("int64", "int8"), ("<f4", "float32")],
)
def test_dtypes(tmp_path: Path, given: str, stored: str) -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE) % (2 if given == "bool" else 100)
    write_mrc(tmp_path / "a.mrc", array.astype(given), voxel_size=5.0)
    with mrcfile.open(tmp_path / "a.mrc") as file:
        assert file.data.dtype == stored
    volume = read_mrc(tmp_path / "a.mrc")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, array)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.mrc"), array)


def test_ids_take_the_smallest_mode_that_holds_them(tmp_path: Path) -> None:
    for largest, stored in ((127, "int8"), (2800, "int16"), (60000, "uint16")):
        ids = np.zeros(SHAPE, dtype=np.int64)
        ids[3, 4, 5] = largest
        write_mrc(tmp_path / "ids.mrc", ids, voxel_size=10)
        assert read_labels(tmp_path / "ids.mrc").dtype == stored
        assert read_labels(tmp_path / "ids.mrc")[3, 4, 5] == largest
    ids[0, 0, 0] = 70000
    with pytest.raises(VoxpickError, match="0 to 70000"):
        write_mrc(tmp_path / "ids.mrc", ids, voxel_size=10)


def test_float_ids_become_integers_and_fractions_are_refused(tmp_path: Path, path: Path) -> None:
    ids = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 13).astype(np.float32)
    write_mrc(tmp_path / "ids.mrc", ids, voxel_size=10)
    assert read_labels(tmp_path / "ids.mrc").dtype == np.int32
    write_mrc(path, ids + np.float32(0.25), voxel_size=10)
    with pytest.raises(VoxpickError, match=r"tomo\.mrc: .* whole numbers, but this file has values between them"):
        read_labels(path)


def test_stack_is_an_image_stack(tmp_path: Path, data: np.ndarray) -> None:
    write_stack(tmp_path / "tilts.mrc", data, pixel_size=10)
    with mrcfile.open(tmp_path / "tilts.mrc") as file:
        assert file.is_image_stack()
    images, pixel_size = read_stack(tmp_path / "tilts.mrc")
    np.testing.assert_array_equal(images, data)
    assert pixel_size == 10
    assert mrcfile.validate(tmp_path / "tilts.mrc")


def test_gzip(tmp_path: Path, data: np.ndarray) -> None:
    write_mrc(tmp_path / "t.mrc.gz", data, voxel_size=7.84)
    volume = read_mrc(tmp_path / "t.mrc.gz")
    np.testing.assert_array_equal(volume.data, data)
    assert (volume.voxel_size, volume.name) == (7.84, "t")
    raw = (tmp_path / "t.mrc.gz").read_bytes()
    (tmp_path / "cut.mrc.gz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(VoxpickError, match=r"cut\.mrc\.gz.*truncated"):
        read_mrc(tmp_path / "cut.mrc.gz")
    (tmp_path / "short.mrc.gz").write_bytes(gzip.compress(gzip.decompress(raw)[:2000]))
    with pytest.raises(VoxpickError, match=r"short\.mrc\.gz.*truncated"):
        read_mrc(tmp_path / "short.mrc.gz")


def test_big_endian_and_other_axis_orders(tmp_path: Path, data: np.ndarray) -> None:
    header = np.frombuffer(mrc_bytes(tmp_path, data)[:1024], dtype=mrcfile.dtypes.HEADER_DTYPE)
    swapped = header.astype(mrcfile.dtypes.HEADER_DTYPE.newbyteorder(">"))
    (tmp_path / "big.mrc").write_bytes(swapped.tobytes() + data.astype(">f4").tobytes())
    np.testing.assert_array_equal(read_mrc(tmp_path / "big.mrc").data, data)
    turned = header.copy()  # columns are z, rows y, sections x
    turned["mapc"], turned["mapr"], turned["maps"] = 3, 2, 1
    turned["nx"], turned["nz"] = 12, 28
    (tmp_path / "turned.mrc").write_bytes(turned.tobytes() + data.transpose(2, 1, 0).tobytes())
    np.testing.assert_array_equal(read_mrc(tmp_path / "turned.mrc").data, data)
    assert read_mrc(tmp_path / "turned.mrc").shape == SHAPE


@pytest.mark.parametrize("axes", list(permutations((1, 2, 3))))
def test_every_order_of_axes_is_turned_to_z_y_x(tmp_path: Path, data: np.ndarray, axes: tuple[int, int, int]) -> None:
    """axes: which of x (1), y (2) and z (3) columns, rows and sections run along; the cell stays along x, y, z."""
    header = np.frombuffer(mrc_bytes(tmp_path, data)[:1024], dtype=mrcfile.dtypes.HEADER_DTYPE).copy()
    stored = data.transpose([3 - axis for axis in axes[::-1]])
    header["mapc"], header["mapr"], header["maps"] = axes
    header["nx"], header["ny"], header["nz"] = stored.shape[::-1]
    (tmp_path / "turned.mrc").write_bytes(header.tobytes() + stored.tobytes())
    volume = read_mrc(tmp_path / "turned.mrc")
    np.testing.assert_array_equal(volume.data, data)
    assert volume.voxel_size == 10


def test_an_extended_header_is_passed_over(tmp_path: Path, data: np.ndarray) -> None:
    raw = bytearray(mrc_bytes(tmp_path, data))
    raw[92:96] = np.array([160], dtype="<i4").tobytes()
    for name, pack in (("e.mrc", bytes), ("e.mrc.gz", gzip.compress)):
        (tmp_path / name).write_bytes(pack(raw[:1024] + b"x" * 160 + raw[1024:]))
        np.testing.assert_array_equal(read_mrc(tmp_path / name).data, data)


def test_a_file_without_the_mark_of_mrc_is_one_where_its_length_fits(path: Path, data: np.ndarray) -> None:
    set_header(path, map=b"    ")
    np.testing.assert_array_equal(read_mrc(path).data, data)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(VoxpickError, match=r"tomo\.mrc: not an MRC file \(no 'MAP' mark"):
        read_mrc(path)


def test_pixels_of_a_stack_are_square(tmp_path: Path, data: np.ndarray) -> None:
    path = tmp_path / "tilts.mrc"
    write_stack(path, (100 * data).astype(np.int16), pixel_size=10)
    images, size = read_stack(path)
    assert images.dtype == np.float32 and size == 10
    np.testing.assert_array_equal(images, (100 * data).astype(np.int16))
    set_header(path, cella=(28 * 10, 20 * 10.05, 120))
    assert read_stack(path)[1] == pytest.approx(10.025)
    set_header(path, cella=(28 * 10, 20 * 11, 120))
    with pytest.raises(VoxpickError, match=r"tilts\.mrc: pixels are 10 x 11 A"):
        read_stack(path)


def test_negative_ids_are_refused(tmp_path: Path) -> None:
    for kind in (np.int8, np.float32):
        write_mrc(tmp_path / "ids.mrc", np.full(SHAPE, -2, dtype=kind), voxel_size=10)
        with pytest.raises(VoxpickError, match=r"ids\.mrc: .* from 0 on, but this file has -2"):
            read_labels(tmp_path / "ids.mrc")


@pytest.mark.parametrize("unsigned", [False, True])
def test_big_endian_bytes(tmp_path: Path, unsigned: bool) -> None:
    """Mode 0 reads the same in both byte orders, so the sides tell which one it is."""
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int8)
    header = np.frombuffer(mrc_bytes(tmp_path, array)[:1024], dtype=mrcfile.dtypes.HEADER_DTYPE)
    raw = bytearray(header.astype(mrcfile.dtypes.HEADER_DTYPE.newbyteorder(">")).tobytes() + array.tobytes())
    if unsigned:
        raw[152:160] = np.array([1146047817, 0], dtype=">i4").tobytes()
    (tmp_path / "big.mrc").write_bytes(raw)
    expected = array.view(np.uint8) if unsigned else array
    np.testing.assert_array_equal(read_mrc(tmp_path / "big.mrc").data, expected)
    assert read_mrc(tmp_path / "big.mrc").voxel_size == 10


def test_imod_bytes_are_unsigned_only_where_imod_says_so(tmp_path: Path) -> None:
    array = np.full(SHAPE, -56, dtype=np.int8)
    raw = bytearray(mrc_bytes(tmp_path, array))
    raw[152:160] = np.array([1146047817, 0], dtype="<i4").tobytes()
    (tmp_path / "imod.mrc").write_bytes(raw)
    assert read_mrc(tmp_path / "imod.mrc").data[0, 0, 0] == 200
    raw[156] = 1
    (tmp_path / "imod.mrc").write_bytes(raw)
    assert read_mrc(tmp_path / "imod.mrc").data[0, 0, 0] == -56


def mrc_bytes(folder: Path, array: np.ndarray) -> bytes:
    write_mrc(folder / "source.mrc", array, voxel_size=10)
    return (folder / "source.mrc").read_bytes()


def test_odd_headers_read_without_warnings(path: Path, data: np.ndarray) -> None:
    set_header(path, nversion=0, nlabl=99)
    path.write_bytes(path.read_bytes() + b"tail")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_mrc(path).data, data)


@pytest.mark.skipif(not (SHARED / "maps").is_dir(), reason="needs ../shared/data/maps")
def test_files_of_other_programs() -> None:
    volume = read_mrc(SHARED / "maps" / "polnet10A_4cr2.mrc")
    assert (volume.shape, volume.voxel_size) == ((66, 66, 66), 10.0)
    with mrcfile.open(SHARED / "maps" / "polnet10A_4cr2.mrc", permissive=True) as file:
        np.testing.assert_array_equal(volume.data, file.data)
    mask = read_labels(SHARED / "shrec19_ground_truth" / "masks" / "1bxn.mrc")
    assert mask.shape == (40, 40, 40) and set(np.unique(mask)) == {0, 1}


def test_a_gzip_file_with_a_senseless_header_is_refused(tmp_path: Path, data: np.ndarray) -> None:
    raw = bytearray(mrc_bytes(tmp_path, data))
    raw[:12] = np.full(3, 2**31 - 1, dtype="<i4").tobytes()
    (tmp_path / "vast.mrc.gz").write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(VoxpickError, match=r"vast\.mrc\.gz: truncated, or its header is damaged: \d+ bytes"):
        read_mrc(tmp_path / "vast.mrc.gz")


def test_a_damaged_gzip_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    """Bytes changed anywhere are noticed: by the decompression, or by the check sum at the end."""
    path = tmp_path / "v.mrc.gz"
    write_mrc(path, np.random.default_rng(0).normal(size=(6, 10, 14)).astype(np.float32), voxel_size=10.0)
    whole = path.read_bytes()
    assert read_mrc(path).shape == (6, 10, 14)
    for place in range(100, len(whole), 97):  # behind gzip's own header, which holds a name
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        with pytest.raises(VoxpickError, match=r"v\.mrc\.gz"):
            read_mrc(path)


@pytest.mark.parametrize(
    ("file", "name"),
    [("TS_01.mrc", "TS_01"), ("rec_TS_01.mrc", "TS_01"), ("TS.rec.mrc.gz", "TS.rec"), ("rec_.mrc", "rec_")],
)
def test_a_tomogram_has_the_name_that_relion_knows_it_by(file, name):
    assert tomogram_name(f"somewhere/{file}") == name


def test_sections_beyond_the_header_are_told(path: Path, data: np.ndarray) -> None:
    with path.open("ab") as file:
        file.write(bytes(data[0].nbytes - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_mrc(path).shape == data.shape  # padding
    with path.open("ab") as file:
        file.write(bytes(data[0].nbytes))
    with pytest.warns(UserWarning, match=r"bytes follow what its header tells of, shape .* float32, and are not read"):
        assert read_mrc(path).shape == data.shape


@pytest.mark.parametrize(("mark", "way_out"), [(b"BZh9", "bzip2 file.* bunzip2"), (b"\xfd7zXZ\0", "xz file.* unxz")])
def test_other_compressed_files_are_named(tmp_path: Path, mark: bytes, way_out: str) -> None:
    (tmp_path / "t.mrc").write_bytes(mark + bytes(2000))
    with pytest.raises(VoxpickError, match=way_out):
        read_mrc(tmp_path / "t.mrc")
