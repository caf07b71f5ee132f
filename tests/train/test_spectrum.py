"""Random amplitude spectra: phases, the wedge, mean and standard deviation stay; the gain is the one written down."""

import numpy as np
import pytest

from voxpick.train.augment import Augmentation
from voxpick.train.spectrum import CUT_OFFS, change_spectrum


def image(seed=0, shape=(24, 30, 27)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 3 + 2


def changed(given, seed=1, **settings):
    return change_spectrum(given, np.random.default_rng(seed), **settings)


@pytest.mark.parametrize("settings", [{"strength": 0.5, "low_pass": 0.0}, {"strength": 0.0, "low_pass": 1.0}])
def test_mean_deviation_and_phases_stay(settings):
    given = image()
    result = changed(given, **settings)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(given.mean(), abs=1e-4)
    assert result.std() == pytest.approx(given.std(), rel=1e-4)
    before, after = np.fft.fftn(given - given.mean()), np.fft.fftn(result - result.mean())
    ratio = after.ravel()[1:] / before.ravel()[1:]
    strong = np.abs(after.ravel()[1:]) > 1e-2 * np.abs(after).max()
    assert np.abs(ratio.imag[strong]).max() < 1e-2 * np.abs(ratio.real[strong]).max()
    assert ratio.real[strong].min() > 0
    assert not np.allclose(result, given, atol=0.05)


def test_the_gain_is_a_function_of_the_radius_alone_and_as_written():
    given, strength = image(shape=(20, 20, 20)), 0.4
    a, b = np.random.default_rng(1).normal(0.0, strength, size=2)
    result = changed(given, strength=strength, low_pass=0.0)
    z, y, x = np.meshgrid(*(2 * np.fft.fftfreq(20) for _ in range(3)), indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    f = np.minimum(radius, 1)
    expected = np.exp(a * np.cos(np.pi * f) + b * np.cos(2 * np.pi * f))
    got = (np.fft.fftn(result) / np.fft.fftn(given)).real
    inside = radius > 0
    scale = got[inside] / expected[inside]
    assert scale.std() < 1e-3 * scale.mean()


def test_low_pass_takes_what_lies_beyond_nyquist_and_keeps_what_is_slow():
    given = image(shape=(32, 32, 32))
    result = changed(given, strength=0.0, low_pass=1.0)
    z, y, x = np.meshgrid(*(2 * np.fft.fftfreq(32) for _ in range(3)), indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    gain = np.abs(np.fft.fftn(result) / np.fft.fftn(given))
    slow = gain[(radius > 0) & (radius < 0.8 * CUT_OFFS[0])]
    assert slow.std() < 0.02 * slow.mean()
    assert gain[radius > 1.4].max() < 0.1 * slow.mean()


def test_nothing_is_drawn_or_changed_unless_asked_for():
    given, rng = image(), np.random.default_rng(5)
    result = Augmentation(turns=False, scale=0.0, shift=0.0).varied(given, rng)
    np.testing.assert_array_equal(result, given)
    plain = np.random.default_rng(5)
    plain.uniform(0, 0), plain.uniform(0, 0)
    assert rng.random() == plain.random()


def test_a_flat_patch_stays_flat():
    flat = np.full((8, 8, 8), 1.5, dtype=np.float32)
    np.testing.assert_allclose(changed(flat, strength=0.5, low_pass=1.0), flat, atol=1e-5)
