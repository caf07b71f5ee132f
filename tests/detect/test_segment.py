import numpy as np
import pytest
import torch
from blobs import BlobNetwork, scattered
from scipy import ndimage

from voxpick.detect.components import labelled
from voxpick.detect.segment import best_tile, probabilities, require_finite, softmax_map, tile_windows
from voxpick.errors import VoxpickError

SHAPE = (28, 52, 60)


def blob_volume(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    labels, centers = scattered(SHAPE, 14, (3, 5), np.random.default_rng(seed))
    return -6.0 * (labels > 0).astype(np.float32), centers


def whole(volume: np.ndarray, network: torch.nn.Module) -> np.ndarray:
    image = torch.from_numpy(volume)[None, None]
    return softmax_map(image, network, device=torch.device("cpu"), dtype=torch.float32)[0].numpy()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [torch.contiguous_format, torch.channels_last_3d])
def test_output_that_is_not_finite_is_refused_wherever_it_is(place, bad):
    output = torch.full((2, 3, 4, 5, 6), 3e38).contiguous(memory_format=place)
    output[:, 1] *= -1
    require_finite(output)
    require_finite(torch.zeros(2, 3))
    for at in ((0, 0, 0, 0, 0), (1, 2, 3, 4, 5), (1, 0, 2, 3, 1)):
        spoiled = output.clone()
        spoiled[at] = bad
        with pytest.raises(VoxpickError, match="not finite"):
            require_finite(spoiled)


def centers_of(mask: np.ndarray) -> np.ndarray:
    labels = labelled(mask)
    return np.array(ndimage.center_of_mass(mask, labels, np.arange(1, labels.max() + 1)))


@pytest.mark.parametrize("shape", [(28, 52, 60), (5, 64, 131), (24, 24, 24)])
def test_cores_partition_the_volume_and_keep_a_halo(shape):
    count = np.zeros(shape, dtype=int)
    for window, core in tile_windows(shape, (24, 32, 24), 4):
        count[core] += 1
        for w, c, n, side in zip(window, core, shape, (24, 32, 24), strict=True):
            assert w.stop - w.start <= side and w.start >= 0 and w.stop <= n
            assert c.start - w.start >= 4 or w.start == c.start == 0
            assert w.stop - c.stop >= 4 or w.stop == c.stop == n
    assert (count == 1).all()


@pytest.mark.parametrize("multiple", [2, 4, 16])
@pytest.mark.parametrize("halo", [0, 3, 8])
@pytest.mark.parametrize("shape", [(28, 52, 60), (5, 67, 131), (200, 49, 101)])
def test_tiles_begin_at_multiples_of_what_a_network_pools(shape, halo, multiple):
    count = np.zeros(shape, dtype=int)
    for window, core in tile_windows(shape, (34, 33, 48), halo, multiple=multiple):
        count[core] += 1
        for w, c, n, side in zip(window, core, shape, (34, 33, 48), strict=True):
            assert w.start % multiple == 0 and (w.stop % multiple == 0 or w.stop == n)
            assert 0 <= w.start < w.stop <= n and w.stop - w.start <= side
            assert c.start - w.start >= halo or w.start == c.start == 0
            assert w.stop - c.stop >= halo or w.stop == c.stop == n
    assert (count == 1).all()


@pytest.mark.parametrize("length", [33, 49, 63, 64, 65, 97, 100, 200, 201])
def test_the_side_that_is_chosen_needs_no_more_tiles_than_were_counted(length):
    for voxels in (40**3, 64**3):
        sides = best_tile((length, 47, 60), voxels, 6, multiple=8)
        assert np.prod(sides) <= voxels and not any(side % 8 for side in sides)
        for window, _ in tile_windows((length, 47, 60), sides, 6, multiple=8):
            assert all(w.stop - w.start <= side for w, side in zip(window, sides, strict=True))


@pytest.mark.parametrize("shape", [(200, 512, 512), (240, 512, 512), (512, 512, 512)])
def test_without_a_halo_tiles_are_no_smaller_than_they_need_be(shape):
    sides = best_tile(shape, 104**3, 0, multiple=8)
    assert min(sides) >= 64 and all(-(-n // s) * s == -(-n // 8) * 8 for n, s in zip(shape, sides, strict=True))


class PoolingNetwork(torch.nn.Module):
    """Scores from means of blocks of 4 voxels and their neighbours, each voxel seeing 7 others at most to each side."""

    multiple_of = 4

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        kernel = torch.linspace(-1, 2, 27).reshape(1, 1, 3, 3, 3)
        coarse = torch.nn.functional.conv3d(torch.nn.functional.avg_pool3d(images, 4), kernel, padding=1)
        fine = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="nearest") + images
        return torch.cat([-fine, fine], 1)


@pytest.mark.parametrize("tile", [24, (20, 27, 30), (40, 26, 61)])
@pytest.mark.parametrize("shape", [(27, 50, 61), (40, 52, 64)])
def test_tiled_equals_whole_volume_for_a_network_that_pools(shape, tile):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    network = PoolingNetwork()
    expected = 1 - whole(volume, network)[0]
    tiled = probabilities(volume, network, tile=tile, halo=8, dtype=torch.float32, device="cpu", store=np.float32)
    np.testing.assert_allclose(tiled, expected, atol=1e-5)


def test_tiled_equals_whole_volume_once_the_halo_covers_what_the_network_sees():
    volume, _ = blob_volume()
    network = BlobNetwork()
    expected = 1 - whole(volume, network)[0]
    tiled = probabilities(volume, network, tile=24, halo=1, dtype=torch.float32, device="cpu", store=np.float32)
    np.testing.assert_allclose(tiled, expected, atol=1e-6)
    assert network.largest_input == volume.size
    assert expected.max() > 0.99 and expected.min() < 0.01


def test_tiles_bound_what_the_network_gets():
    network = BlobNetwork()
    probabilities(blob_volume()[0], network, tile=24, halo=4, device="cpu")
    assert network.largest_input <= 24**3


@pytest.mark.parametrize("merge", ["crop", "border"])
def test_seams_neither_lose_nor_double_particles(merge):
    volume, _ = blob_volume()
    network = BlobNetwork()
    expected = centers_of(1 - whole(volume, network)[0] > 0.5)
    tiled = probabilities(volume, network, tile=28, halo=6, merge=merge, dtype=torch.float32, device="cpu")
    found = centers_of(tiled > 0.5)
    assert len(found) == len(expected) < 14
    np.testing.assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=0.1)


def test_intensities_are_normalised_tile_by_tile_and_inverted_by_a_negative_deviation():
    volume, _ = blob_volume()
    network = BlobNetwork()
    expected = probabilities(volume, network, dtype=torch.float32, device="cpu", store=np.float32)
    raw = 7 - 3 * volume
    found = probabilities(raw, network, mean=7, deviation=-3, dtype=torch.float32, device="cpu", store=np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sides_are_padded_to_what_the_network_needs():
    volume = blob_volume()[0][:27, :51]
    settings = {"dtype": torch.float32, "device": "cpu", "store": np.float32}
    padded = probabilities(volume, BlobNetwork(multiple_of=8), **settings)
    np.testing.assert_allclose(padded, probabilities(volume, BlobNetwork(), **settings), atol=1e-5)


def test_progress_counts_the_tiles():
    seen = []
    probabilities(blob_volume()[0], BlobNetwork(), tile=32, halo=4, device="cpu", progress=lambda *s: seen.append(s))
    assert seen[-1] == (len(seen), len(seen)) and len(seen) == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tile": 24, "halo": 12}, "halo of 12"),
        ({"merge": "mean"}, "unknown merge 'mean'"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(VoxpickError, match=words):
        probabilities(blob_volume()[0], BlobNetwork(), device="cpu", **settings)


def test_a_network_that_diverged_is_reported():
    network = BlobNetwork(sharpness=float("nan"))
    with pytest.raises(VoxpickError, match="not finite"):
        probabilities(blob_volume()[0], network, device="cpu")
