"""The 3D ResNet: layers, exact scans without padding, boxes one by one with it."""

import numpy as np
import pytest
import torch
from test_yopo import shaken

from voxpick.errors import VoxpickError
from voxpick.networks.resnet3d import ResNet3D


@pytest.mark.parametrize("padded", [False, True])
def test_twenty_layers_with_weights(padded):
    network = ResNet3D(padded=padded)
    main = [network.first, *[c for block in network.blocks for c in block.convolutions], network.out]
    assert network.layers == len(main) == 20
    assert network(torch.randn(2, 1, 32, 32, 32)).shape == (2, 13)


def test_parameters_of_the_padded_network():
    """Those of ResNet-20 with 27 weights a kernel, two projections and the last layer."""
    convolutions = 27 * (16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64) + 16 * 32 + 32 * 64
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64 + 32 + 64)
    assert sum(p.numel() for p in ResNet3D(padded=True).parameters()) == convolutions + norms + 65 * 13


@pytest.mark.parametrize(("padded", "stride"), [(False, 1), (False, 2), (False, 4), (False, 3), (True, 4)])
def test_scan_equals_every_box_by_itself(padded, stride):
    torch.manual_seed(0)
    network = shaken(ResNet3D(classes=4, box=32, widths=(4, 6, 8), padded=padded))
    image = torch.randn(1, 1, 33, 36, 40)
    with torch.no_grad():
        scores = network.scan(image, stride=stride)
        assert scores.shape[2:] == tuple((n - 32) // stride + 1 for n in (33, 36, 40))
        for place in np.ndindex(*scores.shape[2:]):
            z, y, x = (stride * k for k in place)
            alone = network(image[:, :, z : z + 32, y : y + 32, x : x + 32])
            assert torch.allclose(scores[0, :, *place], alone[0], atol=1e-5)
    assert scores.std(dim=(2, 3, 4)).min() > 1e-4


def test_unpadded_it_sees_31_voxels_around_voxel_16():
    torch.manual_seed(0)
    network = shaken(ResNet3D(classes=3, widths=(4, 4, 4)))
    image = torch.randn(1, 1, 32, 32, 32, requires_grad=True)
    network(image).square().sum().backward()
    touched = [image.grad[0, 0].abs().amax(dim=other).nonzero()[:, 0] for other in ((1, 2), (0, 2), (0, 1))]
    assert [(int(t.min()), int(t.max())) for t in touched] == [(1, 31)] * 3
    assert network.seen == 31


def test_unpadded_forward_equals_a_plain_evaluation():
    torch.manual_seed(2)
    network = shaken(ResNet3D(classes=3, widths=(4, 6, 8)))
    x = image = torch.randn(2, 1, 32, 32, 32)
    with torch.no_grad():
        x = torch.relu(network.first.norm(torch.nn.functional.conv3d(x[:, :, 1:, 1:, 1:], network.first.weight)))
        for block in network.blocks:
            a, b, c = block.convolutions
            y = torch.relu(a.norm(torch.nn.functional.conv3d(x, a.weight)))
            y = torch.relu(b.norm(torch.nn.functional.conv3d(y, b.weight, stride=block.stride)))
            y = c.norm(torch.nn.functional.conv3d(y, c.weight))
            x = x[:, :, 1:-1, 1:-1, 1:-1]
            if block.shortcut is not None:
                x = block.shortcut.norm(torch.nn.functional.conv3d(x, block.shortcut.weight, stride=block.stride))
            x = torch.relu(x + y)
        assert torch.allclose(network(image), network.out(x.mean((2, 3, 4))), atol=1e-5)


def test_boxes_that_do_not_fit():
    with pytest.raises(VoxpickError, match="a box of 16 is too small for the convolutions, which see 27"):
        ResNet3D(box=16)
    with pytest.raises(VoxpickError, match="a box of 30 is no multiple of the stride of 4"):
        ResNet3D(box=30, padded=True)
