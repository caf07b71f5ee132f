"""Boxes of even sides keep their particle on voxel side // 2, however they are turned."""

import numpy as np
import pytest

from voxpick.particles import Particles
from voxpick.train.augment import Augmentation
from voxpick.train.centred import CentredBoxes
from voxpick.train.subtomograms import LabelledSubtomograms
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

CENTER = (6, 9, 15)
TURNED = Augmentation(turns=True, mirrors=True, scale=0.0, shift=0.0)


def make_volume():
    """One bright voxel, which is the centre of the only particle."""
    data = np.zeros((12, 20, 28), np.float32)
    data[CENTER] = 1
    particles = Particles(np.array([CENTER]) * 10.0, classes=np.array(["a"], dtype=object))
    return TrainingVolume(Volume(data, 10.0, "point"), data.astype(np.int8), particles)


@pytest.mark.parametrize("size", [7, 8])
def test_the_particle_stays_in_the_middle(size):
    shared = {"size": size, "jitter": 0.0, "balanced": True, "background": 0.0, "augmentation": TURNED}
    boxes = CentredBoxes([make_volume()], ["a"], distance=3.0, cube=True, **shared)
    whole = LabelledSubtomograms([make_volume()], classes=["a"], **shared)
    rng = np.random.default_rng(4)
    for sampler in (boxes, whole):
        for _ in range(40):
            image, label = sampler.draw(rng)
            assert image.shape == (size,) * 3 and image.flags.c_contiguous and label == 1
            assert np.argwhere(image).tolist() == [[size // 2] * 3]
