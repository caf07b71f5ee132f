"""Patches: where they come from, and that augmentation leaves the missing wedge alone."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.train.augment import Augmentation
from voxpick.train.patches import draw_batch, make_sampler
from voxpick.train.settings import make_settings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

PLAIN = {"turns": False, "intensity_scale": 0.0, "intensity_shift": 0.0}


def wedge(shape, *, half_angle_deg=30.0):
    """Fourier samples missing from a tilt series about y, beam z: within half_angle of the z axis in the zx plane."""
    z, _, x = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    return np.abs(x) < np.abs(z) * np.tan(np.deg2rad(half_angle_deg))


def missing_power(image):
    """Share of the power in the missing wedge, Nyquist planes aside."""
    power = np.abs(np.fft.fftn(image)) ** 2
    return power[wedge(image.shape)].sum() / power.sum()


def wedged_noise(rng, shape=(13, 21, 27)):
    spectrum = np.fft.fftn(rng.standard_normal(shape))
    spectrum[wedge(shape)] = 0
    return np.fft.ifftn(spectrum).real.astype(np.float32)


@pytest.mark.parametrize("mirrors", [False, True])
def test_an_empty_wedge_stays_empty(mirrors):
    rng = np.random.default_rng(3)
    augmentation = Augmentation(turns=True, mirrors=mirrors, scale=0.2, shift=0.0)
    image = wedged_noise(rng)
    labels = np.zeros(image.shape, dtype=np.int64)
    for _ in range(20):
        changed, _ = augmentation(image, labels, rng)
        assert missing_power(changed) < 1e-10
    assert missing_power(np.transpose(image, (2, 1, 0))) > 0.1


def test_turns_are_the_four_half_turns_and_keep_handedness():
    rng = np.random.default_rng(0)
    image = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    augmentation = Augmentation(turns=True, scale=0.0, shift=0.0)
    seen = {augmentation(image, image.astype(np.int64), rng)[0].tobytes() for _ in range(60)}
    turned = [image, image[::-1, ::-1], image[::-1, :, ::-1], image[:, ::-1, ::-1]]
    assert seen == {np.ascontiguousarray(each).tobytes() for each in turned}


def test_image_and_labels_turn_together():
    rng = np.random.default_rng(1)
    image = rng.standard_normal((4, 5, 6)).astype(np.float32)
    labels = (image * 1000).astype(np.int64)
    for _ in range(8):
        changed, turned = Augmentation(mirrors=True, scale=0.0, shift=0.0)(image, labels, rng)
        assert np.array_equal((changed * 1000).astype(np.int64), turned)


def test_contrast_brightness_and_noise_are_drawn_within_their_ranges():
    rng, image = np.random.default_rng(2), np.array([[[0.0, 1.0]]], dtype=np.float32)
    drawn = np.array([Augmentation(scale=0.3, shift=0.2).varied(image, rng) for _ in range(400)])[:, 0, 0]
    shifts, factors = drawn[:, 0], drawn[:, 1] - drawn[:, 0]
    for values, middle, width in ((shifts, 0, 0.2), (factors, 1, 0.3)):
        assert (np.abs(values - middle) <= width + 1e-6).all()
        assert (values.min(), values.max()) == pytest.approx((middle - width, middle + width), abs=0.02)
    noisy = Augmentation(scale=0.0, shift=0.0, noise=0.5).varied(np.zeros((20, 20, 20), np.float32), rng)
    assert (noisy.mean(), noisy.std()) == (pytest.approx(0, abs=0.03), pytest.approx(0.5, rel=0.05))


def test_half_turns_and_mirrors_make_all_eight_flips_alike():
    rng, augmentation = np.random.default_rng(0), Augmentation(mirrors=True)
    drawn = [tuple(sorted(augmentation.axes(rng))) for _ in range(4000)]
    shares = [drawn.count(axes) / 4000 for axes in set(drawn)]
    assert shares == pytest.approx([1 / 8] * 8, abs=0.02)


def make_volume(centers, classes, *, shape=(20, 28, 36), offset=4, specimen=12):
    data = np.zeros(shape, dtype=np.float32)
    mask = np.zeros((specimen, *shape[1:]), dtype=np.int8)
    for k, (z, y, x) in enumerate(centers):
        data[z, y, x] = k + 1
        mask[z - offset, y, x] = 1 + (classes[k] == "rare")
    particles = Particles(np.array(centers) * 10.0, classes=np.array(classes, dtype=object))
    return TrainingVolume(Volume(data, 10.0), mask, particles, z_offset=offset)


def test_subtomograms_are_centred_on_their_particle_within_the_jitter():
    volume = make_volume([(9, 12, 15), (8, 3, 30)], ["often", "rare"])
    rng = np.random.default_rng(0)
    exact = make_sampler([volume], make_settings({"stage": "classifier", "patch": 8, "jitter": 0, **PLAIN}))
    for _ in range(5):
        image, labels = exact.draw(rng)
        assert image[4, 4, 4] in (1, 2)
        assert labels[4, 4, 4] == image[4, 4, 4]
    jittered = make_sampler([volume], make_settings({"stage": "classifier", "patch": 12, "jitter": 2, **PLAIN}))
    shifts = np.array([np.argwhere(jittered.draw(rng)[1] > 0)[0] - 6 for _ in range(60)])
    assert np.abs(shifts).max() == 2
    assert np.abs(shifts.mean(axis=0)).max() < 0.6


def test_a_turned_subtomogram_has_its_particle_at_the_voxel_of_one_that_is_not():
    volume = make_volume([(9, 12, 15)], ["rare"])
    settings = make_settings({"stage": "classifier", "patch": 8, "jitter": 0, **PLAIN, "turns": True, "mirrors": True})
    sampler, rng = make_sampler([volume], settings), np.random.default_rng(0)
    for _ in range(20):
        image, labels = sampler.draw(rng)
        assert image.shape == labels.shape == (8, 8, 8)
        assert np.argwhere(labels > 0).tolist() == [[4, 4, 4]] == np.argwhere(image > 0).tolist()


@pytest.mark.parametrize(("balanced", "share"), [(True, 0.5), (False, 0.1)])
def test_classes_are_balanced_on_request(balanced, share):
    centers = [(9, 4, 3 + 3 * k) for k in range(9)] + [(9, 20, 20)]
    volume = make_volume(centers, ["often"] * 9 + ["rare"])
    settings = make_settings({"stage": "classifier", "patch": 4, "jitter": 0, "balanced": balanced, **PLAIN})
    sampler, rng = make_sampler([volume], settings), np.random.default_rng(0)
    rare = np.mean([sampler.draw(rng)[1].max() == 2 for _ in range(400)])
    assert rare == pytest.approx(share, abs=0.08)
    assert sampler.epoch == 10


def test_localizer_patches_lie_in_the_tomogram_and_half_of_them_hold_a_particle():
    volume = make_volume([(6, 2, 2)], ["often"])
    rng = np.random.default_rng(0)
    around = make_sampler([volume], make_settings({"patch": 8, "centred_fraction": 1.0, **PLAIN}))
    for _ in range(50):
        image, labels = around.draw(rng)
        assert set(np.unique(labels)) == {0, 1}
        assert np.array_equal(labels > 0, image > 0)
    anywhere = make_sampler([volume], make_settings({"patch": 8, "centred_fraction": 0.0, **PLAIN}))
    found = [anywhere.draw(rng)[1].max() for _ in range(200)]
    assert min(found) == 0
    assert anywhere.epoch == round(12 * 28 * 36 / 8**3)


def test_of_two_tomograms_each_particle_is_drawn_as_often():
    centers = [(9, 4, 3 + 3 * k) for k in range(9)]
    volumes = [make_volume(centers, ["often"] * 9), make_volume([(9, 20, 20)], ["often"])]
    volumes[1].tomogram.data[:] -= 100
    sampler = make_sampler(volumes, make_settings({"patch": 8, "centred_fraction": 1.0, **PLAIN}))
    rng = np.random.default_rng(0)
    second = np.mean([sampler.draw(rng)[0].min() < -50 for _ in range(400)])
    assert second == pytest.approx(0.1, abs=0.05)


def test_same_seed_same_batch():
    volume = make_volume([(6, 12, 12)], ["often"])
    sampler = make_sampler([volume], make_settings({"patch": 8, "noise": 0.5}))
    images, labels = draw_batch(sampler, np.random.default_rng(7), batch=3)
    again, _ = draw_batch(sampler, np.random.default_rng(7), batch=3)
    other, _ = draw_batch(sampler, np.random.default_rng(8), batch=3)
    assert images.shape == (3, 1, 8, 8, 8) and labels.shape == (3, 8, 8, 8)
    assert (images == again).all() and not (images == other).all()


def test_no_data_is_refused():
    with pytest.raises(VoxpickError, match="no training data"):
        make_sampler([], make_settings({}))
    volume = make_volume([(6, 12, 12)], ["often"])
    empty = TrainingVolume(volume.tomogram, volume.class_mask, Particles(np.empty((0, 3))), z_offset=4)
    with pytest.raises(VoxpickError, match="no particles"):
        make_sampler([empty], make_settings({"stage": "classifier"}))
