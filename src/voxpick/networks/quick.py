"""Layers that are faster on a CPU than torch's own: the same parameters and the same numbers but for rounding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.networks.winograd import FewProducts, usable


class PointProducts(nn.Conv3d):
    """A 1x1x1 convolution as a matrix product on maps as they lie, channels last, in float32 on a CPU.

    Torch's own copies maps of so few channels first.
    """

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if not _plain(input, weight):
            return super()._conv_forward(input, weight, bias)
        return F.linear(input.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)


class BlockProducts(nn.ConvTranspose3d):
    """A transposed convolution whose stride is its side, so that every voxel becomes a block of its own: a matrix
    product, in float32 on a CPU."""

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """(b, inputs, z, y, x) to (b, outputs, z, y, x), each side as many times longer as the stride says."""
        if output_size is not None or not _plain(input, self.weight):
            return super().forward(input, output_size)
        outputs, *sides = self.weight.shape[1:]
        weight = self.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        blocks = F.linear(input.movedim(1, -1), weight)
        spread = blocks.unflatten(-1, (*sides, outputs)).permute(0, 1, 4, 2, 5, 3, 6, 7)
        result = spread.reshape(
            len(input), *(n * side for n, side in zip(input.shape[2:], sides, strict=True)), outputs
        )
        return (result if self.bias is None else result + self.bias).movedim(-1, 1)


def quicken(network: nn.Module) -> None:
    """Let the layers of a network for which that can be done learn by faster kernels, in place.

    Parameters, their names and `state_dict` stay.
    """
    for module in network.modules():
        if type(module) is nn.Conv3d and usable(module):
            module.__class__ = FewProducts
        elif type(module) is nn.Conv3d and is_point(module):
            module.__class__ = PointProducts
        elif type(module) is nn.ConvTranspose3d and _of_blocks(module):
            module.__class__ = BlockProducts


def is_point(layer: nn.Conv3d) -> bool:
    """Whether it is a 1x1x1 convolution that looks at every voxel by itself."""
    return (*layer.kernel_size, *layer.stride, layer.groups) == (1,) * 7 and layer.padding in ((0, 0, 0), "valid")


def _of_blocks(layer: nn.ConvTranspose3d) -> bool:
    apart = layer.kernel_size == layer.stride and layer.dilation == (1, 1, 1) and layer.groups == 1
    return apart and layer.padding == layer.output_padding == (0, 0, 0)


def _plain(input: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether it is a batch in float32 on a CPU of as many channels as the layer takes, without autocast."""
    short = not input.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu")
    return not short and input.ndim == 5 and input.device.type == "cpu"
