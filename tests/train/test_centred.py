"""Labelled boxes: particles in the middle, background away from them, sizes and ratios for the detector."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.train.augment import Augmentation
from voxpick.train.centred import CentredBoxes, box_loss, box_options, particle_statistics, reaches
from voxpick.train.settings import make_settings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

STILL = Augmentation(turns=False, scale=0.0, shift=0.0)
CENTERS = np.array([[8, 9, 9], [8, 19, 27], [9, 5, 20]])


def make_volume(occupancy=True):
    """24 sections, the specimen from 4 to 20; voxel z, y, x holds its own number."""
    shape = (24, 28, 36)
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    mask = np.zeros((16, 28, 36), np.int8)
    owner = np.zeros(mask.shape, np.int16)
    for k, (z, y, x) in enumerate(CENTERS):
        side = (3, 1, 3)[k]
        box = (slice(z - 4 - side, z - 4 + side), slice(y - side, y + side), slice(x - side, x + side + 3))
        mask[box], owner[box] = (1, 2, 1)[k], k + 1
    particles = Particles(CENTERS * 10.0, classes=np.array(["big", "little", "big"], dtype=object))
    return TrainingVolume(Volume(data, 10.0, "toy"), mask, particles, owner if occupancy else None, z_offset=4)


def sampler(**changes):
    values = {"size": 6, "background": 0.4, "distance": 5.0, "jitter": 0.0, "balanced": True, "augmentation": STILL}
    return CentredBoxes([make_volume()], ["big", "little"], **{**values, **changes})


def middle(image):
    """Voxel of the tomogram in the middle of a box."""
    return np.array(np.unravel_index(int(image[3, 3, 3]), (24, 28, 36)))


def test_particles_lie_in_the_middle_with_their_label_and_background_away():
    boxes, rng, labels = sampler(), np.random.default_rng(0), []
    for _ in range(300):
        image, label = boxes.draw(rng)
        assert image.shape == (6, 6, 6) and label.shape == () and label.dtype == np.int64
        labels.append(int(label))
        distances = np.linalg.norm(CENTERS - middle(image), axis=1)
        if label == 0:
            assert distances.min() >= 5
        else:
            assert distances.min() == 0 and label == [1, 2, 1][distances.argmin()]
    assert np.bincount(labels) / 300 == pytest.approx([0.4, 0.3, 0.3], abs=0.08)
    assert boxes.epoch == 5


def test_jitter_moves_the_box_and_no_background_is_drawn_if_none_is_asked_for():
    boxes, rng = sampler(background=0.0, jitter=1.0, balanced=False), np.random.default_rng(1)
    drawn = [boxes.draw(rng) for _ in range(60)]
    shifts = [np.abs(CENTERS - middle(image)).max(axis=1).min() for image, _ in drawn]
    assert set(shifts) == {0, 1} and 0 not in {int(label) for _, label in drawn}


def test_cube_gives_all_48_orientations():
    boxes, rng = sampler(background=0.0, cube=True, augmentation=Augmentation(True, True, 0.0, 0.0)), None
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(600):
        image, label = boxes.draw(rng)
        if label == 2:
            steps = [round(float(np.diff(image, axis=axis)[3, 3, 3])) for axis in range(3)]
            seen.add(tuple(steps))
    assert len(seen) == 48 and {abs(step) for step in next(iter(seen))} == {1, 36, 28 * 36}


def test_a_share_of_the_background_lies_in_the_shell_around_particles():
    reach = {"big": 4.0, "little": 2.0}
    boxes, rng = sampler(background=0.9, distance=8.0, shell=0.75, reach=reach), np.random.default_rng(5)
    own, near = np.array([4.0, 2.0, 4.0]), []
    for _ in range(200):
        image, label = boxes.draw(rng)
        if label == 0:
            distances = np.linalg.norm(CENTERS - middle(image), axis=1)
            assert (distances >= own).all()
            near.append(distances.min() < 8)
    assert np.mean(near) == pytest.approx(0.75, abs=0.1)
    far = sampler(background=0.9, distance=8.0, shell=1.0, reach={"big": 99.0, "little": 99.0})
    assert far.shell_place(0, rng) is None  # all within reach of a particle
    assert reaches([make_volume()], ["big", "little"], near=5) == pytest.approx({"big": 17.5, "little": 7.5})
    assert reaches([make_volume()], ["big", "little"], near=2) == pytest.approx({"big": 7.0, "little": 6.0})


def test_background_farthest_off_where_none_is_far_enough():
    boxes = sampler(distance=100.0)
    place = boxes.background_place(0, np.random.default_rng(3))
    assert np.linalg.norm(CENTERS - place, axis=1).min() > 18


def test_statistics_for_the_detector():
    found = particle_statistics([make_volume()], ["big", "little"])
    assert found["box_sizes"] == pytest.approx({"big": (6 + 6 + 9) / 3 * 10, "little": (2 + 2 + 5) / 3 * 10})
    assert found["class_ratios"] == pytest.approx({"big": 2 / 3, "little": 1 / 3})
    assert found["density"] == pytest.approx(3 / (280 * 360)) and found["thickness"] == 160
    cubes = particle_statistics([make_volume(occupancy=False)], ["big", "little"])["box_sizes"]
    assert cubes == pytest.approx({"big": (6 * 6 * 9) ** (1 / 3) * 10, "little": 20 ** (1 / 3) * 10})
    more = particle_statistics([make_volume(occupancy=False)], ["big", "little", "absent"])
    assert more["box_sizes"] == pytest.approx(cubes)


def test_loss_by_hand():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    settings = make_settings({"loss": "cross_entropy", "background_weight": 0.5, "steps": 1})
    nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = (torch.tensor([0.5, 1, 1])[labels] * nll).mean()
    assert torch.allclose(box_loss(settings, 3)(logits, labels), expected, atol=1e-6)
    with pytest.raises(VoxpickError, match="class_weights has 2 values; the network has 3 outputs"):
        box_loss(make_settings({"class_weights": [1.0, 2.0], "steps": 1}), 3)
    for weights, words in (([], "0 values"), ([1.0, 0.0, 1.0], "weights are above 0")):
        with pytest.raises(VoxpickError, match=words):
            box_loss(make_settings({"class_weights": weights, "steps": 1}), 3)
    with pytest.raises(VoxpickError, match="loss is dice"):
        box_loss(make_settings({"loss": "dice", "steps": 1}), 3)


def test_options_are_checked():
    with pytest.raises(VoxpickError, match=r"options\.far = 3: .*; known: background, .*, near, orientations"):
        box_options(make_settings({"options": {"far": 3}, "steps": 1}))
    with pytest.raises(VoxpickError, match="hold no particle of the classes other"):
        CentredBoxes(
            [make_volume()], ["other"], size=6, background=0.5, distance=5, jitter=0, balanced=True, augmentation=STILL
        )
