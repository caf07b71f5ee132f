"""3x3x3 convolutions in float32 on a CPU by Winograd's way, with a sixth of the products.

Lavin and Gray (2016), Fast Algorithms for Convolutional Neural Networks, CVPR (arXiv:1509.09308): F(2 x 4 x 4, 3 x 3
x 3), nested. The kernels are compiled (`native/winograd.cpp`); sums differ from those of a plain convolution by
rounding alone, about 1e-5 of the largest value. A processor that computes in bfloat16 is left to do so.
"""

from __future__ import annotations

import ctypes

import torch
from torch import nn

from voxpick.networks.native import library

LEAST_CHANNELS, MOST_CHANNELS = 16, 1024
"""With fewer channels changing tiles costs what is saved; for more the kernels have no room."""

DEEP_POINTS = ((1.0, 0.0, 0.0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0.0, 0.0, 1.0))
"""A filter of three taps at the points 0, 1, -1 and infinity; the paper's matrix G for two results, along z."""
POINTS = (
    (1 / 4, 0.0, 0.0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6), (0.0, 0.0, 1.0),
)  # fmt: skip
"""The same at 0, 1, -1, 2, -2 and infinity, for four results, along y and x."""

SPOTS = len(DEEP_POINTS) * len(POINTS) ** 2


def usable(layer: nn.Conv3d) -> bool:
    """Whether the kernels can take the place of a convolution, on this machine, in float32."""
    kernels = library()
    if kernels is None or not all(LEAST_CHANNELS <= n <= MOST_CHANNELS for n in layer.weight.shape[:2]):
        return False
    plain = layer.kernel_size == (3, 3, 3) and layer.padding == (1, 1, 1) and layer.padding_mode == "zeros"
    alone = layer.stride == (1, 1, 1) and layer.dilation == (1, 1, 1) and layer.groups == 1
    lanes = kernels.winograd_lanes()
    return plain and alone and all(n % lanes == 0 for n in layer.weight.shape[:2])


def packed(weight: torch.Tensor) -> torch.Tensor:
    """Weights (outputs, inputs, 3, 3, 3) at the points, in the order in which `native/winograd.cpp` reads them.

    Spot along y, x and z, then outputs in pairs of vectors (a single one at the end where their number is odd), then
    input, output.
    """
    kernels = library()
    assert kernels is not None
    outputs, inputs = weight.shape[:2]
    deep, points = torch.tensor(DEEP_POINTS, dtype=torch.float64), torch.tensor(POINTS, dtype=torch.float64)
    spots = torch.einsum("ai,bj,dz,kczij->abdck", points, points, deep, weight.detach().double())
    flat = spots.reshape(SPOTS, inputs, outputs).float()
    pairs = flat.split(2 * kernels.winograd_lanes(), dim=2)
    return torch.cat([pair.reshape(len(flat), -1) for pair in pairs], dim=1).contiguous()


def convolve(
    x: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor | None, added: torch.Tensor | None
) -> torch.Tensor:
    """relu(convolution(x) + bias + added), float32, channels last.

    x: (b, inputs, z, y, x). weights: as `packed` gives them. bias: (outputs,). added: like the result.
    """
    kernels = library()
    assert kernels is not None
    batch, inputs, *sides = x.shape
    outputs = weights.numel() // (SPOTS * inputs)
    place = torch.channels_last_3d
    result = torch.empty((batch, outputs, *sides), memory_format=place)
    numbers = torch.tensor([batch, *sides, inputs, outputs, torch.get_num_threads()], dtype=torch.int64)
    image = x.contiguous(memory_format=place)
    more = None if added is None else added.contiguous(memory_format=place)
    tensors = (numbers, image, weights, bias, more, result)
    kernels.winograd_convolve(*(ctypes.c_void_p(None if one is None else one.data_ptr()) for one in tensors))
    return result
