import numpy as np
import pytest
import torch
from blobs import BlobNetwork, scattered

from voxpick.detect.budget import check_foreground, plan_tile
from voxpick.detect.components import components, opened
from voxpick.detect.foreground import connected, foreground_of, opened_foreground
from voxpick.detect.memory import bytes_per_voxel, parse_memory, release
from voxpick.detect.segment import particle_voxels, probabilities
from voxpick.errors import VoxpickError

SHAPE = (28, 52, 60)


@pytest.mark.parametrize(("text", "size"), [("4G", 2**32), ("1.5gb", 3 * 2**29), ("800M", 800 * 2**20), ("123", 123)])
def test_sizes_are_read(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1G", "0", "4X"])
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


def test_live_bytes_are_those_of_tensors_alive_at_once():
    def three(x: torch.Tensor) -> torch.Tensor:
        kept = x * 2
        return kept + (kept + 1)

    assert bytes_per_voxel(three) == pytest.approx(1.2 * 12 + 8)


@pytest.mark.parametrize("merge", ["crop", "border"])
def test_particle_voxels_are_those_of_the_whole_map(merge):
    volume = -6.0 * (scattered(SHAPE, 14, (3, 5), np.random.default_rng(0))[0] > 0).astype(np.float32)
    settings = {"tile": (28, 28, 28), "halo": 6, "merge": merge, "device": "cpu"}
    dense = probabilities(volume, BlobNetwork(), **settings)
    found = particle_voxels(volume, BlobNetwork(), **settings)
    np.testing.assert_array_equal(found.mask(), dense > 0.5)
    np.testing.assert_array_equal(found.values, dense[dense > 0.5])


@pytest.mark.parametrize("connectivity", [6, 26])
def test_components_and_opening_in_groups_of_sections_are_those_of_the_whole(connectivity, monkeypatch):
    mask = np.random.default_rng(0).random(SHAPE) < 0.3
    monkeypatch.setattr("voxpick.detect.foreground.DENSE_VOXELS", 5 * 52 * 60)
    found = foreground_of(mask)
    owner, sizes = connected(found, connectivity=connectivity)
    whole = components(mask, connectivity=connectivity)
    pairs = np.unique(np.stack([owner, whole.labels.reshape(-1)[found.voxels]]), axis=1)
    assert pairs.shape[1] == len(sizes) == len(whole.sizes)
    np.testing.assert_array_equal(np.bincount(owner), sizes)
    for n in (1, 2):
        smooth = opened_foreground(foreground_of(~mask), iterations=n)
        np.testing.assert_array_equal(smooth.mask(), opened(~mask, iterations=n))


def test_a_bound_that_cannot_be_met_says_what_is_needed():
    volume = np.zeros((40, 60, 80), dtype=np.float32)
    with pytest.raises(VoxpickError, match=r"max_memory is 0\.0G.*allow at least"):
        plan_tile(volume, BlobNetwork(), tile=64, halo=8, max_memory=2**20, device=torch.device("cpu"))
    with pytest.raises(VoxpickError, match=r"10\.0% of the volume lies above the threshold"):
        check_foreground(10**8, (1000, 1000, 1000), split="watershed", max_memory=2**30, threshold=0.5)
