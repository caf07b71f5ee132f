"""Batches drawn ahead of time are the same whatever the threads do, and leave no trace in an interrupted run."""

import time

import numpy as np
import pytest
import torch

from voxpick.train import ahead
from voxpick.train.ahead import Batches
from voxpick.train.patches import draw_batch

ELSEWHERE = torch.device("meta")
"""A device that is no CPU, for which batches are drawn ahead, and that needs no page-locked memory."""


class Numbers:
    """Images of one random voxel; some take longer than others."""

    epoch = 1

    def __init__(self, fails_at=None):
        self.fails_at = fails_at

    def draw(self, rng):
        value = rng.random()
        time.sleep(0.01 * value)
        if self.fails_at is not None and value > self.fails_at:
            raise ValueError("no patch")
        return np.full((1, 1, 1), value, np.float32), np.zeros((1, 1, 1), np.int64)


def values(batches, number):
    return [batches.draw().images.flatten().tolist() for _ in range(number)]


def test_on_a_cpu_batches_come_from_the_generator_itself():
    mine, other = np.random.default_rng(3), np.random.default_rng(3)
    with Batches(Numbers(), mine, batch=2, device=torch.device("cpu")) as batches:
        drawn = batches.draw()
    assert drawn.rng is mine
    assert torch.equal(drawn.images, draw_batch(Numbers(), other, batch=2)[0]) and mine.random() == other.random()


@pytest.mark.parametrize("threads", [1, 5])
def test_threads_do_not_change_what_is_drawn_and_the_generator_stays_with_what_was_used(threads, monkeypatch):
    monkeypatch.setattr(ahead, "MOST_THREADS", threads)
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 8)
    rng = np.random.default_rng(3)
    with Batches(Numbers(), rng, batch=2, device=ELSEWHERE) as batches:
        first = values(batches, 4)
    with Batches(Numbers(), rng, batch=2, device=ELSEWHERE) as batches:
        second = values(batches, 4)
    with Batches(Numbers(), np.random.default_rng(3), batch=2, device=ELSEWHERE) as batches:
        assert values(batches, 8) == first + second
    assert len({value for batch in first + second for value in batch}) == 16


def test_few_large_batches_wait(monkeypatch):
    monkeypatch.setattr(ahead, "AHEAD_BYTES", 30)
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 8)
    with Batches(Numbers(), np.random.default_rng(0), batch=1, device=ELSEWHERE) as batches:
        values(batches, 5)
        assert len(batches._coming) <= 2


def test_what_a_sampler_raises_is_raised():
    with (
        pytest.raises(ValueError, match="no patch"),
        Batches(Numbers(fails_at=0.1), np.random.default_rng(0), batch=2, device=ELSEWHERE) as batches,
    ):
        values(batches, 20)
