"""3-D U-Net: DeepFinder's, and with other settings the plain one.

Moebel et al. (2018), 3D ConvNet improves macromolecule localization in 3D cellular cryo-electron tomograms, section
2.1.1 and Fig. 4; Gubins et al. (2020), SHREC 2020, section 3.2 and Fig. 6. After Ronneberger et al. (2015). A plain 3D
U-Net is filters [32, 64, 128], bottom 2, norm True and the like; that of Cicek et al. (2016) doubles its maps within
each stage, which these settings cannot say.

Two 3x3x3 convolutions a stage, zero padded, each followed by ReLU; max-pooling by 2 between the stages; two more
convolutions in the lowest stage; up-convolutions, followed by ReLU, whose result is concatenated with the last maps
of the same size; a 1x1x1 convolution to the class scores. No normalisation: neither paper mentions one.

Parameters for filters f_0 .. f_n, c input channels and k classes, C(a, b) = 27 a b + b (with norm 27 a b + 3 b):
    down: C(c, f_0) + C(f_0, f_0) + ... + C(f_n-1, f_n) + 3 C(f_n, f_n), the last for a bottom of 4 convolutions;
    up, i = n-1 .. 0: 8 f_i+1^2 + f_i+1 + C(f_i+1 + f_i, f_i) + C(f_i, f_i); output: k f_0 + k.
With 32, 48, 64 filters, 1 channel and 13 classes that is 903,357.

Where the papers are silent or ambiguous:
- the numbers of filters stand in Fig. 4 alone; read as 32, 48 and 64 from the highest resolution to the lowest;
- up-convolution ("trained and non-linear up-sampling") is read as a transposed convolution of 2x2x2 with stride 2 and
  a ReLU, which keeps the number of filters of the lower stage; "only 3x3x3 filters" is read as the other layers;
- the output layer is 1x1x1, one score a class and voxel, as in Ronneberger et al., though "only 3x3x3" might mean it
  too;
- initialisation: normal, variance 2 / fan-in (He), zero biases, a small output layer so that training starts at even
  odds, or at P(background) = `background` where that is given. The softmax is left to the loss and to the detector.
Batch normalisation (`norm`) stands between convolution and ReLU and folds away for inference (networks/folding.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.conv_blocks import convolutions as convolution_stack
from voxpick.networks.conv_blocks import mixed_precision, require_sides, start_at_background


class UNet(nn.Module):
    """Class scores (b, classes, z, y, x) of a batch of volumes (b, in_channels, z, y, x).

    classes: output channels, background included. filters: maps of each stage, from full resolution down.
    convolutions: in every stage but the lowest; bottom: in the lowest. norm: batch normalisation. background: its
    probability from which training starts.
    multiple_of: attribute; the sides of the input are multiples of it, 2^(stages - 1). compute_dtype: attribute; the
    number format of the convolutions where autocast does not say otherwise; weights and scores stay float32.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        filters: Sequence[int] = (32, 48, 64),
        convolutions: int = 2,
        bottom: int = 4,
        norm: bool = False,
        background: float | None = None,
    ) -> None:
        super().__init__()
        numbers = {"in_channels": in_channels, "classes": classes, "convolutions": convolutions, "bottom": bottom}
        for name, value in [*numbers.items(), *(("filters", number) for number in filters)]:
            if value < 1:
                raise VoxpickError(f"UNet: {name} is {value}; it must be at least 1")
        if not filters:
            raise VoxpickError("UNet: filters is empty; give one number a stage, such as 32 48 64")
        self.in_channels, self.classes, self.filters = in_channels, classes, tuple(int(f) for f in filters)
        self.multiple_of = 2 ** (len(self.filters) - 1)
        self.convolutions, self.bottom = convolutions, bottom
        self.compute_dtype = torch.float32
        counts = [convolutions] * (len(self.filters) - 1) + [bottom]
        self.down = nn.ModuleList(
            _stage(before, after, number, norm)
            for (before, after), number in zip(pairwise((in_channels, *self.filters)), counts, strict=True)
        )
        rising = list(pairwise(reversed(self.filters)))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose3d(low, low, 2, stride=2), nn.ReLU(inplace=True)) for low, _ in rising
        )
        self.join = nn.ModuleList(_stage(low + high, high, convolutions, norm) for low, high in rising)
        self.pool = nn.MaxPool3d(2)
        self.output = nn.Conv3d(self.filters[0], classes, 1)
        self.reset_parameters()
        if background is not None:
            start_at_background(self.output.bias, background)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew from torch's default generator."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                up = isinstance(module, nn.ConvTranspose3d)
                fan_in = module.in_channels if up else module.weight[0].numel()
                module.weight.normal_(0.0, (2.0 / fan_in) ** 0.5)
                assert module.bias is not None
                module.bias.zero_()
        self.output.weight.normal_(0.0, 0.1 / self.filters[0] ** 0.5)

    @property
    def receptive_field(self) -> int:
        """Side in voxels of a cube of input that no output voxel looks beyond."""
        reach = self.bottom * 2 ** (len(self.filters) - 1)
        for stage in range(len(self.filters) - 1):
            reach += 2**stage * (2 * self.convolutions + 1)
        return 2 * reach + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        require_sides("UNet", x, multiple=self.multiple_of, channels=self.in_channels)
        with mixed_precision(x, self.compute_dtype, multiple=self.multiple_of):
            x = x.contiguous(memory_format=torch.channels_last_3d)
            kept = []
            for stage in self.down[:-1]:
                x = stage(x)
                kept.append(x)
                x = self.pool(x)
            x = self.down[-1](x)
            for up, join, skip in zip(self.up, self.join, reversed(kept), strict=True):
                x = join(torch.cat([up(x), skip], dim=1))
            return self.output(x).float()

    def extra_repr(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        return f"filters={list(self.filters)}, parameters={count:,}, receptive_field={self.receptive_field}"


def _stage(before: int, after: int, number: int, norm: bool) -> nn.Sequential:
    """`number` convolutions from `before` to `after` maps, each with ReLU."""
    return convolution_stack([before, *[after] * number], batch_norm=norm)
