"""DnCNN, the denoiser of Dn3DUnet: a plain stack of 2-D convolutions that predicts the noise of a slice.

Zhang et al., Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising, IEEE Trans. Image Process.
26 (2017), as Nguyen, White and Bunyak use it in section 3.5 of Gubins et al., SHREC 2020 (Comput. Graph. 91): 20
layers, on xy slices, predicting the difference between the noisy and the clean image.

3x3 convolutions with 64 filters: the first with bias and ReLU, 18 with batch normalisation and ReLU, the last plain,
to one channel; zero padded. The network returns its input less what the stack predicts. Parameters:
640 + 18 (36,864 + 128) + 577 = 667,073; convolutions before a batch normalisation have no bias, as its shift does the
same. Number of filters and their size are Zhang's, as section 3.5 names none. Weights as He et al. (2015).
"""

from __future__ import annotations

import torch
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.conv_blocks import mixed_precision


class DnCNN(nn.Module):
    """Denoised volumes (b, 1, z, y, x) in float32 of noisy ones of the same shape, each xy slice by itself.

    classes: output channels, always 1 (its name is what every network of the zoo takes). compute_dtype: attribute; the
    convolutions' number format in training.
    """

    def __init__(self, in_channels: int = 1, classes: int = 1, depth: int = 20, width: int = 64) -> None:
        super().__init__()
        if (in_channels, classes) != (1, 1) or depth < 3 or width < 1:
            raise VoxpickError(
                f"DnCNN: in_channels {in_channels}, classes {classes}, depth {depth}, width {width}; it maps one "
                "channel to one, with a depth of at least 3 and a width of at least 1"
            )
        self.compute_dtype = torch.float32
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        last = nn.Conv2d(width, 1, 3, padding=1)
        self.noise = nn.Sequential(*layers, last)
        for layer in self.noise:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 5 or x.shape[1] != 1:
            raise VoxpickError(f"DnCNN: the input has shape {tuple(x.shape)}; expected (batch, 1, z, y, x)")
        slices = x.flatten(0, 2)[:, None].contiguous(memory_format=torch.channels_last)
        with mixed_precision(x, self.compute_dtype, multiple=0):
            noise = self.noise(slices)
        return x - noise.float().view(x.shape)

    def extra_repr(self) -> str:
        return f"parameters={sum(parameter.numel() for parameter in self.parameters()):,}"
