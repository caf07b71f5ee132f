"""The 3D U-Net with batch normalisation.

Cicek et al., 3D U-Net: learning dense volumetric segmentation from sparse annotation, MICCAI (2016): four levels of two
3x3x3 convolutions, each followed by batch normalisation and ReLU; at level l the first has `width` 2^l and the second
twice as many filters (so the number doubles before the maximum); 2x2x2 transposed convolutions upwards that keep the
number of channels; concatenation with the encoder; a 1x1x1 convolution at the end.

Departures: convolutions are zero padded, so that the output is as large as the input (the original's are not padded and
its output is smaller), and the levels are a parameter. 3x3x3 weights are drawn as He et al. (2015), the others as
PyTorch does. `background`, off by default, is the probability of the background from which training starts, by the bias
of the last layer (None: even odds).
With width 32, 4 levels, 1 channel in and 13 classes out it has 19,074,445 parameters. The original's 19,069,955, with 3
channels in and 3 classes out, leave out the batch normalisations' and biases of the transposed convolutions.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.conv_blocks import convolutions, mixed_precision, require_sides, start_at_background


class UNet3D(nn.Module):
    """Class scores (b, classes, z, y, x) in float32 of volumes (b, in_channels, z, y, x).

    Sides are multiples of `multiple_of`. compute_dtype: attribute; the convolutions' number format in training.
    """

    def __init__(
        self, in_channels: int = 1, classes: int = 13, width: int = 32, levels: int = 4, background: float | None = None
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("in_channels", in_channels, 1),
            ("classes", classes, 1),
            ("width", width, 1),
            ("levels", levels, 2),
        ):
            if value < least:
                raise VoxpickError(f"UNet3D: {name} is {value}; it must be at least {least}")
        self.multiple_of = 2 ** (levels - 1)
        self.compute_dtype = torch.float32
        outputs = [2 * width * 2**level for level in range(levels)]
        inputs = [in_channels, *outputs[:-1]]
        self.encoder = nn.ModuleList(
            convolutions([before, after // 2, after], batch_norm=True)
            for before, after in zip(inputs, outputs, strict=True)
        )
        self.upward = nn.ModuleList(nn.ConvTranspose3d(below, below, 2, stride=2) for below in outputs[1:])
        self.decoder = nn.ModuleList(
            convolutions([below + here, here, here], batch_norm=True) for here, below in pairwise(outputs)
        )
        self.head = nn.Conv3d(outputs[0], classes, 1)
        if background is not None:
            start_at_background(self.head.bias, background)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        require_sides("UNet3D", x, multiple=self.multiple_of)
        with mixed_precision(x, self.compute_dtype, multiple=self.multiple_of):
            skips: list[torch.Tensor] = []
            for level, block in enumerate(self.encoder):
                x = block(F.max_pool3d(x, 2) if level else x.contiguous(memory_format=torch.channels_last_3d))
                skips.append(x)
            for up, block, skip in zip(
                reversed(self.upward), reversed(self.decoder), reversed(skips[:-1]), strict=True
            ):
                x = block(torch.cat([up(x), skip], 1))
            return self.head(x).float()

    def extra_repr(self) -> str:
        return f"parameters={sum(parameter.numel() for parameter in self.parameters()):,}"
