"""Convolutions that apply what follows them, ReLU or a sum and ReLU, while they write their result, on a CPU.

By themselves these are passes over maps that no cache holds, and take as long as the convolutions where those are done
in matrix tiles. The operators are oneDNN's, those that torch.compile puts in place of the same pattern; in float32 many
convolutions take fewer products (`networks.winograd`).
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from voxpick.networks import winograd
from voxpick.networks.quick import PointProducts, is_point

PLACE = torch.channels_last_3d


class FusedConvolution(nn.Module):
    """relu(convolution(x) + added), in the format that autocast asks for, or in that of `x`."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        assert not isinstance(convolution.padding, str)
        self.padding, self.stride, self.dilation = convolution.padding, convolution.stride, convolution.dilation
        self.groups = convolution.groups
        self.fewer_products = winograd.usable(convolution)
        self._ready: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """x: (b, channels, z, y, x); added: of the result's shape, None for nothing."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        weight, bias = self._in(dtype)
        x, added = x.to(dtype), None if added is None else added.to(dtype)
        if self.fewer_products and dtype == torch.float32:
            return winograd.convolve(x, weight, bias, added)
        operator, settings = torch.ops.mkldnn._convolution_pointwise, (self.padding, self.stride, self.dilation)
        if added is None:
            return operator(x, weight, bias, *settings, self.groups, "relu", [], "")
        return operator.binary(x, added, weight, bias, *settings, self.groups, "add", 1.0, "relu", [], "")

    def _in(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
        if dtype not in self._ready:
            if self.fewer_products and dtype == torch.float32:
                weight = winograd.packed(self.weight)
            else:
                weight = self.weight.detach().to(dtype).contiguous(memory_format=PLACE)
            self._ready[dtype] = (weight, None if self.bias is None else self.bias.detach().to(dtype))
        return self._ready[dtype]


@runtime_checkable
class Fusing(Protocol):
    """A module that knows of more that its convolutions can take along."""

    def fuse(self) -> None:
        """Change the module, which is folded and for inference, in place."""
        ...


def fused(network: nn.Module) -> nn.Module:
    """A copy of a folded network (`folding.folded`) whose convolutions take the ReLU behind them along.

    Looks inside nn.Sequential; modules that are `Fusing` do more. For inference on a CPU. Where there is nothing to
    fuse, or this build of torch cannot do it or does something else, the network itself is returned.
    """
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for module in list(changed.modules()):
            if isinstance(module, nn.Sequential):
                _fuse_neighbours(module)
        for module in list(changed.modules()):
            if isinstance(module, Fusing):
                module.fuse()
        for module in changed.modules():
            if isinstance(module, nn.Conv3d) and is_point(module):
                module.__class__ = PointProducts
    layers = [module for module in changed.modules() if isinstance(module, FusedConvolution)]
    return changed if layers and all(_agrees(layer) for layer in layers) else network


def fusible(layer: nn.Module) -> bool:
    """Whether it is a convolution that `FusedConvolution` can take the place of."""
    return isinstance(layer, nn.Conv3d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _fuse_neighbours(layers: nn.Sequential) -> None:
    real = [k for k, layer in enumerate(layers) if not isinstance(layer, nn.Identity)]
    for here, behind in pairwise(real):
        convolution = layers[here]
        if isinstance(layers[behind], nn.ReLU) and isinstance(convolution, nn.Conv3d) and fusible(convolution):
            layers[here], layers[behind] = FusedConvolution(convolution), nn.Identity()


@torch.inference_mode()
def _agrees(layer: FusedConvolution) -> bool:
    """Whether the operators do what they should, on a few voxels."""
    inputs = layer.weight.shape[1] * layer.groups
    image = torch.linspace(-1, 1, inputs * 6 * 7 * 8).reshape(1, inputs, 6, 7, 8).contiguous(memory_format=PLACE)
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    expected = nn.functional.conv3d(image, layer.weight, layer.bias, *settings)
    try:
        pairs = ((layer(image), expected.relu()), (layer(image, torch.ones_like(expected)), (expected + 1).relu()))
    except (RuntimeError, AttributeError):
        return False
    return all(
        found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.max()))
        for found, wanted in pairs
    )
