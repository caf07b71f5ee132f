"""YOPO: the network of a box, and sliding it gives what it says of each box."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.networks.boxes import central_box, windowed
from voxpick.networks.model import Model, pack, unpack
from voxpick.networks.yopo import YOPO


def shaken(network):
    """The network in evaluation mode with norms that are not the identity."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return network.eval()


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("stride", [1, 3])
def test_sliding_equals_every_box_by_itself(pooling, stride):
    torch.manual_seed(0)
    network = shaken(YOPO(classes=4, box=24, widths=[4, 6, 6, 8, 8, 8, 8, 8, 8, 8], pooling=pooling, hidden=8))
    image = torch.randn(1, 1, 26, 27, 28)
    with torch.no_grad():
        scores = network.scan(image, stride=stride)
        assert scores.shape[2:] == tuple((n - 24) // stride + 1 for n in (26, 27, 28))
        for place in np.ndindex(*scores.shape[2:]):
            z, y, x = (stride * k for k in place)
            alone = network(image[:, :, z : z + 24, y : y + 24, x : x + 24])
            assert torch.allclose(scores[0, :, *place], alone[0], atol=1e-5)
    assert scores.std(dim=(2, 3, 4)).min() > 1e-3


def test_folded_norms_equal_batch_normalisation():
    torch.manual_seed(1)
    network = shaken(YOPO(classes=3, box=12, widths=[4, 6], hidden=5)).double()
    network.compute_dtype = torch.float64
    x = image = torch.randn(2, 1, 12, 12, 12, dtype=torch.float64)
    for layer in network.layers:
        x = torch.relu(layer.norm(torch.nn.functional.conv3d(x, layer.weight)))
    pooled = x.amax((2, 3, 4)).float()
    network.hidden, network.out = network.hidden.float(), network.out.float()
    with torch.no_grad():
        expected = network.out(torch.relu(network.hidden(pooled)))
        assert torch.allclose(network(image), expected, atol=1e-5)


def test_of_a_larger_image_the_middle_counts():
    image = torch.arange(13.0).reshape(1, 1, 13, 1, 1).expand(1, 1, 13, 14, 15)
    middle = central_box(image, 4, name="test")
    assert middle.shape[2:] == (4, 4, 4) and middle[0, 0, 4 // 2, 0, 0] == 13 // 2
    with pytest.raises(VoxpickError, match=r"YOPO: the input has shape \(1, 1, 13, 14, 15\); .* sides of 24 voxels"):
        YOPO()(image)


def test_windows():
    x = torch.randn(1, 2, 7, 8, 9)
    assert torch.equal(windowed(x, 3, maximum=True), torch.nn.functional.max_pool3d(x, 3, 1))
    assert torch.allclose(windowed(x, 3), torch.nn.functional.avg_pool3d(x, 3, 1), atol=1e-6)
    spaced = windowed(x, 2, spacing=3)
    assert torch.allclose(spaced[0, 0, 1, 2, 3], x[0, 0, 1:5:3, 2:6:3, 3:7:3].mean(), atol=1e-6)


def test_parameters_by_the_formula():
    widths, hidden, classes = [32, 32, 48, 48, 64, 64, 64, 64, 96, 128], 128, 13
    pairs = sum(a * b for a, b in zip([1, *widths], widths, strict=False))
    expected = 27 * pairs + 2 * sum(widths) + (widths[-1] + 1) * hidden + (hidden + 1) * classes
    assert sum(p.numel() for p in YOPO().parameters()) == expected
    assert YOPO().places == 4


def test_bf16_is_near_float32_and_trains():
    torch.manual_seed(0)
    network = YOPO(classes=3, box=12, widths=[16, 16], hidden=8)
    network.compute_dtype = torch.bfloat16
    loss = torch.nn.functional.cross_entropy(network(torch.randn(4, 1, 12, 12, 12)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    image = torch.randn(1, 1, 14, 15, 16)
    with torch.no_grad():
        short = network.eval().scan(image)
        network.compute_dtype = torch.float32
        assert short.dtype == torch.float32
        assert (short - network.scan(image)).abs().max() < 0.05 * short.std() + 0.05


def test_packed_and_unpacked_it_says_the_same():
    torch.manual_seed(0)
    settings = {"classes": 3, "box": 12, "widths": [4, 6], "hidden": 5}
    model = Model.create("yopo", settings, classes=["background", "a", "b"], voxel_size=10.0)
    shaken(model.network)
    again = unpack(pack({"namer": model}))["namer"].network
    image = torch.randn(1, 1, 12, 12, 12)
    with torch.no_grad():
        assert torch.equal(model.network(image), again(image))


def test_settings_out_of_range():
    with pytest.raises(VoxpickError, match="10 convolutions leave nothing of a box of 20; take at most 9"):
        YOPO(box=20)
    with pytest.raises(VoxpickError, match="pooling is 'min'"):
        YOPO(pooling="min")
