"""Detection by one network that names as it finds."""

import numpy as np
import pytest
import torch
from blobs import model, scattered, tomogram

from voxpick.detect.class_voxels import ClassForeground, class_voxels
from voxpick.detect.foreground import Foreground
from voxpick.detect.locate import locate
from voxpick.detect.one_stage import detect_in_one_stage, locate_by_class, vote
from voxpick.detect.segment import softmax_map
from voxpick.detect.select import alone, apart
from voxpick.detect.settings import DetectSettings
from voxpick.errors import VoxpickError
from voxpick.volume import intensity_statistics

SHAPE = (44, 60, 76)
NAMES = ["small", "large"]
CPU = torch.device("cpu")


def case(*, voxel_size: float = 10.0):
    """A tomogram of 12 spheres, their centres in A, the classes (by darkness), and a model that knows them."""
    rng = np.random.default_rng(0)
    labels, centers = scattered(SHAPE, 12, (4, 6), rng, gap=3)
    truth = np.arange(12) % 2
    volume = tomogram(labels, np.where(truth == 0, 8.0, 40.0), rng, voxel_size=voxel_size)
    _, deviation = intensity_statistics(volume)
    return volume, centers * voxel_size, truth, model((4.0 / deviation, 12.0 / deviation), NAMES)


def match(particles, centers):
    distance = np.linalg.norm(particles.centers_zyx[:, None] - centers, axis=2)
    return distance.argmin(axis=1), distance.min(axis=1)


@pytest.mark.parametrize("voting", ["majority", "probability"])
@pytest.mark.parametrize("split", ["watershed", "mean-shift", "components"])
def test_every_particle_is_found_named_and_scored(split, voting):
    volume, centers, truth, network = case()
    settings = DetectSettings(split=split, voting=voting)
    detection = detect_in_one_stage(volume, network, settings=settings, per_class=False, device="cpu")
    particles = detection.particles
    rows, distance = match(particles, centers)
    assert sorted(rows) == list(range(12)) and distance.max() < (7 if split == "mean-shift" else 5)
    assert [NAMES.index(name) for name in particles.classes] == truth[rows].tolist()
    np.testing.assert_allclose(particles.scores, particles.location_scores * particles.class_scores)
    assert (np.diff(particles.scores) <= 0).all() and particles.scores.max() > 0.7
    assert detection.settings["split"] == split and set(particles.tomograms) == {"blobs"}
    at = np.rint(centers / 10).astype(int)
    assert detection.segmentation.data[tuple(at.T)].tolist() == (truth + 1).tolist()


def test_class_by_class_the_rim_of_a_large_particle_is_one_of_the_small_class():
    """What the vote avoids: dark spheres have a rim that looks like a faint one, which minimum_size drops."""
    volume, centers, truth, network = case()
    settings = DetectSettings(minimum_size=90)
    detection = detect_in_one_stage(volume, network, settings=settings, per_class=True, device="cpu")
    rows, distance = match(detection.particles, centers)
    large = detection.particles.classes == "large"
    assert sorted(rows[large]) == np.flatnonzero(truth == 1).tolist() and distance[large].max() < 5
    assert set(rows[~large]) >= set(np.flatnonzero(truth == 0))
    assert (detection.particles.class_scores > 0.5).all() and (detection.particles.class_scores <= 1).all()


def test_voxels_and_probabilities_are_those_of_the_whole_map():
    volume, _, _, network = case()
    mean, deviation = intensity_statistics(volume)
    image = torch.from_numpy((volume.data - np.float32(mean)) / np.float32(deviation))[None, None]
    maps = softmax_map(image, network.network, device=CPU, dtype=torch.float32)[0].numpy()
    found = class_voxels(
        volume.data, network.network, tile=32, halo=2, mean=mean, deviation=deviation, threshold=0.4, device=CPU,
        dtype=torch.float32,
    )  # fmt: skip
    expected = np.flatnonzero(1 - maps[0] > 0.4)
    np.testing.assert_array_equal(found.found.voxels, expected)
    np.testing.assert_allclose(found.found.values, 1 - maps[0].ravel()[expected], atol=1e-3)
    np.testing.assert_allclose(found.probabilities, maps[1:].reshape(2, -1)[:, expected].T, atol=1e-3)
    assert network.network.largest_input == volume.data.size


def two_bars():
    """A bar of class 1 in 4 sections and, less certain, class 2 in 6; another bar of class 2. 3 x 3 voxels across."""
    probability = np.zeros((2, 12, 20, 28))
    probability[0, 1:5, 4:7, 4:7] = 0.9
    probability[1, 5:11, 4:7, 4:7] = 0.5
    probability[1, 2:8, 12:15, 20:23] = 0.8
    total = probability.sum(axis=0)
    voxels = np.flatnonzero(total > 0.4)
    found = Foreground((12, 20, 28), voxels, total.ravel()[voxels].astype(np.float16))
    return ClassForeground(found, probability.reshape(2, -1)[:, voxels].T.astype(np.float16))


def test_voxels_vote_by_number_or_by_probability():
    found = two_bars()
    located = locate(found.found, split="components", minimum_size=5)
    labels, shares = vote(found, located, voting="majority")
    assert labels.tolist() == [2, 2] and shares == pytest.approx([0.6, 1.0])
    labels, shares = vote(found, located, voting="probability")
    assert labels.tolist() == [1, 2] and shares == pytest.approx([3.6 / 6.6, 1.0], abs=1e-3)


def test_class_by_class_touching_particles_come_apart():
    located, labels, shares = locate_by_class(two_bars(), split="components", minimum_size=5)
    assert labels.tolist() == [1, 2, 2] and shares == pytest.approx([1, 1, 1], abs=1e-3)
    assert located.sizes.tolist() == [36, 54, 54]
    np.testing.assert_allclose(located.centers, [[2.5, 5, 5], [4.5, 13, 21], [7.5, 5, 5]], atol=1e-6)
    assert (np.diff(located.voxels) > 0).all()
    assert located.painted(labels)[[2, 8, 5], [5, 5, 13], [5, 5, 21]].tolist() == [1, 2, 2]
    np.testing.assert_allclose(located.scores, [0.9, 0.8, 0.5], atol=1e-3)


def test_nothing_found_is_no_error():
    volume, _, _, _ = case()
    for per_class in (False, True):
        detection = detect_in_one_stage(
            volume, model((500.0, 600.0), NAMES), settings=DetectSettings(), per_class=per_class, device="cpu"
        )
        assert len(detection.particles) == 0 and not detection.segmentation.data.any()


def test_memory_is_asked_for_and_obeyed():
    volume, _, _, network = case()
    with pytest.raises(VoxpickError, match=r"max_memory is 100M"):
        settings = DetectSettings(max_memory="100M")
        detect_in_one_stage(volume, network, settings=settings, per_class=False, device="cpu")


def test_bad_models_and_merges_are_refused():
    volume, _, _, network = case()
    with pytest.raises(VoxpickError, match="merge = crop"):
        detect_in_one_stage(volume, network, settings=DetectSettings(merge="border"), per_class=False, device="cpu")
    network.classes = ["background"]
    with pytest.raises(VoxpickError, match=r"has the classes \['background'\]"):
        detect_in_one_stage(volume, network, settings=DetectSettings(), per_class=False, device="cpu")


def test_picks_too_close_to_a_better_one_go_but_not_those_close_to_a_dropped_one():
    centers = np.array([[0.0, 0, 0], [0, 0, 30], [0, 0, 60], [100, 0, 0], [0, 0, 40]])
    assert apart(centers, 40).tolist() == [True, False, True, True, False]
    assert apart(centers, 30).tolist() == [True, True, True, True, False]
    assert apart(centers, 0).all() and apart(centers[:0], 5).tolist() == []
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 50, (300, 3))
    slow = []
    for k, point in enumerate(points):
        if all(np.linalg.norm(points[j] - point) >= 7 for j in slow):
            slow.append(k)
    assert np.flatnonzero(apart(points, 7)).tolist() == slow


def test_least_distance_of_a_detection():
    volume, _, _, network = case()
    far = DetectSettings(minimum_distance=200)
    found = detect_in_one_stage(volume, network, settings=far, per_class=False, device="cpu").particles
    distance = np.linalg.norm(found.centers_zyx[:, None] - found.centers_zyx, axis=2) + 1e9 * np.eye(len(found))
    assert 1 < len(found) < 12 and distance.min() >= 200


def test_lengths_are_in_angstrom_and_sections_those_of_the_tomogram():
    volume, centers, _, network = case()
    found = detect_in_one_stage(
        volume, network, settings=DetectSettings(bandwidth=30), per_class=False, device="cpu"
    ).particles
    coarse, network.voxel_size = case(voxel_size=20.0)[0], 20.0
    again = detect_in_one_stage(
        coarse, network, settings=DetectSettings(bandwidth=60), per_class=False, device="cpu"
    ).particles
    np.testing.assert_allclose(again.centers_zyx, 2 * found.centers_zyx)
    np.testing.assert_allclose(again.scores, found.scores)
    part = detect_in_one_stage(
        coarse, network, settings=DetectSettings(slab="6:44"), per_class=False, device="cpu"
    ).particles
    whole = np.linalg.norm(part.centers_zyx[:, None] - 2 * centers, axis=2).min(axis=1)
    assert len(part) >= 9 and np.median(whole) < 10


def test_of_picks_that_are_too_close_none_may_stay():
    centers = np.array([[0.0, 0, 0], [0, 0, 30], [0, 0, 60], [0, 200, 0]])
    assert alone(centers, 40).tolist() == [False, False, False, True]
    assert alone(centers, 30).tolist() == [True] * 4 and alone(centers, 0).tolist() == [True] * 4
    volume, _, _, network = case()
    number = {}
    for name in ("better", "none"):
        settings = DetectSettings(minimum_distance=200, too_close=name)
        found = detect_in_one_stage(volume, network, settings=settings, per_class=False, device="cpu").particles
        number[name] = len(found)
        gaps = np.linalg.norm(found.centers_zyx[:, None] - found.centers_zyx, axis=2)
        assert gaps[gaps > 0].min(initial=np.inf) >= 200
    every = detect_in_one_stage(volume, network, settings=DetectSettings(), per_class=False, device="cpu").particles
    gaps = np.linalg.norm(every.centers_zyx[:, None] - every.centers_zyx, axis=2)
    assert number["none"] == ((gaps < 200).sum(axis=1) == 1).sum() < number["better"]
