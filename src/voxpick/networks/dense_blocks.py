"""The dense stack on torch alone, evaluated block by block, with its own backward pass.

Layer i convolves all earlier maps, so the usual evaluation makes many convolutions with two output channels. Here
one cycle of dilations is a block: inside it layer by layer; a finished block is convolved once per dilation for all
later layers with that dilation, into their accumulators (push form). The backward pass does the same in reverse and
keeps from the forward pass the maps after the activation only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from voxpick.networks.layout import Layout

SLOPE = 0.01
MOST_IMAGES = 2**15
"""In a convolution on a GPU, whose kernels count them in 16 bits; `phases` makes 4096 of one at a dilation of 16."""


def convolve(x: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    """3x3x3 dilated convolution, zero padded.

    In float32 on a CPU torch takes oneDNN only from 20,480 values a section on (channels times z times y), and a slow
    convolution below; a layer that sees few channels stays below, so oneDNN is asked for by name.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        each = [dilation] * 3
        return torch.ops.aten.mkldnn_convolution(x, weight, None, each, [1, 1, 1], each, 1)
    return F.conv3d(x, weight, padding=dilation, dilation=dilation)


def input_gradient(gradient: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    """Gradient of `convolve` for its input: a convolution with the mirrored, transposed kernel."""
    return convolve(gradient, weight.transpose(0, 1).flip(2, 3, 4).contiguous(), dilation)


def phases(x: torch.Tensor, dilation: int) -> torch.Tensor:
    """The dilation^3 sub-lattices of (b, c, z, y, x) as (dilation^3 b, c, ...), so that dilation becomes 1."""
    if dilation == 1:
        return x.contiguous()
    sides = [-(-n // dilation) for n in x.shape[2:]]
    padding = [sides[i] * dilation - x.shape[2 + i] for i in (2, 1, 0)]
    x = F.pad(x, (0, padding[0], 0, padding[1], 0, padding[2]))
    batch, channels = x.shape[:2]
    x = x.reshape(batch, channels, sides[0], dilation, sides[1], dilation, sides[2], dilation)
    x = x.permute(3, 5, 7, 0, 2, 4, 6, 1).reshape(-1, *sides, channels)
    return x.permute(0, 4, 1, 2, 3)


def weight_gradient(x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Gradient of an undilated `convolve` for its weight.

    In float32 on a CPU: oneDNN 3.12 returns garbage in bfloat16 when a side is 2 voxels or less.
    """
    if x.device.type == "cpu":
        x, gradient = x.float(), gradient.float()
    elif len(x) > MOST_IMAGES:
        parts = zip(x.split(MOST_IMAGES), gradient.split(MOST_IMAGES), strict=True)
        return torch.stack([weight_gradient(*part).float() for part in parts]).sum(0)
    weight = x.new_empty((gradient.shape[1], x.shape[1], 3, 3, 3))
    one = (1, 1, 1)
    mask = (False, True, False)
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, one, one, one, False, (0, 0, 0), 1, mask)[1]


Kept = tuple[list[torch.Tensor], list[torch.Tensor]]
"""Weights in the format of the convolutions, and the maps of every block."""


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
    cast = [weight.to(dtype) for weight in weights]
    logits, maps = _forward(x.to(dtype), layout, cast, bias, out_weight, out_bias, keep)
    return logits, (cast, maps) if keep else None


def gradients(
    gradient: torch.Tensor, kept: Kept, layout: Layout, out_weight: torch.Tensor, *, wants_input: bool
) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """As `dense_stack.Engine`."""
    weights, maps = kept
    grad_x, grad_pre, grad_out = _backward_maps(gradient, layout, weights, out_weight, maps)
    grad_bias = torch.stack(
        [
            grad_pre[i % layout.cycle]
            .narrow(1, i // layout.cycle * layout.width, layout.width)
            .float()
            .sum((0, 2, 3, 4))
            for i in range(layout.depth)
        ]
    )
    return grad_x if wants_input else None, grad_bias, grad_out, _backward_weights(layout, maps, grad_pre)


def _pushed(layout: Layout, weights: Sequence[torch.Tensor], position: int, block: int) -> torch.Tensor:
    """Kernels from `block` to all layers of later blocks with the dilation at `position`, one below the other."""
    start, stop = layout.start(block), layout.start(block + 1)
    return torch.cat([weights[i][:, start:stop] for i in layout.later(position, block + 1)])


def _forward(
    x: torch.Tensor,
    layout: Layout,
    weights: Sequence[torch.Tensor],
    bias: torch.Tensor,
    out_weight: torch.Tensor,
    out_bias: torch.Tensor,
    keep: bool,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits in float32 and, when asked to keep them, the maps of every block."""
    batch, _, *sides = x.shape
    width = layout.width
    pre = [
        bias[j :: layout.cycle].reshape(1, -1, 1, 1, 1).float().repeat(batch, 1, *sides) for j in range(layout.cycle)
    ]
    logits = out_bias.float().reshape(1, -1, 1, 1, 1).repeat(batch, 1, *sides)
    maps = []
    for block in range(layout.blocks):
        start, stop = layout.start(block), layout.start(block + 1)
        maps_here = x.new_empty((batch, stop - start, *sides))
        if block == 0:
            maps_here[:, : layout.in_channels] = x
        for i in layout.layers(block):
            j, seen = i % layout.cycle, layout.before(i) - start
            here = pre[j].narrow(1, block * width, width)
            if seen:
                here += convolve(maps_here[:, :seen], weights[i][:, start:], layout.dilations[j])
            maps_here[:, seen : seen + width] = F.leaky_relu(here, SLOPE)
        part = torch.matmul(out_weight[:, start:stop].to(x.dtype), maps_here.flatten(2))
        logits += part.reshape(logits.shape)
        for j in range(layout.cycle):
            if layout.later(j, block + 1):
                pushed = convolve(maps_here, _pushed(layout, weights, j, block), layout.dilations[j])
                pre[j][:, (block + 1) * width :] += pushed
        if keep:
            maps.append(maps_here)
    return logits, maps


def _backward_maps(
    gradient: torch.Tensor,
    layout: Layout,
    weights: Sequence[torch.Tensor],
    out_weight: torch.Tensor,
    maps: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Gradients of the input, of every pre-activation (grouped by position in the cycle), of the output weights."""
    batch, _, *sides = maps[0].shape
    dtype, width = maps[0].dtype, layout.width
    flat = gradient.flatten(2).to(dtype)
    grad_pre = [maps[0].new_empty((batch, width * len(layout.later(j, 0)), *sides)) for j in range(layout.cycle)]
    grad_out: list[torch.Tensor] = []
    for block in reversed(range(layout.blocks)):
        start, stop = layout.start(block), layout.start(block + 1)
        here = torch.matmul(out_weight[:, start:stop].t().to(dtype), flat).float()
        here = here.reshape(batch, stop - start, *sides)
        grad_out.insert(0, torch.matmul(flat, maps[block].flatten(2).transpose(1, 2)).float().sum(0))
        for j in range(layout.cycle):
            if layout.later(j, block + 1):
                later = grad_pre[j][:, (block + 1) * width :]
                here += input_gradient(later, _pushed(layout, weights, j, block), layout.dilations[j])
        for i in reversed(layout.layers(block)):
            j, seen = i % layout.cycle, layout.before(i) - start
            own = grad_pre[j].narrow(1, block * width, width)
            values = maps[block].narrow(1, seen, width)
            own.copy_(torch.where(values > 0, here[:, seen : seen + width], here[:, seen : seen + width] * SLOPE))
            if seen:
                here[:, :seen] += input_gradient(own, weights[i][:, start:], layout.dilations[j])
    return here[:, : layout.in_channels].float(), grad_pre, torch.cat(grad_out, 1)


def _backward_weights(
    layout: Layout, maps: Sequence[torch.Tensor], grad_pre: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Gradients of the layers' weights in float32."""
    width = layout.width
    pieces: list[list[torch.Tensor]] = [[] for _ in range(layout.depth)]
    for j, dilation in enumerate(layout.dilations[: min(layout.cycle, layout.depth)]):
        gradient = phases(grad_pre[j], dilation)
        for block in range(layout.blocks):
            layers = layout.later(j, block)
            if not layers:
                continue
            x = phases(maps[block], dilation)
            found = weight_gradient(x, gradient[:, block * width :].contiguous(memory_format=torch.channels_last_3d))
            for number, i in enumerate(layers):
                seen = layout.before(i) - layout.start(block)
                pieces[i].append(found[number * width : (number + 1) * width, :seen].float())
    return [torch.cat(parts, 1) for parts in pieces]
