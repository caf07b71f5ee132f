"""Batch normalisation folded into the convolution before it: the same function in fewer passes over the maps."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode without the batch normalisations that directly follow a convolution.

    Looks for neighbours inside nn.Sequential, as networks here write them; others stay as they are. Equal to the
    network in evaluation mode up to rounding. The network itself is left alone.
    """
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        if isinstance(module, nn.Sequential):
            _fold_neighbours(module)
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied


def _fold_neighbours(layers: nn.Sequential) -> None:
    for k in range(len(layers) - 1):
        convolution, norm = layers[k], layers[k + 1]
        if isinstance(convolution, CONVOLUTIONS) and isinstance(norm, NORMS) and norm.track_running_stats:
            transposed = isinstance(convolution, nn.ConvTranspose2d | nn.ConvTranspose3d)
            with torch.no_grad():
                layers[k] = fuse_conv_bn_eval(convolution, norm, transpose=transposed)
            layers[k + 1] = nn.Identity()
