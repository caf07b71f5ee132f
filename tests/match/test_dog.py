"""Difference of Gaussians."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.match.dog import difference_of_gaussians, noise_level, widths


def ball(radius, shape=(40, 44, 48), center=(18, 20, 25)):
    grid = np.indices(shape) - np.array(center)[:, None, None, None]
    return ((grid**2).sum(axis=0) <= radius**2).astype(np.float32)


def test_the_response_is_highest_at_the_centre_of_a_ball():
    response = difference_of_gaussians(ball(5), 5)
    assert np.unravel_index(response.argmax(), response.shape) == (18, 20, 25)
    assert response.dtype == np.float32


@pytest.mark.parametrize("radius", [4, 6])
def test_the_right_radius_responds_most(radius):
    image = ball(radius)
    at = {r: difference_of_gaussians(image, r)[18, 20, 25] for r in (radius / 1.5, radius, radius * 1.5)}
    assert max(at, key=at.get) == radius
    assert widths(radius)[0] * widths(radius)[1] == pytest.approx(radius**2 / 3)


def test_a_slope_does_not_respond():
    slope = np.broadcast_to(np.arange(60.0), (40, 44, 60)).copy()
    assert np.abs(difference_of_gaussians(slope, 4)[15:25, 15:25, 25:35]).max() < 1e-3


@pytest.mark.parametrize("slope", [0, 1.0])
def test_noise_responds_no_more_at_faces_and_edges(slope):
    """Mirrored noise counts twice: faces were full of picks. Nor does a slope, which ends at a face, respond there."""
    rng, ramp = np.random.default_rng(0), np.linspace(-slope / 2, slope / 2, 48)
    found = np.stack([difference_of_gaussians(rng.normal(size=(40, 44, 48)) + ramp, 4) for _ in range(24)])
    middle = float(found[:, 15:-15, 15:-15, 15:-15].std())
    assert found[:, :2, 15:-15, 15:-15].std() == pytest.approx(middle, rel=0.15)
    assert found[:, :2, :2, 15:-15].std() == pytest.approx(middle, rel=0.2)
    assert found[:, 15:-15, 15:-15, -2:].std() == pytest.approx(middle, rel=0.15)
    assert found[:, 15:-15, 15:-15, -2:].mean() == pytest.approx(0, abs=2 * middle)


def test_noise_is_measured_beside_particles():
    noise = np.random.default_rng(0).normal(scale=3, size=(40, 44, 48))
    assert noise_level(noise + 100 * ball(5), noise) == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize("fill", [0.0, 7.3])
def test_padding_says_nothing_of_the_noise(fill):
    data = np.random.default_rng(0).normal(size=(40, 44, 96)).astype(np.float32)
    whole = noise_level(difference_of_gaussians(data, 3), data)
    data[:, :, 30:] = fill
    assert noise_level(difference_of_gaussians(data, 3), data) == pytest.approx(whole, rel=0.5)
    data[1:] = fill
    with pytest.raises(VoxpickError, match=r"only 0\.\d+% of the voxels differ"):
        noise_level(difference_of_gaussians(data, 3), data)


@pytest.mark.parametrize("radius", [0.5, 30])
def test_impossible_radii_are_refused(radius):
    with pytest.raises(VoxpickError, match=r"radius of .* voxels"):
        difference_of_gaussians(ball(5), radius)
