"""Spheres in a volume and a network that sees them, for the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch

from voxpick.networks.model import Model
from voxpick.volume import Volume


class BlobNetwork(torch.nn.Module):
    """Logits of background and of blobs at least as dark as each of `levels`, on a 3 x 3 x 3 mean of the input."""

    def __init__(self, levels: tuple[float, ...] = (2.0,), sharpness: float = 8.0, multiple_of: int = 1) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.full((1, 1, 3, 3, 3), 1 / 27))
        self.levels, self.sharpness, self.multiple_of = levels, sharpness, multiple_of
        self.largest_input = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert all(n % self.multiple_of == 0 for n in images.shape[2:])
        self.largest_input = max(self.largest_input, images[0, 0].numel())
        dark = -torch.nn.functional.conv3d(images, self.kernel, padding=1)
        logits = [torch.zeros_like(dark)]
        for level in self.levels:
            logits.append(logits[-1] + self.sharpness * (dark - level))
        return torch.cat(logits, dim=1)


def ball(shape: tuple[int, ...], center: tuple[float, ...], radius: float) -> np.ndarray:
    """Mask [z, y, x] of the voxels within `radius` of `center`."""
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= radius**2


def scattered(
    shape: tuple[int, int, int], number: int, radii: tuple[float, float], rng: np.random.Generator, *, gap: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Sphere numbers [z, y, x] (0 background) and centres (number, 3); half of the spheres touch an earlier one.

    gap: least distance in voxels between surfaces; 0 lets them touch.
    """
    labels = np.zeros(shape, dtype=np.int32)
    centers: list[np.ndarray] = []
    sizes: list[float] = []
    while len(centers) < number:
        radius = rng.uniform(*radii)
        if centers and gap == 0 and rng.random() < 0.5:
            k = rng.integers(len(centers))
            direction = rng.normal(size=3)
            center = centers[k] + direction / np.linalg.norm(direction) * (radius + sizes[k] + 0.1)
        else:
            center = np.array([rng.uniform(radius + 1, n - radius - 2) for n in shape])
        inside = all(radius + 1 <= c <= n - radius - 2 for c, n in zip(center, shape, strict=True))
        apart = all(np.linalg.norm(center - c) > radius + r + gap for c, r in zip(centers, sizes, strict=True))
        if inside and apart:
            centers.append(center)
            sizes.append(radius)
            labels[ball(shape, tuple(center), radius)] = len(centers)
    return labels, np.array(centers)


def f1(labels: np.ndarray, centers: np.ndarray) -> float:
    """Harmonic mean of recall and precision of centres (n, 3), a particle counting once and by its own voxels."""
    place = np.clip(np.rint(centers).astype(int), 0, np.array(labels.shape) - 1)
    hit = labels[tuple(place.T)]
    return 2 * len(set(hit[hit > 0].tolist())) / (int(labels.max()) + len(centers))


def tomogram(labels: np.ndarray, darkness: np.ndarray, rng: np.random.Generator, *, voxel_size: float = 10.0) -> Volume:
    """A volume of noise 1 around 50 in which sphere k is darker by darkness[k - 1]."""
    depth = np.concatenate([[0.0], darkness])
    data = 50 + rng.normal(size=labels.shape) - depth[labels]
    return Volume(data.astype(np.float32), voxel_size, name="blobs")


def model(levels: tuple[float, ...], classes: list[str], **detection: object) -> Model:
    """A blob network as a model for 10 A voxels."""
    settings = {"levels": levels}
    return Model("blob", settings, BlobNetwork(levels), ["background", *classes], 10.0, dict(detection))
