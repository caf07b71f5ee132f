"""Small model_N folders with dark balls of two classes, for the tests of training."""

import numpy as np

from toy_balls import balls, table
from voxpick.io.shrec_model import write_model

CLASSES = ("3cf3", "1s3x")


def write_toy_model(directory, *, seed, shape=(20, 36, 44), thickness=28, particles=10):
    """A specimen [z, y, x] of `shape` in a tomogram `thickness` high; class 1 has radius 4, class 2 radius 2.5."""
    rng = np.random.default_rng(seed)
    classes, ids, centers = balls(rng, shape, particles, radii=(4, 2.5), margin=4, apart=9)
    tomogram = rng.normal(5.0, 0.5, (thickness, *shape[1:])).astype(np.float32)
    offset = (thickness - shape[0]) // 2
    tomogram[offset : offset + shape[0]] -= 2.0 * (classes > 0)
    truth = table(centers, CLASSES, rotations=np.tile(np.eye(3), (particles, 1, 1)))
    return write_model(
        directory, grandmodel=classes.astype(np.float32), class_mask=classes, occupancy_mask=ids, class_bbox=classes,
        occupancy_bbox=ids, projections=np.zeros((3, *shape[1:]), np.float32), reconstruction=tomogram, particles=truth,
    )  # fmt: skip
