"""Locally normalised correlation by its definition in real space, one voxel at a time, in double precision."""

import numpy as np


def slow_scores(data, templates, mask):
    """Score of every normalised template at every voxel: [rotations, z, y, x]; the mean lies beyond the faces."""
    n, weight = len(mask), mask.astype(np.float64)
    reach, total = n // 2, weight.sum()
    padded = np.pad(data.astype(np.float64) - data.mean(dtype=np.float64), (reach, n))
    scores = np.zeros((len(templates), *data.shape))
    for place in np.ndindex(data.shape):
        box = padded[tuple(slice(p, p + n) for p in place)]
        mean = (weight * box).sum() / total
        deviation = np.sqrt((weight * (box - mean) ** 2).sum() / total)
        for k, template in enumerate(templates):
            scores[(k, *place)] = (template * box).sum() / (total * deviation)
    return scores
