"""DeepFinder as a method: its patches, its losses, and picks by either paper's clustering."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.losses import cross_entropy, dice
from voxpick.methods import deepfinder
from voxpick.methods.voxel_classes import TurnedAboutTiltAxis, class_loss, class_patches
from voxpick.particles import Particles
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume, intensity_statistics

SHAPE = (24, 36, 44)
CLASSES = ["big", "little"]


def make_volume(seed=0):
    """Six dark balls apart, of radius 5 (class 1) and 4 (class 2, darker)."""
    rng = np.random.default_rng(seed)
    centers = np.array([[7, 8, 8], [16, 8, 22], [8, 10, 36], [16, 26, 8], [8, 26, 22], [15, 27, 36]])
    grid, mask = np.indices(SHAPE), np.zeros(SHAPE, np.int8)
    for k, center in enumerate(centers):
        ball = sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= (5, 4)[k % 2] ** 2
        mask[ball] = k % 2 + 1
    data = rng.standard_normal(SHAPE) - np.array([0, 4, 10])[mask]
    names = np.array([CLASSES[k % 2] for k in range(6)], dtype=object)
    volume = Volume(data.astype(np.float32), 10.0, "toy")
    return TrainingVolume(volume, mask, Particles(centers * 10.0, names), intensity=intensity_statistics(volume))


def test_the_papers_settings():
    for preset, loss, steps in (("paper", "cross_entropy", 6000), ("shrec20", "dice", 25_000)):
        settings = deepfinder.training_settings("segmenter", preset)
        assert (settings.patch, settings.learning_rate, settings.loss, settings.steps) == (56, 1e-4, loss, steps)
        assert settings.centred_fraction == 1 and not settings.turns and settings.average_decay == 0
    model = deepfinder.create_model(settings, [f"class{k}" for k in range(12)], voxel_size=10.0)
    assert sum(p.numel() for p in model.network.parameters()) == 903_357


def test_every_patch_holds_a_particle_and_shows_all_classes_in_time():
    settings = deepfinder.training_settings("segmenter", "paper", {"patch": 16})
    sampler, rng = class_patches([make_volume()], settings), np.random.default_rng(1)
    drawn = [sampler.draw(rng)[1] for _ in range(40)]
    assert all((labels > 0).any() for labels in drawn)
    assert set(np.unique(drawn)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("center", "lowest", "highest"), [((20, 22, 24), [4] * 3, [11] * 3), ((2, 43, 24), [2, 15, 4], [2, 15, 11])]
)
def test_a_particle_lies_in_the_middle_half_of_its_patch_unless_the_tomogram_ends(center, lowest, highest):
    shape = (40, 44, 48)
    places = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    particles = Particles(np.array([center]) * 10.0, np.array(["big"], dtype=object))
    volume = TrainingVolume(Volume(places, 10.0, "toy"), np.zeros(shape, np.int8), particles)
    settings = deepfinder.training_settings("segmenter", "paper", {"patch": 16})
    sampler, rng = class_patches([volume], settings), np.random.default_rng(0)
    starts = [np.unravel_index(int(sampler.draw(rng)[0][0, 0, 0]), shape) for _ in range(200)]
    offsets = np.array(center) - starts
    assert offsets.min(axis=0).tolist() == lowest and offsets.max(axis=0).tolist() == highest


def test_turns_are_about_the_tilt_axis():
    class Ramp:
        epoch = 7

        def draw(self, rng):
            image = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
            return image, image.astype(np.int64)

    sampler, rng = TurnedAboutTiltAxis(Ramp()), np.random.default_rng(0)
    ramp, _ = Ramp().draw(rng)
    turned = np.rot90(ramp, 2, axes=(0, 2))
    count = 0
    for _ in range(40):
        image, labels = sampler.draw(rng)
        np.testing.assert_array_equal(image, labels)
        assert np.array_equal(image, ramp) or np.array_equal(image, turned)
        count += np.array_equal(image, turned)
    assert 10 < count < 30 and sampler.epoch == 7


def test_losses_are_those_of_the_papers_and_their_sum():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    entropy = cross_entropy(logits, labels, class_weights=[0.15, 1, 1])
    overlap = dice(logits, labels, include_background=True)
    for preset, expected in (
        ("paper", cross_entropy(logits, labels)),
        ("shrec20", overlap),
        ("minutes", entropy + overlap),
    ):
        settings = deepfinder.training_settings("segmenter", preset)
        loss = class_loss(settings, channels=3, dice_weight=settings.options["dice_weight"])
        torch.testing.assert_close(loss(logits, labels), expected)


def test_a_class_that_is_not_in_the_batch_counts_as_missed():
    logits, labels = torch.zeros(2, 3, 4, 5, 6), torch.randint(0, 2, (2, 4, 5, 6))
    number, present = labels.numel(), labels.flatten().bincount().numpy()
    overlaps = 2 * present / 3 / (number / 3 + present)
    loss = class_loss(deepfinder.training_settings("segmenter", "shrec20"), channels=3)
    assert loss(logits, labels).item() == pytest.approx(1 - (overlaps.sum() + 0) / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "tversky"}, "cross_entropy, focal and dice"),
        ({"class_weights": [1.0, 2.0]}, "the network has 3 outputs"),
        ({"class_weights": []}, "the network has 3 outputs"),
        ({"class_weights": [1.0, 0.0, 1.0]}, "above 0"),
        ({"loss": "dice", "class_weights": [1.0, 2.0, 1.0]}, "the Dice loss takes none"),
    ],
)
def test_impossible_losses_are_refused(changes, words):
    with pytest.raises(VoxpickError, match=words):
        class_loss(deepfinder.training_settings("segmenter", "paper", changes), channels=3)


def test_unknown_options_and_values_of_another_kind_are_refused():
    with pytest.raises(VoxpickError, match="unknown option 'dice'"):
        deepfinder.training_settings("segmenter", changes={"options": {"dice": 1}})
    for option, words in (({"tilt_axis_turns": "no"}, "give true or false"), ({"dice_weight": "1"}, "a number from 0")):
        with pytest.raises(VoxpickError, match=words):
            deepfinder.training_settings("segmenter", changes={"options": option})


def test_trained_on_a_toy_it_finds_and_names_the_particles_of_another():
    torch.set_num_threads(1)
    changes = {**deepfinder.TINY["segmenter"], "patch": 24, "steps": 80, "average_decay": 0.0}
    settings = deepfinder.training_settings("segmenter", changes=changes)
    model = deepfinder.create_model(settings, CLASSES, voxel_size=10.0)
    deepfinder.train([make_volume()], model, settings, classes=CLASSES)
    other = make_volume(seed=5)
    for changes in ({}, deepfinder.PAPER_DETECTION):
        detection = deepfinder.detect(other.tomogram, {"segmenter": model}, changes=changes, device="cpu")
        picks = detection.particles
        distance = np.linalg.norm(picks.centers_zyx[:, None] - other.particles.centers_zyx, axis=2)
        best = distance.argmin(axis=0)
        assert distance.min(axis=0).max() < 20
        assert picks.classes[best].tolist() == other.particles.classes.tolist()
        assert detection.settings["halo"] == 24
    with pytest.raises(VoxpickError, match="holds localizer; detection needs a 'segmenter'"):
        deepfinder.detect(other.tomogram, {"localizer": model})


def test_the_papers_centres_are_means_of_clusters():
    assert deepfinder.PAPER_DETECTION["cluster_centers"] == "means"
