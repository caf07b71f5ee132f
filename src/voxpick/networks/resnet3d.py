"""A 3D ResNet of 20 layers that names the particle in the middle of a 32^3 subtomogram.

X. Wang and D. Kihara in Gubins et al., SHREC 2020: Classification in cryo-electron tomograms, Computers & Graphics 91
(2020), section 3.3; after He et al. (2016), deep residual learning, and Hara et al. (2017), 3D residual networks.

The paper says: input 32^3, 13 outputs, "ResNet of 20 layers". Two readings of that are here.
padded=True, the plain one: the ResNet-20 that He et al. made for images of side 32, in 3D. A 3x3x3 convolution, three
stages of three blocks of two 3x3x3 convolutions, 16, 32 and 64 channels, zero padding, the second and third stage begin
with stride 2; the mean over what is left; one fully connected layer: 1 + 3 * 3 * 2 + 1 = 20 layers with weights.
Where the number of channels changes, the shortcut is a 1x1x1 convolution (He et al.'s option B; they use A there).
Zero padding makes every value near the middle depend on where the box ends, so boxes that overlap share nothing: `scan`
evaluates each by itself.
padded=False, for scanning on a processor: 20 layers as well, of the bottleneck blocks of He et al. (1x1x1, 3x3x3 and
1x1x1; the last twice as wide, not four times), two blocks a stage, without padding (shortcuts are cropped), after a
first convolution of 5x5x5: 1 + 3 * 2 * 3 + 1 = 20. With fewer 3x3x3 convolutions it fits into a box of 32 without
padding: it sees the 31^3 voxels around voxel 16. `scan` then computes each convolution once, with dilations instead of
strides where the scan is finer than the stride, and is exact. Blocks, first layer and padding deviate from the first
reading; the paper does not tell them.
Both: batch normalisation before ReLU, as He et al. Softmax is left to loss and detector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.boxes import ConvNorm, central_box, precision, windowed, working_dtype

BOXES_AT_A_TIME, ON_GPU = 16, 256
"""Boxes of a padded network that are named together: on a CPU, and elsewhere, where fewer would be over at once."""
EXPANSION = 2


class ResidualBlock(nn.Module):
    """Two padded 3x3x3 convolutions, or an unpadded bottleneck, beside a shortcut."""

    def __init__(self, inputs: int, width: int, *, padded: bool, stride: int) -> None:
        super().__init__()
        self.padded, self.stride = padded, stride
        self.outputs = width if padded else EXPANSION * width
        sides = (3, 3) if padded else (1, 3, 1)
        widths = (inputs, *[width] * (len(sides) - 1), self.outputs)
        self.convolutions = nn.ModuleList(
            ConvNorm(before, after, side, padded=padded)
            for before, after, side in zip(widths[:-1], widths[1:], sides, strict=True)
        )
        change = inputs != self.outputs or stride != 1
        self.shortcut = ConvNorm(inputs, self.outputs, 1, padded=False) if change else None

    def forward(self, x: torch.Tensor, *, stride: int, dilation: int = 1) -> torch.Tensor:
        """The block with this stride; dilation: of an unpadded block's 3x3x3 convolution."""
        strided = 0 if self.padded else 1
        y = x
        for k, convolution in enumerate(self.convolutions):
            here = {"stride": stride, "dilation": dilation} if k == strided else {}
            y = convolution(y, **here)
            if k + 1 < len(self.convolutions):
                y = F.relu_(y)
        if not self.padded:
            x = x[:, :, dilation:-dilation, dilation:-dilation, dilation:-dilation]
        if self.shortcut is not None:
            x = self.shortcut(x, stride=stride)
        return F.relu_(y + x)


class ResNet3D(nn.Module):
    """Class scores (b, classes) in float32 of boxes (b, 1, z, y, x); of larger ones the middle counts.

    box: side in voxels of what is looked at. widths: of the three stages. blocks: in each stage; None takes as many as
    make 20 layers. classes: with background.
    compute_dtype: attribute; float32, or bfloat16 for convolutions in half the bytes (weights stay float32).
    planned_for: attribute; the kind of device that a scan without memory, of which only shapes are asked for, is to be.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 13,
        box: int = 32,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int | None = None,
        padded: bool = False,
    ) -> None:
        super().__init__()
        if in_channels != 1:
            raise VoxpickError(f"ResNet3D: in_channels is {in_channels}; a tomogram has 1")
        blocks = (3 if padded else 2) if blocks is None else blocks
        for name, value in (("classes", classes), ("blocks", blocks), ("widths", min(widths, default=0))):
            if value < 1:
                raise VoxpickError(f"ResNet3D: {name} is {value}; it must be at least 1")
        self.box, self.classes, self.padded = box, classes, padded
        self.compute_dtype, self.planned_for = torch.float32, "cpu"
        self.first = ConvNorm(in_channels, widths[0], 3 if padded else 5, padded=padded)
        self.blocks, channels = nn.ModuleList(), widths[0]
        for stage, width in enumerate(widths):
            for k in range(blocks):
                block = ResidualBlock(channels, width, padded=padded, stride=2 if stage and not k else 1)
                self.blocks.append(block)
                channels = block.outputs
        self.out = nn.Linear(channels, classes)
        self.layers = 2 + blocks * len(widths) * (2 if padded else 3)
        self.places, self.seen = self._geometry(len(widths))

    def _geometry(self, stages: int) -> tuple[int, int]:
        """Places along a side that are pooled, and the side in voxels that they depend on."""
        step = 2 ** (stages - 1)
        if self.padded:
            if self.box % step:
                raise VoxpickError(f"ResNet3D: a box of {self.box} is no multiple of the stride of {step}")
            return self.box // step, self.box
        seen, step = self.first.side, 1
        for block in self.blocks:
            seen, step = seen + 2 * step, step * int(block.stride)  # type: ignore[arg-type]
        places = 1 + (self.box - (self.box + 1) % 2 - seen) // step
        if places < 1:
            raise VoxpickError(f"ResNet3D: a box of {self.box} is too small for the convolutions, which see {seen}")
        return places, seen + (places - 1) * step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = central_box(x, self.box, name="ResNet3D")
        if not self.padded:
            return self.scan(x, stride=self.box)[..., 0, 0, 0]
        dtype = working_dtype(x, self.compute_dtype)
        if x.device.type == "cpu" and self.places <= 2:  # see conv_blocks.mixed_precision
            dtype = torch.float32
        with precision(x, dtype, training=self.training):
            if not self.training:
                x = x.to(dtype)
            x = F.relu_(self.first(x))
            for block in self.blocks:
                x = block(x, stride=block.stride)
        with precision(x, dtype, training=False):
            return self.out(x.float().mean((2, 3, 4)))

    def scan(self, x: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        """Class scores (b, classes, z', y', x') of all boxes that begin at multiples of `stride`.

        n' = (n - box) // stride + 1 along each side.
        """
        return self._scan_boxes(x, stride) if self.padded else self._scan_at_once(x, stride)

    def _scan_boxes(self, x: torch.Tensor, stride: int) -> torch.Tensor:
        views = x[:, 0].unfold(1, self.box, stride).unfold(2, self.box, stride).unfold(3, self.box, stride)
        grid, number = views.shape[:4], math.prod(views.shape[:4])
        together = BOXES_AT_A_TIME if (self.planned_for if x.is_meta else x.device.type) == "cpu" else ON_GPU
        if x.is_meta:  # only shapes are asked for, and one batch has them all
            self(x.new_empty(min(together, number), 1, *[self.box] * 3))
            return x.new_empty(grid[0], self.classes, *grid[1:], dtype=torch.float32)
        scores = []
        for first in range(0, number, together):
            at: list[torch.Tensor] = []
            left = torch.arange(first, min(first + together, number), device=x.device)
            for side in reversed(grid):
                at.insert(0, left % side)
                left = left // side
            scores.append(self(views[tuple(at)][:, None]))
        return torch.cat(scores).reshape(*grid, self.classes).movedim(-1, 1)

    def _scan_at_once(self, x: torch.Tensor, stride: int) -> torch.Tensor:
        dtype = working_dtype(x, self.compute_dtype)
        start = self.box // 2 - self.seen // 2
        spare = self.box - start - self.seen
        x = x[:, :, start : x.shape[2] - spare, start : x.shape[3] - spare, start : x.shape[4] - spare]
        done, dilation = 1, 1
        with precision(x, dtype, training=self.training):
            if not self.training:
                x = x.to(dtype)
            x = F.relu_(self.first(x))
            for block in self.blocks:
                real = int(block.stride)  # type: ignore[arg-type]
                if stride % (done * real):
                    x = block(x, stride=1, dilation=dilation)
                    dilation *= real
                else:
                    x = block(x, stride=real, dilation=dilation)
                    done *= real
            x = windowed(x, self.places, spacing=dilation)
            rest = stride // done
            x = x[:, :, ::rest, ::rest, ::rest]
        with precision(x, dtype, training=False):
            return self.out(x.movedim(1, -1).float()).movedim(-1, 1)

    def extra_repr(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"box={self.box}, classes={self.classes}, padded={self.padded}, layers={self.layers}, sees={self.seen}, "
            f"parameters={count:,}"
        )
