import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from voxpick.detect.convolution import filtered
from voxpick.detect.prepare import LEAST_CHANGE, prepare
from voxpick.detect.settings import DetectSettings
from voxpick.detect.slab import Slab
from voxpick.detect.spectrum import amplitudes, change, gains_to, kernel_of
from voxpick.volume import Volume

SHAPE = (64, 90, 110)


def noise(seed: int, shape: tuple[int, int, int] = SHAPE, sigma: float = 1.0) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap").astype(np.float32)


def normalised(data: np.ndarray) -> np.ndarray:
    return (data - data.mean()) / data.std()


def test_white_noise_has_the_amplitude_of_its_deviation_at_every_frequency():
    data = 5 + 3 * np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    np.testing.assert_allclose(amplitudes(data, 5.0, 1.0), 3.0, rtol=0.2)
    np.testing.assert_allclose(amplitudes(data, 5.0, 1.0)[4:], 3.0, rtol=0.03)


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e15, 1e30])
def test_the_unit_of_a_tomogram_does_not_matter(unit):
    data = noise(5)
    plain = amplitudes(data, 0.0, 0.2)
    np.testing.assert_allclose(amplitudes(data * np.float32(unit), 0.0, 0.2 * unit), plain, rtol=1e-5)


def test_a_filter_is_measured_by_what_it_does_to_a_tomogram():
    before, after = noise(1), noise(1, sigma=1.4)
    ratio = amplitudes(after, 0.0, 1.0) / amplitudes(before, 0.0, 1.0)
    frequency = np.arange(1, 25) / 48
    expected = np.exp(-2 * (np.pi * frequency) ** 2 * (1.4**2 - 1))
    np.testing.assert_allclose(ratio[2:16], expected[2:16], rtol=0.15)


def test_a_few_bright_beads_do_not_change_the_spectrum():
    data = noise(2)
    with_beads = data.copy()
    with_beads[30:34, 40:44, 50:54] += 40 * data.std()
    np.testing.assert_allclose(amplitudes(with_beads, 0.0, 1.0), amplitudes(data, 0.0, 1.0), rtol=0.25)


def test_another_colour_is_brought_to_the_wanted_one():
    wanted = amplitudes(normalised(noise(3, sigma=1.5)), 0.0, 1.0)
    other = normalised(noise(4))
    own = amplitudes(other, 0.0, 1.0)
    gains = gains_to(wanted, own)
    found = filtered(Volume(other, 10.0), kernel_of(gains), slice(0, 64), mean=0.0, deviation=1.0).data
    left = gains_to(wanted, amplitudes(found, 0.0, 1.0))
    assert change(gains, own) > 0.3
    assert change(left, amplitudes(found, 0.0, 1.0)) < 0.1


def test_what_a_tomogram_lacks_is_not_made_of_its_noise():
    wanted = np.ones(24)
    own = np.r_[np.ones(12), np.full(12, 1e-4)]
    gains = gains_to(wanted, own)
    np.testing.assert_allclose(gains[:12], 1.0)
    assert (gains[12:] < 3.1).all()
    np.testing.assert_allclose(gains_to(2.5 * wanted, own), 2.5 * gains)


def test_the_filter_of_equal_gains_scales():
    kernel = kernel_of(np.full(24, 1.7))
    data = noise(6)
    found = filtered(Volume(data, 10.0), kernel, slice(0, 64), mean=0.0, deviation=1.0).data
    np.testing.assert_allclose(found, 1.7 * data, atol=1e-4)


def test_a_tomogram_like_those_of_training_is_left_alone(recwarn):
    wanted = amplitudes(normalised(noise(7)), 0.0, 1.0)
    volume = Volume(noise(9), 10.0)
    ready = prepare(volume, 10.0, DetectSettings(slab="off"), spectrum=wanted)
    assert ready.grid is volume and not recwarn.list


def test_another_one_is_matched_unless_forbidden():
    wanted = amplitudes(normalised(noise(7, sigma=1.4)), 0.0, 1.0)
    volume = Volume(10 - 3 * noise(9), 10.0, name="other")
    with pytest.warns(UserWarning, match=r"other: its amplitude spectrum .* match_spectrum=off"):
        ready = prepare(volume, 10.0, DetectSettings(slab="off", invert=True), spectrum=wanted)
    assert (ready.mean, ready.deviation) == (0.0, -1.0)
    own = amplitudes(ready.grid.data, 0.0, 1.0)
    assert change(gains_to(wanted, own), own) < LEAST_CHANGE < 0.1
    off = prepare(volume, 10.0, DetectSettings(slab="off", match_spectrum="off"), spectrum=wanted)
    assert off.grid is volume


def test_a_tomogram_smaller_than_a_cube_is_left_alone():
    volume = Volume(noise(10, (30, 60, 60)), 10.0)
    assert amplitudes(volume.data, 0.0, 1.0) is None
    assert prepare(volume, 10.0, DetectSettings(slab="off"), spectrum=[1.0] * 24).grid is volume


def test_padding_does_not_count():
    inner = normalised(noise(11, (60, 110, 110)))
    padded = np.full((60, 220, 220), 0.1, dtype=np.float32)
    padded[:, 55:165, 55:165] = inner
    alone, beside = amplitudes(inner, 0.0, 1.0), amplitudes(padded, 0.0, 1.0)
    assert (np.abs(np.log(beside[3:] / alone[3:])) < 0.5).all()


def test_a_single_layer_of_cubes_lies_in_the_middle():
    data = np.zeros((70, 60, 60), dtype=np.float32)
    data[11:59] = noise(12, (48, 60, 60))
    assert amplitudes(data, 0.0, 1.0)[5] == pytest.approx(amplitudes(data[11:59], 0.0, 1.0)[5], rel=0.05)


def test_vacuum_does_not_count_whatever_the_slab(monkeypatch):
    from voxpick.detect import prepare as module

    asked = []
    monkeypatch.setattr(module, "slab_of", lambda volume, setting="auto": Slab(*asked_for[setting], "as told"))
    monkeypatch.setattr(module, "matched", lambda *a, measured, **k: asked.append(measured) or (a[0], 0.0, 1.0))
    asked_for = {"auto": (60, 120), "off": (0, 200), "100:180": (100, 180), "130:190": (130, 190)}
    volume = Volume(noise(13, (200, 60, 60)), 10.0)
    for setting in asked_for:
        prepare(volume, 10.0, DetectSettings(slab=setting), spectrum=[1.0] * 24)
    assert [(s.start, s.stop) for s in asked] == [(60, 120), (60, 120), (100, 120), (130, 190)]
