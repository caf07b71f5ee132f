import numpy as np
import pytest
from blobs import ball

from voxpick.detect import rescale
from voxpick.detect.rescale import labels_like, rescaled, same_voxel_size
from voxpick.errors import VoxpickError
from voxpick.volume import Volume

CENTRE = np.array([312.0, 415.0, 498.0])


def gaussian(shape: tuple[int, int, int], voxel_size: float) -> Volume:
    distance = sum((g * voxel_size - c) ** 2 for g, c in zip(np.indices(shape), CENTRE, strict=True))
    return Volume(np.exp(-distance / (2 * 60.0**2)).astype(np.float32), voxel_size)


@pytest.mark.parametrize("voxel_size", [2.5 * 2, 7.3, 13.1, 17.0])
def test_a_particle_keeps_its_place_and_shape(voxel_size):
    sides = tuple(int(n / voxel_size) for n in (640, 830, 1010))
    found = rescaled(gaussian(sides, voxel_size), 10.0)
    expected = gaussian(found.shape, 10.0).data
    assert found.voxel_size == 10.0
    assert all(abs((n - 1) * 10 - (m - 1) * voxel_size) < 10 for n, m in zip(found.shape, sides, strict=True))
    np.testing.assert_allclose(found.data[2:-2, 2:-2, 2:-2], expected[2:-2, 2:-2, 2:-2], atol=0.03)
    weight = found.data**2
    center = [float((grid * weight).sum() / weight.sum()) * 10 for grid in np.indices(found.shape)]
    np.testing.assert_allclose(center, CENTRE, atol=0.2)


def test_white_noise_is_averaged_down_and_not_folded():
    data = np.random.default_rng(0).normal(size=(60, 72, 84)).astype(np.float32)
    assert rescaled(Volume(data, 4.0), 12.0).data.std() < 0.25
    assert rescaled(Volume(data, 10.0), 15.0).data.std() < 0.6


@pytest.mark.parametrize("voxel_size", [7.3, 14.0, 23.0])
def test_a_few_sections_at_a_time_give_what_all_at_once_give(monkeypatch, voxel_size):
    volume = Volume(np.random.default_rng(1).normal(size=(90, 24, 28)).astype(np.float32), 10.0)
    whole = rescaled(volume, voxel_size).data
    monkeypatch.setattr(rescale, "SECTION_VOXELS", 1)
    assert len(whole) > 30
    np.testing.assert_allclose(rescaled(volume, voxel_size).data, whole, atol=1e-4)


def test_a_constant_stays_constant_to_the_last_voxel():
    """Also where the last block is not whole."""
    flat = Volume(np.full((41, 43, 45), 3.5, dtype=np.float32), 10.0)
    for voxel_size in (4.0, 17.0, 21.0):
        np.testing.assert_allclose(rescaled(flat, voxel_size).data, 3.5, rtol=1e-5)


def test_labels_return_to_the_grid_they_came_from():
    mask = ball((40, 52, 60), (20, 26, 30), 9).astype(np.uint8)
    volume = Volume(np.zeros((80, 104, 119), dtype=np.float32), 5.0)
    found = labels_like(mask, 10.0, volume)
    assert found.shape == volume.shape
    np.testing.assert_allclose(np.argwhere(found).mean(axis=0), (40, 52, 60), atol=0.6)


def test_a_percent_is_no_difference():
    assert same_voxel_size(10.05, 10.0) and not same_voxel_size(10.2, 10.0)


def test_an_absurd_voxel_size_is_refused():
    volume = Volume(np.zeros((20, 28, 36), dtype=np.float32), 0.5, name="tiny")
    with pytest.raises(VoxpickError, match=r"tiny: .*--voxel-size"):
        rescaled(volume, 10.0)
    with pytest.raises(VoxpickError, match=r"voxels of 45 A are too coarse for a model of 10 A; .*--voxel-size"):
        rescaled(Volume(np.zeros((20, 28, 36), dtype=np.float32), 45.0), 10.0)
