"""What networks that name the middle of one box share: convolutions with folded norms, number formats, cropping.

Such a network maps (b, 1, z, y, x) to (b, classes) and looks at the central `box`^3 voxels only, voxel side // 2 in the
middle. Its `scan(image, stride=s)` gives what it says of every box of an image that begins at a multiple of s.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.errors import VoxpickError


class ConvNorm(nn.Module):
    """A convolution of side^3 kernels without a bias, and batch normalisation.

    padded: zeros around the input keep its size; otherwise only where the kernel fits in.
    In evaluation the normalisation is folded into the convolution, which computes in the format of its input.
    """

    def __init__(self, inputs: int, outputs: int, side: int, *, padded: bool) -> None:
        super().__init__()
        self.side, self.padded = side, padded
        weight = torch.empty(outputs, inputs, side, side, side)
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
        self.weight = nn.Parameter(weight.to(memory_format=torch.channels_last_3d))
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: torch.Tensor, *, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        """(b, inputs, z, y, x) to (b, outputs, z, y, x). stride: voxels between outputs; dilation: between taps."""
        padding = dilation * (self.side // 2) if self.padded else 0
        if self.training:
            return self.norm(F.conv3d(x, self.weight, None, stride, padding, dilation))
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None
        factor = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
        bias = self.norm.bias - mean * factor
        weight = self.weight * factor[:, None, None, None, None]
        return F.conv3d(x, weight.to(x.dtype), bias.to(x.dtype), stride, padding, dilation)


def working_dtype(x: torch.Tensor, compute_dtype: torch.dtype) -> torch.dtype:
    """What to compute in: the format of `x` if it is a short one, else autocast's if that is on, else compute_dtype."""
    if x.dtype != torch.float32:
        return x.dtype
    if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return compute_dtype


def precision(x: torch.Tensor, dtype: torch.dtype, *, training: bool) -> AbstractContextManager[object]:
    """Autocast to `dtype` in training; in evaluation none, as the input is brought to `dtype` itself."""
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, dtype=dtype, enabled=training and dtype != torch.float32)


def central_box(x: torch.Tensor, box: int, *, name: str) -> torch.Tensor:
    """The middle box^3 voxels of (b, 1, z, y, x), with voxel side // 2 at box // 2.

    Raises VoxpickError for another number of axes or channels and for an image smaller than the box.
    """
    if x.ndim != 5 or x.shape[1] != 1 or min(x.shape[2:]) < box:
        raise VoxpickError(
            f"{name}: the input has shape {tuple(x.shape)}; expected (batch, 1, z, y, x) with sides of {box} voxels or "
            "more"
        )
    starts = [n // 2 - box // 2 for n in x.shape[2:]]
    z, y, x0 = starts
    return x[:, :, z : z + box, y : y + box, x0 : x0 + box]


def windowed(x: torch.Tensor, side: int, *, spacing: int = 1, maximum: bool = False) -> torch.Tensor:
    """Mean, or maximum, of windows of side^3 values, `spacing` apart, wherever they fit into (b, c, z, y, x)."""
    for axis in (2, 3, 4):
        room = x.shape[axis] - (side - 1) * spacing
        parts = [x.narrow(axis, k * spacing, room) for k in range(side)]
        result = parts[0]
        for part in parts[1:]:
            result = torch.maximum(result, part) if maximum else result + part
        x = result
    return x if maximum else x / side**3
