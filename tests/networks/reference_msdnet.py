"""MSDNet as the paper writes it: concatenate everything, convolve, next layer. Slow, and plainly right."""

import torch
import torch.nn.functional as F

from voxpick.networks.msdnet import MSDNet


def reference_msdnet(
    network: MSDNet,
    x: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Logits of the network's weights, by one convolution a layer over all earlier maps.

    memory_format: of maps and weights, such as torch.channels_last_3d.
    """
    dtype = dtype or x.dtype
    dilations = network.layout.dilations
    maps = x.to(dtype).contiguous(memory_format=memory_format)
    for i, weight in enumerate(network.weights):
        d = dilations[i % len(dilations)]
        kernels = weight.to(dtype).contiguous(memory_format=memory_format)
        new = F.conv3d(maps, kernels, network.bias[i].to(dtype), padding=d, dilation=d)
        maps = torch.cat([maps, F.leaky_relu(new, 0.01)], 1).contiguous(memory_format=memory_format)
    out = network.out_weight.to(dtype)[:, :, None, None, None]
    return F.conv3d(maps, out, network.out_bias.to(dtype))
