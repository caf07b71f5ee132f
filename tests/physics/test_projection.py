"""Projection and reconstruction share one geometry; turning the specimen is turning the projector."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from voxpick.simulate.reconstruction import back_project, ramp_filtered, tilt_angles
from voxpick.simulate.shrec20 import Recipe, simulate_shrec20
from voxpick.simulate.specimen import spline_coefficients, tilted_slices

SHAPE = (20, 14, 64)  # z, y, x


def project(specimen_zyx: torch.Tensor, angles: list[float]) -> torch.Tensor:
    """Sum along the beam at each tilt: [tilt, x', y]."""
    coefficients = spline_coefficients(specimen_zyx.transpose(1, 2))
    return torch.stack(
        [tilted_slices(coefficients, a, width=SHAPE[2], slice_voxels=5).values.sum(0) * 5 for a in angles]
    )


@pytest.mark.parametrize("z", [1, 18])
@pytest.mark.parametrize("y", [0, 13])
@pytest.mark.parametrize("x", [4, 59])
def test_a_point_comes_back_at_its_own_voxel(z, y, x):
    specimen = torch.zeros(SHAPE)
    specimen[z, y, x] = 1
    angles = tilt_angles(limit_deg=60, step_deg=3)
    volume = back_project(ramp_filtered(project(specimen, angles)), angles, thickness=32).numpy()
    assert np.unravel_index(volume.argmax(), volume.shape) == (z + (32 - SHAPE[0]) // 2, y, x)


@pytest.mark.parametrize(("nz", "thickness"), [(21, 32), (20, 33), (21, 33), (20, 20)])
@pytest.mark.parametrize(("ny", "nx"), [(16, 48), (17, 49)])
def test_the_specimen_lies_in_the_middle_of_a_tomogram_of_any_size(nz, thickness, ny, nx):
    recipe = Recipe(
        size_zyx=(nz, ny, nx), thickness=thickness, particles=1, snr=1e6, structural_noise=0, tilt_step_deg=5.0
    )
    ball = np.random.default_rng(0).normal(size=(3000, 3)) * 6
    beads = SimpleNamespace(positions_zyx=ball, electrons=np.full(3000, 2.0))
    world = simulate_shrec20({"ball": beads}, recipe, seed=5)
    z, y, x = world.packing.centers_zyx[0]
    found = np.unravel_index(world.reconstruction.argmin(), world.reconstruction.shape)
    assert found == (z + (thickness - nz) // 2, y, x)
    assert world.grandmodel.shape == (nz, ny, nx) and world.grandmodel.argmax() == world.packing.density.argmax()


def test_projecting_a_turned_specimen_is_turning_the_projector():
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in (40, 14, 64)), indexing="ij")
    tilt = np.deg2rad(25.0)

    def blob(turn):  # an off-centre, elongated Gaussian, turned about y
        along_x = x * np.cos(turn) + z * np.sin(turn)
        along_z = z * np.cos(turn) - x * np.sin(turn)
        return torch.tensor(
            np.exp(-((along_x - 5) ** 2) / 30 - (along_z + 3) ** 2 / 12 - (y - 1) ** 2 / 8), dtype=torch.float32
        )

    straight = spline_coefficients(blob(0.0).transpose(1, 2))
    turned = spline_coefficients(blob(-tilt).transpose(1, 2))
    by_projector = tilted_slices(straight, 25.0, width=64, slice_voxels=1).values.sum(0)
    by_specimen = tilted_slices(turned, 0.0, width=64, slice_voxels=1).values.sum(0)
    unturned = tilted_slices(straight, 0.0, width=64, slice_voxels=1).values.sum(0)
    assert (by_projector - by_specimen).abs().max() < 2e-3 * by_specimen.max()
    assert (by_projector - unturned).abs().max() > 0.1 * unturned.max()


def test_slices_equal_scipys_cubic_spline_rotation():
    rng = np.random.default_rng(3)
    specimen = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1).astype(np.float32)
    tilt = np.deg2rad(24.0)
    result = tilted_slices(
        spline_coefficients(torch.from_numpy(specimen).transpose(1, 2)), 24.0, width=48, slice_voxels=1
    ).values.numpy()  # [z', x', y]
    depth = result.shape[0]
    zt, xt = np.meshgrid(np.arange(depth) - depth // 2, np.arange(48) - 24, indexing="ij")
    z = zt * np.cos(tilt) + xt * np.sin(tilt) + SHAPE[0] // 2
    x = xt * np.cos(tilt) - zt * np.sin(tilt) + SHAPE[2] // 2
    interior = (z > 0) & (z < SHAPE[0] - 1) & (x > 0) & (x < SHAPE[2] - 1)
    for y in (0, 7):
        expected = ndimage.map_coordinates(specimen[:, y], [z, x], order=3, mode="mirror")
        assert np.abs(result[:, :, y] - expected)[interior].max() < 1e-5


@pytest.mark.parametrize(("nz", "nx"), [(2, 7), (3, 8), (4, 12), (20, 40)])
def test_spline_coefficients_are_scipys_however_thin_the_specimen(nz, nx):
    rows = np.random.default_rng(3).normal(size=(nz, nx, 5))
    expected = ndimage.spline_filter1d(ndimage.spline_filter1d(rows, axis=0, mode="mirror"), axis=1, mode="mirror")
    np.testing.assert_allclose(spline_coefficients(torch.from_numpy(rows)).numpy(), expected, rtol=0, atol=1e-12)


def test_slices_average_and_count_voxels():
    ones = torch.ones(SHAPE).transpose(1, 2).contiguous()
    flat = tilted_slices(spline_coefficients(ones), 0.0, width=64, slice_voxels=5)
    assert torch.allclose(flat.values.sum(0) * 5, torch.full((64, 14), 20.0), atol=1e-4)
    assert torch.allclose(flat.filled.sum(0) * 5, torch.full((64,), 20.0))
    tilted = tilted_slices(spline_coefficients(ones), 60.0, width=8, slice_voxels=5)
    assert tilted.filled.sum(0).mul(5).mean().item() == pytest.approx(20 / np.cos(np.deg2rad(60)), rel=0.03)


def test_back_projection_equals_its_definition():
    rng = np.random.default_rng(5)
    angles = [-50.0, 10.0, 45.0]
    images = torch.from_numpy(rng.normal(size=(3, 24, 6)).astype(np.float32))
    volume = back_project(images, angles, thickness=10).numpy()
    for z, y, x in ((0, 0, 0), (9, 5, 23), (4, 2, 11), (2, 3, 20)):
        total = 0.0
        for image, angle in zip(images.numpy(), np.deg2rad(angles), strict=True):
            position = (x - 12) * np.cos(angle) + (z - 5) * np.sin(angle) + 12
            low = int(np.floor(position))
            for k, weight in ((low, 1 - (position - low)), (low + 1, position - low)):
                if 0 <= k < 24:
                    total += weight * image[k, y]
        assert volume[z, y, x] == pytest.approx(total, abs=1e-5)
