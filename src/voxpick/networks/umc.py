"""UMC, the U-net Multi-task Cascade: one encoder and two decoders, of which the second reads the first.

Gubins, Veltkamp and Forster in Gubins et al., SHREC 2020: classification in cryo-electron tomograms, Comput. Graph. 91
(2020), section 3.6. "Each decoder block accepts skip connections from encoder and previous decoders at the same depth
level"; depth 5 with 16, 32, 64, 128 and 256 filters, 8.82 M parameters; the first decoder denoises, the second
segments.

The layout is inferred from the number of parameters; the paper gives it and a drawing without kernels. With
block(i, o) for two 3x3x3 convolutions i -> o -> o with bias, 27 (i o + o^2) + 2 o parameters, and f_1..f_5 the filters:
    encoder: block(1, f_1), then block(f_(l-1), f_l) after a 2x2x2 maximum            3,533,456
    denoising decoder: block(f_(l+1) + f_l, f_l), the level below and the encoder     2,350,560
    segmenting decoder: block(f_(l+1) + 2 f_l, f_l), the denoising decoder as well    2,938,080
    heads: 1x1x1 convolutions, 16 -> 1 and 16 -> 13                                         238
    together                                                                          8,822,334
Upsampling without weights is the reading that gives 8.82; transposed 2x2x2 convolutions, which halve the channels or
keep them, give other numbers, and batch normalisation would make it 8.83. (One convolution after upsampling and one
after concatenation has the same count as two after it; two are taken, as in the usual U-Net.)

What the paper leaves open: upsampling repeats voxels (nearest); both decoders begin at the encoder's deepest level;
ReLU; zero padding; weights as He et al. (2015), those of the heads as PyTorch draws them.
Added, both off by default: `batch_norm` puts batch normalisation between convolution and ReLU; `background` is the
probability of the background from which training starts, by the bias of the last layer (None: even odds).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.conv_blocks import convolutions, mixed_precision, require_sides, start_at_background


class UMC(nn.Module):
    """Class scores (b, classes, z, y, x) in float32 of volumes (b, in_channels, z, y, x).

    In training mode a pair: the noise-free specimen (b, 1, z, y, x) as the first decoder sees it, and the scores.
    Sides are multiples of `multiple_of`. compute_dtype: attribute; the convolutions' number format in training.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 13,
        filters: Sequence[int] = (16, 32, 64, 128, 256),
        batch_norm: bool = False,
        background: float | None = None,
    ) -> None:
        super().__init__()
        if len(filters) < 2 or min(in_channels, classes, *filters) < 1:
            raise VoxpickError(
                f"UMC: in_channels {in_channels}, classes {classes}, filters {list(filters)}; take at least two levels "
                "and at least one channel everywhere"
            )
        self.filters = tuple(int(number) for number in filters)
        self.multiple_of = 2 ** (len(self.filters) - 1)
        self.compute_dtype = torch.float32
        inputs = [in_channels, *self.filters[:-1]]
        self.encoder = nn.ModuleList(
            convolutions([before, after, after], batch_norm=batch_norm)
            for before, after in zip(inputs, self.filters, strict=True)
        )
        self.denoising = self._decoder(1, batch_norm=batch_norm)
        self.segmenting = self._decoder(2, batch_norm=batch_norm)
        self.specimen_head = nn.Conv3d(self.filters[0], 1, 1)
        self.class_head = nn.Conv3d(self.filters[0], classes, 1)
        if background is not None:
            start_at_background(self.class_head.bias, background)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def _decoder(self, skips: int, *, batch_norm: bool) -> nn.ModuleList:
        """Blocks of all levels but the deepest, level 0 first; skips: maps of a level's own size that a block takes."""
        return nn.ModuleList(
            convolutions([below + skips * here, here, here], batch_norm=batch_norm)
            for here, below in zip(self.filters[:-1], self.filters[1:], strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        require_sides("UMC", x, multiple=self.multiple_of)
        with mixed_precision(x, self.compute_dtype, multiple=self.multiple_of):
            levels: list[list[torch.Tensor]] = []
            for number, block in enumerate(self.encoder):
                x = block(F.max_pool3d(x, 2) if number else x.contiguous(memory_format=torch.channels_last_3d))
                levels.append([x])
            denoised = _decode(self.denoising, levels)
            if not self.training:
                return self.class_head(_decode(self.segmenting, levels)).float()
            specimen = self.specimen_head(denoised).float()
            return specimen, self.class_head(_decode(self.segmenting, levels)).float()

    def extra_repr(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        return f"filters={list(self.filters)}, parameters={count:,}"


def _decode(blocks: nn.ModuleList, levels: list[list[torch.Tensor]]) -> torch.Tensor:
    """From the deepest level to the first; each block's maps are added to its level, for decoders to come."""
    x = levels[-1][0]
    for block, level in zip(reversed(blocks), reversed(levels[:-1]), strict=True):
        x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), *level], 1))
        level.append(x)
    return x
