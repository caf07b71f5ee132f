"""A lopsided particle of beads, for the tests of averaging."""

import numpy as np
import torch

from voxpick.wedge import wedge_mask

BEADS = np.array([[0, 0, 0], [5, 0, 0], [0, 6.5, 0], [-3, 0, 4.5], [2, -4, -2]], dtype=float)
HEIGHTS = np.array([1.0, 0.9, 1.2, 0.8, 1.1])
VOXEL_SIZE = 10.0


def beads(box, rotation=None, shift=(0, 0, 0), sigma=1.4):
    """A lopsided particle of Gaussian beads about the box centre, turned and shifted exactly."""
    places = BEADS @ (np.eye(3) if rotation is None else rotation).T + np.asarray(shift)
    axes = np.arange(box) - box // 2
    total = np.zeros((box,) * 3)
    for place, height in zip(places, HEIGHTS, strict=True):
        z, y, x = (np.exp(-((axes - p) ** 2) / (2 * sigma**2)) for p in place)
        total += height * z[:, None, None] * y[:, None] * x
    return total


def observed(density, *, tilts, noise, rng):
    """A density plus noise (deviation `noise`), less what the wedge hides."""
    noisy = torch.as_tensor(density + noise * rng.normal(size=density.shape), dtype=torch.float32)
    mask = 1 if tilts is None else wedge_mask(density.shape, tilts)
    return torch.fft.irfftn(torch.fft.rfftn(noisy) * mask, s=density.shape).numpy()


def angles_deg(a, b):
    """Angle between the rotations of two stacks of matrices."""
    trace = np.einsum("nij,nij->n", a, b)
    return np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
