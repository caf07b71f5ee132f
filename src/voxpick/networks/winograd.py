"""3x3x3 convolutions in float32 on a CPU by Winograd's way, with a sixth of the products.

Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks, CVPR (arXiv:1509.09308): F(2 x 4 x 4, 3 x 3
x 3), nested. The kernels are compiled (`native/winograd.cpp`); sums differ from those of a plain convolution by
rounding alone, about 1e-5 of the largest value. A processor with matrix tiles for bfloat16 is left to use them.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from voxpick.networks.native import library

LEAST_CHANNELS, MOST_CHANNELS = 16, 1024
"""With fewer channels changing tiles costs what is saved; for more the kernels have no room."""

LEAST_VOXELS = 4096
"""Of all images of a batch; with fewer, a training step would take longer over the weights than over the maps."""

DEEP_POINTS = ((1.0, 0.0, 0.0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0.0, 0.0, 1.0))
"""A filter of three taps at the points 0, 1, -1 and infinity; the paper's matrix G for two results, along z."""
POINTS = (
    (1 / 4, 0.0, 0.0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6), (0.0, 0.0, 1.0),
)  # fmt: skip
"""The same at 0, 1, -1, 2, -2 and infinity, for four results, along y and x."""

PLACE = torch.channels_last_3d
SPOTS = len(DEEP_POINTS) * len(POINTS) ** 2


def usable(layer: nn.Conv3d) -> bool:
    """Whether the kernels can take the place of a convolution, on this machine, in float32."""
    kernels = library()
    if kernels is None or not all(LEAST_CHANNELS <= n <= MOST_CHANNELS for n in layer.weight.shape[:2]):
        return False
    plain = layer.kernel_size == (3, 3, 3) and layer.padding == (1, 1, 1) and layer.padding_mode == "zeros"
    alone = layer.stride == (1, 1, 1) and layer.dilation == (1, 1, 1) and layer.groups == 1
    lanes = kernels.winograd_lanes()
    return plain and alone and all(n % lanes == 0 for n in layer.weight.shape[:2])


@torch.autocast("cpu", enabled=False)
def packed(weight: torch.Tensor) -> torch.Tensor:
    """Weights (outputs, inputs, 3, 3, 3) at the points, (SPOTS, inputs, outputs), float32 whatever autocast says.

    They lie as `native/winograd.cpp` reads them: spots along y, x and z; within one, outputs in pairs of vectors (a
    single vector at the end where their number is odd), and within a pair inputs before outputs.
    """
    outputs, inputs = weight.shape[:2]
    taps = weight.detach().float().reshape(outputs, inputs, -1).permute(2, 1, 0)
    pairs = taps.split(2 * _kernels().winograd_lanes(), dim=2)
    at_points = _at_points() @ torch.cat([pair.reshape(len(pair), -1) for pair in pairs], dim=1)
    return at_points.view(SPOTS, inputs, outputs)


def convolve(
    x: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor | None = None, added: torch.Tensor | None = None, *,
    relu: bool = True,
) -> torch.Tensor:  # fmt: skip
    """relu(convolution(x) + bias + added), float32, channels last.

    x: (b, inputs, z, y, x). weights: as `packed` gives them. bias: (outputs,). added: like the result. relu: False
    leaves values below 0. Raises ValueError for shapes that do not go together.
    """
    _, inputs, outputs = weights.shape
    shape = (len(x), outputs, *x.shape[2:])
    if x.ndim != 5 or x.shape[1] != inputs or (added is not None and added.shape != shape):
        other = "" if added is None else f" and {tuple(added.shape)} to add"
        raise ValueError(f"{inputs} to {outputs} channels: the maps have shape {tuple(x.shape)}{other}")
    result = torch.empty(shape, dtype=torch.float32, device=x.device, memory_format=PLACE)
    more = None if added is None else added.contiguous(memory_format=PLACE)
    _call(
        "winograd_convolve", _numbers(x, outputs, relu), x.contiguous(memory_format=PLACE), weights, bias, more, result
    )
    return result


@torch.autocast("cpu", enabled=False)
def weight_gradient(x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient (outputs, inputs, 3, 3, 3) of the weights of convolution(x), from that of its result.

    x: (b, inputs, z, y, x), gradient: (b, outputs, z, y, x), float32. The order of summation, and so the last bits,
    depend on the number of threads.
    """
    inputs, outputs = x.shape[1], gradient.shape[1]
    numbers = _numbers(x, outputs, False)
    parts = _kernels().winograd_parts(ctypes.c_void_p(numbers.data_ptr()))
    sums = torch.zeros(parts, SPOTS, inputs, outputs, dtype=torch.float32, device=x.device)
    image, gradient = x.contiguous(memory_format=PLACE), gradient.contiguous(memory_format=PLACE)
    _call("winograd_weigh", numbers, image, gradient, sums)
    taps = _at_points().T @ (sums[0] if len(sums) == 1 else sums.sum(0)).reshape(SPOTS, -1)
    return taps.reshape(3, 3, 3, inputs, outputs).permute(4, 3, 0, 1, 2).contiguous()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        x = x.contiguous(memory_format=PLACE)
        ctx.save_for_backward(x, weight)
        return convolve(x, packed(weight), bias, relu=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=PLACE)
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        mirrored = weight.flip(2, 3, 4).transpose(0, 1)
        return (
            convolve(gradient, packed(mirrored), relu=False) if wants_x else None,
            weight_gradient(x, gradient) if wants_weight else None,
            gradient.movedim(1, -1).flatten(0, 3).sum(0) if wants_bias else None,
        )


class FewProducts(nn.Conv3d):
    """A convolution that learns by these kernels in float32 on a CPU, and is a plain one otherwise."""

    fewer_products = True

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        learns = torch.is_grad_enabled() and weight.requires_grad
        short = not input.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu")
        fits = input.ndim == 5 and input.shape[1] == weight.shape[1] and input.device.type == "cpu"
        few = input.numel() < LEAST_VOXELS * weight.shape[1]
        if not learns or short or few or not fits or not usable(self):  # unpickled, it may be where kernels are not
            return super()._conv_forward(input, weight, bias)
        return cast(torch.Tensor, _Convolution.apply(input, weight, bias))


@cache
def _at_points() -> torch.Tensor:
    """What the taps (27, z before y before x) of a filter give at the points (SPOTS, y before x before z)."""
    deep, points = (  # whatever the defaults are
        torch.tensor(numbers, dtype=torch.float32, device="cpu") for numbers in (DEEP_POINTS, POINTS)
    )
    return torch.einsum("ai,bj,dz->abdzij", points, points, deep).reshape(SPOTS, 27)


def _kernels() -> ctypes.CDLL:
    kernels = library()
    assert kernels is not None, "ask `usable` first"
    return kernels


def _numbers(x: torch.Tensor, outputs: int, relu: bool) -> torch.Tensor:
    batch, inputs, *sides = x.shape
    numbers = [batch, *sides, inputs, outputs, torch.get_num_threads(), relu]
    return torch.tensor(numbers, dtype=torch.int64, device="cpu")


def _call(name: str, *tensors: torch.Tensor | None) -> None:
    pointers = [ctypes.c_void_p(None if one is None else one.data_ptr()) for one in tensors]
    getattr(_kernels(), name)(*pointers)
