"""YOPO as a method: the paper's numbers, and from a toy tomogram to picks."""

import numpy as np
import pytest
import torch

from voxpick.detect.scan_settings import PeakSettings
from voxpick.errors import VoxpickError
from voxpick.methods import yopo
from voxpick.particles import Particles
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

SHAPE = (24, 40, 56)
CENTERS = np.array([[12, 9, 10], [11, 29, 14], [12, 12, 42], [12, 31, 44]])
CLASSES = ["dark", "bright"]


def make_volume():
    """Two dark and two bright cubes of side 6 in noise."""
    rng = np.random.default_rng(2)
    mask, owner = np.zeros(SHAPE, np.int8), np.zeros(SHAPE, np.int16)
    for k, (z, y, x) in enumerate(CENTERS):
        box = tuple(slice(c - 3, c + 3) for c in (z, y, x))
        mask[box], owner[box] = k % 2 + 1, k + 1
    data = (rng.standard_normal(SHAPE) - 3.0 * (mask == 1) + 3.0 * (mask == 2)).astype(np.float32)
    names = np.array([CLASSES[k % 2] for k in range(4)], dtype=object)
    volume = Volume(data, 10.0, "toy")
    return TrainingVolume(
        volume, mask, Particles(CENTERS * 10.0, classes=names), owner, intensity=(float(data.mean()), float(data.std()))
    )


def trained(method, **changes):
    torch.set_num_threads(1)
    settings = method.training_settings("classifier", changes={**method.TINY["classifier"], **changes})
    volume = make_volume()
    model = method.create_model(settings, CLASSES, voxel_size=10.0)
    losses = []
    method.train([volume], model, settings, classes=CLASSES, log=lambda row: losses.append(row["loss"]))
    return volume, model, losses


def test_the_papers_numbers():
    settings = yopo.training_settings("classifier", "paper")
    assert (settings.patch, settings.jitter, settings.balanced) == (24, 0.0, False)
    detection = PeakSettings()
    assert (detection.threshold, detection.minimum_distance, detection.stride) == (0.99, 140.0, 1)
    model = yopo.create_model(settings, ["a"] * 12, voxel_size=10.0)
    assert model.network.box == 24 and model.network.classes == 13


def test_on_a_toy_the_loss_falls_and_it_finds_and_names_the_particles():
    volume, model, losses = trained(yopo, steps=120, learning_rate=0.01, average_decay=0.0, patch=12)
    assert losses[-1] < 0.3 * losses[0]
    changes = {"threshold": 0.8, "minimum_distance": 90.0, "slab": "off"}
    found = yopo.detect(volume.tomogram, {"classifier": model}, changes=changes, device="cpu")
    for center, name in zip(CENTERS, volume.particles.classes, strict=True):
        distance = np.linalg.norm(found.particles.centers_zyx / 10 - center, axis=1)
        assert distance.min() < 4 and found.particles.classes[distance.argmin()] == name
    assert found.settings["threshold"] == 0.8 and np.all(np.diff(found.particles.scores) <= 0)


def test_unknown_names():
    with pytest.raises(VoxpickError, match="YOPO has one, 'classifier'"):
        yopo.training_settings("localizer")
    with pytest.raises(VoxpickError, match="YOPO needs a 'classifier'"):
        yopo.detect(make_volume().tomogram, {})
