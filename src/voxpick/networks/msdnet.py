"""3D multi-scale dense network (MSDNet) of VP-Detector.

Hao et al., VP-Detector: a 3D multi-scale dense convolutional neural network for macromolecule localization and
classification in cryo-electron tomograms, Comput. Methods Programs Biomed. 221 (2022); sections 2.2-2.3, equations and
figures as numbered in its manuscript. After Pelt and Sethian (2018), mixed-scale dense networks.

Layer i convolves the input and all earlier maps with 3x3x3 kernels, zero padded, adds a bias and applies LeakyReLU
(slope 0.01). A 1x1x1 convolution over all maps, the input included, gives the class scores.

Parameter counts. Width 2 (two channels a layer, as Figs. 2 and 3 draw it):
    localizer, depth 49, dilations 1..7, 2 classes: 54 * 49^2 + 98 + 2 * 99 + 2 = 129,952 (paper: 132 K, 1.6 % off);
    classifier, depth 100, dilations 1..5, 13 classes: 54 * 100^2 + 200 + 13 * 201 + 13 = 542,826 (551 K, 1.5 % off).
The paper's own formula, N_f + N_w + N_b of section 2.3, uses one C for input and output channels; with width 2 it gives
132,600 for C = 2 at depth 49 and 551,612 for C = 3 at depth 100. We count the one input channel a tomogram has and the
classes there are.

Where the paper is ambiguous:
- Eq. 4 gives every channel its own dilation s_ij, as section 2.3 says ("dilation factors s for each channel of a
  certain layer are different"); Fig. 2 and section 3.2 one per layer. One per layer, cycling, here
  (section 2.2.1's s_i = (i + 1) mod 4 would give a dilation of 0, and is read as a cycle).
- "Element-wise addition" aggregates the earlier maps: the sum over l and k of eq. 4, that is one convolution over all
  earlier channels with a kernel for each of them; the maps themselves are not added.
- Initialisation is not given: normal, variance 2 / fan-in (He) as in MS-D networks, for the fan-in of each layer, and
  zero biases; the output layer begins small (standard deviation 0.1 / sqrt(channels)), so that training starts at
  even odds, or at P(background) = `background` where that is given.
- Batch normalisation is not mentioned and not used. The softmax is left to the loss and to the detector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.conv_blocks import start_at_background
from voxpick.networks.dense_stack import dense_stack
from voxpick.networks.hdc import check_dilations, receptive_field
from voxpick.networks.layout import Layout


class MSDNet(nn.Module):
    """Class scores (b, classes, z, y, x) in float32 of a batch of volumes (b, in_channels, z, y, x).

    classes: output channels, background included. dilations: cycled over the layers; refused when they leave holes.
    background: its probability from which training starts.
    compute_dtype: attribute; float32, or bfloat16 for convolutions in half the bytes (weights stay float32).
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        depth: int = 49,
        width: int = 2,
        dilations: Sequence[int] = (1, 2, 3, 4, 5, 6, 7),
        background: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("classes", classes), ("depth", depth), ("width", width)):
            if value < 1:
                raise VoxpickError(f"MSDNet: {name} is {value}; it must be at least 1")
        check_dilations(dilations)
        self.layout = Layout(in_channels, width, depth, tuple(int(d) for d in dilations))
        self.classes = classes
        self.compute_dtype = torch.float32
        channels = self.layout.before(depth)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(width, self.layout.before(i), 3, 3, 3)) for i in range(depth)
        )
        self.bias = nn.Parameter(torch.empty(depth, width))
        self.out_weight = nn.Parameter(torch.empty(classes, channels))
        self.out_bias = nn.Parameter(torch.empty(classes))
        self.reset_parameters()
        if background is not None:
            start_at_background(self.out_bias, background)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew from torch's default generator."""
        for weight in self.weights:
            weight.normal_(0.0, (2.0 / weight[0].numel()) ** 0.5)
        self.bias.zero_()
        self.out_weight.normal_(0.0, 0.1 / self.out_weight.shape[1] ** 0.5)
        self.out_bias.zero_()

    @property
    def receptive_field(self) -> int:
        """Side in voxels of the cube of input that one output voxel depends on."""
        return receptive_field(self.layout.depth, self.layout.dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 5 or x.shape[1] != self.layout.in_channels:
            raise VoxpickError(
                f"MSDNet: the input has shape {tuple(x.shape)}; expected (batch, {self.layout.in_channels}, z, y, x)"
            )
        dtype = self.compute_dtype
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            return dense_stack(
                x, self.layout, list(self.weights), self.bias, self.out_weight, self.out_bias, dtype=dtype
            )

    def extra_repr(self) -> str:
        layout = self.layout
        count = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"in_channels={layout.in_channels}, classes={self.classes}, depth={layout.depth}, width={layout.width}, "
            f"dilations={list(layout.dilations)}, parameters={count:,}, receptive_field={self.receptive_field}"
        )
