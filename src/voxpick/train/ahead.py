"""Batches drawn while a GPU computes: there a step takes no longer than drawing its patches does on one processor."""

from __future__ import annotations

import copy
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch

from voxpick.train.patches import Sampler, draw_batch

MOST_THREADS = 6
AHEAD_BYTES = 2**30
"""Memory for batches that wait, of which there is one at least."""


class Drawn(NamedTuple):
    """A batch, as `draw_batch` gives it, and the random numbers that go on from there."""

    images: torch.Tensor
    labels: torch.Tensor
    rng: np.random.Generator


class Batches:
    """Draws the batches of a training on a device; to be left as a context.

    For a CPU one after another, when they are asked for, from `rng`. For a GPU ahead of time, in threads, each batch
    from a generator of its own whose seed is the next number of `rng`; so what is drawn does not depend on how fast the
    threads are, and `rng` is always where the batches that were given out have left it, as checkpoints need it.
    """

    def __init__(self, sampler: Sampler, rng: np.random.Generator, *, batch: int, device: torch.device) -> None:
        self.sampler, self.rng, self.batch, self.device = sampler, rng, batch, device
        threads = 0 if device.type == "cpu" else max(1, min(MOST_THREADS, (os.cpu_count() or 2) - 1))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="patches") if threads else None
        self._ahead, self._most, self._waiting = copy.deepcopy(rng), threads, 1
        self._coming: deque[Future[Drawn]] = deque()

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def draw(self) -> Drawn:
        """The next batch, in main memory; page-locked where that makes it faster to copy."""
        if self._threads is None:
            return Drawn(*draw_batch(self.sampler, self.rng, batch=self.batch), self.rng)
        while len(self._coming) <= self._waiting:
            self._coming.append(self._threads.submit(self._make, _seed(self._ahead)))
        found = self._coming.popleft().result()
        self._waiting = max(1, min(self._most, AHEAD_BYTES // (found.images.nbytes + found.labels.nbytes)))
        _seed(self.rng)
        return found

    def _make(self, seed: int) -> Drawn:
        rng = np.random.default_rng(seed)
        images, labels = draw_batch(self.sampler, rng, batch=self.batch)
        if self.device.type == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        return Drawn(images, labels, rng)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**63))
