"""Convolutions with fewer products: the same sums as the plain ones."""

import pytest
import torch
from torch import nn

from voxpick.networks import fusing, native, winograd

PLACE = torch.channels_last_3d


@pytest.fixture(params=native.INSTRUCTIONS)
def kernels(request, monkeypatch):
    """The kernels of every set of instructions that this processor has, in turn."""
    if request.param not in native.supported() or native.build(request.param) is None:
        pytest.skip(f"no {request.param} kernels here")
    monkeypatch.setattr(winograd, "library", lambda: native.build(request.param))
    return native.build(request.param)


def layer_of(inputs, outputs, **settings):
    torch.manual_seed(inputs + outputs)
    return nn.Conv3d(inputs, outputs, 3, **{"padding": 1, **settings})


def fewer(layer, x, added=None):
    return winograd.convolve(x, winograd.packed(layer.weight), layer.bias, added)


@pytest.mark.parametrize("sides", [(1, 1, 1), (2, 4, 4), (3, 5, 6), (7, 17, 9), (24, 9, 34)])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (32, 48), (64, 16)])
@torch.no_grad()
def test_sums_are_those_of_a_plain_convolution(kernels, inputs, outputs, sides):
    layer, x = layer_of(inputs, outputs), torch.randn(2, inputs, *sides)
    added = torch.randn(2, outputs, *sides)
    exact = (layer.double()(x.double()) + added).relu()
    layer.float()
    found = fewer(layer, x, added)
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=PLACE)
    assert (found - exact).abs().max() < 2e-5 * exact.abs().max()


@torch.no_grad()
def test_an_odd_number_of_vectors_and_no_bias(kernels):
    lanes = kernels.winograd_lanes()
    layer, x = layer_of(lanes, 3 * lanes, bias=False), torch.randn(1, lanes, 5, 6, 7)
    torch.testing.assert_close(fewer(layer, x), layer(x).relu(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_same_bits_whatever_the_threads_and_the_layout(kernels):
    layer, x, threads = layer_of(16, 32), torch.randn(1, 16, 37, 12, 11), torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            results += [fewer(layer, x), fewer(layer, x.contiguous(memory_format=PLACE))]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, results[0]) for one in results)


@pytest.mark.parametrize(
    "settings",
    [{"stride": 2}, {"dilation": 2, "padding": 2}, {"padding": 0}, {"groups": 2}, {"padding_mode": "circular"},
     {"padding": "same"}],
)  # fmt: skip
def test_other_convolutions_stay_plain(kernels, settings):
    assert winograd.usable(layer_of(32, 32))
    assert not winograd.usable(layer_of(32, 32, **settings))


@pytest.mark.parametrize("channels", [(8, 32), (32, 8), (20, 32), (32, 20), (2048, 32)])
def test_so_do_those_of_few_or_odd_channels(kernels, channels):
    assert not winograd.usable(layer_of(*channels))


def test_without_kernels_everything_stays_plain(monkeypatch):
    monkeypatch.setattr(winograd, "library", lambda: None)
    assert not winograd.usable(layer_of(32, 32))


@torch.no_grad()
def test_fused_layers_take_them_in_float32_alone(kernels):
    layer, x = layer_of(32, 32), torch.randn(1, 32, 6, 7, 8)
    quick = fusing.FusedConvolution(layer)
    assert quick.fewer_products
    torch.testing.assert_close(quick(x), layer(x).relu(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(quick(x, x), (layer(x) + x).relu(), rtol=1e-4, atol=1e-5)
    assert list(quick._ready) == [torch.float32]
    assert quick._ready[torch.float32][0].numel() == winograd.SPOTS * 32 * 32


@torch.no_grad()
def test_a_point_convolution_copies_nothing():
    torch.manual_seed(0)
    layer, x = nn.Conv3d(6, 4, 1), torch.randn(2, 6, 3, 4, 5).contiguous(memory_format=PLACE)
    found = fusing.PointConvolution(layer)(x)
    torch.testing.assert_close(found, layer(x), rtol=1e-5, atol=1e-6)
    assert found.is_contiguous(memory_format=PLACE)
