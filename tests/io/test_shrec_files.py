"""SHREC lists and model directories: frames, ids, angles, rounding, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes, uniform_rotations_zyx
from voxpick.io.atomic import write_text
from voxpick.io.shrec import read_locations, round_half_away, write_locations, write_submission
from voxpick.io.shrec_model import atomic_directory, open_model, write_model
from voxpick.particles import Particles
from voxpick.shrec_classes import CLASS_IDS, SHREC20_CLASSES, SHREC20_SIZE_GROUPS, SHREC20_WEIGHTS_KDA

SHAPE = (12, 20, 28)
TRUTH_2019 = Path(__file__).parents[2] / ".." / "shared" / "data" / "shrec19_ground_truth"


def model_arrays(rng: np.random.Generator) -> dict[str, Any]:
    mask = np.zeros(SHAPE, dtype=np.int64)
    mask[3:5, 4:6, 7:9], mask[8, 9, 10] = 2, 1
    return {
        "grandmodel": rng.normal(size=SHAPE),
        "class_mask": mask * 4,
        "occupancy_mask": mask,
        "class_bbox": mask * 4,
        "occupancy_bbox": mask,
        "projections": rng.normal(size=(5, 20, 28)),
        "reconstruction": rng.normal(size=(33, 20, 28)),
        "particles": Particles(
            np.array([[80, 90, 100], [40, 50, 80.0]]),
            classes=np.array(["4cr2", "3qm1"]),
            rotations=uniform_rotations_zyx(2, rng),
        ),
    }


def test_model_directory_round_trip(tmp_path: Path) -> None:
    arrays = model_arrays(np.random.default_rng(1))
    write_model(tmp_path / "model_3", **arrays)
    model = open_model(tmp_path / "model_3")
    assert (model.voxel_size, model.z_offset) == (10.0, 10)  # (33 - 12) // 2
    np.testing.assert_array_equal(model.grandmodel.data, arrays["grandmodel"].astype(np.float32))
    np.testing.assert_array_equal(model.reconstruction.data, arrays["reconstruction"].astype(np.float32))
    np.testing.assert_array_equal(model.projections, arrays["projections"].astype(np.float32))
    for name, stored in (("class_mask", "int8"), ("class_bbox", "int8"), ("occupancy_mask", "int16")):
        np.testing.assert_array_equal(getattr(model, name), arrays[name])
        assert getattr(model, name).dtype == stored
    np.testing.assert_allclose(model.particles.centers_zyx, arrays["particles"].centers_zyx)
    np.testing.assert_allclose(model.tomogram_particles.centers_zyx, [[180, 90, 100], [140, 50, 80]])
    assert model.particles.rotations is not None
    np.testing.assert_allclose(model.particles.rotations, arrays["particles"].rotations, atol=1e-5)
    for row, (z, y, x) in enumerate(np.rint(model.particles.voxels(10)).astype(int), start=1):
        assert model.occupancy_mask[z, y, x] == row  # line i is occupancy id i
    with mrcfile.open(tmp_path / "model_3" / "projections.mrc") as file:
        assert file.is_image_stack() and file.voxel_size.x == 10
    assert sorted(entry.name for entry in (tmp_path / "model_3").iterdir()) == [
        *("class_bbox.mrc", "class_mask.mrc", "grandmodel.mrc", "occupancy_bbox.mrc", "occupancy_mask.mrc"),
        *("particle_locations.txt", "projections.mrc", "reconstruction.mrc"),
    ]


def test_model_directory_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = model_arrays(np.random.default_rng(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("voxpick.io.shrec_model.write_stack", full)
        with pytest.raises(VoxpickError, match=r"model_0: cannot be written \(No space left"):
            write_model(tmp_path / "model_0", **arrays)
    assert list(tmp_path.iterdir()) == []
    write_model(tmp_path / "model_0", **arrays)
    with pytest.raises(VoxpickError, match="model_0: exists already"):
        write_model(tmp_path / "model_0", **arrays)
    write_model(tmp_path / "model_0", **arrays, voxel_size=5, overwrite=True)
    assert open_model(tmp_path / "model_0").voxel_size == 5


@pytest.mark.parametrize(
    ("tomogram", "mask", "expected"),
    [(0, 6.5, 6.5), (1, 6.5, 6.5), (6.5, 1, 6.5), (6.5, 6.53, 6.5), (0, 0, 10), (1, 0, 10), (10, 1, 10)],
)
def test_voxel_size_that_one_header_says(tmp_path: Path, tomogram: float, mask: float, expected: float) -> None:
    assert open_model(model_of_sizes(tmp_path, tomogram, mask)).voxel_size == pytest.approx(expected)


def test_headers_of_two_voxel_sizes(tmp_path: Path) -> None:
    folder = model_of_sizes(tmp_path, 10, 6.5)
    with pytest.raises(
        VoxpickError, match=r"reconstruction\.mrc says 10 A .* occupancy_mask\.mrc 6\.5 A; give --voxel-size"
    ):
        _ = open_model(folder).voxel_size
    assert open_model(folder, voxel_size=6.5).voxel_size == 6.5


def model_of_sizes(place: Path, tomogram: float, mask: float) -> Path:
    write_model(place / "model_0", **model_arrays(np.random.default_rng(1)))
    for name, size in (("reconstruction", tomogram), ("occupancy_mask", mask)):
        with mrcfile.open(place / "model_0" / f"{name}.mrc", mode="r+") as file:
            file.voxel_size = size
    return place / "model_0"


def test_an_overwritten_directory_is_there_until_the_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model_0"
    for text in ("first", "second"):
        with atomic_directory(target, overwrite=True) as folder:
            (folder / "file").write_text(text)
    assert (target / "file").read_text() == "second"
    rename = os.replace

    def fails_for_the_new(source: Path, destination: Path) -> None:
        assert any("second" in path.read_text() for path in tmp_path.rglob("file"))
        if "partial" in str(source):
            raise OSError("disk gone")
        rename(source, destination)

    monkeypatch.setattr(os, "replace", fails_for_the_new)
    with (
        pytest.raises(VoxpickError, match="model_0: cannot be written"),
        atomic_directory(target, overwrite=True) as folder,
    ):
        (folder / "file").write_text("third")
    assert (target / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["model_0"]


@pytest.mark.parametrize(("when", "kept"), [(".old", "first"), ("model_0", "second")])
def test_ctrl_c_between_the_two_renames_leaves_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, kept: str
) -> None:
    """Right after the first rename it left the old folder under its hidden name, and none under its own."""
    target = tmp_path / "model_0"
    with atomic_directory(target) as folder:
        (folder / "file").write_text("first")
    rename = os.replace

    def interrupted(source: Path, destination: Path) -> None:
        rename(source, destination)
        if destination.name.endswith(when) and "old" not in source.name:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_directory(target, overwrite=True) as folder:
        (folder / "file").write_text("second")
    assert (target / "file").read_text() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["model_0"]


def test_bad_models(tmp_path: Path) -> None:
    arrays = model_arrays(np.random.default_rng(1))
    with pytest.raises(VoxpickError, match=r"class_bbox has shape \(12, 20, 27\)"):
        write_model(tmp_path / "m", **arrays | {"class_bbox": arrays["class_bbox"][..., 1:]})
    with pytest.raises(VoxpickError, match="id 2, but there are 1 particles"):
        write_model(tmp_path / "m", **arrays | {"particles": arrays["particles"][:1]})
    with pytest.raises(VoxpickError, match=r"m: no such folder"):
        open_model(tmp_path / "m")
    with pytest.raises(VoxpickError, match="holds neither"):
        open_model(tmp_path)


def test_angles_are_zxz_active(tmp_path: Path) -> None:
    """Rz(90) Rx(90) Rz(0) on (x, y, z): z goes to x, x to y, y to z."""
    (tmp_path / "t.txt").write_text("1s3x 1 2 3 90 90 0\n")
    particles = read_locations(tmp_path / "t.txt", voxel_size=10)
    np.testing.assert_allclose(particles.centers_zyx, [[30, 20, 10]])
    assert particles.rotations is not None
    matrix = swap_axes(particles.rotations)[0]
    np.testing.assert_allclose(matrix @ np.eye(3), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12)
    with pytest.raises(VoxpickError, match="rotation"):
        write_locations(tmp_path / "u.txt", Particles(np.ones((1, 3))))


def test_vesicles_of_shrec21_have_no_angles(tmp_path: Path) -> None:
    (tmp_path / "truth.txt").write_text("1s3x 1 2 3 10 20 30\nvesicle 4 5 6 NaN NaN NaN\n")
    read = read_locations(tmp_path / "truth.txt")
    assert read.rotations is not None
    np.testing.assert_allclose(read.rotations[1], np.eye(3), atol=1e-12)
    assert abs(read.rotations[0] - np.eye(3)).max() > 0.1 and read.classes.tolist() == ["1s3x", "vesicle"]


def test_angles_of_some_particles_are_none(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("1s3x 1 2 3 10 20 30\n3cf3 4 5 6\n")
    read = read_locations(tmp_path / "t.txt", z_offset=10)
    assert read.rotations is None and read.classes.tolist() == ["1s3x", "3cf3"]
    named = read_locations(tmp_path / "t.txt", tomogram="model_9").tomograms
    assert read.tomograms is not None and read.tomograms.tolist() == ["t", "t"]
    assert named is not None and named.tolist() == ["model_9", "model_9"]
    np.testing.assert_allclose(read.centers_zyx, [[130, 20, 10], [160, 50, 40]])


def test_submission_is_sorted_and_rounded(tmp_path: Path) -> None:
    centers = np.array([[5, 15, 25], [4.9, 14.9, 24.9], [0, 0, 1561.2]])
    particles = Particles(centers, classes=np.array(["a", "b", "c"]), scores=np.array([0.2, 0.9, 0.9]))
    write_submission(tmp_path / "s.txt", particles)
    assert (tmp_path / "s.txt").read_text() == "b 2 1 0\nc 156 0 0\na 3 2 1\n"
    with pytest.raises(VoxpickError, match="'a b'"):
        write_submission(tmp_path / "s.txt", particles.with_columns(classes=np.array(["a b", "b", "c"])))
    assert round_half_away(np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4])).tolist() == [1, 2, 3, -1, -2, 2]


def test_class_table_agrees_with_itself() -> None:
    assert [CLASS_IDS[name] for name in SHREC20_CLASSES] == list(range(1, 13))
    grouped = [name for group in SHREC20_SIZE_GROUPS.values() for name in group]
    assert grouped == sorted(SHREC20_CLASSES, key=lambda name: SHREC20_WEIGHTS_KDA[name])
    for name in SHREC20_SIZE_GROUPS["medium"]:
        assert 200 < SHREC20_WEIGHTS_KDA[name] < 600


@pytest.mark.skipif(not TRUTH_2019.is_dir(), reason="needs ../shared/data/shrec19_ground_truth")
def test_real_2019_truth() -> None:
    particles = read_locations(TRUTH_2019 / "particle_locations_model_9.txt", year=2019)
    assert (len(particles), particles.classes[0], particles.rotations) == (2540, "3d2f", None)
    np.testing.assert_allclose(particles.voxels(10)[0], [180, 480, 118])


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    """Windows' editors put one in front."""
    (tmp_path / "a.txt").write_text("1s3x 1 2 3\n", encoding="utf-8-sig")
    assert read_locations(tmp_path / "a.txt").classes.tolist() == ["1s3x"]


def test_what_killed_processes_left_of_a_directory_is_removed(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, others, busy = (
        tmp_path / name
        for name in (
            f".model_0.{ended.pid}.partial",
            f".model_00.{ended.pid}.partial",
            f".model_0.{os.getppid()}.partial",
        )
    )
    for folder in (left, others, busy):
        folder.mkdir()
    with atomic_directory(tmp_path / "model_0") as folder:
        (folder / "a").write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"model_0", others.name, busy.name}


def test_a_folder_whose_replacement_was_killed_gets_its_name_back(tmp_path: Path) -> None:
    """Between the two renames there is no folder of the name; killed a moment later, both."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    target, old = tmp_path / "model_0", tmp_path / f".model_0.{ended.pid}.old"
    old.mkdir()
    (old / "a").write_text("first")
    with pytest.raises(VoxpickError, match="exists already"), atomic_directory(target):
        pass
    assert (target / "a").read_text() == "first" and not old.exists()
    old.mkdir()
    with atomic_directory(target, overwrite=True) as folder:
        (folder / "a").write_text("second")
    assert (target / "a").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["model_0"]


def test_a_folder_that_another_process_makes_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "model_0"
    with pytest.raises(VoxpickError, match="model_0: exists already"), atomic_directory(target) as folder:
        (folder / "a").write_text("mine")
        target.mkdir()
        (target / "a").write_text("theirs")
    assert (target / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["model_0"]


def test_files_that_killed_processes_left_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    number, busy = ended.pid, os.getppid()
    left = [f".p.{number}.partial.star", f"..p.{number}.partial.{number}.partial.star"]
    others = [f".p.{number}.partial.csv", f".pp.{number}.partial.star", f".p.{busy}.partial.star", ".p.partial.star"]
    for name in (*left, *others):
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "p.star", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"p.star", *others}
