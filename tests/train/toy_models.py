"""Small model_N folders with dark balls of two classes, for the tests of training."""

import numpy as np

from voxpick.io.shrec_model import write_model
from voxpick.particles import Particles

CLASSES = ("3cf3", "1s3x")


def write_toy_model(directory, *, seed, shape=(20, 36, 44), thickness=28, particles=10):
    """A specimen [z, y, x] of `shape` in a tomogram `thickness` high; class 1 has radius 4, class 2 radius 2.5."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.indices(shape), axis=-1)
    classes, ids, centers = np.zeros(shape, np.int8), np.zeros(shape, np.int16), []
    while len(centers) < particles:
        center = rng.integers(4, np.array(shape) - 4)
        if all(np.linalg.norm(center - other) > 9 for other in centers):
            kind = len(centers) % 2
            ball = ((grid - center) ** 2).sum(axis=-1) <= (4, 2.5)[kind] ** 2
            centers.append(center)
            classes[ball], ids[ball] = kind + 1, len(centers)
    tomogram = rng.normal(5.0, 0.5, (thickness, *shape[1:])).astype(np.float32)
    offset = (thickness - shape[0]) // 2
    tomogram[offset : offset + shape[0]] -= 2.0 * (classes > 0)
    truth = Particles(
        np.array(centers) * 10.0,
        classes=np.array([CLASSES[k % 2] for k in range(particles)], dtype=object),
        rotations=np.tile(np.eye(3), (particles, 1, 1)),
    )
    return write_model(
        directory, grandmodel=classes.astype(np.float32), class_mask=classes, occupancy_mask=ids, class_bbox=classes,
        occupancy_bbox=ids, projections=np.zeros((3, *shape[1:]), np.float32), reconstruction=tomogram, particles=truth,
    )  # fmt: skip
