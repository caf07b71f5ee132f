"""The particles of training tomograms, drawn one at a time for a box around each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from voxpick.train.targets import TrainingVolume


class ParticleDraws:
    """Particles of tomograms, each with the label of its class; those of a class without a label are not drawn.

    labels: by name of the class. balanced: every class equally often; else every particle. jitter: largest shift from
    the true centre along each axis, in voxels.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], labels: Mapping[str, int], *, balanced: bool, jitter: float
    ) -> None:
        rows = [
            (index, center, labels[str(name)])
            for index, volume in enumerate(volumes)
            for center, name in zip(volume.centers(), volume.particles.classes, strict=True)
            if str(name) in labels
        ]
        self.index = np.array([index for index, _, _ in rows], dtype=np.int64)
        self.centers = np.array([center for _, center, _ in rows], dtype=np.int64).reshape(-1, 3)
        self.labels = np.array([label for _, _, label in rows], dtype=np.int64)
        found = np.unique(self.labels)
        self.groups = [np.flatnonzero(self.labels == label) for label in found] if balanced else [np.arange(len(rows))]
        self.jitter = jitter

    def __len__(self) -> int:
        return len(self.labels)

    def draw(self, rng: np.random.Generator) -> tuple[int, np.ndarray, int]:
        """Which volume, the voxel (z, y, x) at the particle's centre or a whole number of voxels off it, the label."""
        group = self.groups[rng.integers(len(self.groups))]
        row = group[rng.integers(len(group))]
        shift = np.rint(rng.uniform(-self.jitter, self.jitter, size=3)).astype(np.int64)
        return int(self.index[row]), self.centers[row] + shift, int(self.labels[row])
