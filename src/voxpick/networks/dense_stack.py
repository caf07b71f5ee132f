"""A densely connected stack of dilated convolutions with its own gradient, on the fastest engine that can take it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from voxpick.networks import dense_blocks, dense_native
from voxpick.networks.layout import Layout


class Engine(Protocol):
    """What a module has that evaluates the stack: `dense_blocks` (torch) or `dense_native` (compiled kernels)."""

    def evaluate(
        self, x: torch.Tensor, layout: Layout, dtype: torch.dtype, bias: torch.Tensor, out_weight: torch.Tensor,
        out_bias: torch.Tensor, weights: Sequence[torch.Tensor], *, keep: bool,
    ) -> tuple[torch.Tensor, Any]:  # fmt: skip
        """Logits as `dense_stack`, and what `gradients` wants of them if asked to keep it."""

    def gradients(
        self, gradient: torch.Tensor, kept: Any, layout: Layout, out_weight: torch.Tensor, *, wants_input: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Gradients of x (None if not wanted), bias, out_weight and each layer's weights from that of the logits."""


class DenseStack(torch.autograd.Function):
    """Dense layers and the 1x1x1 output layer. Use `dense_stack`."""

    @staticmethod
    def forward(
        ctx: Any,
        engine: Engine,
        x: torch.Tensor,
        layout: Layout,
        dtype: torch.dtype,
        bias: torch.Tensor,
        out_weight: torch.Tensor,
        out_bias: torch.Tensor,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        keep = any(ctx.needs_input_grad)
        logits, kept = engine.evaluate(x, layout, dtype, bias, out_weight, out_bias, weights, keep=keep)
        if keep:
            ctx.save_for_backward(out_weight)
            ctx.engine, ctx.layout, ctx.kept = engine, layout, kept
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (out_weight,) = ctx.saved_tensors
        grad_x, grad_bias, grad_out, grad_weights = ctx.engine.gradients(
            gradients[0], ctx.kept, ctx.layout, out_weight, wants_input=ctx.needs_input_grad[1]
        )
        return (None, grad_x, None, None, grad_bias, grad_out, gradients[0].sum((0, 2, 3, 4)), *grad_weights)


def dense_stack(
    x: torch.Tensor,
    layout: Layout,
    weights: Sequence[torch.Tensor],
    bias: torch.Tensor,
    out_weight: torch.Tensor,
    out_bias: torch.Tensor,
    *,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Logits (b, classes, z, y, x) in float32 of x (b, in_channels, z, y, x), computed in `dtype`, differentiable.

    weights: of layer i (width, in_channels + i width, 3, 3, 3); bias (depth, width); out_weight (classes, channels).
    """
    engine: Engine = dense_blocks
    if dense_native.usable(x, layout, dtype):
        engine = dense_native
    if not torch.is_grad_enabled():  # `needs_input_grad` is true of parameters even then, and much would be kept
        return engine.evaluate(x, layout, dtype, bias, out_weight, out_bias, weights, keep=False)[0]
    return DenseStack.apply(engine, x, layout, dtype, bias, out_weight, out_bias, *weights)
