"""The dense stack on the compiled kernels of `networks.native`: two channels a layer, on a CPU with AVX-512.

The kernels read each earlier pair of maps once per layer from cache, compute two outputs for up to eight vectors of
voxels in registers, and fuse bias, activation and rounding; nothing is concatenated or copied. The layout is
described in native/shape.h.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch

from voxpick.networks.layout import Layout
from voxpick.networks.native import library

LARGEST_DILATION = 16  # the gap of zeros between rows


def usable(x: torch.Tensor, layout: Layout, dtype: torch.dtype) -> bool:
    """Whether the kernels can evaluate this stack on this input."""
    return (
        x.device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and layout.width == 2
        and layout.in_channels <= 2
        and max(layout.dilations) <= LARGEST_DILATION
        and x.shape[-1] <= 4000
        and x.numel() > 0
        and library() is not None
    )


def _call(name: str, *arguments: Any) -> None:
    """Run a kernel; tensors are passed as pointers, None as a null pointer."""
    kernels = library()
    assert kernels is not None
    converted = [
        ctypes.c_void_p(a.data_ptr() if a is not None else None)
        if a is None or isinstance(a, torch.Tensor)
        else ctypes.c_int64(a)
        for a in arguments
    ]
    getattr(kernels, name)(*converted)


def _shape(x: torch.Tensor, layout: Layout, classes: int) -> torch.Tensor:
    batch, _, *sides = x.shape
    numbers = [batch, *sides, layout.depth, classes, layout.in_channels, layout.cycle, torch.get_num_threads()]
    return torch.tensor([*numbers, *layout.dilations], dtype=torch.int64)


def _padded_channels(weight: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Input channels (second dimension) filled up to one pair."""
    if layout.in_channels == 2:
        return weight
    empty = weight.new_zeros((weight.shape[0], 1, *weight.shape[2:]))
    return torch.cat([weight[:, :1], empty, weight[:, 1:]], 1)


def _all_weights(weights: tuple[torch.Tensor, ...], layout: Layout) -> torch.Tensor:
    """All kernels as (layer, output, pair, channel, tap), zero where a layer does not look."""
    packed = torch.zeros(layout.depth, 2, 2 * (layout.depth + 1), 27)
    for i, weight in enumerate(weights):
        filled = _padded_channels(weight.detach().flatten(2), layout)
        packed[i, :, : filled.shape[1]] = filled
    return packed.reshape(layout.depth, 2, layout.depth + 1, 2, 27)


class NativeDenseStack(torch.autograd.Function):
    """As `dense_blocks.DenseStack`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        layout: Layout,
        dtype: torch.dtype,
        bias: torch.Tensor,
        out_weight: torch.Tensor,
        out_bias: torch.Tensor,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        keep = any(ctx.needs_input_grad)
        half = dtype == torch.bfloat16
        classes = out_weight.shape[0]
        numbers = _shape(x, layout, classes)
        packed = _all_weights(weights, layout)
        order = (0, 2, 4, 1, 3) if half else (0, 2, 3, 4, 1)  # layer, pair, (channel,) tap, output, (channel)
        kernels = packed.permute(*order).to(dtype).contiguous()
        out = _padded_channels(out_weight.detach().float(), layout).contiguous()
        sizes = torch.zeros(2, dtype=torch.int64)
        _call("msdnet_sizes", numbers, int(half), layout.depth + 1, sizes)
        maps = torch.empty(int(sizes[0]), dtype=torch.int32)
        planes = torch.empty(int(sizes[1]), dtype=torch.int16) if keep and half else None
        logits = torch.empty(x.shape[0], classes, *x.shape[2:])
        inputs = (x.float().contiguous(), kernels, bias.detach().float().contiguous(), out, out_bias.detach().float())
        _call("msdnet_forward", numbers, int(half), *inputs, maps, planes, logits)
        if keep:
            ctx.saved = (numbers, half, packed, out, maps, planes, layout, tuple(x.shape))
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        numbers, half, packed, out, maps, planes, layout, shape = ctx.saved
        gradient = gradients[0].float().contiguous()
        numbers[8] = torch.get_num_threads()
        order = (0, 2, 4, 3, 1) if half else (0, 2, 1, 4, 3)  # layer, pair, (output,) tap, channel, (output)
        kernels = packed.flip(4).permute(*order).to(torch.bfloat16 if half else torch.float32).contiguous()
        sizes = torch.zeros(2, dtype=torch.int64)
        _call("msdnet_sizes", numbers, int(half), layout.depth, sizes)
        grad_maps = torch.empty(int(sizes[0]), dtype=torch.int32)
        grad_planes = torch.empty(int(sizes[1]), dtype=torch.int16) if half else None
        grad_x = torch.empty(shape) if ctx.needs_input_grad[0] else None
        grad_weights = torch.empty(layout.depth, 2, 2 * (layout.depth + 1), 27)
        grad_bias, grad_out = torch.empty(layout.depth, 2), torch.empty_like(out)
        into = (grad_maps, grad_planes, grad_x, grad_weights, grad_bias, grad_out)
        _call("msdnet_backward", numbers, int(half), gradient, kernels, out, maps, planes, *into)
        if layout.in_channels == 1:
            real = [0, *range(2, 2 * (layout.depth + 1))]
            grad_weights, grad_out = grad_weights[:, :, real], grad_out[:, real]
        each = [grad_weights[i, :, : layout.before(i)].reshape(2, -1, 3, 3, 3) for i in range(layout.depth)]
        return (grad_x, None, None, grad_bias, grad_out, gradient.sum((0, 2, 3, 4)), *each)
