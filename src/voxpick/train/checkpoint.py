"""The whole state of a training run as plain data, so that a resumed run goes on as if it had never stopped."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from voxpick.errors import VoxpickError

FORMAT = 1
WAY_OUT = "delete it, or give another --run-dir"


@dataclass
class Progress:
    """Where a run stands: steps taken, minutes spent inside the loop, and the best validation so far.

    epoch_steps: of the data it began with, by which rates fall, whatever a stream shows later.
    """

    step: int = 0
    minutes: float = 0.0
    best_score: float = -math.inf
    best_step: int = 0
    best_weights: dict[str, torch.Tensor] | None = None
    best_validation: dict[str, float] = field(default_factory=dict)
    validated_step: int = -1
    validated_minutes: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    sampling_seconds: float = 0.0
    computing_seconds: float = 0.0
    epoch_steps: int = 0

    @property
    def sampling_share(self) -> float:
        """Part of the time that went into drawing batches; 0 before the first."""
        return self.sampling_seconds / max(self.sampling_seconds + self.computing_seconds, 1e-9)

    def forget_best(self) -> None:
        """Drop the best validation and its weights."""
        self.best_score, self.best_step, self.best_weights, self.best_validation = -math.inf, 0, None, {}


@dataclass(frozen=True)
class Trainee:
    """What steps of training change, besides the `Progress` of the run. average: the moving average of the weights."""

    network: torch.nn.Module
    average: AveragedModel | None
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator

    @property
    def learned(self) -> torch.nn.Module:
        """The network to judge and to keep: the moving average, where there is one."""
        return self.network if self.average is None else self.average.module


def capture(trainee: Trainee, progress: Progress, *, fingerprint: str) -> dict[str, Any]:
    """Weights, optimiser, moving average, random states and progress, as data that torch.save and load keep exactly."""
    return {
        "voxpick_checkpoint": FORMAT,
        "fingerprint": fingerprint,
        "network": _copy(trainee.network.state_dict()),
        "average": None if trainee.average is None else _copy(trainee.average.state_dict()),
        "optimiser": copy.deepcopy(trainee.optimiser.state_dict()),
        "numpy_rng": json.dumps(trainee.rng.bit_generator.state),
        "torch_rng": torch.get_rng_state(),
        "progress": dict(vars(progress)),
    }


def restore(state: dict[str, Any], trainee: Trainee, *, fingerprint: str) -> Progress:
    """Put a captured state back. Raises VoxpickError when it belongs to a run with other settings or classes."""
    if not isinstance(state, dict) or state.get("voxpick_checkpoint") != FORMAT:
        raise VoxpickError(f"not a voxpick training checkpoint of format {FORMAT}; {WAY_OUT}")
    if state.get("fingerprint") is None:
        raise VoxpickError(f"the training checkpoint is damaged (no fingerprint); {WAY_OUT}")
    if state["fingerprint"] != fingerprint:
        changed = _differences(state["fingerprint"], fingerprint)
        raise VoxpickError(
            f"the checkpoint was made with other settings ({changed}); resume with those it was made with"
        )
    try:
        trainee.network.load_state_dict(state["network"])
        if trainee.average is not None:
            trainee.average.load_state_dict(state["average"])
        trainee.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))  # it would go on in the state's tensors
        trainee.rng.bit_generator.state = json.loads(state["numpy_rng"])
        torch.set_rng_state(state["torch_rng"])
        return Progress(**state["progress"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        if "size mismatch" in str(error):
            raise VoxpickError(
                f"the training checkpoint is of another network, or of data with other classes ({reason}); resume with "
                "those it was made with, or give another --run-dir"
            ) from error
        raise VoxpickError(f"the training checkpoint is damaged ({reason}); {WAY_OUT}") from error


def _copy(weights: dict[str, Any]) -> dict[str, Any]:
    return {key: value.detach().cpu().clone() for key, value in weights.items()}


def _differences(before: str, now: str) -> str:
    old, new = json.loads(before), json.loads(now)
    changed = [
        f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    return "; ".join(changed) or "none named"
