import numpy as np
import pytest
from bead_particle import VOXEL_SIZE, beads, observed

from voxpick.average.subtomograms import Subtomograms
from voxpick.particles import Particles


@pytest.fixture
def simulate():
    """simulate(rotations, shifts, box=, tilts=, noise=, seed=): subtomograms of the bead particle."""

    def make(rotations, shifts, *, box=28, tilts=(-60, 60), noise=0.0, seed=0, empty=False):
        rng = np.random.default_rng(seed)
        data = np.stack(
            [
                observed(0 * beads(box) if empty else beads(box, r, s), tilts=tilts, noise=noise, rng=rng)
                for r, s in zip(rotations, shifts, strict=True)
            ]
        )
        n = len(data)
        data = (data / data.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)
        return Subtomograms(data, Particles(np.full((n, 3), 500.0)), VOXEL_SIZE, np.zeros((n, 3)))

    return make
