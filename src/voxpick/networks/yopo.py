"""YOPO, "you only pool once": a network that names the particle in the middle of a 24^3 subtomogram.

X. Zeng and M. Xu in Gubins et al., SHREC 2020: Classification in cryo-electron tomograms, Computers & Graphics 91
(2020), section 3.4 and Fig. 7.

The paper says: subtomograms of 24^3, one pooling layer, which is global, K = 13 classes with the background, applied
"at every location" of the tomogram. All else is our choice:
- 3x3x3 convolutions without padding, stride 1, each with batch normalisation and ReLU; ten of them leave 4^3 places of
  the 24^3 (in general as many as `widths`, each of which takes 2 voxels off the side);
- the pooling is the maximum over those places; "average" is the other reading of a global pooling layer;
- a fully connected layer of `hidden` units with ReLU, and one of `classes` units; softmax is left to loss and detector;
- the widths: 32 to 128 channels, chosen for what two processor cores can do.
Without padding, sliding the network over a tomogram gives exactly what it says of each box by itself: `scan` computes
every convolution once and takes the maximum over sliding windows.

Parameters: 27 sum_i w_(i-1) w_i + 2 sum_i w_i in the convolutions and their norms, then (w_last + 1) hidden +
(hidden + 1) classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.boxes import ConvNorm, central_box, precision, windowed, working_dtype


class YOPO(nn.Module):
    """Class scores (b, classes) in float32 of boxes (b, 1, z, y, x); of larger ones the middle counts.

    box: side in voxels of what is looked at. widths: channels of each convolution. classes: with background.
    compute_dtype: attribute; float32, or bfloat16 for convolutions in half the bytes (weights stay float32).
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 13,
        box: int = 24,
        widths: Sequence[int] = (32, 32, 48, 48, 64, 64, 64, 64, 96, 128),
        pooling: Literal["max", "average"] = "max",
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if in_channels != 1:
            raise VoxpickError(f"YOPO: in_channels is {in_channels}; a tomogram has 1")
        if pooling not in ("max", "average"):
            raise VoxpickError(f"YOPO: pooling is {pooling!r}; use 'max' or 'average'")
        for name, value in (("classes", classes), ("hidden", hidden), ("widths", min(widths, default=0))):
            if value < 1:
                raise VoxpickError(f"YOPO: {name} is {value}; it must be at least 1")
        if box <= 2 * len(widths):
            raise VoxpickError(
                f"YOPO: {len(widths)} convolutions leave nothing of a box of {box}; take at most {(box - 1) // 2}"
            )
        self.box, self.classes, self.pooling = box, classes, pooling
        self.places = box - 2 * len(widths)
        self.compute_dtype = torch.float32
        self.layers = nn.ModuleList(ConvNorm(a, b, 3, padded=False) for a, b in pairwise([in_channels, *widths]))
        self.hidden = nn.Linear(widths[-1], hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scan(central_box(x, self.box, name="YOPO"))[..., 0, 0, 0]

    def scan(self, x: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        """Class scores (b, classes, z', y', x') of all boxes that begin at multiples of `stride`.

        n' = (n - box) // stride + 1 along each side.
        """
        dtype = working_dtype(x, self.compute_dtype)
        with precision(x, dtype, training=self.training):
            if not self.training:
                x = x.to(dtype)
            for layer in self.layers:
                x = F.relu_(layer(x))
            x = windowed(x, self.places, maximum=self.pooling == "max")[:, :, ::stride, ::stride, ::stride]
        with precision(x, dtype, training=False):
            x = F.relu_(self.hidden(x.movedim(1, -1).float()))
            return self.out(x).movedim(-1, 1)

    def extra_repr(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        return f"box={self.box}, classes={self.classes}, pooling={self.pooling}, parameters={count:,}"
