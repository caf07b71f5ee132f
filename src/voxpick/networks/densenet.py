"""3D-DenseNet and 3D-Dilated-DenseNet: one class of a whole subtomogram, from densely connected layers.

Gao et al., Dilated-DenseNet for macromolecule classification in cryo-electron tomography, Bioinformatics Research and
Applications (ISBRA 2020), LNCS 12304, 82-94, sections 2.1, 2.2 and 3.2; after Huang et al. (2017), Densely connected
convolutional networks.

A 3x3x3 convolution, then dense blocks with transitions between them, the mean of every map over all positions, and one
linear layer. A layer of a block reads the block's input and all earlier layers of the block, compresses them by a
1x1x1 convolution and adds `growth` maps by a 3x3x3 convolution. The dilated network differs in the dilations only, so
both have the same number of parameters.

As published: three blocks of four layers, growth 12, transitions of batch normalisation, 1x1x1 convolution and average
pooling, Xavier's uniform weights, gamma 1, beta 0, biases 0.
Where the paper is silent or ambiguous:
- The dilations of a block: "2 and 3", "in the mid of block", in "a zigzag structure". Read as 1, 2, 3, 1 for the four
  layers, which leaves no holes by the rule of `networks.hdc`.
- Maps of the first convolution: 2 * growth = 24, stride 1, as in Huang et al.'s DenseNet-BC.
- Width of the 1x1x1 convolution in a layer: 2 * growth = 24. Huang et al. take 4 * growth, which would not compress the
  24 to 60 maps of the first block, and the paper's purpose is to compress them.
- A transition keeps half of its maps (Huang et al.'s theta = 0.5).
- Order in a layer: normalisation, ReLU, convolution, twice (Huang et al.). A transition has no ReLU, as section 2.1
  lists its parts. A normalisation and a ReLU follow the last block, as in Huang et al.; the class activation maps of
  section 2.3 weight the maps after them, which are those that are averaged.
- A block gives k_0 + L k maps, as its layers are concatenated. L k_0 + k L (L - 1) / 2 in section 2.1 adds up what all
  its layers read, and counts maps several times.
- n_in and n_out of Xavier's rule are called channels; [18] counts channels times kernel voxels, which is done here.
- Convolutions have no biases, since a normalisation follows each of them.
- A transition pools before its 1x1x1 convolution, which gives the same numbers with an eighth of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.hdc import check_dilations


class DenseLayer(nn.Module):
    """The `growth` new maps (b, growth, z, y, x) of a layer that reads (b, channels, z, y, x)."""

    def __init__(self, channels: int, growth: int, *, width: int, dilation: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(channels)
        self.compress = nn.Conv3d(channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm3d(width)
        self.conv = nn.Conv3d(width, growth, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        compressed = self.compress(F.relu_(self.norm1(x)))
        return self.conv(F.relu_(self.norm2(compressed)))


class DenseBlock(nn.Module):
    """The input and the maps of all layers, one after another along the channels."""

    def __init__(self, channels: int, growth: int, *, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DenseLayer(channels + k * growth, growth, width=width, dilation=dilation)
            for k, dilation in enumerate(dilations)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Module):
    """Fewer maps of half the side; an odd side loses its last plane."""

    def __init__(self, channels: int, kept: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels)
        self.compress = nn.Conv3d(channels, kept, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.compress(F.avg_pool3d(self.norm(x), 2))


class DenseNet(nn.Module):
    """Class scores (b, classes) in float32 of a batch of subtomograms (b, in_channels, z, y, x).

    dilations: one for each layer of a block, the same in every block; refused when they leave holes. Sides are at least
    2 ** (blocks - 1) voxels. bottleneck: width of the 1x1x1 convolutions in units of `growth`. compression: share of
    the maps that a transition keeps. compute_dtype: attribute; float32, or bfloat16 for autocast.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 13,
        growth: int = 12,
        blocks: int = 3,
        dilations: Sequence[int] = (1, 1, 1, 1),
        stem: int = 24,
        bottleneck: int = 2,
        compression: float = 0.5,
    ) -> None:
        super().__init__()
        sizes = {
            "in_channels": in_channels, "classes": classes, "growth": growth, "blocks": blocks, "stem": stem,
            "bottleneck": bottleneck,
        }  # fmt: skip
        for name, value in sizes.items():
            if value < 1:
                raise VoxpickError(f"DenseNet: {name} is {value}; it must be at least 1")
        if not 0 < compression <= 1:
            raise VoxpickError(f"DenseNet: compression is {compression}; it must be above 0 and at most 1")
        check_dilations(dilations)
        self.in_channels, self.dilations, self.blocks = in_channels, tuple(int(d) for d in dilations), blocks
        self.compute_dtype = torch.float32
        self.stem = nn.Conv3d(in_channels, stem, 3, padding=1, bias=False)
        parts: list[nn.Module] = []
        channels = stem
        for k in range(blocks):
            if k:
                kept = max(1, int(channels * compression))
                parts.append(Transition(channels, kept))
                channels = kept
            parts.append(DenseBlock(channels, growth, width=bottleneck * growth, dilations=self.dilations))
            channels += growth * len(self.dilations)
        self.parts = nn.Sequential(*parts)
        self.norm = nn.BatchNorm3d(channels)
        self.linear = nn.Linear(channels, classes)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew from torch's default generator, as section 3.2 says."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.BatchNorm3d):
                module.reset_parameters()

    @property
    def receptive_field(self) -> int:
        """Side in voxels of the cube of input that one position of the last maps depends on."""
        side = 3
        for k in range(self.blocks):
            if k:
                side += 2 ** (k - 1)
            side += 2 * sum(self.dilations) * 2**k
        return side

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The maps (b, channels, z', y', x') that are averaged; sides halved (rounded down) once for each transition.

        The classes' scores are `linear` of their means over z', y' and x'. Raises VoxpickError for images of other
        channels or too few voxels.
        """
        least = 2 ** (self.blocks - 1)
        if x.ndim != 5 or x.shape[1] != self.in_channels or min(x.shape[2:]) < least:
            raise VoxpickError(
                f"DenseNet: the input has shape {tuple(x.shape)}; expected (batch, {self.in_channels}, z, y, x) with "
                f"sides of at least {least} voxels"
            )
        with self._precision(x):
            x = x.contiguous(memory_format=torch.channels_last_3d)
            return F.relu_(self.norm(self.parts(self.stem(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = self.features(x).float().mean(dim=(2, 3, 4))
        with torch.autocast(x.device.type, enabled=False):
            return self.linear(means)

    def _precision(self, x: torch.Tensor) -> AbstractContextManager[object]:
        """The caller's autocast where there is one, else that of compute_dtype; float32 where oneDNN needs it."""
        if x.device.type == "cpu" and min(x.shape[2:]) < 3 * 2 ** (self.blocks - 1):  # gradients of two voxels a side
            return torch.autocast("cpu", enabled=False)
        if self.compute_dtype == torch.float32 or torch.is_autocast_enabled(x.device.type):
            return nullcontext()
        return torch.autocast(x.device.type, dtype=self.compute_dtype)

    def extra_repr(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"in_channels={self.in_channels}, classes={self.linear.out_features}, blocks={self.blocks}, "
            f"dilations={list(self.dilations)}, parameters={count:,}, receptive_field={self.receptive_field}"
        )
