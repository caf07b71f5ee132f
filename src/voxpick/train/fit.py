"""The training loop, in sight."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from voxpick.allocation import keep_freed_memory
from voxpick.errors import VoxpickError
from voxpick.networks.quick import quicken
from voxpick.precision import choose_dtype
from voxpick.train.ahead import Batches
from voxpick.train.checkpoint import Progress, Trainee, capture, restore
from voxpick.train.normalisation import settle_normalisation
from voxpick.train.patches import Sampler
from voxpick.train.schedules import Budget, budget, learning_rate
from voxpick.train.settings import TrainSettings

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Validate = Callable[[torch.nn.Module, Loss], dict[str, float]]

ADJUSTABLE = {"minutes", "log_steps", "validate_minutes", "validate_steps", "checkpoint_seconds"}
"""Settings that may change when a run is resumed."""


@dataclass(frozen=True)
class Fitted:
    """How a run ended. The network holds the best weights by validation, or the last (averaged) ones without it.

    A run that was stopped early is `interrupted`.
    """

    step: int
    minutes: float
    best_score: float
    best_step: int
    best_validation: dict[str, float]
    interrupted: bool
    sampling_share: float


def fit(
    network: torch.nn.Module,
    sampler: Sampler,
    loss: Loss,
    settings: TrainSettings,
    *,
    validate: Validate | None = None,
    log: Callable[[dict[str, float]], None] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
    resume: dict[str, Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
    begun: float | None = None,
) -> Fitted:
    """Train `network` in place with Adam until the budget is spent or stop() says so.

    loss(logits (b, classes, z, y, x), labels (b, z, y, x)). validate(network, loss) returns numbers, among them
    'score', the larger the better; the best weights are kept. log takes one row a call, save a checkpoint (also at the
    end and when stopped), resume such a checkpoint. With a budget in steps or epochs an interrupted and resumed run
    gives the same weights, bit for bit, as one that was not interrupted, on a CPU with the same number of threads (on a
    GPU sums have no fixed order); where weights are chosen by validation, that needs validate_steps, as
    validate_minutes goes by the clock. A run that is resumed without validate gives up what an earlier validation held
    for its best weights.
    begun: `time.monotonic()` of when the work for this training began, whose time counts; None: now.
    Raises VoxpickError when the loss is not finite, the checkpoint is of another run, or the work before the first step
    took all of the minutes.
    """
    keep_freed_memory()
    device = device or torch.device("cpu")
    trainee, fingerprint = _untrained(network, settings, device), _fingerprint(settings)
    state = Progress() if resume is None else restore(resume, trainee, fingerprint=fingerprint)
    epoch_steps = state.epoch_steps = state.epoch_steps or max(1, math.ceil(sampler.epoch / settings.batch))
    plan = budget(settings, epoch_steps=epoch_steps)
    if validate is None:
        state.forget_best()
    started = (time.monotonic() if begun is None else begun) - 60 * state.minutes
    if begun is not None:
        state.minutes = (time.monotonic() - started) / 60
        _require_time_left(plan, state)
    saved = time.monotonic()

    def checkpoint() -> None:
        if save is not None:
            save(capture(trainee, state, fingerprint=fingerprint))

    def check() -> None:
        if state.validated_step == state.step:
            return
        _settle(trainee, sampler, settings, device)
        if validate is not None:
            _validate(validate, trainee.learned, loss, state, log)
            state.minutes = state.validated_minutes = (time.monotonic() - started) / 60

    with Batches(sampler, trainee.rng, batch=settings.batch, device=device) as batches:
        while (spent := plan.progress(state.step, state.minutes)) < 1 and not stop():
            rate = learning_rate(settings, step=state.step, progress=spent, epoch_steps=epoch_steps)
            _step(trainee, batches, loss, rate, state, settings)
            state.minutes = (time.monotonic() - started) / 60
            if state.step % settings.log_steps == 0:
                _log_loss(state, rate, log, epoch_steps)
            if validate is not None and _validation_due(state, settings):
                check()
            if time.monotonic() - saved >= settings.checkpoint_seconds:
                checkpoint()
                saved = time.monotonic()
            if progress is not None:
                progress(*_shown(plan, state))
    interrupted = plan.progress(state.step, state.minutes) < 1
    if not interrupted:
        check()
    checkpoint()
    network.load_state_dict(trainee.learned.state_dict() if state.best_weights is None else state.best_weights)
    network.eval()
    if hasattr(network, "compute_dtype"):
        network.compute_dtype = torch.float32  # type: ignore[assignment]  # as that of a model read from its file
    return Fitted(
        step=state.step, minutes=state.minutes, best_score=state.best_score, best_step=state.best_step,
        best_validation=state.best_validation, interrupted=interrupted, sampling_share=state.sampling_share,
    )  # fmt: skip


def _require_time_left(plan: Budget, state: Progress) -> None:
    if state.step == 0 and plan.progress(0, state.minutes) >= 1:
        raise VoxpickError(
            f"{state.minutes:.2g} minutes of work before the first step took all of minutes = {plan.minutes:g}; give "
            "more of them"
        )


def _untrained(network: torch.nn.Module, settings: TrainSettings, device: torch.device) -> Trainee:
    """The network on its device with a fresh optimiser, random numbers and, if the settings ask for it, average."""
    torch.manual_seed(settings.seed)
    network.to(device).train()
    if device.type == "cpu":
        quicken(network)
    set_compute_dtype(network, settings.dtype, device)
    return Trainee(
        network,
        averaged(network, settings.average_decay) if settings.average_decay else None,
        torch.optim.Adam(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay),
        np.random.default_rng(settings.seed),
    )


def _fingerprint(settings: TrainSettings) -> str:
    """The settings that a resumed run must share, but those of later versions where they change nothing."""
    later = ("stream", "settle_batches", "spectrum", "low_pass", "keep_spectrum", "mixup")
    unused = {name for name in later if not getattr(settings, name)}
    return json.dumps(settings.model_dump(exclude=ADJUSTABLE | unused), sort_keys=True)


def _step(
    trainee: Trainee, batches: Batches, loss: Loss, rate: float, state: Progress, settings: TrainSettings
) -> None:
    """One batch, one update."""
    network, optimiser = trainee.network, trainee.optimiser
    begun = time.perf_counter()
    images, labels, rng = batches.draw()
    images, labels = (part.to(batches.device, non_blocking=True) for part in (images, labels))
    drawn = time.perf_counter()
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    value = loss_of(network, images, labels, loss, rng, settings.mixup)
    value.backward()
    if settings.gradient_clip:
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
    optimiser.step()
    if trainee.average is not None:
        trainee.average.update_parameters(network)
    number = float(value.detach())
    if not math.isfinite(number):
        raise VoxpickError(f"the loss is {number} at step {state.step}; lower learning_rate = {rate:g}")
    state.step += 1
    state.loss_sum += number
    state.loss_count += 1
    state.sampling_seconds += drawn - begun
    state.computing_seconds += time.perf_counter() - drawn


def loss_of(
    network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, loss: Loss, rng: np.random.Generator,
    mixup: float,
) -> torch.Tensor:  # fmt: skip
    """The loss of a batch; with `mixup`, of sums of each image and the next one, by the labels of both.

    Zhang, Cisse, Dauphin and Lopez-Paz (2018), mixup: Beyond Empirical Risk Minimization, ICLR, for losses that are no
    cross-entropy of mixed labels: the losses are mixed.
    """
    if not mixup:
        return loss(network(images), labels)
    share = float(rng.beta(mixup, mixup))
    output = network(share * images + (1 - share) * images.roll(1, 0))
    return share * loss(output, labels) + (1 - share) * loss(output, labels.roll(1, 0))


def _settle(trainee: Trainee, sampler: Sampler, settings: TrainSettings, device: torch.device) -> None:
    """Measure the normalisation of the averaged network anew, as the settings say."""
    if trainee.average is not None:
        settle_normalisation(
            trainee.average.module, sampler, batches=settings.settle_batches, batch=settings.batch, seed=settings.seed,
            device=device,
        )  # fmt: skip


def averaged(network: torch.nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights whose decay rises from 0.1 to `decay` as steps are taken."""

    def update(mean: Any, current: Any, _: torch.Tensor | int) -> None:
        n = int(average.n_averaged)  # in main memory; the one given is on the device, and asking it would wait for that
        torch._foreach_lerp_(mean, current, 1 - min(decay, (1 + n) / (10 + n)))

    average = AveragedModel(network, multi_avg_fn=update)
    return average


def set_compute_dtype(network: torch.nn.Module, dtype: str, device: torch.device) -> None:
    """Set the number format a network computes in, where it has one; 'auto' as the processor gains from it."""
    if hasattr(network, "compute_dtype"):
        chosen = choose_dtype(device, network) if dtype == "auto" else getattr(torch, dtype)
        network.compute_dtype = chosen  # type: ignore[assignment]


def _validate(
    validate: Validate, network: torch.nn.Module, loss: Loss, state: Progress,
    log: Callable[[dict[str, float]], None] | None,
) -> None:  # fmt: skip
    """Validate and keep the best weights; of equal scores the later one."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        numbers = validate(network, loss)
    network.train(was_training)
    if "score" not in numbers:
        raise VoxpickError(f"the validation gave {sorted(numbers)} but no 'score'")
    state.validated_step = state.step
    if numbers["score"] >= state.best_score:
        state.best_score, state.best_step = float(numbers["score"]), state.step
        state.best_validation = {key: float(value) for key, value in numbers.items()}
        state.best_weights = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
    if log is not None:
        row = {"step": state.step, "minutes": state.minutes, "best_score": state.best_score}
        log(row | {f"validation_{key}": float(value) for key, value in numbers.items()})


def _validation_due(state: Progress, settings: TrainSettings) -> bool:
    if settings.validate_steps is not None and state.step % settings.validate_steps == 0:
        return True
    return (
        settings.validate_minutes is not None and state.minutes - state.validated_minutes >= settings.validate_minutes
    )


def _log_loss(state: Progress, rate: float, log: Callable[[dict[str, float]], None] | None, epoch_steps: int) -> None:
    if log is not None:
        log({
            "step": state.step,
            "minutes": state.minutes,
            "epoch": state.step / epoch_steps,
            "loss": state.loss_sum / state.loss_count,
            "learning_rate": rate,
            "seconds_per_step": (state.sampling_seconds + state.computing_seconds) / state.step,
            "sampling_share": state.sampling_share,
        })  # fmt: skip
    state.loss_sum, state.loss_count = 0.0, 0


def _shown(plan: Budget, state: Progress) -> tuple[int, int]:
    """Done and total for a progress bar: steps, or seconds."""
    if plan.steps is not None:
        return state.step, plan.steps
    assert plan.minutes is not None
    return min(int(60 * state.minutes), int(60 * plan.minutes)), int(60 * plan.minutes)
