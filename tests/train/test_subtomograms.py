import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.train.augment import Augmentation
from voxpick.train.patches import draw_batch
from voxpick.train.schedules import learning_rate, staircase
from voxpick.train.settings import make_settings
from voxpick.train.subtomograms import CLEARANCE, LabelledSubtomograms
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

STILL = Augmentation(turns=False, scale=0.0, shift=0.0)
CENTERS, NAMES = np.array([[8, 6, 7], [9, 14, 8], [7, 12, 20]]), ["a", "b", "b"]


def volume() -> TrainingVolume:
    """A tomogram whose values tell where they are, four sections thicker below and above than its mask."""
    data = np.arange(20 * 20 * 28, dtype=np.float32).reshape(20, 20, 28)
    mask = np.zeros((12, 20, 28), dtype=np.int8)
    for (z, y, x), name in zip(CENTERS, NAMES, strict=True):
        mask[z - 5 : z - 2, y - 1 : y + 2, x - 1 : x + 2] = 1 + (name == "b")
    particles = Particles(CENTERS * 10.0, classes=np.array(NAMES, dtype=object))
    return TrainingVolume(Volume(data, 10.0), mask, particles, z_offset=4)


def sampler(**changes) -> LabelledSubtomograms:
    values = {"jitter": 0.0, "balanced": False, "background": 0.0, "augmentation": STILL, **changes}
    return LabelledSubtomograms([volume()], **{"classes": ["a", "b"], "size": 8, **values})


def places(found: LabelledSubtomograms, number: int, seed: int = 0) -> list[tuple[tuple[int, ...], int]]:
    """Centre voxel and label of drawn subtomograms, from the value at the centre."""
    rng = np.random.default_rng(seed)
    drawn = [found.draw(rng) for _ in range(number)]
    return [
        (tuple(int(i) for i in np.unravel_index(int(image[4, 4, 4]), (20, 20, 28))), int(label))
        for image, label in drawn
    ]


def test_particles_are_centred_and_labelled():
    truth = {tuple(c): 1 + (name == "b") for c, name in zip(CENTERS.tolist(), NAMES, strict=True)}
    found = places(sampler(), 60)
    assert dict(found) == truth
    assert sampler().epoch == 3


def test_classes_are_drawn_alike_when_balanced():
    share = {balanced: np.mean([k == 1 for _, k in places(sampler(balanced=balanced), 600)]) for balanced in (0, 1)}
    assert share[0] == pytest.approx(1 / 3, abs=0.06) and share[1] == pytest.approx(1 / 2, abs=0.06)


def test_jitter_shifts_by_whole_voxels():
    shifts = np.array([np.array(place) - CENTERS[0] for place, label in places(sampler(jitter=2.0), 300) if label == 1])
    assert shifts.min() == -2 and shifts.max() == 2


def test_background_is_away_from_every_particle():
    found = places(sampler(background=0.5), 400)
    assert np.mean([label == 0 for _, label in found]) == pytest.approx(0.5, abs=0.08)
    occupied = np.argwhere(volume().class_mask) + [4, 0, 0]
    for place, label in found:
        if label == 0 and min(place) > 0:  # a cube over the edge begins with zeros, but its centre is inside
            assert np.abs(occupied - place).max(axis=1).min() > CLEARANCE
            assert 4 <= place[0] < 16


def test_a_batch_has_one_label_an_image():
    images, labels = draw_batch(sampler(augmentation=Augmentation()), np.random.default_rng(0), batch=5)
    assert images.shape == (5, 1, 8, 8, 8) and labels.shape == (5,)
    assert set(labels.tolist()) == {1, 2}


def test_data_that_do_not_fit_are_refused():
    with pytest.raises(VoxpickError, match="hold 'b', the model names a"):
        sampler(classes=["a"])
    full = volume()
    full.class_mask[:] = 1
    found = LabelledSubtomograms(
        [full], classes=["a", "b"], size=8, jitter=0, balanced=True, background=0.5, augmentation=STILL
    )
    with pytest.raises(VoxpickError, match=r"options\.background=0"):
        places(found, 20)


def test_the_rate_falls_every_ten_epochs_after_a_warm_up_of_five():
    settings = make_settings({
        "schedule": "staircase", "decay_epoch": 10, "warmup": 5 / 30, "epochs": 30, "learning_rate": 0.1
    })  # fmt: skip
    steps = 40
    rates = {
        epoch: learning_rate(settings, step=round(epoch * steps), progress=epoch / 30, epoch_steps=steps)
        for epoch in (0, 1, 2.5, 5, 9.9, 10, 19.9, 20, 29.9)
    }
    assert list(rates.values()) == pytest.approx([0.001, 0.02, 0.05, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert staircase(0, 0, decay_epoch=3, warmup=0) == 1
