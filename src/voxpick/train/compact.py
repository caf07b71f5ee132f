"""Checkpoints of bounded size, for places from which only small files come back.

What a run can do without goes first, step by step, until the rest fits; a small network's checkpoint loses nothing.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from typing import Any

import torch

from voxpick.errors import VoxpickError

State = dict[str, Any]
FORMAT = 1
LIMIT = 16 * 2**20
"""Bytes."""

OVERHEAD = 8192
"""Bytes that a file adds."""


def compact(state: State, *, limit: int = LIMIT) -> State:
    """A checkpoint of `train.checkpoint` as plain data that torch.save writes in at most `limit` bytes.

    The first of these that fits: all of it, from which a run goes on bit for bit; all tensors but the weights in
    training as bfloat16; these too, without Adam's first moments, with one second moment for each output channel, and
    without the best weights so far; the same with only one set of weights, the moving average where there is one.
    level in the result says which, from 0 on. Raises VoxpickError when none fits.
    """
    for level, reduce in enumerate(LEVELS):
        reduced = reduce(state)
        if _bytes(reduced) > 2 * limit:
            continue
        buffer = io.BytesIO()
        torch.save(reduced, buffer)
        packed = zlib.compress(buffer.getbuffer(), 1)
        if len(packed) + OVERHEAD <= limit:
            blob = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
            return {
                "voxpick_compact": FORMAT, "level": level, "blob": blob, "progress": {"step": state["progress"]["step"]}
            }  # fmt: skip
    weights = sum(value.numel() for value in state["network"].values())
    raise VoxpickError(
        f"a checkpoint of {weights:,} weights does not fit into {limit / 2**20:g} MiB; allow more, or a smaller network"
    )


def expand(state: State) -> State:
    """The checkpoint that `compact` was given, as far as it was kept; any other state is returned as it is.

    Raises VoxpickError for one that is damaged.
    """
    if not isinstance(state, dict) or "voxpick_compact" not in state:
        return state
    try:
        packed = state["blob"].numpy().tobytes()
        whole: State = torch.load(io.BytesIO(zlib.decompress(packed)), map_location="cpu", weights_only=True)
        return whole if state["level"] == 0 else _restored(whole)
    except Exception as error:
        raise VoxpickError(f"the training checkpoint is damaged ({type(error).__name__}); start again") from error


def _whole(state: State) -> State:
    return state


def _halves(state: State) -> State:
    """Everything but the weights in training as bfloat16."""
    progress = {**state["progress"], "best_weights": _each(state["progress"]["best_weights"], _half)}
    return {
        **state, "progress": progress, "average": _each(state["average"], _half),
        "optimiser": _with_moments(state["optimiser"], lambda moments: _each(moments, _half)),
    }  # fmt: skip


def _lean(state: State) -> State:
    """bfloat16 weights, coarse second moments, and nothing of the best weights so far."""
    forgotten: State = {"best_weights": None, "best_score": -math.inf, "best_step": 0, "best_validation": {}}
    progress = {**state["progress"], **forgotten, "validated_step": -1}  # so that the last step is validated anew
    return {
        **state, "network": _each(state["network"], _half), "average": _each(state["average"], _half),
        "optimiser": _with_moments(state["optimiser"], _coarse), "progress": progress,
    }  # fmt: skip


def _leanest(state: State) -> State:
    """As `_lean`, with one set of weights for both."""
    lean = _lean(state)
    if state["average"] is None:
        return lean
    averaged = {key: value for key, value in lean["average"].items() if not key.startswith("module.")}
    weights = {key.removeprefix("module."): value for key, value in lean["average"].items() if key not in averaged}
    return {**lean, "network": weights, "average": {**averaged, "from_network": True}}


LEVELS: tuple[Callable[[State], State], ...] = (_whole, _halves, _lean, _leanest)


def _restored(state: State) -> State:
    """Back to float32, with moments in full size and an average of its own."""
    network = _each(state["network"], _full)
    average = _each(state["average"], _full)
    if average is not None and average.pop("from_network", False):
        average |= {f"module.{key}": value.clone() for key, value in network.items()}
    progress = {**state["progress"], "best_weights": _each(state["progress"]["best_weights"], _full)}
    return {
        **state, "network": network, "average": average, "progress": progress,
        "optimiser": _with_moments(state["optimiser"], _spread),
    }  # fmt: skip


def _with_moments(optimiser: State, change: Callable[[State], State]) -> State:
    return {**optimiser, "state": {key: change(moments) for key, moments in optimiser["state"].items()}}


def _coarse(moments: State) -> State:
    """Of Adam's moments, the mean second one of every output channel."""
    second = moments["exp_avg_sq"]
    rows = second.reshape(len(second), -1).mean(dim=1) if second.dim() else second
    return {"step": moments["step"], "rows": rows.clone(), "shape": list(second.shape)}


def _spread(moments: State) -> State:
    if "rows" not in moments:
        return _each(moments, _full)
    rows, shape = moments["rows"], moments["shape"]
    second = rows.reshape(-1, *[1] * (len(shape) - 1)).expand(shape).clone() if shape else rows.clone()
    return {"step": moments["step"], "exp_avg": torch.zeros(shape), "exp_avg_sq": second}


def _each(values: Any, change: Callable[[Any], Any]) -> Any:
    return None if values is None else {key: change(value) for key, value in values.items()}


def _half(value: Any) -> Any:
    """float32 arrays as bfloat16; counters and other kinds as they are."""
    kind = isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.dim() > 0
    return value.to(torch.bfloat16) if kind else value


def _full(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value


def _bytes(value: Any) -> int:
    """Bytes of all tensors in nested data."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(_bytes(item) for item in value.values())
    return 0
