import pytest
import torch
from torch import nn

from voxpick.detect.inference import WORTH_CONVERTING, OpenVinoNetwork, for_inference, on_engine
from voxpick.errors import VoxpickError
from voxpick.networks.folding import folded
from voxpick.networks.picknet import PickNet
from voxpick.networks.unet import UNet
from voxpick.networks.unet3d import UNet3D

SHAPE = (12, 20, 28)
CPU = torch.device("cpu")


def formula(filters, *, channels, classes, bottom, norm):
    """As in the network's docstring, summed by hand."""

    def layer(a, b):
        return 27 * a * b + (3 * b if norm else b)

    total, before = 0, channels
    for k, after in enumerate(filters):
        number = bottom if k == len(filters) - 1 else 2
        total += layer(before, after) + (number - 1) * layer(after, after)
        before = after
    for low, high in zip(filters[:0:-1], filters[-2::-1], strict=True):
        total += 8 * low**2 + low + layer(low + high, high) + layer(high, high)
    return total + classes * filters[0] + classes


@pytest.mark.parametrize(("filters", "bottom", "norm"), [((32, 48, 64), 4, False), ((4, 6, 8, 10), 2, True)])
def test_parameters_follow_the_formula(filters, bottom, norm):
    network = UNet(1, 13, filters, bottom=bottom, norm=norm)
    expected = formula(filters, channels=1, classes=13, bottom=bottom, norm=norm)
    assert sum(p.numel() for p in network.parameters()) == expected
    assert expected == {(32, 48, 64): 903_357}.get(filters, expected)


def trained_like(network: nn.Module) -> nn.Module:
    """Norms with statistics, as after training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def test_it_is_the_composition_of_its_stages():
    torch.manual_seed(0)
    network = UNet(1, 3, (4, 6, 8)).eval()
    x = torch.randn(2, 1, *SHAPE)
    high = network.down[0](x)
    mid = network.down[1](nn.functional.max_pool3d(high, 2))
    low = network.down[2](nn.functional.max_pool3d(mid, 2))
    assert low.shape == (2, 8, 3, 5, 7)
    mid = network.join[0](torch.cat([torch.relu(network.up[0][0](low)), mid], 1))
    high = network.join[1](torch.cat([torch.relu(network.up[1][0](mid)), high], 1))
    torch.testing.assert_close(network(x), network.output(high))


def test_no_output_depends_on_input_beyond_the_receptive_field():
    torch.manual_seed(0)
    network = UNet(1, 2, (3, 4), bottom=2).eval()
    x = torch.randn(1, 1, 40, 8, 8, requires_grad=True)
    network(x)[0, 0, 20, 4, 4].backward()
    seen = x.grad[0, 0].abs().sum((1, 2)).nonzero().flatten()
    reach = network.receptive_field // 2
    assert 20 - reach <= int(seen.min()) < 20 < int(seen.max()) <= 20 + reach
    assert int(seen.max()) - int(seen.min()) + 1 >= network.receptive_field - 2


def test_folding_changes_nothing_but_the_number_of_layers():
    torch.manual_seed(0)
    network = trained_like(UNet(1, 5, (8, 12, 16), norm=True))
    x = torch.randn(1, 1, *SHAPE)
    light = folded(network)
    with torch.no_grad():
        difference = (light(x) - network(x)).abs().max() / network(x).abs().max()
    assert difference < 1e-5
    assert not any(isinstance(module, nn.BatchNorm3d) for module in light.modules())
    assert any(isinstance(module, nn.BatchNorm3d) for module in network.modules())


def test_a_transposed_convolution_folds_as_well():
    torch.manual_seed(0)
    network = trained_like(nn.Sequential(nn.ConvTranspose3d(2, 3, 2, stride=2), nn.BatchNorm3d(3)))
    x = torch.randn(1, 2, 3, 4, 5)
    torch.testing.assert_close(folded(network)(x), network(x), rtol=1e-5, atol=1e-5)
    assert isinstance(folded(network)[1], nn.Identity)


def test_bfloat16_is_close():
    torch.manual_seed(0)
    network = trained_like(UNet(1, 5, (8, 12, 16), norm=True))
    fast, x = for_inference(network, CPU), torch.randn(1, 1, *SHAPE)
    with torch.inference_mode():
        expected = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = fast(x).float()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    assert fast.down[0][0].weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_openvino_gives_the_same_in_any_shape_and_number_format():
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = for_inference(trained_like(UNet(1, 5, (4, 6, 8), norm=True)), CPU)
    fast = on_engine(network, "openvino", CPU, voxels=1)
    assert isinstance(fast, OpenVinoNetwork) and fast.multiple_of == 4
    for shape in (SHAPE, (8, 16, 36)):
        x = torch.randn(2, 1, *shape)
        with torch.inference_mode():
            expected = network(x)
            torch.testing.assert_close(fast(x), expected, rtol=1e-3, atol=1e-4)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert (fast(x) - expected).abs().max() < 0.05 * expected.abs().max()


def test_auto_converts_for_large_volumes_only():
    pytest.importorskip("openvino")
    network = for_inference(UNet(1, 2, (2, 3)), CPU)
    assert not isinstance(on_engine(network, "auto", CPU, voxels=WORTH_CONVERTING - 1), OpenVinoNetwork)
    assert not isinstance(on_engine(network, "torch", CPU, voxels=WORTH_CONVERTING), OpenVinoNetwork)
    assert isinstance(on_engine(network, "auto", CPU, voxels=WORTH_CONVERTING), OpenVinoNetwork)


class Branching(nn.Module):
    """Does something else for large input, which a traced network cannot know."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        return self.layer(x + 1 if x.shape[-1] > 20 else x - 1)


def test_what_openvino_cannot_do_is_left_to_torch_with_a_warning():
    pytest.importorskip("openvino")
    network = Branching()
    with pytest.warns(UserWarning, match="OpenVINO cannot run this network"):
        assert on_engine(network, "openvino", CPU, voxels=1) is network


def test_a_failure_later_on_is_left_to_torch_too(monkeypatch):
    pytest.importorskip("openvino")
    network = for_inference(UNet(1, 2, (2, 3)), CPU)
    fast = on_engine(network, "openvino", CPU, voxels=1)
    monkeypatch.setattr(fast, "_infer", lambda images: 1 / 0)
    x = torch.randn(1, 1, 4, 6, 8)
    with torch.inference_mode(), pytest.warns(UserWarning, match="division by zero"):
        torch.testing.assert_close(fast(x), network(x))


def test_without_openvino_auto_takes_torch_and_asking_for_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    network = UNet(1, 2, (2, 3))
    assert not isinstance(on_engine(network, "auto", CPU, voxels=10**9), OpenVinoNetwork)
    with pytest.raises(VoxpickError, match=r"pip install 'voxpick\[openvino\]'"):
        on_engine(network, "openvino", CPU, voxels=1)


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 1, 10, 12, 12), "multiples of 4"), ((1, 2, 12, 12, 12), r"expected \(batch, 1, z")]
)
def test_wrong_input_is_named(shape, words):
    with pytest.raises(VoxpickError, match=words):
        UNet(1, 2, (2, 3, 4))(torch.zeros(shape))


@pytest.mark.parametrize("settings", [{"filters": ()}, {"filters": (4, 0)}, {"bottom": 0}, {"classes": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(VoxpickError, match="UNet"):
        UNet(**settings)


@pytest.mark.parametrize(
    "network", [UNet(filters=(8, 8, 8)), UNet3D(width=8, levels=3), PickNet(stem=8, widths=(8, 8), blocks=(1, 1))]
)
def test_a_coarsest_grid_of_two_voxels_is_computed_in_float32(network):
    """Whatever autocast the detector has opened: oneDNN returns garbage in bfloat16 there."""
    torch.manual_seed(0)
    network.eval()
    for side, exact in ((2, True), (4, False)):
        image = torch.randn(1, 1, side * network.multiple_of, 24, 24)
        with torch.no_grad():
            plain = network(image)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                short = network(image)
        assert torch.equal(plain, short) == exact
