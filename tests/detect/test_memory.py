import errno
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import BlobNetwork, scattered

from voxpick.detect.budget import (
    FIXED_BYTES,
    FOREGROUND_BYTES,
    MEAN_SHIFT_BYTES,
    PLACE_BYTES,
    check_foreground,
    foreground_watch,
    plan_batch,
    plan_tile,
)
from voxpick.detect.class_voxels import class_voxels
from voxpick.detect.components import labelled, opened
from voxpick.detect.foreground import connected, foreground_of, opened_foreground
from voxpick.detect.locate import locate
from voxpick.detect.memory import bytes_per_voxel, parse_memory, resident_bytes, settle_above, spacious
from voxpick.detect.peaks import Places, joined, spaced
from voxpick.detect.segment import particle_voxels, probabilities
from voxpick.detect.slab import section_skewness
from voxpick.errors import TooMuchForeground, VoxpickError
from voxpick.io.mrc import read_mrc, write_mrc
from voxpick.networks.resnet3d import ResNet3D
from voxpick.networks.yopo import YOPO
from voxpick.volume import Volume, intensity_statistics, release

SHAPE = (28, 52, 60)


@pytest.mark.parametrize(("text", "size"), [("4G", 2**32), ("1.5gb", 3 * 2**29), ("800M", 800 * 2**20), ("123", 123)])
def test_sizes_are_read(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1G", "0", "4X", "1e400", "1e308T"])
def test_other_sizes_are_refused(text):
    with pytest.raises(VoxpickError, match="not a size"):
        parse_memory(text)


def test_released_pages_are_read_again_and_private_changes_survive(tmp_path):
    data = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    data.tofile(tmp_path / "volume")
    for mode in ("r", "c"):
        mapped = np.memmap(tmp_path / "volume", dtype=np.float32, mode=mode, shape=data.shape)
        if mode == "c":
            mapped[:] += 1
        release(mapped[1:])
        np.testing.assert_array_equal(mapped, data + (mode == "c"))


def test_reading_all_of_a_mapped_volume_keeps_little_of_it(tmp_path):
    data = np.random.default_rng(0).normal(size=(100, 400, 500)).astype(np.float32)
    write_mrc(tmp_path / "volume.mrc", data, voxel_size=10.0)
    expected = data[25:75, 100:300, 125:375].mean(dtype=np.float64)
    section_skewness(data[:1]), intensity_statistics(Volume(data, 10.0))
    before = resident_bytes()
    mapped = read_mrc(tmp_path / "volume.mrc")
    mean, _ = intensity_statistics(mapped)
    skewness = section_skewness(mapped.data)
    assert resident_bytes() - before < data.nbytes / 4
    assert mean == pytest.approx(expected)
    np.testing.assert_allclose(skewness, section_skewness(data))


def test_live_bytes_are_those_of_tensors_alive_at_once():
    def three(x: torch.Tensor) -> torch.Tensor:
        kept = x * 2
        return kept + (kept + 1)

    assert bytes_per_voxel(three) == pytest.approx(1.2 * 12 + 8)


def test_kept_memory_goes_back_only_above_a_size(monkeypatch):
    given_back = []
    monkeypatch.setattr("voxpick.detect.memory.settled_bytes", lambda: given_back.append(1))
    settle_above(2**50)
    assert not given_back
    settle_above(2**20)
    assert given_back


@pytest.mark.parametrize("merge", ["crop", "border"])
def test_particle_voxels_are_those_of_the_whole_map(merge):
    volume = -6.0 * (scattered(SHAPE, 14, (3, 5), np.random.default_rng(0))[0] > 0).astype(np.float32)
    settings = {"tile": (28, 28, 28), "halo": 6, "merge": merge, "device": "cpu"}
    dense = probabilities(volume, BlobNetwork(), **settings)
    found = particle_voxels(volume, BlobNetwork(), **settings)
    np.testing.assert_array_equal(found.mask(), dense > 0.5)
    np.testing.assert_array_equal(found.values, dense[dense > 0.5])


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("filled", [0.02, 0.3, 0.9])
def test_components_of_the_sparse_foreground_are_those_of_the_dense_mask(connectivity, filled):
    mask = np.random.default_rng(0).random(SHAPE) < filled
    found = foreground_of(mask)
    owner, sizes = connected(found, connectivity=connectivity)
    whole = labelled(mask, connectivity=connectivity)
    pairs = np.unique(np.stack([owner, whole.reshape(-1)[found.voxels]]), axis=1)
    assert pairs.shape[1] == len(sizes) == whole.max()
    np.testing.assert_array_equal(np.bincount(owner), sizes)
    first = np.unique(owner, return_index=True)[1]
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("iterations", [1, 2])
def test_opening_in_groups_of_sections_is_that_of_the_whole(iterations, monkeypatch):
    mask = np.random.default_rng(0).random(SHAPE) < 0.7
    monkeypatch.setattr("voxpick.detect.foreground.DENSE_VOXELS", 5 * 52 * 60)
    smooth = opened_foreground(foreground_of(mask), iterations=iterations)
    np.testing.assert_array_equal(smooth.mask(), opened(mask, iterations=iterations))


@pytest.mark.parametrize("split", ["watershed", "mean-shift", "components"])
def test_what_finding_particles_takes_is_what_is_planned_for_it(split):
    mask = np.tile(scattered(SHAPE, 14, (3, 5), np.random.default_rng(1))[0] > 0, (3, 4, 4))
    found = replace(foreground_of(mask), values=np.full(int(mask.sum()), 0.9, np.float16))
    tracemalloc.start()
    locate(found, split=split)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    planned = (
        len(found) * FOREGROUND_BYTES + FIXED_BYTES + (MEAN_SHIFT_BYTES * mask.size if split == "mean-shift" else 0)
    )
    assert taken < planned - FIXED_BYTES * 2 / 3


@pytest.mark.parametrize("opening", [0, 1])
@pytest.mark.parametrize("split", ["watershed", "mean-shift", "components"])
@pytest.mark.parametrize("filled", [0.05, 1.0])
def test_a_small_volume_takes_no_more_than_is_kept_free_for_it(monkeypatch, split, opening, filled):
    mask = np.random.default_rng(0).random(SHAPE) < filled
    locate(foreground_of(mask), split=split, opening=opening)  # what is loaded by the first call
    tracemalloc.start()
    found = replace(foreground_of(mask), values=np.full(int(mask.sum()), 0.9, np.float16))
    before = tracemalloc.get_traced_memory()[0]
    locate(found, split=split, opening=opening)
    taken = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    monkeypatch.setattr("voxpick.detect.budget.resident_bytes", lambda: 0)
    monkeypatch.setattr("voxpick.detect.budget.settled_bytes", lambda: 0)
    limits = {"split": split, "threshold": 0.5}
    with pytest.raises(TooMuchForeground):
        check_foreground(len(found), SHAPE, max_memory=taken, **limits)
    check_foreground(len(found), SHAPE, max_memory=2**26, **limits)


@pytest.mark.parametrize("split", ["watershed", "mean-shift", "components", "peaks"])
def test_where_nothing_is_found_nothing_is_kept_free(split):
    """400 MiB were, so that a scan needed them whatever it found."""
    shape, limits = (400, 500, 500), {"split": split, "threshold": 0.5}
    now = resident_bytes() + 2**24
    check_foreground(0, shape, max_memory=now, **limits)
    foreground_watch(shape, max_memory=now, **limits)(0)
    with pytest.raises(TooMuchForeground):
        check_foreground(2**24, shape, max_memory=now, **limits)


def test_the_places_of_a_scan_take_what_is_planned_for_them():
    rng, number = np.random.default_rng(0), 200_000
    parts = [
        Places(
            rng.integers(0, 100, (number // 2, 3)).astype(np.int32), rng.random(number // 2).astype(np.float32),
            np.ones(number // 2, np.uint8), np.ones(number // 2, np.float32),
        )
        for _ in range(2)
    ]  # fmt: skip
    tracemalloc.start()
    places = joined(parts)
    spaced(places, distance=30.0)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    nodes = 25 * number  # of the tree, which are not traced
    assert number * PLACE_BYTES / 2 < taken + nodes < number * PLACE_BYTES


def test_a_bound_that_cannot_be_met_says_what_is_needed():
    volume = np.zeros((40, 60, 80), dtype=np.float32)
    with pytest.raises(VoxpickError, match=r"max_memory is 1M.*allow at least"):
        plan_tile(volume, BlobNetwork(), tile=64, halo=8, max_memory=2**20, device=torch.device("cpu"))
    with pytest.raises(VoxpickError, match=r"10\.0% of the volume lies above the threshold"):
        check_foreground(10**8, (1000, 1000, 1000), split="watershed", max_memory=2**30, threshold=0.5)


def test_values_that_are_no_numbers_are_named_wherever_they_are():
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    data[1, 2, 3] = np.nan
    with pytest.raises(VoxpickError, match="holds NaN or infinite values, such as nan at z 1, y 2, x 3"):
        intensity_statistics(Volume(data, 10.0))


def test_too_much_foreground_ends_the_search_at_the_tile_that_shows_it():
    seen = []
    watch = foreground_watch((1000, 1000, 1000), split="watershed", max_memory=2**32, threshold=0.5)
    with pytest.raises(TooMuchForeground, match=r"of the volume and more lie above the threshold of 0\.5"):
        for number in range(0, 10**9, 10**7):
            seen.append(number)
            watch(number)
    assert 3 < len(seen) < 10

    def stop(number):
        raise TooMuchForeground(f"{number} voxels")

    dark = np.full(SHAPE, -9.0, np.float32)
    settings = {"tile": (28, 28, 28), "halo": 2, "device": "cpu", "watch": stop}
    for merge in ("crop", "border"):
        with pytest.raises(TooMuchForeground, match=r"[1-9]\d* voxels"):
            particle_voxels(dark, BlobNetwork(), merge=merge, **settings)
    with pytest.raises(TooMuchForeground, match=r"[1-9]\d* voxels"):
        class_voxels(dark, BlobNetwork(), **settings)


@pytest.mark.parametrize("network", [YOPO(classes=3, box=24, widths=[4, 6], hidden=5), ResNet3D(classes=3, box=32)])
def test_a_network_of_boxes_can_name_what_another_found(network):
    assert plan_batch(network, size=network.box, batch=4, max_memory=2**33, device=torch.device("cpu")) == 4


def test_a_disk_without_room_is_named(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(VoxpickError, match=r"no room for a temporary file of 1M.*set TMPDIR"):
        spacious((8, 256, 128), in_memory=0)
