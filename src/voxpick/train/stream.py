"""Training on an endless stream of specimens, so that no volume is learnt by heart.

A pool of specimens is in memory. Specimen k is a pure function of the stream's seed and k, and at step s the pool holds
the specimens s // every to s // every + pool - 1; so an interrupted run that is resumed sees what it would have seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxpick.errors import VoxpickError, wrong_setting
from voxpick.train.checkpoint import Progress
from voxpick.train.fit import Fitted
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume

Make = Callable[[int], TrainingVolume]
Stop = Callable[[], bool]

POLL_SECONDS = 0.2
"""How often a training that waits for specimens asks whether to stop: one takes minutes to make."""


class StreamSettings(BaseModel):
    """What the specimens of a stream are, and how fast they change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    pool: int = Field(4, ge=1, description="specimens in memory")
    every: int = Field(200, ge=1, description="steps after which a new specimen takes the oldest one's place")
    size: tuple[int, int, int] = Field((200, 256, 256), description="voxels of a specimen, z, y, x")
    vary: bool = Field(True, description="draw SNR, tilts, defocus, ice, crowding and contrast anew for each specimen")
    seed: int = Field(0, ge=0, description="of the specimens; none is one that 'voxpick simulate' makes")


def stream_settings(settings: TrainSettings) -> StreamSettings:
    """The checked `stream` of a run. Raises VoxpickError naming the setting, and for a budget in epochs."""
    try:
        chosen = StreamSettings(**settings.stream)
    except ValidationError as error:
        raise wrong_setting("training settings: stream.", error, StreamSettings) from error
    if settings.epochs is not None:
        raise VoxpickError(
            f"epochs is {settings.epochs}, but an endless stream of specimens has none; give --steps or --minutes"
        )
    return chosen


class SpecimenStream:
    """The pool of specimens at any step. `make(k)` runs in the executor, one specimen ahead of its need.

    Whatever make raises is raised where the specimen is needed.
    """

    def __init__(self, make: Make, executor: Executor, *, pool: int, every: int) -> None:
        self.make, self.executor = make, executor
        self.pool, self.every = pool, every
        self.coming: dict[int, Future[TrainingVolume]] = {}

    def volumes(self, step: int, stop: Stop = lambda: False) -> list[TrainingVolume] | None:
        """The pool at a step; waits for specimens that are not made yet. None where stop() says so meanwhile."""
        first = step // self.every
        for number in [number for number in self.coming if not first <= number <= first + self.pool]:
            self.coming.pop(number).cancel()
        for number in range(first, first + self.pool + 1):
            if number not in self.coming:
                self.coming[number] = self.executor.submit(self.make, number)
        pool = [self.coming[number] for number in range(first, first + self.pool)]
        for future in pool:
            while not wait([future], timeout=POLL_SECONDS).done:
                if stop():
                    return None
        return [future.result() for future in pool]

    def changes_at(self, step: int) -> int:
        """The first step after `step` at which the pool is another one."""
        return (step // self.every + 1) * self.every


def train_on_stream(
    train: Callable[..., Fitted],
    stream: SpecimenStream,
    *,
    checkpoint_seconds: float,
    resume: dict[str, Any] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
    stop: Stop = lambda: False,
    **options: Any,
) -> Fitted:
    """Train as `train(volumes, resume=, save=, stop=, **options)` does, going on with the next pool when it changes.

    train: of a method, with all but these given; it goes on from a checkpoint as if it had not stopped (`train.fit`),
    so the steps on one pool are a run that is interrupted and resumed. Time spent waiting for specimens counts. A run
    that is stopped while it waits for its first specimens has no checkpoint, and is interrupted at step 0.
    """
    state, fitted, due = resume, None, _Due(save, checkpoint_seconds)
    while True:
        step = 0 if state is None else int(state["progress"]["step"])
        begun = time.monotonic()
        try:
            volumes = stream.volumes(step, stop)
        except BrokenExecutor as error:
            if save is not None and state is not None and state is not resume:
                save(state)
            if fitted is not None and stop():
                return fitted
            raise VoxpickError(
                "the process that simulates specimens was ended from outside or lacked memory; go on with --resume"
            ) from error
        if state is not None and state is not resume:
            state["progress"]["minutes"] += (time.monotonic() - begun) / 60
        if volumes is None:
            if state is not None and state is not resume:
                due.keep(state, now=True)
            return _stopped_at(state)
        turn = _Turn(stream.changes_at(step) - step, stop, due)
        fitted = train(volumes, resume=state, save=turn.keep, stop=turn.over, **options)
        state = turn.state
        ended = not fitted.interrupted or turn.stopped
        if state is not None:
            due.keep(state, now=ended)
        if ended:
            return fitted


def _stopped_at(state: dict[str, Any] | None) -> Fitted:
    """What is told of a run that was stopped between two pools, at a checkpoint or before the first."""
    progress = Progress() if state is None else Progress(**state["progress"])
    return Fitted(
        step=progress.step, minutes=progress.minutes, best_score=progress.best_score, best_step=progress.best_step,
        best_validation=progress.best_validation, interrupted=True, sampling_share=progress.sampling_share,
    )  # fmt: skip


class _Due:
    """Saves checkpoints, at most one in so many seconds unless told to."""

    def __init__(self, save: Callable[[dict[str, Any]], None] | None, seconds: float) -> None:
        self.save, self.seconds, self.written = save, seconds, time.monotonic()

    def keep(self, state: dict[str, Any], *, now: bool = False) -> None:
        """Save a checkpoint if it is time."""
        if self.save is not None and (now or time.monotonic() - self.written >= self.seconds):
            self.save(state)
            self.written = time.monotonic()


class _Turn:
    """The steps on one pool: stops after so many, or when asked to, and keeps the checkpoint."""

    def __init__(self, steps: int, stop: Stop, due: _Due) -> None:
        self.left, self.ask, self.due = steps, stop, due
        self.stopped = False
        self.state: dict[str, Any] | None = None

    def over(self) -> bool:
        """Whether to stop before the next step; asked once a step."""
        self.stopped = self.ask()
        if self.stopped or self.left == 0:
            return True
        self.left -= 1
        return False

    def keep(self, state: dict[str, Any]) -> None:
        """Take a checkpoint."""
        self.state = state
        self.due.keep(state)
