import numpy as np
from blobs import ball

from voxpick.detect.merge import BorderMerge, CropMerge, border_components

WINDOWS = [((slice(0, 12), slice(0, 20), slice(0, 18)), (slice(0, 12), slice(0, 20), slice(0, 14))),
           ((slice(0, 12), slice(0, 20), slice(10, 28)), (slice(0, 12), slice(0, 20), slice(14, 28)))]  # fmt: skip
SHAPE = (12, 20, 28)


def merged(strategy, values):
    for window, core in WINDOWS:
        strategy.add(window, core, values[window])
    return strategy.result()


def test_a_component_at_an_inner_face_is_incomplete_and_one_at_the_volumes_face_is_not():
    mask = ball(SHAPE, (6, 10, 17), 2) | ball(SHAPE, (6, 4, 1), 2)
    incomplete = border_components(mask[WINDOWS[0][0]], WINDOWS[0][0], SHAPE)
    assert incomplete[6, 10, 17] and not incomplete[6, 4, 1]
    assert incomplete.sum() == ball(SHAPE, (6, 10, 17), 2)[..., :18].sum()


def test_both_merges_restore_a_map_cut_into_tiles():
    values = 0.9 * (ball(SHAPE, (6, 10, 14), 3) | ball(SHAPE, (4, 5, 3), 2)).astype(np.float32)
    for strategy in (CropMerge(SHAPE, dtype=np.float32), BorderMerge(SHAPE, dtype=np.float32)):
        np.testing.assert_array_equal(merged(strategy, values), values)


def test_border_merge_drops_what_one_tile_sees_only_in_part():
    values = 0.9 * ball(SHAPE, (6, 10, 14), 3).astype(np.float32)
    strategy = BorderMerge(SHAPE, dtype=np.float32)
    first, second = (values[window].copy() for window, _ in WINDOWS)
    first[:, :, 16:] = 0.9
    strategy.add(*WINDOWS[0], first)
    strategy.add(*WINDOWS[1], second)
    np.testing.assert_array_equal(strategy.result(), values)


def test_of_two_tiles_that_see_all_of_a_component_the_border_merge_takes_the_surer():
    """Crop takes the one in whose core it lies."""
    seen = ball(SHAPE, (6, 10, 12), 1).astype(np.float32)
    for strategy, sure in ((CropMerge(SHAPE, dtype=np.float32), 0.6), (BorderMerge(SHAPE, dtype=np.float32), 0.9)):
        for (window, core), value in zip(WINDOWS, (0.6, 0.9), strict=True):
            strategy.add(window, core, np.float32(value) * seen[window])
        np.testing.assert_array_equal(strategy.result(), np.float32(sure) * seen)


def test_a_component_longer_than_the_overlap_is_kept():
    values = np.zeros(SHAPE, dtype=np.float32)
    values[5:8, 9:12, 4:25] = 0.8
    np.testing.assert_array_equal(merged(BorderMerge(SHAPE, dtype=np.float32), values), values)
