import pytest
import torch
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.densenet import DenseNet

PLAIN, DILATED = (1, 1, 1, 1), (1, 2, 3, 1)


def small(**settings):
    torch.manual_seed(0)
    values = {"classes": 5, "growth": 3, "blocks": 2, "dilations": DILATED, "stem": 4, **settings}
    return DenseNet(**values).eval()


def formula(*, classes, growth, blocks, layers, stem, bottleneck, compression):
    """Convolutions, two numbers a channel of each normalisation, the linear layer."""
    total, channels, width = 27 * stem, stem, bottleneck * growth
    for block in range(blocks):
        if block:
            kept = int(channels * compression)
            total += 2 * channels + channels * kept
            channels = kept
        for _ in range(layers):
            total += 2 * channels + channels * width + 2 * width + 27 * width * growth
            channels += growth
    return total + 2 * channels + channels * classes + classes


@pytest.mark.parametrize("dilations", [PLAIN, DILATED])
def test_parameter_counts_by_the_formula_and_by_hand(dilations):
    full = DenseNet(classes=13, dilations=dilations)
    count = sum(p.numel() for p in full.parameters())
    wide = {"classes": 13, "growth": 12, "blocks": 3, "layers": 4, "stem": 24, "bottleneck": 2, "compression": 0.5}
    assert count == formula(**wide)
    # 12 layers of 27 * 24 * 12 weights, 1x1x1 kernels of 24 maps over all that they read, two transitions
    kernels = 12 * 27 * 24 * 12 + 24 * (4 * 24 + 4 * 36 + 4 * 42 + 3 * 72) + 72 * 36 + 84 * 42
    norms = 2 * (12 * 24 + 4 * 24 + 4 * 36 + 4 * 42 + 3 * 72 + 72 + 84 + 90)
    assert count == 27 * 24 + kernels + norms + 90 * 13 + 13


def test_maps_of_known_numbers():
    network = small()
    assert network.features(torch.randn(2, 1, 12, 20, 29)).shape == (2, 4 // 2 + 6 + 12, 6, 10, 14)
    assert network(torch.randn(2, 1, 12, 20, 29)).shape == (2, 5)


def test_against_the_plain_definition():
    """Every step by itself: concatenation, compression before pooling, as the paper has it."""
    network, x = small().double(), torch.randn(2, 1, 8, 12, 10, dtype=torch.float64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.normal_()
            module.bias.data.normal_()

    def norm(module, value):
        shape = (1, -1, 1, 1, 1)
        scale = module.weight / (module.running_var + module.eps).sqrt()
        return (value - module.running_mean.reshape(shape)) * scale.reshape(shape) + module.bias.reshape(shape)

    first, transition, second = network.parts
    maps = nn.functional.conv3d(x, network.stem.weight, padding=1)
    for block in (first, second):
        if block is second:
            compressed = nn.functional.conv3d(norm(transition.norm, maps), transition.compress.weight)
            maps = compressed.reshape(2, compressed.shape[1], 4, 2, 6, 2, 5, 2).mean(dim=(3, 5, 7))
        for layer, dilation in zip(block.layers, DILATED, strict=True):
            inner = nn.functional.conv3d(norm(layer.norm1, maps).relu(), layer.compress.weight)
            new = nn.functional.conv3d(
                norm(layer.norm2, inner).relu(), layer.conv.weight, padding=dilation, dilation=dilation
            )
            maps = torch.cat([maps, new], dim=1)
    maps = norm(network.norm, maps).relu()
    torch.testing.assert_close(network.features(x), maps)
    means = maps.mean(dim=(2, 3, 4)).float()
    network.linear.float()
    torch.testing.assert_close(network(x), means @ network.linear.weight.T + network.linear.bias)


@pytest.mark.parametrize("dilations", [PLAIN, DILATED])
def test_receptive_field(dilations):
    """One position of the last maps depends on as many voxels as said along each axis."""
    network = small(dilations=dilations)
    for parameter in network.parameters():
        parameter.data.abs_()
    reach = network.receptive_field
    assert reach == 3 + 2 * sum(dilations) + 1 + 4 * sum(dilations)
    x = torch.full((1, 1, 64, 4, 4), 1.0, requires_grad=True)
    network.features(x)[0, :, 16, 1, 1].sum().backward()
    assert x.grad is not None
    seen = torch.nonzero(x.grad[0, 0].abs().sum(dim=(1, 2))).flatten()
    assert seen[-1] - seen[0] + 1 == reach


def test_receptive_fields_of_the_papers_networks():
    assert [DenseNet(dilations=d).receptive_field for d in (PLAIN, DILATED)] == [62, 104]


def test_initial_weights_are_xavier_uniform():
    network = DenseNet(classes=13)
    layer = network.parts[0].layers[3].conv.weight
    bound = (6 / (27 * (24 + 12))) ** 0.5
    assert 0.95 * bound < layer.abs().max() <= bound
    assert layer.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert network.linear.bias.abs().max() == 0 and network.norm.weight.min() == 1 and network.norm.bias.max() == 0


def test_bfloat16_is_close_and_gives_float32():
    network, x = small(), torch.randn(2, 1, 12, 20, 28)
    expected = network(x)
    network.compute_dtype = torch.bfloat16
    found = network(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
    assert (found - expected).abs().max() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, "blocks is 0"),
        ({"compression": 0.0}, "compression is 0"),
        ({"dilations": [2, 2]}, "they leave holes"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(VoxpickError, match=message):
        small(**settings)


def test_inputs_too_small():
    with pytest.raises(VoxpickError, match=r"\(1, 1, 1, 8, 8\).*sides of at least 2 voxels"):
        small()(torch.zeros(1, 1, 1, 8, 8))


@pytest.mark.parametrize("side", [8, 11])
def test_gradients_of_small_boxes_are_finite_in_bfloat16(side):
    """oneDNN's were infinite where the coarsest grid has two voxels a side."""
    torch.manual_seed(0)
    network = DenseNet(classes=13)
    network.compute_dtype = torch.bfloat16
    network(torch.randn(4, 1, side, side, side)).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
