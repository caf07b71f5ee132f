"""PickNet, voxpick's own network: a residual U-Net at half resolution that marks centres and names them.

No paper describes it as a whole. What it puts together:
- residual blocks of two 3x3x3 convolutions with batch normalisation, which folds away for inference (He et al. 2016);
- the U of Ronneberger et al. (2015), summed instead of concatenated, so that no convolution has twice the channels;
- all stages but the first two convolutions on grids of 2, 4 and 8 voxels: at half resolution a convolution costs an
  eighth, and centres come back below one voxel by an offset (Zhou et al. 2019, Objects as Points);
- heads that are 1x1x1 convolutions: is there a centre, where exactly, of which class; and two more that only training
  sees: the class of every voxel, and the specimen without noise (UMC's second task; Gubins et al. 2020, section 3.6).
  The classes are a sum over the maps of all grids on the way up, as Long et al. (2015) sum theirs: what tells two
  complexes apart spans many voxels, and the coarse grids have the channels for it.

Output channels, in order, at half resolution (voxel i covers input voxels 2 i and 2 i + 1):
    1             logit of 'the centre of a particle lies here'
    3             offset of the centre from the middle of the voxel along z, y, x, in input voxels
    classes - 1   logits of the classes, without background
    and in training mode only
    classes       logits of the class of the voxel, background first
    1             density of the specimen
    classes - 1   logits of the classes by the coarser grids alone, where there are any (deep supervision; Lee et al.
                  2015, Deeply-Supervised Nets, AISTATS)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.conv_blocks import mixed_precision, require_sides
from voxpick.networks.fusing import FusedConvolution

STRIDE = 2
"""Input voxels along the side of an output voxel."""

CENTRE_CHANNELS = 4
"""One logit and three offsets, before the classes."""


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions with batch normalisation beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = _convolution(channels, channels), _convolution(channels, channels)
        nn.init.zeros_(second[1].weight)  # a new block is the identity
        self.layers = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        self.last: FusedConvolution | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.last is not None:
            return self.last(self.layers(x), x)
        return F.relu_(self.layers(x) + x)

    def fuse(self) -> None:
        """Let the second convolution of a folded block add the identity and apply ReLU as it writes its result."""
        convolution = self.layers[3]
        if isinstance(convolution, nn.Conv3d) and isinstance(self.layers[4], nn.Identity):
            self.last, self.layers[3] = FusedConvolution(convolution), nn.Identity()


class PickNet(nn.Module):
    """Centres and classes (b, 3 + classes, z/2, y/2, x/2) in float32 of volumes (b, 1, z, y, x).

    In training mode further channels follow (see the head of the file). Sides are multiples
    of `multiple_of`. stem: channels at full resolution; widths: on the grids of 2, 4, 8.. voxels; blocks: residual
    blocks of each of them on the way down, `decoder_blocks` on the way up; centres: the share of voxels that hold a
    centre at the beginning, from which training starts.
    compute_dtype: attribute; the convolutions' number format where autocast does not say otherwise.
    all_heads: attribute; True gives voxel classes and density outside of training as well.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 13,
        stem: int = 16,
        widths: Sequence[int] = (48, 96, 192),
        blocks: Sequence[int] = (2, 2, 2),
        decoder_blocks: int = 1,
        centres: float = 0.003,
    ) -> None:
        super().__init__()
        if in_channels != 1 or classes < 2 or min(stem, *widths) < 1 or len(blocks) != len(widths):
            raise VoxpickError(
                f"PickNet: in_channels {in_channels}, classes {classes}, stem {stem}, widths {list(widths)}, blocks "
                f"{list(blocks)}; take one input channel, at least two classes and as many numbers of blocks as widths"
            )
        if not 0 < centres < 1:
            raise VoxpickError(f"PickNet: centres is {centres}; give a share between 0 and 1")
        self.classes, self.widths = classes, tuple(int(width) for width in widths)
        self.multiple_of = STRIDE ** len(self.widths)
        self.compute_dtype = torch.float32
        self.all_heads = False
        self.stem = nn.Sequential(*_convolution(in_channels, stem), nn.ReLU(inplace=True))
        inputs = [stem, *self.widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(
                *_convolution(before, after, stride=2),
                nn.ReLU(inplace=True),
                *(ResidualBlock(after) for _ in range(number)),
            )
            for before, after, number in zip(inputs, self.widths, blocks, strict=True)
        )
        self.lift = nn.ModuleList(
            nn.Sequential(*_convolution(below, here, side=1))
            for here, below in zip(self.widths[:-1], self.widths[1:], strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(here) for _ in range(decoder_blocks))) for here in self.widths[:-1]
        )
        self.picks = nn.Conv3d(self.widths[0], CENTRE_CHANNELS + classes - 1, 1)
        self.training_heads = nn.Conv3d(self.widths[0], classes + 1, 1)
        self.coarse_names = nn.ModuleList(nn.Conv3d(width, classes - 1, 1, bias=False) for width in self.widths[1:])
        for coarse in self.coarse_names:
            assert isinstance(coarse, nn.Conv3d)
            nn.init.zeros_(coarse.weight)
        for head in (self.picks, self.training_heads):
            nn.init.normal_(head.weight, std=0.01)
            assert head.bias is not None
            nn.init.zeros_(head.bias)
        with torch.no_grad():
            assert self.picks.bias is not None
            self.picks.bias[0] = math.log(centres / (1 - centres))
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        require_sides("PickNet", x, multiple=self.multiple_of)
        with mixed_precision(x, self.compute_dtype, multiple=self.multiple_of):
            x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))
            levels = []
            for stage in self.down:
                x = stage(x)
                levels.append(x)
            names: torch.Tensor | None = None
            for k in reversed(range(len(levels) - 1)):
                here = self.coarse_names[k](x)
                names = _doubled(here if names is None else names + here)
                x = self.up[k](F.relu_(_doubled(self.lift[k](x)).add_(levels[k])))
            picks = self.picks(x).float()
            if names is not None:
                picks = torch.cat([picks[:, :CENTRE_CHANNELS], picks[:, CENTRE_CHANNELS:] + names.float()], 1)
            if not (self.training or self.all_heads):
                return picks
            more = [names.float()] if self.training and names is not None else []
            return torch.cat([picks, self.training_heads(x).float(), *more], 1)

    def extra_repr(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        return f"widths={list(self.widths)}, parameters={count:,}"


def _doubled(x: torch.Tensor) -> torch.Tensor:
    """Every voxel repeated along z, y and x."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _convolution(inputs: int, outputs: int, *, side: int = 3, stride: int = 1) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
    """A zero-padded convolution and its batch normalisation; weights as He et al. (2015)."""
    convolution = nn.Conv3d(inputs, outputs, side, stride=stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution, nn.BatchNorm3d(outputs)
