"""Targets of networks that mark centres: a slow exact version, turns, and unknown voxels."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.methods import voxpick
from voxpick.particles import Particles
from voxpick.train.centre_targets import CentrePatches, centre_targets, halved
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

SPREAD, REACH = 2.0, 3.0


def slow_targets(centers, labels, size):
    """Every output voxel against every centre."""
    n = size // 2
    result = np.zeros((5, n, n, n))
    for voxel in np.ndindex(n, n, n):
        middle = 2 * np.array(voxel) + 0.5
        distances = np.linalg.norm(centers - middle, axis=1)
        nearest = int(distances.argmin())
        result[0][voxel] = np.exp(-(distances[nearest] ** 2) / (2 * SPREAD**2))
        if distances[nearest] <= REACH:
            result[1][voxel] = labels[nearest]
            result[2:, *voxel] = centers[nearest] - middle
    for center in centers:
        voxel = np.floor(center + 0.5).astype(int) // 2
        if ((voxel >= 0) & (voxel < n)).all():
            result[0][tuple(voxel)] = 1
    return result


def test_they_are_those_of_the_slow_version():
    rng = np.random.default_rng(4)
    centers = np.concatenate([rng.uniform(-4, 20, (9, 3)), [[7.5, 7.5, 7.4], [7.5, 9.0, 7.5]]])
    labels = rng.integers(1, 5, 11)
    found = centre_targets(centers, labels, 16, spread=SPREAD, reach=REACH)
    expected = slow_targets(centers, labels, 16)
    assert np.abs(found - expected).max() < 1e-3  # the heat is cut where it is below exp(-8)
    assert (found[1] == expected[1]).all() and (found[0] == 1).sum() == (expected[0] == 1).sum() > 2


def volume_of(centers, classes, shape=(24, 28, 36), *, density=True, offset=0):
    """offset: sections of vacuum in the tomogram below the mask, and as many above."""
    rng = np.random.default_rng(1)
    mask = np.zeros(shape, np.int8)
    for number, center in enumerate(np.rint(centers).astype(int), start=1):
        mask[tuple(slice(c - 1, c + 2) for c in center)] = 1 + number % 2
    clean = -(mask > 0).astype(np.float32)
    data = np.pad(clean, ((offset, offset), (0, 0), (0, 0)))
    tomogram = Volume((data + rng.normal(size=data.shape) / 10).astype(np.float32), 10.0, "toy")
    truth = Particles((np.array(centers) + [offset, 0, 0]) * 10.0, classes=np.array(classes, dtype=object))
    return TrainingVolume(tomogram, mask, truth, density=clean if density else None, z_offset=offset)


def patches(volume, **changes):
    settings = voxpick.training_settings(
        "picker", changes={"patch": 16, "intensity_scale": 0.0, "intensity_shift": 0.0, **changes}
    )
    return CentrePatches([volume], ["a", "b"], settings, spread=SPREAD, reach=REACH)


CENTERS = [[6.2, 7.7, 9.1], [15.4, 18.0, 25.6], [12.0, 20.3, 8.8]]


@pytest.mark.parametrize(("turns", "offset"), [(False, 0), (True, 0), (True, 6)])
def test_image_centre_label_and_density_turn_together(turns, offset):
    """Where the heat is 1 there is a particle in the image, in the labels and in the density."""
    sampler = patches(volume_of(CENTERS, ["b", "a", "b"], offset=offset), turns=turns)
    rng, seen = np.random.default_rng(3), 0
    for _ in range(40):
        image, targets = sampler.draw(rng)
        assert image.shape == (16, 16, 16) and targets.shape == (7, 8, 8, 8) and targets.dtype == np.float32
        for z, y, x in np.argwhere(targets[0] == 1):
            block = image[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            assert block.mean() < -0.5
            at = 2 * np.array([z, y, x]) + 0.5 + targets[2:5, z, y, x]
            nearest = np.rint(at).astype(int)
            if ((nearest >= 0) & (nearest < 16)).all():
                assert image[tuple(nearest)] < -0.5
            assert targets[1, z, y, x] in (1, 2)
            assert targets[6, z, y, x] < 0
            seen += 1
    assert seen > 20


def test_classes_that_are_not_asked_for_are_no_targets():
    sampler = patches(volume_of(CENTERS, ["b", "other", "other"]), centred_fraction=1.0)
    assert sampler.epoch == 6  # 24 x 28 x 36 voxels in cubes of 16
    rng = np.random.default_rng(0)
    names = np.concatenate([np.unique(sampler.draw(rng)[1][1]) for _ in range(30)])
    assert set(names) == {0.0, 2.0}


def test_unknown_density_is_nan_and_outside_of_the_tomogram_nothing_is_known():
    sampler = patches(volume_of(CENTERS, ["a", "b", "a"], (12, 28, 36), density=False))
    _, targets = sampler.draw(np.random.default_rng(2))
    assert np.isnan(targets[6]).all()
    assert np.isnan(targets[0, 6:]).all() and np.isfinite(targets[0, :6]).all()


def test_halved_is_the_mean_of_eight():
    volume = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
    assert halved(volume).shape == (2, 3, 4)
    assert halved(volume)[1, 2, 3] == pytest.approx(volume[2:4, 4:6, 6:8].mean(), abs=1e-6)


def test_an_odd_patch_is_refused():
    with pytest.raises(VoxpickError, match="patch is 15"):
        patches(volume_of(CENTERS, ["a", "b", "a"]), patch=15)


def test_voxels_at_a_face_are_drawn_nearly_as_often_as_others():
    """Few cubes can hold them, so those that would begin beyond a face begin at it."""
    volume = volume_of([[12, 14, 18]], ["a"])
    volume.tomogram.data[:] = np.arange(36, dtype=np.float32)
    sampler, rng = patches(volume, turns=False, centred_fraction=0.0), np.random.default_rng(0)
    images = [sampler.draw(rng)[0] for _ in range(600)]
    steps = [np.diff(image[0, 0]).mean() for image in images]
    first = np.rint([image[0, 0, 0] / step for image, step in zip(images, steps, strict=True)])
    starts = (first - first.min()).astype(int)
    assert set(starts) == set(range(21))
    share = np.bincount(starts) / len(starts)
    assert share[0] == pytest.approx(5 / 29, abs=0.04) and share[20] == pytest.approx(5 / 29, abs=0.04)
    assert share[1:20].max() < 0.1
