"""Convolutions with fewer products: the same sums as the plain ones."""

import copy
import ctypes
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from voxpick.networks import fusing, native, winograd
from voxpick.networks.quick import BlockProducts, PointProducts, quicken
from voxpick.networks.unet import UNet
from voxpick.precision import choose_dtype

PLACE = torch.channels_last_3d


@pytest.fixture(params=native.INSTRUCTIONS)
def kernels(request, monkeypatch):
    """The kernels of every set of instructions that this processor has, in turn, for volumes of any size."""
    if request.param not in native.supported() or native.build(request.param) is None:
        pytest.skip(f"no {request.param} kernels here")
    monkeypatch.setattr(winograd, "library", lambda: native.build(request.param))
    monkeypatch.setattr(winograd, "LEAST_VOXELS", 0)
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


@pytest.mark.parametrize("sides", [(1, 2, 3), (5, 6, 7), (8, 16, 24)])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (32, 48), (64, 16)])
def test_gradients_are_those_of_a_plain_convolution(kernels, inputs, outputs, sides):
    torch.manual_seed(1)
    layer, x, pull = layer_of(inputs, outputs), torch.randn(2, inputs, *sides), torch.randn(2, outputs, *sides)
    exact = copy.deepcopy(layer).double()
    quicken(layer)
    assert isinstance(layer, winograd.FewProducts)
    found, wanted = gradients_of(layer, x, pull), gradients_of(exact, x.double(), pull.double())
    assert all((a - b).abs().max() < 3e-5 * b.abs().max() for a, b in zip(found, wanted, strict=True))
    again = gradients_of(layer, x, pull)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True)), "the same bits every time"


def gradients_of(layer, x, pull):
    """Those of the input and of all parameters."""
    layer.zero_grad()
    x = x.clone().requires_grad_(True)
    (layer(x) * pull).sum().backward()
    return [x.grad, *(parameter.grad.clone() for parameter in layer.parameters())]


def test_networks_learn_by_them_and_keep_their_parameters(kernels):
    torch.manual_seed(0)
    network = UNet(1, 3, (16, 16, 16), norm=True)
    names, plain = list(network.state_dict()), copy.deepcopy(network)
    quicken(network)
    assert any(isinstance(module, winograd.FewProducts) for module in network.modules())
    assert list(network.state_dict()) == names
    x, losses = torch.randn(1, 1, 16, 16, 16), []
    for one in (network, plain):
        loss = one(x).square().mean()
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for a, b in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-2, atol=1e-3 * float(b.grad.abs().max()) + 1e-7)


def test_they_stay_out_of_the_way_elsewhere(kernels, monkeypatch):
    layer = layer_of(32, 32)
    quicken(layer)
    monkeypatch.setattr(winograd, "convolve", None)  # may not be called
    monkeypatch.setattr(winograd, "LEAST_VOXELS", 4096)
    layer(torch.randn(1, 32, 4, 4, 4))
    x = torch.randn(1, 32, 16, 16, 16)
    with torch.no_grad():
        layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.requires_grad_(False)
    layer(x)


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


@torch.no_grad()
def test_threads_of_their_own_where_the_compiler_has_no_openmp(monkeypatch):
    compiled = native._built
    monkeypatch.setattr(
        native, "_built", lambda compiler, flags: None if "-fopenmp" in flags else compiled(compiler, flags)
    )
    name = next(iter(native.supported()), None)
    alone = name and native.build.__wrapped__(name)
    if not alone:
        pytest.skip("no kernels here")
    monkeypatch.setattr(winograd, "library", lambda: alone)
    layer, x, threads = layer_of(16, 32), torch.randn(2, 16, 9, 12, 11), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        torch.testing.assert_close(fewer(layer, x), layer(x).relu(), rtol=1e-4, atol=1e-5)
    finally:
        torch.set_num_threads(threads)


SLOW = """#!/bin/sh
for word; do last=$word; done
echo called >> "$(dirname "$0")/calls"
sleep {seconds}
cp "{made}" "$last"
"""


@pytest.fixture
def slow_compiler(tmp_path, monkeypatch):
    """A compiler that sleeps and gives what a real one made; the file that it notes its calls in."""
    name = next(iter(native.supported()), None)
    if name is None or native.build(name) is None:
        pytest.skip("no kernels here")

    def make(seconds):
        made, compiler = native.build(name)._name, tmp_path / "compiler"
        compiler.write_text(SLOW.format(seconds=seconds, made=made))
        compiler.chmod(0o755)
        monkeypatch.setenv("CXX", str(compiler))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path / "calls"

    return make


def test_a_compiler_that_takes_too_long_is_asked_once(slow_compiler, monkeypatch):
    calls = slow_compiler(60)
    monkeypatch.setattr(native, "PATIENCE_SECONDS", 5)
    monkeypatch.setattr(native, "build", native.build.__wrapped__)
    monkeypatch.setattr(native, "_given_up", [])
    with pytest.warns(UserWarning, match="took more than 5 seconds"):
        assert native.chosen.__wrapped__() is None
    assert calls.read_text().split() == ["called"]


def test_of_processes_that_start_together_one_compiles(slow_compiler):
    calls = slow_compiler(1)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(native.build.__wrapped__, [native.supported()[0]] * 3))
    assert None not in found and calls.read_text().split() == ["called"]


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
    plain = layer(x)
    quicken(layer)
    found = layer(x)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    assert found.is_contiguous(memory_format=PLACE)


@torch.no_grad()
def test_nan_is_not_hidden_by_relu(kernels):
    layer, x = layer_of(16, 16), torch.randn(1, 16, 5, 6, 7)
    x[0, 3, 2, 2, 2] = torch.nan
    assert fewer(layer, x)[layer(x).isnan()].isnan().all()


def test_an_empty_batch_stays_empty(kernels):
    layer, x, threads = layer_of(16, 32), torch.zeros(0, 16, 4, 5, 6, requires_grad=True), torch.get_num_threads()
    quicken(layer)
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            result = layer(x)
            assert result.shape == (0, 32, 4, 5, 6)
            result.sum().backward()
    finally:
        torch.set_num_threads(threads)
    assert layer.weight.grad.abs().max() == 0


def test_what_does_not_fit_is_refused_as_by_a_plain_convolution(kernels):
    layer = layer_of(32, 32, bias=False)
    plain = copy.deepcopy(layer)
    quicken(layer)
    for wrong in (torch.randn(1, 16, 4, 4, 4), torch.randn(1, 32, 4, 4, 4, dtype=torch.float64)):
        for one in (layer, plain):
            with pytest.raises(RuntimeError):
                one(wrong)
    unbatched = torch.randn(32, 4, 5, 6)
    assert torch.equal(layer(unbatched), plain(unbatched))
    weights, x = winograd.packed(layer.weight), torch.randn(1, 32, 4, 4, 4)
    for image, added in ((x[:, :16], None), (x, x[..., :2]), (x[0], None)):
        with pytest.raises(ValueError, match="32 to 32 channels"):
            winograd.convolve(image, weights, added=added)


def test_a_second_derivative_is_refused(kernels):
    layer, x = layer_of(16, 16), torch.randn(1, 16, 4, 4, 4, requires_grad=True)
    quicken(layer)
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


@pytest.fixture
def other_defaults():
    torch.set_default_dtype(torch.float64)
    winograd._at_points.cache_clear()
    yield
    torch.set_default_dtype(torch.float32)
    winograd._at_points.cache_clear()


def test_neither_autocast_nor_defaults_change_the_format(kernels, other_defaults):
    layer = layer_of(16, 16).float()
    x, pull = torch.randn(1, 16, 5, 6, 7).float(), torch.randn(1, 16, 5, 6, 7).float()
    exact = copy.deepcopy(layer).double()
    quicken(layer)
    here = x.clone().requires_grad_(True)
    loss = (layer(here) * pull).sum()
    assert loss.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss.backward()
    wanted = gradients_of(exact, x.double(), pull.double())
    for found, right in zip((here.grad, layer.weight.grad), wanted, strict=False):
        assert (found - right).abs().max() < 3e-5 * right.abs().max()


def test_a_layer_brought_to_where_there_are_no_kernels_is_plain(kernels, monkeypatch):
    layer, x = layer_of(16, 16), torch.randn(1, 16, 4, 5, 6)
    plain = copy.deepcopy(layer)
    quicken(layer)
    there = pickle.loads(pickle.dumps(layer))
    monkeypatch.setattr(winograd, "library", lambda: None)
    assert torch.equal(there(x), plain(x))


def test_sums_of_gradients_take_no_more_room_than_there_is_work(kernels):
    numbers = winograd._numbers(torch.empty(2, 16, 8, 8, 8), 16, False)
    numbers[6] = 64  # threads
    assert kernels.winograd_parts(ctypes.c_void_p(numbers.data_ptr())) == 2


def test_without_matrix_tiles_such_networks_are_computed_in_float32(monkeypatch):
    cpu, layer = torch.device("cpu"), nn.Conv3d(16, 16, 3, padding=1)
    monkeypatch.setattr(winograd, "usable", lambda layer: True)
    plain, learning, fast = nn.Sequential(layer), nn.Sequential(copy.deepcopy(layer)), fusing.FusedConvolution(layer)
    quicken(learning)
    for tiles, dots in ((False, True), (True, True), (False, False)):
        monkeypatch.setattr("voxpick.precision.has_amx", lambda tiles=tiles: tiles)
        monkeypatch.setattr("voxpick.precision.has_avx512_bf16", lambda dots=dots: dots)
        assert (choose_dtype(cpu) == choose_dtype(cpu, plain) == torch.bfloat16) == (tiles or dots)
        assert (choose_dtype(cpu, learning) == choose_dtype(cpu, fast) == torch.bfloat16) == tiles


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Conv3d(6, 4, 1), PointProducts),
        (nn.Conv3d(6, 4, 1, bias=False), PointProducts),
        (nn.ConvTranspose3d(6, 4, 2, stride=2), BlockProducts),
        (nn.ConvTranspose3d(6, 4, (1, 2, 3), stride=(1, 2, 3), bias=False), BlockProducts),
    ],
)
def test_matrix_products_learn_as_torchs_own_layers(layer, kind):
    torch.manual_seed(0)
    exact, x = copy.deepcopy(layer).double(), torch.randn(2, 6, 3, 4, 5).contiguous(memory_format=PLACE)
    quicken(layer)
    assert type(layer) is kind
    pull = torch.randn(exact(x.double()).shape)
    found, wanted = gradients_of(layer, x, pull), gradients_of(exact, x.double(), pull.double())
    assert len(found) == len(wanted) == 2 + (layer.bias is not None)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)
    result = layer(x)
    torch.testing.assert_close(result.double(), exact(x.double()), rtol=1e-5, atol=1e-5)
    assert result.is_contiguous(memory_format=PLACE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose3d(6, 4, 3, stride=2),
        nn.ConvTranspose3d(6, 4, 2, stride=2, padding=1),
        nn.Conv3d(6, 4, 1, stride=2),
    ],
)
def test_layers_that_are_no_matrix_product_stay_as_they_are(layer):
    kind = type(layer)
    quicken(layer)
    assert type(layer) is kind
