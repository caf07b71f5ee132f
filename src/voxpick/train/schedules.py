"""Learning rates as functions of progress, and the budget that progress is measured in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from voxpick.train.settings import TrainSettings


def warmup_cosine(progress: float, *, warmup: float) -> float:
    """Factor on the learning rate: linear rise over the first `warmup` share of the run, then a cosine to 0."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    rest = min((progress - warmup) / (1 - warmup), 1.0)
    return 0.5 * (1 + math.cos(math.pi * rest))


def step_decay(epoch: float, *, decay_epoch: int) -> float:
    """Factor on the learning rate: 1, and 0.1 after `decay_epoch` epochs (VP-Detector, section 3.2)."""
    return 1.0 if epoch < decay_epoch else 0.1


def staircase(epoch: float, progress: float, *, decay_epoch: int, warmup: float) -> float:
    """Factor on the learning rate: linear rise over the first `warmup` share of the run, and 0.1 every decay_epoch."""
    rise = max(progress / warmup, 0.01) if progress < warmup else 1.0
    return rise * 0.1 ** math.floor(epoch / decay_epoch)


@dataclass(frozen=True)
class Budget:
    """How long a run lasts: so many steps, or so many minutes."""

    steps: int | None = None
    minutes: float | None = None

    def progress(self, step: int, minutes: float) -> float:
        """Share of the budget spent, in [0, 1]."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.minutes is not None
        return min(minutes / self.minutes, 1.0)


def budget(settings: TrainSettings, *, epoch_steps: int) -> Budget:
    """The budget of a run; one hour where none is given."""
    if settings.steps is not None:
        return Budget(steps=settings.steps)
    if settings.epochs is not None:
        return Budget(steps=settings.epochs * epoch_steps)
    return Budget(minutes=settings.minutes if settings.minutes is not None else 60.0)


def learning_rate(settings: TrainSettings, *, step: int, progress: float, epoch_steps: int) -> float:
    """The rate of the step about to be taken."""
    if settings.schedule == "step":
        factor = step_decay(step / epoch_steps, decay_epoch=settings.decay_epoch)
    elif settings.schedule == "staircase":
        factor = staircase(step / epoch_steps, progress, decay_epoch=settings.decay_epoch, warmup=settings.warmup)
    else:
        factor = warmup_cosine(progress, warmup=settings.warmup)
    return settings.learning_rate * factor
