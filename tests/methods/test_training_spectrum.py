from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fake_cuda import fake_cuda
from voxpick.cli.training_stage import StageTraining
from voxpick.detect import convolution
from voxpick.detect.spectrum import amplitudes
from voxpick.methods.training_spectrum import OneSpectrum, mean_spectrum
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.train.settings import make_settings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

SHAPE = (56, 72, 88)


def training_volume(seed: int, sigma: float) -> TrainingVolume:
    data = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), sigma, mode="wrap").astype(np.float32)
    tomogram = Volume(7 + 2 * data / data.std(), 10.0, f"tomogram {seed}")
    mask = np.zeros(SHAPE, dtype=np.int16)
    return TrainingVolume(tomogram, mask, Particles(np.zeros((0, 3))), intensity=(7.0, 2.0))


def spectrum_of(volume: TrainingVolume) -> np.ndarray:
    return amplitudes(volume.tomogram.data, *volume.intensity)


def test_the_mean_lies_between_tomograms_of_two_colours():
    fine, coarse = training_volume(0, 1.0), training_volume(1, 1.3)
    found = np.array(mean_spectrum([fine, coarse]))
    np.testing.assert_allclose(found**2, spectrum_of(fine) * spectrum_of(coarse), rtol=1e-6)


def test_all_tomograms_get_the_spectrum_of_the_model():
    model = Model("none", {}, None, [], 10.0)
    given = [training_volume(2, 1.0), training_volume(3, 1.6)]
    apart = spectrum_of(given[0])[:12] / spectrum_of(given[1])[:12]
    found = OneSpectrum(model)(given)
    np.testing.assert_allclose(model.spectrum, mean_spectrum(given))
    for volume in found:
        np.testing.assert_allclose(spectrum_of(volume)[2:12], model.spectrum[2:12], rtol=0.12)
        assert volume.intensity == (0.0, 1.0) and volume.tomogram.name.startswith("tomogram")
    assert np.abs(np.log(apart)).max() > 0.4


def test_a_model_with_a_spectrum_keeps_it_and_leaves_alike_tomograms_alone():
    like, other = training_volume(4, 1.0), training_volume(5, 1.4)
    wanted = mean_spectrum([training_volume(6, 1.0)])
    model = Model("none", {}, None, [], 10.0, spectrum=wanted)
    found = OneSpectrum(model)([like, other])
    assert found[0] is like and found[1] is not other
    assert model.spectrum == wanted


def test_a_tomogram_that_stays_is_not_filtered_again():
    model = Model("none", {}, None, [], 10.0, spectrum=mean_spectrum([training_volume(6, 1.0)]))
    first, second, third = (training_volume(seed, 1.4) for seed in (7, 8, 9))
    matched = OneSpectrum(model)
    before = matched([first, second])
    after = matched([second, third])
    assert after[0] is before[1] and len(matched.known) == 2


def test_tomograms_too_small_to_have_a_spectrum_are_left_alone():
    small = training_volume(10, 1.0)
    small = TrainingVolume(small.tomogram.with_data(small.tomogram.data[:30]), small.class_mask[:30], small.particles)
    model = Model("none", {}, None, [], 10.0)
    assert OneSpectrum(model)([small])[0] is small
    assert model.spectrum is None


@pytest.mark.parametrize("count", [1, 8, 9, 40])
def test_a_mean_takes_a_few_of_many(monkeypatch, count):
    import voxpick.methods.training_spectrum as module

    asked: list[int] = []
    monkeypatch.setattr(module, "_amplitudes", lambda number: asked.append(number) or np.ones(24))
    assert mean_spectrum(list(range(count))) == [1.0] * 24
    assert 1 <= len(asked) <= 8 and asked[0] == 0


def test_stages_of_one_file_share_a_spectrum():
    wanted = mean_spectrum([training_volume(6, 1.0)])
    other = training_volume(11, 1.4)
    later = Model("none", {}, None, [], 10.0)
    found = OneSpectrum(later, {"first": Model("none", {}, None, [], 10.0, spectrum=wanted)})([other])
    assert later.spectrum == wanted and found[0] is not other
    later = Model("none", {}, None, [], 10.0)
    found = OneSpectrum(later, {"first": Model("none", {}, None, [], 10.0)})([other])
    assert later.spectrum is None and found[0] is other


def test_half_precision_stays_and_all_else_lies_in_a_file():
    model = Model("none", {}, None, [], 10.0, spectrum=mean_spectrum([training_volume(6, 1.0)]))
    single = training_volume(12, 1.4)
    half = training_volume(12, 1.4)
    half = TrainingVolume(
        half.tomogram.with_data(half.tomogram.data.astype(np.float16)), half.class_mask, half.particles,
        intensity=half.intensity,
    )  # fmt: skip
    of_single, of_half = OneSpectrum(model)([single, half])
    assert isinstance(of_single.tomogram.data, np.memmap) and of_half.tomogram.data.dtype == np.float16
    np.testing.assert_allclose(of_half.tomogram.data, of_single.tomogram.data, atol=0.02)


def test_a_gpu_that_trains_filters_as_well(monkeypatch):
    """It waited for the CPU each time that the pool of a stream changed."""
    devices, by_fft = [], convolution._by_fft
    monkeypatch.setattr(
        convolution, "_by_fft", lambda image, *rest: devices.append(image.device) or by_fft(image, *rest)
    )
    model = Model("none", {}, None, [], 10.0, spectrum=mean_spectrum([training_volume(6, 1.0)]))
    settings = make_settings({"method": "voxpick", "stage": "picker"})
    here = StageTraining(settings, "minutes", None, model, {}, None, torch.device("cpu"))
    there = replace(here, device=torch.device("cuda"))
    (plain,) = here.one_spectrum([training_volume(13, 1.4)])
    assert not devices
    with fake_cuda():
        (found,) = there.one_spectrum([training_volume(13, 1.4)])
    assert [device.type for device in devices] == ["cuda"]
    np.testing.assert_allclose(found.tomogram.data, plain.tomogram.data, atol=1e-4)
