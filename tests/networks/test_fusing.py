import pytest
import torch
from torch import nn

from voxpick.detect.inference import for_inference
from voxpick.networks.fusing import FusedConvolution, fused
from voxpick.networks.picknet import PickNet
from voxpick.networks.quick import PointProducts
from voxpick.networks.umc import UMC
from voxpick.networks.unet import UNet

CPU = torch.device("cpu")


def trained_like(network):
    """Norms with statistics and weights other than those that make a block the identity."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    return network.eval()


NETWORKS = {
    "picknet": (lambda: PickNet(classes=4, stem=4, widths=(8, 12), blocks=(2, 1)), 11),
    "unet": (lambda: UNet(1, 5, (4, 6, 8), norm=True), 12),
}
"""A network, and how many of its convolutions have something behind them."""


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_the_same_function_in_fewer_passes(name, layout):
    make, number = NETWORKS[name]
    network = for_inference(trained_like(make()), CPU)
    quick, x = fused(network), torch.randn(2, 1, 16, 24, 32).contiguous(memory_format=layout)
    assert sum(isinstance(module, FusedConvolution) for module in quick.modules()) == number
    assert not any(isinstance(module, FusedConvolution) for module in network.modules()), "the network is left alone"
    with torch.inference_mode():
        expected = network(x)
        torch.testing.assert_close(quick(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 here")
@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_is_close(name):
    network = for_inference(trained_like(NETWORKS[name][0]()), CPU)
    quick, x = fused(network), torch.randn(2, 1, 16, 24, 32)
    with torch.inference_mode():
        expected = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = quick(x).float()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_strides_dilations_and_biases_are_kept():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(2, 6, 3, stride=2, dilation=2, padding=1, groups=2), nn.Identity(), nn.ReLU(), nn.Conv3d(6, 2, 1)
    )
    quick, x = fused(network), torch.randn(1, 2, 12, 20, 28)
    assert isinstance(quick[0], FusedConvolution) and isinstance(quick[3], PointProducts)
    with torch.inference_mode():
        torch.testing.assert_close(quick(x), network(x), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_fused_is_left_alone(monkeypatch):
    wrapped = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1, padding_mode="circular"), nn.ReLU())
    assert fused(wrapped) is wrapped
    named = nn.Sequential(nn.Conv3d(1, 2, 3, padding="same"), nn.ReLU())
    assert fused(named) is named
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU())
    monkeypatch.setattr(FusedConvolution, "forward", lambda self, x, added=None: x + 1)  # an operator that is wrong
    assert fused(network) is network


def test_umc_detects_alike():
    network = for_inference(trained_like(UMC(filters=(2, 3, 4, 5, 6), classes=3, batch_norm=True)), CPU)
    x = torch.randn(1, 1, 16, 16, 32)
    with torch.inference_mode():
        torch.testing.assert_close(fused(network)(x), network(x), rtol=1e-4, atol=1e-4)
