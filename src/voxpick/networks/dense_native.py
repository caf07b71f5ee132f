"""The dense stack on the compiled kernels of `networks.native`: two channels a layer, on a CPU with AVX-512 or AVX2.

The kernels read each earlier pair of maps once per layer from cache, compute two outputs for up to eight vectors of
voxels in registers, and fuse bias, activation and rounding; nothing is concatenated or copied. The layout is
described in native/shape.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from voxpick.allocation import own_pages
from voxpick.networks.layout import Layout
from voxpick.networks.native import has_bfloat16, library

LARGEST_DILATION = 16  # the gap of zeros between rows
FLOATS: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # what the kernels take, whatever the defaults are


def usable(x: torch.Tensor, layout: Layout, dtype: torch.dtype) -> bool:
    """Whether the kernels can evaluate this stack on this input."""
    return (
        x.device.type == "cpu"
        and (dtype == torch.float32 or (dtype == torch.bfloat16 and has_bfloat16()))
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


def _shape(shape: torch.Size, layout: Layout, classes: int) -> torch.Tensor:
    batch, _, *sides = shape
    numbers = [batch, *sides, layout.depth, classes, layout.in_channels, layout.cycle, torch.get_num_threads()]
    return torch.tensor([*numbers, *layout.dilations], dtype=torch.int64, device="cpu")


@lru_cache(maxsize=8)
def _order(layout: Layout, half: bool, mirrored: bool) -> torch.Tensor:
    """Where the values of the kernels lie among the weights of all layers, one after the other, and one zero.

    Layer, pair, then tap, output, channel for bf16 and channel, tap, output for float; mirrored: for the gradient of
    the maps, with taps back to front and outputs and channels exchanged. Zero is where a layer does not look.
    """
    depth, channels = layout.depth, _real_channels(layout)
    sizes = [2 * layout.before(i) * 27 for i in range(depth)]
    index = np.full((depth, 2, 2 * (depth + 1), 27), sum(sizes), dtype=np.int32)
    for i, (size, stop) in enumerate(zip(sizes, np.cumsum(sizes), strict=True)):
        values = np.arange(stop - size, stop, dtype=np.int32).reshape(2, -1, 27)
        index[i, :, channels[: layout.before(i)]] = values.transpose(1, 0, 2)
    index = index.reshape(depth, 2, depth + 1, 2, 27)  # layer, output, pair, channel, tap
    if mirrored:
        index = index[..., ::-1].swapaxes(1, 3)
    order = (0, 2, 4, 1, 3) if half else (0, 2, 3, 4, 1)
    return torch.from_numpy(np.ascontiguousarray(index.transpose(order)))


def _kernels(flat: torch.Tensor, layout: Layout, half: bool, *, mirrored: bool) -> torch.Tensor:
    """The weights of all layers (and a zero) as the compiled kernels read them."""
    order = _order(layout, half, mirrored)
    packed = flat.index_select(0, order.reshape(-1)).reshape(order.shape)
    return packed.to(torch.bfloat16) if half else packed


def _real_channels(layout: Layout) -> np.ndarray:
    """Which of the channels, in pairs, there are: the second of the input may be missing."""
    return np.r_[: layout.in_channels, 2 : 2 * (layout.depth + 1)]


def _buffers(
    numbers: torch.Tensor, half: bool, *, backward: bool, planes: bool
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """What a pass writes: maps, planes if asked for, and the sums that wait."""
    sizes = torch.zeros(3, dtype=torch.int64, device="cpu")
    _call("msdnet_sizes", numbers, int(half), int(backward), sizes)
    words, values, floats = sizes.tolist()
    return (
        own_pages(words, torch.int32),
        own_pages(values, torch.int16) if planes else None,
        own_pages(floats, torch.float32),
    )


class Kept(NamedTuple):
    """What the backward pass needs of the forward pass."""

    shape: torch.Size
    half: bool
    flat: torch.Tensor
    maps: torch.Tensor
    planes: torch.Tensor | None


def evaluate(
    x: torch.Tensor,
    layout: Layout,
    dtype: torch.dtype,
    bias: torch.Tensor,
    out_weight: torch.Tensor,
    out_bias: torch.Tensor,
    weights: Sequence[torch.Tensor],
    *,
    keep: bool,
) -> tuple[torch.Tensor, Kept | None]:
    """As `dense_stack.Engine`."""
    half, classes = dtype == torch.bfloat16, out_weight.shape[0]
    flat = torch.cat([*(weight.detach().float().reshape(-1) for weight in weights), torch.zeros(1, **FLOATS)])
    fixed = (bias.detach().float().contiguous(), _in_pairs(out_weight, layout), out_bias.detach().float())
    kernels = _kernels(flat, layout, half, mirrored=False)
    numbers = _shape(x.shape, layout, classes)
    logits = torch.empty(x.shape[0], classes, *x.shape[2:], **FLOATS)
    maps, planes, sums = _buffers(numbers, half, backward=False, planes=keep and half)
    images = x.detach().float().contiguous()
    _call("msdnet_forward", numbers, int(half), images, kernels, *fixed, maps, planes, sums, logits)
    return logits, Kept(x.shape, half, flat, maps, planes) if keep else None


def gradients(
    gradient: torch.Tensor, kept: Kept, layout: Layout, out_weight: torch.Tensor, *, wants_input: bool
) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """As `dense_stack.Engine`."""
    shape, half, flat, maps, planes = kept
    numbers, out = _shape(shape, layout, out_weight.shape[0]), _in_pairs(out_weight, layout)
    grad_maps, grad_planes, sums = _buffers(numbers, half, backward=True, planes=half)
    grad_x = torch.empty(shape, **FLOATS) if wants_input else None
    grad_weights = torch.empty(layout.depth, 2, 2 * (layout.depth + 1), 27, **FLOATS)
    grad_bias, grad_out = torch.empty(layout.depth, 2, **FLOATS), torch.empty_like(out)
    inputs = (gradient.float().contiguous(), _kernels(flat, layout, half, mirrored=True), out, maps, planes)
    into = (grad_maps, grad_planes, sums, grad_x, grad_weights, grad_bias, grad_out)
    _call("msdnet_backward", numbers, int(half), *inputs, *into)
    real = torch.from_numpy(_real_channels(layout))
    each = [
        grad_weights[i].index_select(1, real[: layout.before(i)]).reshape(2, -1, 3, 3, 3) for i in range(layout.depth)
    ]
    return grad_x, grad_bias, grad_out[:, real], each


def _in_pairs(out_weight: torch.Tensor, layout: Layout) -> torch.Tensor:
    """The weights of the output layer (classes, channels), zero for an input channel that is missing."""
    weight = out_weight.detach().float()
    if layout.in_channels == 1:
        weight = torch.cat([weight[:, :1], weight.new_zeros(len(weight), 1), weight[:, 1:]], 1)
    return weight.contiguous()
