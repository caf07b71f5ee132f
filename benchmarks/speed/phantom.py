"""A class map like SHREC'20's: spheres that do not overlap, most of them touching another."""

from __future__ import annotations

import numpy as np

CLASSES = 12
RADII = (3.0, 9.0)
PER_VOXEL = 2600 / (200 * 512 * 512)


def class_map(shape: tuple[int, int, int], *, seed: int) -> np.ndarray:
    """uint8 [z, y, x]: 0 background, 1 to 12 the classes, 2600 particles for 200 x 512 x 512 voxels.

    Half of the particles are placed against an earlier one; class k has its own radius of 3 to 9 voxels.
    """
    rng = np.random.default_rng(seed)
    radii = np.linspace(*RADII, CLASSES)
    labels = np.zeros(shape, dtype=np.uint8)
    limits = np.array(shape, dtype=np.float64)
    placed: list[tuple[np.ndarray, float]] = []
    for _ in range(round(PER_VOXEL * np.prod(shape))):
        kind = int(rng.integers(CLASSES))
        radius = radii[kind]
        for _ in range(50):
            center = rng.uniform(radius + 1, limits - radius - 2)
            if placed and rng.random() < 0.5:
                other, reach = placed[rng.integers(len(placed))]
                direction = rng.normal(size=3)
                center = other + direction / np.linalg.norm(direction) * (radius + reach + 0.3)
            if (center < radius + 1).any() or (center > limits - radius - 2).any():
                continue
            window = tuple(slice(int(c - radius), int(c + radius) + 2) for c in center)
            grid = np.ogrid[window]
            ball = sum(np.square(g - c) for g, c in zip(grid, center, strict=True)) <= radius**2
            if not labels[window][ball].any():
                labels[window][ball] = kind + 1
                placed.append((center, radius))
                break
    return labels
