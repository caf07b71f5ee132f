"""Scores beside those of a template without structure, and tomograms of even power."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from voxpick.errors import VoxpickError
from voxpick.match.background import beside, phase_randomised
from voxpick.match.bank import Bank, in_cube
from voxpick.match.exact import match_exact
from voxpick.match.search import Target, Wanted, find_all
from voxpick.match.tiles import TiledVolume
from voxpick.match.whitening import whiten


def test_random_phases_keep_the_power_and_the_mask(bank):
    noise = phase_randomised(bank.template, np.random.default_rng(0))
    side = len(noise.density)
    power = [np.abs(np.fft.rfftn(d)) for d in (noise.density, in_cube(bank.template.density, side))]
    assert np.allclose(*power, atol=1e-3 * power[1].max())
    assert np.abs(np.corrcoef(noise.density.ravel(), in_cube(bank.template.density, side).ravel())[0, 1]) < 0.6
    assert noise.radius_voxels() == pytest.approx(bank.radius)


@pytest.mark.parametrize("path", ["exact", "low-rank"])
@pytest.mark.parametrize("way", ["subtract", "divide"])
def test_scores_are_those_of_both_banks(bank, noisy, path, way):
    volume = TiledVolume(noisy[0])
    noise = phase_randomised(bank.template, np.random.default_rng(0))
    other = Bank(noise, bank.rotations, tilt_range_deg=(-60, 60), edge=1.0)
    target = Target(bank, Wanted(distance=4, number=3), other, way)
    matched = next(find_all(volume, [target], path=path, tile=30, residual=0))
    own, theirs = (match_exact(volume, b, tile=30).score for b in (bank, other))
    at = tuple(matched.peaks.places.T)
    assert np.allclose(matched.peaks.scores, beside(own[at], theirs[at], way), atol=1e-5)
    assert len(matched.peaks) == 3 and (matched.peaks.scores > 0.2).all()
    assert matched.histogram.expected is None and 0 < matched.histogram.counts.sum() <= own.size


def test_the_two_ways():
    score, background = np.array([0.6, 0.2, -0.1]), np.array([0.3, 0.3, 0.1])
    assert np.allclose(beside(score, background, "subtract"), [0.3, -0.1, -0.2])
    assert np.allclose(beside(score, background, "divide"), [2 / 3, 0.4, 0])
    assert beside(np.float32([0.05]), np.float32([-1]), "divide")[0] == pytest.approx(0.5)
    with pytest.raises(VoxpickError, match="one of subtract, divide"):
        next(find_all(None, [Target(None, Wanted(4), None, "add")]))


def test_several_targets_are_found_as_each_alone(bank, noisy, monkeypatch):
    volume, wanted = TiledVolume(noisy[0]), Wanted(distance=4, number=5)
    dark = Bank(bank.template, bank.rotations[:4], edge=1.0)
    targets = [Target(bank, wanted), Target(dark, wanted)]
    for memory in (1, 1 << 30):
        monkeypatch.setattr("voxpick.match.search.MAP_BYTES", memory)
        for path in ("exact", "low-rank"):
            settings = {"path": path, "tile": 30, "residual": 0}
            together = list(find_all(volume, targets, **settings))
            for target, found in zip(targets, together, strict=True):
                alone = next(find_all(volume, [target], **settings))
                assert np.array_equal(found.peaks.places, alone.peaks.places)
                assert np.allclose(found.peaks.scores, alone.peaks.scores, atol=1e-5)


def test_whitening_makes_all_shells_equal():
    shape = (24, 30, 40)
    spectrum = torch.fft.rfftn(torch.from_numpy(np.random.default_rng(0).normal(size=shape)))
    axes = torch.fft.fftfreq(24), torch.fft.fftfreq(30), torch.fft.rfftfreq(40)
    radius = (axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2).sqrt()
    coloured = torch.fft.irfftn(spectrum * torch.exp(-4 * radius), s=shape).numpy() + 7
    white, whitening = whiten(coloured)
    power = np.abs(np.fft.rfftn(white)) ** 2
    low, high = (power[((radius > a) & (radius < b)).numpy()].mean() for a, b in ((0.1, 0.2), (0.35, 0.45)))
    assert low == pytest.approx(high, rel=0.15) and white.mean() == pytest.approx(0, abs=1e-5)
    gain = whitening.transfer(shape)
    assert gain.shape == radius.shape and float(gain[0, 0, -1]) > 4 * float(gain[0, 0, 2])
    with pytest.raises(VoxpickError, match="nothing to whiten"):
        whiten(np.ones((12, 20, 28)))


def test_white_noise_stays_white_in_a_small_volume():
    """Its lowest frequency lies in the second shell; the first one holds the mean alone."""
    gain = whiten(np.random.default_rng(0).normal(size=(70, 76, 84)))[1].transfer((70, 76, 84))
    lowest = torch.stack([gain[1, 0, 0], gain[0, 1, 0], gain[0, 0, 1]]) / gain.median()
    assert lowest.tolist() == pytest.approx([1, 1, 1], abs=0.5)


MEMORY = """
import numpy as np
from voxpick.match.whitening import whiten

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

whiten(np.random.default_rng(0).normal(size=(12, 20, 28)))
data = np.random.default_rng(0).standard_normal(size=(120, 200, 280), dtype=np.float32)
before = peak()
whiten(data)
print((peak() - before) / data.nbytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_whitening_takes_at_most_five_times_the_memory_of_the_volume():
    """Three to five, as allocation goes; it took six, and memory is what limits the tomograms that can be whitened."""
    found = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    assert 2 < float(found) < 5.5


def test_a_whitened_bank_has_the_gain_in_it(bank):
    _, whitening = whiten(ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(12, 20, 28)), 0.7))
    white, turned = Bank(bank.template, bank.rotations[:1], whitening=whitening), bank.rotated(slice(0, 1))[0].numpy()
    gain = whitening.transfer(turned.shape).numpy()
    filtered = np.fft.irfftn(np.fft.rfftn(turned) * gain, s=turned.shape, axes=(0, 1, 2))
    weights = (bank.mask / bank.mask.sum()).numpy()
    filtered -= (filtered * weights).sum()
    expected = filtered / np.sqrt((filtered**2 * weights).sum()) * bank.mask.numpy()
    found = white.normalised(slice(0, 1))[0].numpy()
    assert np.allclose(found, expected, atol=1e-3)
    assert np.abs(found - Bank(bank.template, bank.rotations[:1]).normalised(slice(0, 1))[0].numpy()).max() > 0.1


def test_a_tomogram_that_was_low_pass_filtered_is_not_drowned_in_rounding():
    """More than half of its shells hold nothing: as the median was of those, they were made as strong as the others."""
    shape = (24, 28, 32)
    axes = np.meshgrid(np.fft.fftfreq(24), np.fft.fftfreq(28), np.fft.rfftfreq(32), indexing="ij")
    spectrum = np.fft.rfftn(np.random.default_rng(0).normal(size=shape))
    data = np.fft.irfftn(np.where(sum(a**2 for a in axes) < 0.3**2, spectrum, 0), s=shape, axes=(0, 1, 2))
    (small, less), (large, more) = (whiten((scale * data).astype(np.float32)) for scale in (1e-3, 1e3))
    assert np.corrcoef(small.ravel(), data.ravel())[0, 1] > 0.7 and large == pytest.approx(1e6 * small, rel=0.01, abs=1)
    assert less.gains == pytest.approx(more.gains, rel=1e-3) and less.gains.mean() == pytest.approx(1)
    assert less.gains[32:] == pytest.approx(
        np.full(len(less.gains) - 32, 1000**0.5 * np.median(less.gains[4:28])), rel=0.1
    )
