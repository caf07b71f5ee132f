import numpy as np
import pytest
import torch

from voxpick.average.fsc import ShellCorrelation, frequency_grid, shell_correlation, soft_sphere
from voxpick.errors import VoxpickError

SHAPE = (12, 20, 28)


def noise(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape)


def slow_correlation(a, b):
    """Every coefficient in a loop, shared between the two nearest shells."""
    first, second = np.fft.rfftn(a), np.fft.rfftn(b)
    shells = min(a.shape) // 2 + 1
    sums = np.zeros((3, shells), dtype=complex)
    frequencies = [np.fft.fftfreq(a.shape[0]), np.fft.fftfreq(a.shape[1]), np.fft.rfftfreq(a.shape[2])]
    for place in np.ndindex(first.shape):
        at = min(a.shape) * np.sqrt(sum(axis[i] ** 2 for axis, i in zip(frequencies, place, strict=True)))
        for shell in range(shells):
            weight = float(at == 0) if shell == 0 else max(0.0, 1 - abs(at - shell))
            p, q = first[place], second[place]
            sums[:, shell] += weight * np.array([p * np.conj(q), abs(p) ** 2, abs(q) ** 2])
    return (sums[0] / np.sqrt(sums[1] * sums[2])).real


def test_a_map_with_itself_is_one_and_with_its_negative_minus_one():
    a = noise(0)
    fsc = shell_correlation(a, a, voxel_size=10)
    assert fsc.correlation == pytest.approx(np.ones(7))
    assert fsc.resolution(0.143) == fsc.resolution(0.5) == pytest.approx(20)
    assert shell_correlation(a, -3 * a, voxel_size=10).correlation == pytest.approx(-np.ones(7))


def test_independent_noise_does_not_correlate():
    shape = (32, 32, 32)
    fsc = shell_correlation(noise(1, shape), noise(2, shape), voxel_size=10)
    assert np.abs(fsc.correlation[4:]).max() < 0.1
    assert np.abs(fsc.correlation[4:].mean()) < 0.02


def test_each_shell_equals_a_slow_loop():
    a = noise(3)
    b = a + noise(4)
    assert shell_correlation(a, b, voxel_size=7).correlation == pytest.approx(slow_correlation(a, b), abs=1e-12)


@pytest.mark.parametrize("shape", [SHAPE, (24, 24, 24), (15, 15, 15)])
def test_equals_torch_fourier_shell_correlation(shape):
    peer = pytest.importorskip("torch_fourier_shell_correlation")
    a = noise(5, shape)
    b = a + noise(6, shape)
    expected = peer.fsc(torch.tensor(a), torch.tensor(b)).numpy()
    assert shell_correlation(a, b, voxel_size=10).correlation == pytest.approx(expected, abs=1e-5)


def test_resolution_is_interpolated_between_shells():
    fsc = ShellCorrelation(np.array([0, 0.01, 0.02, 0.03]), np.array([1, 0.9, 0.6, 0.1]))
    assert fsc.resolution(0.5) == pytest.approx(1 / 0.022)
    assert fsc.resolution(0.75) == pytest.approx(1 / 0.015)
    assert np.isnan(fsc.resolution(0.95))
    mean_taken_off = ShellCorrelation(fsc.frequencies, np.array([0, 0.9, 0.6, 0.1]))
    assert mean_taken_off.resolution(0.5) == pytest.approx(1 / 0.022)
    frame = fsc.to_frame()
    assert frame["resolution"].tolist() == pytest.approx([np.inf, 100, 50, 100 / 3])


@pytest.mark.parametrize(
    ("correlation", "threshold", "expected"),
    [
        ([0.341, 0.684, 0.724, 0.842, 0.764, 0.391, 0.1], 0.5, 360 / 5.708),
        ([0.012, 0.252, 0.559, 0.748, 0.681, 0.361, -0.038], 0.143, 360 / 6.546),
        ([-0.189, 0.141, 0.306, 0.478, 0.545, 0.379, 0.055], 0.143, 360 / 6.728),
        ([-0.029, 0.341, 0.648, 0.722, 0.535, 0.089, 0.013], 0.5, 360 / 5.078),
        ([0.1, 0.6, 0.7, 0.8, 0.9, 0.8, 0.7], 0.5, 360 / 7),
        ([0.8, 0.4, 0.7, 0.2, 0.1, 0.0, 0.0], 0.5, 360 / 1.75),
    ],
)
def test_a_poor_coarsest_shell_does_not_hide_where_the_curve_falls(correlation, threshold, expected):
    """The first curves are of docs/averaging.md, which had no resolution as shell 1 alone was below."""
    fsc = ShellCorrelation(np.arange(8) / 360, np.array([0, *correlation]))
    assert fsc.resolution(threshold) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("threshold", [0.143, 0.5])
@pytest.mark.parametrize("spike", [4, 9, 15])
def test_a_spike_of_noise_in_a_fine_shell_is_no_resolution(threshold, spike):
    rng = np.random.default_rng(spike)
    correlation = np.concatenate([[0], rng.uniform(-0.2, 0.14, 19)])
    assert np.isnan(ShellCorrelation(np.arange(20) / 360, correlation).resolution(threshold))
    correlation[spike] = 0.7
    assert np.isnan(ShellCorrelation(np.arange(20) / 360, correlation).resolution(threshold))
    correlation[2] = 0.6
    assert ShellCorrelation(np.arange(20) / 360, correlation).resolution(threshold) > 120


def test_a_curve_may_begin_in_any_shell_that_is_no_finer_than_the_mask_s_radius():
    """In a box many times the particle, the shells coarser than its diameter say next to nothing of it."""
    shape = (48, 48, 48)
    a, b, small = noise(13, shape), noise(14, shape), soft_sphere(shape, radius=6, edge=0)
    masked = shell_correlation(a, b, voxel_size=10, mask=small)
    assert masked.begins == 7
    assert shell_correlation(a, b, voxel_size=10).begins == 3
    assert shell_correlation(a, b, voxel_size=10, mask=soft_sphere(shape, radius=20, edge=3)).begins == 3
    curve = np.array([0, *[0.3] * 6, 0.8, 0.8, 0.2])
    assert ShellCorrelation(np.arange(10) / 480, curve, begins=7).resolution(0.5) == pytest.approx(480 / 8.5)
    assert np.isnan(ShellCorrelation(np.arange(10) / 480, curve, begins=6).resolution(0.5))


def test_a_mask_hides_what_differs_outside_it():
    shape = (24, 28, 32)
    a = noise(7, shape)
    mask = soft_sphere(shape, radius=6, edge=3)
    b = np.where(mask > 0, a + 5, noise(8, shape))
    assert shell_correlation(a, b, voxel_size=10, mask=mask).correlation[1:] == pytest.approx(np.ones(12))
    assert shell_correlation(a, b, voxel_size=10).correlation[2:].max() < 0.8


def test_a_shell_without_power_has_no_correlation():
    shape = (16, 16, 16)
    coarse = np.fft.irfftn(np.fft.rfftn(noise(9, shape)) * (frequency_grid(shape) < 0.2), s=shape, axes=(0, 1, 2))
    correlation = shell_correlation(coarse, coarse, voxel_size=10).correlation
    assert correlation[:4] == pytest.approx(np.ones(4)) and correlation[5:].tolist() == [0] * 4


def test_soft_sphere_by_hand():
    sphere = soft_sphere((9, 12, 15), radius=2, edge=2)
    assert sphere[4, 6, 7] == sphere[4, 6, 9] == 1
    assert sphere[4, 6, 10] == pytest.approx(0.5)
    assert sphere[4, 6, 11] == pytest.approx(0) and sphere[8, 6, 7] == pytest.approx(0)
    assert soft_sphere((9, 12, 15), radius=1, edge=0).sum() == 7


def test_unequal_boxes_and_an_empty_mask_are_refused():
    with pytest.raises(VoxpickError, match=r"second map has shape \(12, 20, 24\)"):
        shell_correlation(noise(0), noise(0, (12, 20, 24)), voxel_size=10)
    with pytest.raises(VoxpickError, match="mask is empty"):
        shell_correlation(noise(0), noise(1), voxel_size=10, mask=np.zeros(SHAPE))
