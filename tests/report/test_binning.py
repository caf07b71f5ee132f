import numpy as np
import pytest

from voxpick.report.binning import bin_volume
from voxpick.volume import Volume


def test_blocks_are_averaged_and_the_far_edge_keeps_its_own_mean():
    data = np.random.default_rng(0).normal(size=(7, 12, 17)).astype(np.float32)
    binned = bin_volume(Volume(data, 10.0), max_side=6)
    assert binned.factor == 3 and binned.voxels.shape == (3, 4, 6)
    means = np.array(
        [[[data[3 * z : 3 * z + 3, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3].mean() for x in range(6)] for y in range(4)]
         for z in range(3)]
    )  # fmt: skip
    low, high = np.percentile(means, (0.2, 99.8))
    expected = np.rint(np.clip((means - low) / (high - low) * 255, 0, 255))
    np.testing.assert_allclose(binned.voxels, expected, atol=1)


def test_a_small_volume_is_left_alone_and_a_constant_one_is_grey():
    data = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)
    assert bin_volume(Volume(data, 10.0)).factor == 1
    assert (bin_volume(Volume(data * 0, 10.0)).voxels == 128).all()
    data[0, 0, 0] = np.nan
    assert bin_volume(Volume(data, 10.0)).voxels[1, 2, 4] == 255


@pytest.mark.parametrize(("side", "factor"), [(256, 1), (257, 2), (512, 2), (513, 3)])
def test_no_side_exceeds_the_limit(side, factor):
    binned = bin_volume(Volume(np.zeros((2, 3, side), np.float32), 10.0))
    assert binned.factor == factor and max(binned.voxels.shape) <= 256
