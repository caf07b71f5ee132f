"""MRC: bad files are named, and a write that fails leaves what was there."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from mrc_files import set_header

from voxpick.errors import VoxpickError
from voxpick.io.mrc import read_mrc, read_voxel_size, write_mrc
from voxpick.volume import Volume


def test_voxel_size_argument_wins_and_zero_is_explained(path: Path) -> None:
    assert read_mrc(path, voxel_size=10).voxel_size == 10
    set_header(path, cella=(0, 0, 0))
    with pytest.raises(VoxpickError, match=r"tomo\.mrc: .*0 x 0 x 0 A.*--voxel-size"):
        read_mrc(path)
    assert read_mrc(path, voxel_size=10).voxel_size == 10
    for size in (0, -1, np.nan, np.inf):
        with pytest.raises(VoxpickError, match=rf"tomo\.mrc: --voxel-size {size}: .*above 0"):
            read_mrc(path, voxel_size=size)
    set_header(path, cella=(280, 200, 120), my=0)
    with pytest.raises(VoxpickError, match=r"tomo\.mrc: .*10 x 0 x 10 A.*--voxel-size"):
        read_mrc(path)
    set_header(path, cella=(280, 200, 240), my=20)
    with pytest.raises(VoxpickError, match=r"10 x 10 x 20 A .*cubic"):
        read_mrc(path)


def test_bad_files_are_named(tmp_path: Path, path: Path, data: np.ndarray) -> None:
    raw = path.read_bytes()
    (tmp_path / "cut.mrc").write_bytes(raw[:5000])
    (tmp_path / "text.mrc").write_text("1s3x 10 20 30\n" * 200)
    (tmp_path / "picture.tif").write_bytes(b"II*\0" + bytes(2000))
    (tmp_path / "tiny.mrc").write_bytes(raw[:100])
    (tmp_path / "empty.mrc").touch()
    (tmp_path / "folder.mrc").mkdir()
    for name, words in {
        "cut.mrc": "truncated: 5000 bytes.*27904",
        "text.mrc": "not an MRC file",
        "picture.tif": "a TIFF file.*tif2mrc",
        "tiny.mrc": "100 bytes",
        "empty.mrc": "0 bytes",
        "folder.mrc": "is a folder",
        "missing.mrc": "no such file",
    }.items():
        with pytest.raises(VoxpickError, match=rf"{name}.*{words}"):
            read_mrc(tmp_path / name)


def test_volumes_of_other_kinds_are_named_with_the_way_out(tmp_path: Path) -> None:
    """They were no MRC files, or folders, and that was all."""
    for name, begin in {
        "v.h5": b"\x89HDF\r\n\x1a\n",
        "v.em": b"\x06\0\0\x05",
        "v.npy": b"\x93NUMPY",
        "v.npz": b"PK\x03\x04",
    }.items():
        (tmp_path / name).write_bytes(begin + bytes(2000))
    for name, mark in {
        "v2.zarr": ".zgroup",
        "v3.ome.zarr": "zarr.json",
        "bare": ".zarray",
        "broken.zarr": "notes",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / mark).touch()
    for name, words in {
        "v.h5": "an HDF5 file.*h5py",
        "v.em": "not an MRC file.*emfile",
        "v.npy": "a NumPy file",
        "v.npz": "a zip or .npz file",
        **dict.fromkeys(("v2.zarr", "v3.ome.zarr", "bare", "broken.zarr"), "a Zarr store.*level"),
    }.items():
        with pytest.raises(VoxpickError, match=rf"{name}.*{words}.*write_mrc"):
            read_mrc(tmp_path / name)


def test_two_four_dimensions_and_fourier_data_are_refused(tmp_path: Path, data: np.ndarray) -> None:
    for name, array, words in (
        ("flat", data[0], "2-D image"),
        ("four", np.stack([data, data]), "4-D stack of 2 volumes"),
        ("fourier", np.fft.rfftn(data).astype(np.complex64), "complex"),
    ):
        mrcfile.write(tmp_path / f"{name}.mrc", array, voxel_size=10)
        with pytest.raises(VoxpickError, match=rf"{name}\.mrc.*{words}"):
            read_mrc(tmp_path / f"{name}.mrc")
    for array in (data[0], data[None], data[:0]):
        with pytest.raises(VoxpickError, match="shape"):
            write_mrc(tmp_path / "new.mrc", array, voxel_size=10)
    assert not (tmp_path / "new.mrc").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_voxels_are_located(tmp_path: Path, data: np.ndarray, value: float) -> None:
    data[7, 3, 5] = value
    write_mrc(tmp_path / "nan.mrc", data, voxel_size=10)
    with pytest.raises(VoxpickError, match=rf"nan\.mrc: voxel \(z, y, x\) = \(7, 3, 5\) is {value}"):
        read_mrc(tmp_path / "nan.mrc")


@pytest.mark.parametrize("size", [0, -1, np.nan, None])
def test_voxel_size_is_needed_to_write(tmp_path: Path, data: np.ndarray, size: float | None) -> None:
    with pytest.raises(VoxpickError, match=rf"a\.mrc.*voxel size of {size}"):
        write_mrc(tmp_path / "a.mrc", data, voxel_size=size)
    write_mrc(tmp_path / "a.mrc", Volume(data, 4.0))
    assert read_voxel_size(tmp_path / "a.mrc") == 4.0


class FailingFile:
    """A file that takes five writes (the header and four sections) and then raises."""

    def __init__(self, path: Path, error: BaseException) -> None:
        self.file, self.error, self.left = path.open("wb"), error, 5

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error
        self.file.write(data)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), RuntimeError("x")])
def test_interrupted_write_leaves_the_old_file(
    path: Path, data: np.ndarray, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr("voxpick.io.mrc.open", lambda name, mode: FailingFile(name, error), raising=False)
    with pytest.raises(VoxpickError if isinstance(error, OSError) else type(error)) as caught:
        write_mrc(path, data, voxel_size=10)
    if isinstance(error, OSError):
        assert "tomo.mrc: cannot be written (No space left on device)" in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["tomo.mrc"]
