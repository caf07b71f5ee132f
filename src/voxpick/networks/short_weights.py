"""Weights in 8 bits, for files: every output channel in 127 steps to each side of zero, of its own size.

The uniform symmetric quantisation by channel of Krishnamoorthi (2018), arXiv:1806.08342, section 2.
Networks compute with what comes back, in float32; storing that again gives the same codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

LEAST_VALUES = 1024
"""Smaller tensors (biases, statistics, few weights) are kept in float16, as they would save nothing."""
STEPS = 127


def shortened(value: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """A tensor as plain data: {'codes': int8 like it, 'steps': float32 (outputs, 1, ...)} where that is worth while."""
    if not value.is_floating_point():
        return value
    if value.ndim < 2 or value.numel() < LEAST_VALUES:
        return value.to(torch.float16)
    value = value.float()
    steps = value.abs().amax(dim=tuple(range(1, value.ndim)), keepdim=True) / STEPS
    codes = (value / steps.clamp_min(torch.finfo(torch.float32).tiny)).round().clamp(-STEPS, STEPS).to(torch.int8)
    return {"codes": codes, "steps": steps}


def restored(value: torch.Tensor | Mapping[str, Any]) -> torch.Tensor:
    """The inverse of `shortened`; float32 where there were fractions."""
    if not isinstance(value, torch.Tensor):
        return torch.as_tensor(value["codes"]).float() * torch.as_tensor(value["steps"])
    return value.float() if value.is_floating_point() else value
