import numpy as np
import pytest
from slow import slow_scores

from voxpick.match.bank import Bank, Template
from voxpick.match.filters import Optics
from voxpick.match.rotations import super_fibonacci


def lopsided(side=12):
    """An L of three balls, without any symmetry."""
    grid = np.indices((side,) * 3) - side // 2
    parts = (((0, 0, 0), 1.0), ((0, 0, 3), 1.2), ((0, -2.5, 0), 0.8), ((2, 0, 0), 0.5))
    return sum(
        w * np.exp(-0.5 * sum((g - o) ** 2 for g, o in zip(grid, at, strict=True)) / 1.1**2) for at, w in parts
    ).astype(np.float32)


@pytest.fixture(scope="session")
def bank():
    """Nine orientations, filtered by CTF and wedge, under a soft mask."""
    template = Template("L", lopsided(), 10.0, radius=40)
    return Bank(template, super_fibonacci(9), optics=Optics(), tilt_range_deg=(-60, 60), edge=1.0)


@pytest.fixture(scope="session")
def noisy(bank):
    """Noise with three particles [z, y, x] of unequal sides, bright; their places and rows in the bank."""
    rng = np.random.default_rng(5)
    data = rng.normal(size=(17, 24, 30)).astype(np.float32)
    truth = {(8, 8, 8): 3, (8, 14, 21): 7, (4, 18, 10): 0}
    half = bank.side // 2
    for place, row in truth.items():
        particle = bank.normalised(slice(row, row + 1))[0].numpy()
        low = [max(half - p, 0) for p in place]
        high = [min(bank.side, n - p + half) for p, n in zip(place, data.shape, strict=True)]
        window = tuple(slice(p - half + a, p - half + b) for p, a, b in zip(place, low, high, strict=True))
        data[window] += 1.2 * particle[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return 3 * data + 70, truth


@pytest.fixture(scope="session")
def slow(bank, noisy):
    """All scores by the definition: [rotations, z, y, x]."""
    return slow_scores(noisy[0], bank.normalised(slice(None)).double().numpy(), bank.mask.numpy())
