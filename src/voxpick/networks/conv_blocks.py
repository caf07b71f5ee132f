"""Convolutions in a row, as U-Nets stack them, the input they take, and the number format they compute in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import nn

from voxpick.errors import VoxpickError


def convolutions(channels: Sequence[int], *, batch_norm: bool) -> nn.Sequential:
    """3x3x3 convolutions channels[0] -> channels[1] -> ..., zero padded, each followed by ReLU.

    batch_norm: between convolution and ReLU. Weights are drawn as He et al. (2015), for ReLU; biases begin at 0.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        convolution = nn.Conv3d(before, after, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        layers += [convolution, *([nn.BatchNorm3d(after)] if batch_norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@torch.no_grad()
def start_at_background(bias: torch.Tensor | None, probability: float) -> None:
    """Set the biases of a last layer so that scores of 0 mean P(class 0) = `probability`, the others sharing the rest.

    Few voxels hold particles. From even odds of 13 classes, where P(background) is 1/13, the first minutes of a
    training go into learning that, and all that a detector sees until then is foreground. bias: (classes,). Raises
    VoxpickError for a probability that is not between 0 and 1, and for one class alone.
    """
    assert bias is not None
    others = len(bias) - 1
    if not 0 < probability < 1 or others < 1:
        raise VoxpickError(
            f"background is {probability} for {others + 1} classes; give a probability between 0 and 1, for at least "
            "two classes"
        )
    bias.zero_()
    bias[0] = math.log(others * probability / (1 - probability))


def mixed_precision(x: torch.Tensor, dtype: torch.dtype, *, multiple: int) -> AbstractContextManager[object]:
    """Autocast to `dtype` on the device of `x`; nothing for float32 or where the caller has set autocast already.

    multiple: voxels of the input along the side of one on the coarsest grid. Where that grid has two or fewer along a
    side, a CPU computes in float32 whatever the caller has set: oneDNN 3.12 returns garbage in bfloat16 there, as for
    gradients.
    """
    if x.device.type == "cpu" and min(x.shape[2:]) <= 2 * multiple:
        return torch.autocast("cpu", enabled=False)
    if dtype == torch.float32 or torch.is_autocast_enabled(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, dtype=dtype)


def require_sides(network: str, x: torch.Tensor, *, multiple: int, channels: int | None = None) -> None:
    """Raise VoxpickError for an input of a U-Net that it cannot pool, or of other channels where they are given."""
    if x.ndim != 5 or x.shape[1] != (channels or x.shape[1]) or any(side % multiple for side in x.shape[2:]):
        raise VoxpickError(
            f"{network}: the input has shape {tuple(x.shape)}; expected (batch, {channels or 'channels'}, z, y, x) "
            f"with sides that are multiples of {multiple}"
        )
