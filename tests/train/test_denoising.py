"""Patches with the noise-free specimen as target."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.train.augment import Augmentation
from voxpick.train.denoising import SlicePatches, SpecimenPatches, contrast, specimen
from voxpick.train.fit import averaged
from voxpick.train.targets import IGNORE, TrainingVolume
from voxpick.volume import Volume

SHAPE = (12, 20, 28)
OFFSET = 4
PLAIN = Augmentation(turns=False, scale=0.0, shift=0.0)


def make_volume(*, sign=-1.0, seed=3, shape=SHAPE):
    """A tomogram that is `sign` times its density in the middle; class 2 where the density is high."""
    rng = np.random.default_rng(seed)
    density = rng.normal(0.3, 0.05, shape).astype(np.float32)
    tomogram = np.zeros((shape[0] + 2 * OFFSET, *shape[1:]), np.float32)
    tomogram[OFFSET:-OFFSET] = 7 + sign * density
    particles = Particles(np.array([[80.0, 100.0, 140.0]]), classes=np.array(["a"], dtype=object))
    mask = np.where(density > 0.35, 2, 0).astype(np.int8)
    return TrainingVolume(
        Volume(tomogram, 10.0, "toy"), mask, particles, z_offset=OFFSET, intensity=(7.0, 0.05), density=density
    )


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_specimen_has_the_contrast_of_the_tomogram(sign):
    volume = make_volume(sign=sign)
    assert contrast(volume) == pytest.approx(sign, abs=1e-6)
    clean = specimen(volume)
    patch = clean.image((3, 5, 7), (6, 10, 14))  # the central half, where mean and deviation are measured
    assert patch.mean() == pytest.approx(0, abs=1e-5)
    assert patch.std() == pytest.approx(1, abs=1e-5)
    noisy = volume.tomogram.data[OFFSET + 3 : OFFSET + 9, 5:15, 7:21]
    assert np.corrcoef(patch.ravel(), noisy.ravel())[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("turns", "flips"), [(False, False), (True, False), (False, True)])
def test_image_labels_and_density_stay_aligned(turns, flips):
    volume = make_volume()
    augmentation = Augmentation(turns=turns, scale=0.0, shift=0.0)
    sampler = SpecimenPatches([volume], size=8, overlap=0.75, flips=flips, touching="keep", augmentation=augmentation)
    rng = np.random.default_rng(0)
    mean, deviation = specimen(volume).intensity
    for _ in range(20):
        image, (labels, density) = sampler.draw(rng)
        assert image.shape == labels.shape == density.shape == (8, 8, 8)
        known = np.isfinite(density)
        original = density[known] * deviation + mean
        assert np.allclose(7 + 0.05 * image[known], 7 - original, atol=1e-5)
        # float32 rounding may move a voxel across the limit only within 1e-6 of it
        clear = np.abs(original - 0.35) > 1e-6
        assert np.array_equal(labels[known][clear] == 2, (original > 0.35)[clear])
        assert (labels[~known] == 0).all()


def test_patches_reach_a_quarter_beyond_the_specimen():
    volume = make_volume()
    sampler = SpecimenPatches([volume], size=8, overlap=0.75, flips=False, touching="keep", augmentation=PLAIN)
    rng = np.random.default_rng(1)
    unknown = {int(np.isnan(sampler.draw(rng)[1][1]).all((1, 2)).sum()) for _ in range(100)}
    assert unknown == {0, 1, 2}


def test_flips_mirror_y_and_x_only():
    volume = make_volume(shape=(8, 8, 8))
    sampler = SpecimenPatches([volume], size=16, overlap=0.75, flips=True, touching="keep", augmentation=PLAIN)
    whole = volume.image((0, 0, 0), (16, 16, 16))
    seen = set()
    rng = np.random.default_rng(4)
    for _ in range(40):
        image, _ = sampler.draw(rng)
        matching = [axes for axes in ((), (1,), (2,), (1, 2)) if np.array_equal(image, np.flip(whole, axes))]
        assert len(matching) == 1
        seen.add(matching[0])
    assert seen == {(), (1,), (2,), (1, 2)}


def test_beyond_the_tomogram_labels_are_ignored_and_the_density_unknown():
    volume = make_volume(shape=(8, 8, 8))
    sampler = SpecimenPatches([volume], size=16, overlap=0.75, flips=False, touching="keep", augmentation=PLAIN)
    _, (labels, density) = sampler.draw(np.random.default_rng(0))
    assert (labels[:, 8:] == IGNORE).all()
    assert np.isnan(density[:, 8:]).all()
    assert np.isfinite(density[OFFSET : OFFSET + 8, :8, :8]).all()


def test_an_epoch_is_the_grid_of_overlapping_patches():
    volume = make_volume()
    sampler = SpecimenPatches([volume, volume], size=8, overlap=0.75, flips=False, touching="keep", augmentation=PLAIN)
    assert sampler.epoch == 2 * (1 + 2) * (1 + 6) * (1 + 10)


def test_slices_and_their_density():
    volumes = [make_volume(), make_volume(seed=5, shape=(6, 24, 16))]
    sampler = SlicePatches(volumes, size=18, augmentation=PLAIN)
    assert sampler.window == (1, 18, 16)
    assert sampler.epoch == round((12 * 20 * 28 + 6 * 24 * 16) / (18 * 16))
    statistics = [specimen(volume).intensity for volume in volumes]
    rng = np.random.default_rng(6)
    for _ in range(10):
        noisy, clean = sampler.draw(rng)
        assert noisy.shape == clean.shape == (1, 18, 16)
        fits = [np.allclose(-0.05 * noisy, clean * deviation + mean, atol=1e-5) for mean, deviation in statistics]
        assert sum(fits) == 1


def test_no_density_and_no_data_are_refused():
    with pytest.raises(VoxpickError, match="toy: no noise-free density"):
        SlicePatches([replace(make_volume(), density=None)], size=8, augmentation=PLAIN)
    with pytest.raises(VoxpickError, match=r"a density of shape \(11, 20, 28\)"):
        specimen(replace(make_volume(), density=np.zeros((11, 20, 28), np.float32)))
    with pytest.raises(VoxpickError, match="no training data"):
        SlicePatches([], size=8, augmentation=PLAIN)


def test_a_moving_average_takes_over_the_running_statistics_of_batch_normalisation():
    """Weights are averaged; buffers are those of the network that is trained."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1), torch.nn.BatchNorm3d(3))
    average = averaged(network, 0.9)
    first = network[0].weight.detach().clone()
    for _ in range(3):
        network(torch.randn(2, 1, 4, 5, 6) + 5)
        with torch.no_grad():
            network[0].weight += 1
        average.update_parameters(network)
    assert torch.equal(average.module[1].running_mean, network[1].running_mean)
    assert network[1].running_mean.abs().max() > 0.1
    assert average.module[1].num_batches_tracked == 3
    # decays 2/11 and 3/12 after the first update copies: 1 -> 2 * 9/11 + 2/11, then 3 * 3/4 + that / 4
    expected = first + 0.75 * 3 + 0.25 * (2 * 9 / 11 + 2 / 11)
    assert torch.allclose(average.module[0].weight, expected, atol=1e-5)


def test_on_the_grid_patches_begin_at_every_second_voxel_of_the_specimen():
    volumes = [make_volume(), make_volume(shape=(6, 9, 8))]
    sampler = SpecimenPatches(
        volumes, size=8, overlap=0.75, flips=False, touching="keep", augmentation=PLAIN, grid=True
    )  # fmt: skip
    rng = np.random.default_rng(2)
    starts = {tuple(sampler._on_grid(0, rng).tolist()) for _ in range(3000)}
    assert starts == {(OFFSET + z, y, x) for z in (0, 2, 4) for y in range(0, 13, 2) for x in range(0, 21, 2)}
    assert {tuple(sampler._on_grid(1, rng).tolist()) for _ in range(50)} == {(OFFSET, 0, 0), (OFFSET, 1, 0)}
    assert sampler.share.tolist() == pytest.approx([231 / 233, 2 / 233]) and sampler.epoch == 233
    image, (labels, density) = sampler.draw(rng)
    assert image.shape == (8, 8, 8) and np.isfinite(density).all() and (labels != IGNORE).all()
