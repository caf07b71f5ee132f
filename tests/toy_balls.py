"""Balls of two sizes in a small specimen, apart from each other: what tests that train and detect draw."""

import numpy as np

from voxpick.particles import Particles
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume, intensity_statistics

CLASSES = ["large", "small"]


def balls(rng, shape, particles, *, radii=(5, 3), margin=5, apart=10):
    """Class (radii in turn, from 1 on) and id masks [z, y, x] and centres (particles, 3) in voxels."""
    grid = np.stack(np.indices(shape), axis=-1)
    classes, ids, centers = np.zeros(shape, np.int8), np.zeros(shape, np.int16), []
    while len(centers) < particles:
        center = rng.integers(margin, np.array(shape) - margin)
        if all(np.linalg.norm(center - other) > apart for other in centers):
            kind = len(centers) % len(radii)
            ball = ((grid - center) ** 2).sum(axis=-1) <= radii[kind] ** 2
            centers.append(center)
            classes[ball], ids[ball] = kind + 1, len(centers)
    return classes, ids, np.array(centers)


def table(centers, names, **columns):
    """Particles of 10 A voxels at these centres, with the names in turn."""
    classes = np.array([names[k % len(names)] for k in range(len(centers))], dtype=object)
    return Particles(centers * 10.0, classes=classes, **columns)


def toy_volume(shape, *, seed, particles, densities=(1.0, 1.0), background=0.0):
    """A tomogram as thick as its specimen: noise about `background`, balls darker by 4 times their density."""
    rng = np.random.default_rng(seed)
    mask, ids, centers = balls(rng, shape, particles)
    density = np.array([0.0, *densities], dtype=np.float32)[mask]
    image = (background + rng.normal(size=shape) - 4 * density).astype(np.float32)
    volume, truth = Volume(image, 10.0, f"toy{seed}"), table(centers, CLASSES)
    return TrainingVolume(volume, mask, truth, ids, intensity=intensity_statistics(volume), density=density)
