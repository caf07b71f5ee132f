import numpy as np
import pytest
from blobs import ball, f1, scattered

from voxpick.detect.locate import locate
from voxpick.detect.watershed import split_component
from voxpick.errors import VoxpickError

SHAPE = (60, 72, 88)


def packed(seed: int = 0) -> np.ndarray:
    return scattered(SHAPE, 60, (3, 9), np.random.default_rng(seed))[0]


def test_spheres_of_radii_3_to_9_that_touch_are_told_apart():
    labels = packed()
    mask = labels > 0
    plain = f1(labels, locate(mask, split="components").centers)
    papers = max(f1(labels, locate(mask, split="mean-shift", bandwidth=h).centers) for h in (5, 6, 7))
    found = locate(mask)
    assert f1(labels, found.centers) > 0.97
    assert f1(labels, found.centers) > papers > plain


def test_centres_are_those_of_the_spheres():
    rng = np.random.default_rng(4)
    labels, centers = scattered(SHAPE, 20, (4, 8), rng, gap=2)
    found = locate(labels > 0)
    order = [int(np.linalg.norm(centers - c, axis=1).argmin()) for c in found.centers]
    assert sorted(order) == list(range(20))
    assert np.abs(found.centers - centers[order]).max() < 0.35
    np.testing.assert_array_equal(found.sizes, np.bincount(labels.ravel())[1:][order])


@pytest.mark.parametrize("split", ["watershed", "mean-shift", "components"])
def test_sub_voxel_centre_and_confidence_of_one_particle(split):
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(np.indices(SHAPE), (20.4, 30.3, 40.7), strict=True)))
    probability = np.clip(1.2 - distance / 10, 0, 0.95)
    found = locate(probability, threshold=0.5, split=split, bandwidth=4)
    assert len(found) == 1
    np.testing.assert_allclose(found.centers[0], (20.4, 30.3, 40.7), atol=0.25)
    assert found.scores[0] == pytest.approx(probability[distance <= 4].mean(), abs=0.01)
    assert found.sizes[0] == (probability > 0.5).sum()


def test_a_centre_is_weighted_with_the_probability():
    probability, along = np.zeros((9, 10, 14), dtype=np.float32), np.linspace(0.55, 1.0, 10)
    probability[3:6, 4:7, 2:12] = along
    found = locate(probability, split="components")
    expected = np.average(np.arange(2, 12), weights=along)
    assert expected > 7 and found.centers[0] == pytest.approx([4, 5, expected], abs=1e-3)


def test_the_confidence_of_a_hollow_particle_is_the_mean_of_all_its_voxels():
    """None lies within a bandwidth of its centre."""
    shell = np.zeros((11, 11, 11), dtype=np.float32)
    shell[2:9, 2:9, 2:9], shell[2:9, 2:9, 2] = 0.6, 0.9
    shell[3:8, 3:8, 3:8] = 0
    found = locate(shell, split="components", bandwidth=2.0)
    assert found.scores.tolist() == pytest.approx([shell[shell > 0].mean()], abs=1e-3)


def test_a_component_of_just_the_least_size_stays():
    mask = np.zeros((9, 10, 11), dtype=bool)
    mask[2:7, 2:5, 2:4] = True
    for split in ("watershed", "mean-shift", "components"):
        assert [len(locate(mask, split=split, minimum_size=n)) for n in (30, 31)] == [1, 0]


def test_every_voxel_of_a_particle_is_painted_once():
    labels = packed()
    found = locate(labels > 0)
    canvas = found.painted(np.arange(1, len(found) + 1, dtype=np.int32))
    np.testing.assert_array_equal(np.bincount(canvas.ravel())[1:], found.sizes)
    assert ((canvas > 0) <= (labels > 0)).all()


def test_small_clusters_are_dropped():
    mask = ball(SHAPE, (20, 20, 20), 4) | ball(SHAPE, (40, 40, 40), 1.5)
    for split in ("watershed", "mean-shift", "components"):
        assert len(locate(mask, split=split, minimum_size=20)) == 1
        assert len(locate(mask, split=split, minimum_size=5)) == 2


def test_an_empty_map_gives_no_particles():
    for split in ("watershed", "mean-shift", "components"):
        found = locate(np.zeros(SHAPE, dtype=np.float16), split=split)
        assert len(found) == 0 and found.centers.shape == (0, 3)
        assert found.painted(np.zeros(0, dtype=np.uint8)).sum() == 0


def test_a_waist_splits_only_when_it_is_narrow():
    wide = ball(SHAPE, (20, 20, 20), 8) | ball(SHAPE, (20, 20, 28), 8)
    narrow = ball(SHAPE, (20, 20, 20), 8) | ball(SHAPE, (20, 20, 35), 8)
    assert split_component(wide).max() == 0
    pieces = split_component(narrow)
    assert pieces.max() == 1
    assert pieces[20, 20, 16] != pieces[20, 20, 39] and (pieces >= 0).sum() == narrow.sum()


def test_unknown_settings_are_refused():
    with pytest.raises(VoxpickError, match="unknown split 'k-means'"):
        locate(np.zeros(SHAPE), split="k-means")
    with pytest.raises(VoxpickError, match="bandwidth is 0"):
        locate(np.zeros(SHAPE), bandwidth=0)


def test_a_large_component_is_split_in_blocks_as_in_one(monkeypatch):
    labels = scattered((40, 150, 160), 260, (5, 8), np.random.default_rng(3))[0]
    whole = locate(labels > 0, connectivity=26)
    monkeypatch.setattr("voxpick.detect.watershed.LARGE_BOX", 1 << 12)
    blocks = locate(labels > 0, connectivity=26)
    assert len(blocks) == len(whole) > 200
    distance = np.linalg.norm(blocks.centers[:, None] - whole.centers, axis=2).min(axis=1)
    assert distance.max() < 0.1 and blocks.sizes.sum() == whole.sizes.sum()


def test_a_ring_is_found_by_mean_shift_though_nothing_is_at_its_middle():
    z, y, x = np.indices((9, 48, 48))
    ring = (np.abs(np.hypot(y - 23, x - 23) - 14) < 1.5) & (np.abs(z - 4) < 2)
    alone = locate(ring, split="mean-shift", bandwidth=6.0)
    assert len(alone) > 0 and len(alone.voxels) == ring.sum()
    ring[2:7, 2:6, 42:46] = True
    both = locate(ring, split="mean-shift", bandwidth=6.0)
    corner = np.linalg.norm(both.centers - [4, 3.5, 43.5], axis=1)
    assert both.sizes[corner.argmin()] == 5 * 4 * 4, "the ring's voxels are not given to what lies elsewhere"


@pytest.mark.parametrize(("ring", "tube"), [(8.75, 3.0), (8.5, 2.6), (9.0, 3.1)])
def test_a_ring_with_a_few_voxels_near_its_middle_loses_none(ring, tube):
    z, y, x = np.indices((9, 32, 32))
    torus = np.hypot(np.hypot(y - 15.5, x - 15.5) - ring, z - 4) < tube
    found = locate(torus, split="mean-shift", bandwidth=6.0)
    assert found.sizes.min() > 0 and found.sizes.sum() == len(found.voxels) == torus.sum()


def two_balls() -> np.ndarray:
    """One component: balls of radius 8 that a bridge joins, 22 voxels apart."""
    mask = ball(SHAPE, (20, 20, 20), 8) | ball(SHAPE, (20, 20, 42), 8)
    mask[19:22, 19:22, 20:43] = True
    return mask


def test_one_seed_a_component_splits_none_and_bins_do():
    for weight in (True, np.linspace(0.6, 0.9, SHAPE[2], dtype=np.float32)):
        bins, centroids = (
            locate(two_balls() * weight, split="mean-shift", seeds=seeds, bandwidth=6)
            for seeds in ("bins", "centroids")
        )
        assert len(bins) >= 2
        assert len(centroids) == 1 and centroids.sizes[0] == two_balls().sum()
    labels = packed()
    parts = len(locate(labels > 0, split="components"))
    assert len(locate(labels > 0, split="mean-shift", seeds="centroids")) <= parts
    assert len(locate(labels > 0, split="mean-shift", seeds="bins")) > parts


def test_components_whose_modes_lie_within_a_bandwidth_become_one():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[20:24, 20:24, 20:24] = mask[20:24, 20:24, 25:29] = True
    assert len(locate(mask, split="components")) == 2
    one = locate(mask, split="mean-shift", seeds="centroids", bandwidth=6)
    assert one.centers[0].tolist() == pytest.approx([21.5, 21.5, 24], abs=0.5) and one.sizes.tolist() == [128]


def test_a_ring_has_one_centre_with_one_seed():
    z, y, x = np.indices((9, 48, 48))
    ring = (np.abs(np.hypot(y - 23, x - 23) - 14) < 1.5) & (np.abs(z - 4) < 2)
    found = locate(ring, split="mean-shift", seeds="centroids", bandwidth=6.0)
    assert len(found) == 1 and found.sizes[0] == ring.sum()
    assert np.hypot(*(found.centers[0, 1:] - 23)) == pytest.approx(14, abs=2)


def test_unknown_seeds_are_refused():
    with pytest.raises(VoxpickError, match="unknown seeds 'random' of mean-shift; one of bins, centroids"):
        locate(np.zeros(SHAPE), split="mean-shift", seeds="random")


def test_a_clusters_centre_may_be_the_plain_mean_of_its_voxels():
    probability = np.zeros(SHAPE, dtype=np.float32)
    probability[19:22, 19:22, 10:40] = np.linspace(0.55, 0.95, 30)
    probability[16:25, 16:25, 10:19] = 0.6
    one = {"split": "mean-shift", "seeds": "centroids", "bandwidth": 6.0}
    modes, means = (locate(probability, cluster_centers=name, **one).centers for name in ("modes", "means"))
    assert means[0].tolist() == pytest.approx(np.argwhere(probability > 0).mean(axis=0).tolist())
    assert modes[0, 2] < means[0, 2] - 2
    with pytest.raises(VoxpickError, match="unknown cluster_centers 'middle' of mean-shift; one of modes, means"):
        locate(probability, cluster_centers="middle", **one)
