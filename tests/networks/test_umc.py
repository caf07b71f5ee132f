"""UMC and the two networks of Dn3DUnet's second stage: layouts, parameter counts, what feeds what."""

from itertools import pairwise

import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.networks.conv_blocks import mixed_precision, start_at_background
from voxpick.networks.umc import UMC
from voxpick.networks.unet3d import UNet3D


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def block(before, after):
    """Two 3x3x3 convolutions with bias."""
    return 27 * (before * after + after * after) + 2 * after


def test_umc_has_the_parameters_of_the_paper():
    network = UMC()
    f = (16, 32, 64, 128, 256)
    encoder = sum(block(before, after) for before, after in zip((1, *f[:-1]), f, strict=True))
    decoders = [sum(block(f[k + 1] + skips * f[k], f[k]) for k in range(4)) for skips in (1, 2)]
    assert (count(network.encoder), count(network.denoising), count(network.segmenting)) == (encoder, *decoders)
    assert count(network) == encoder + sum(decoders) + 17 + 13 * 17 == 8_822_334
    assert abs(count(network) / 8.82e6 - 1) < 0.001
    assert network.multiple_of == 16


def test_unet3d_counts_as_its_formula():
    def normed(before, after):
        return 27 * before * after + 3 * after

    total, before, outputs = 64 * 13 + 13, 1, (64, 128, 256, 512)
    for after in outputs:
        total += normed(before, after // 2) + normed(after // 2, after)
        before = after
    for here, below in pairwise(outputs):
        total += 8 * below * below + below + normed(here + below, here) + normed(here, here)
    assert count(UNet3D()) == total == 19_074_445
    assert UNet3D(width=2).multiple_of == 8


def test_unet3d_has_the_parameters_of_its_paper():
    """Cicek et al. count 19,069,955 for 3 channels and 3 classes, without norms and the up-convolutions' biases."""
    network = UNet3D(in_channels=3, classes=3)
    left_out = sum(count(module) for module in network.modules() if isinstance(module, torch.nn.BatchNorm3d))
    left_out += sum(up.bias.numel() for up in network.upward)
    assert count(network) - left_out == 19_069_955


def test_training_gives_both_outputs_and_evaluation_the_scores_alone():
    torch.manual_seed(0)
    network = UMC(classes=5, filters=(4, 6, 8))
    image = torch.randn(2, 1, 12, 20, 28)
    specimen, logits = network(image)
    assert specimen.shape == (2, 1, 12, 20, 28)
    assert logits.shape == (2, 5, 12, 20, 28)
    network.eval()
    assert torch.allclose(network(image), logits, atol=1e-5)


def test_the_segmenting_decoder_reads_the_denoising_one():
    """Its gradient reaches the denoising blocks, not the denoising head; the other way round nothing flows."""
    network = UMC(classes=3, filters=(4, 6, 8))
    specimen, logits = network(torch.randn(1, 1, 12, 20, 28))
    logits.square().sum().backward(retain_graph=True)
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.denoising.parameters() if parameter.ndim == 5)
    assert network.specimen_head.weight.grad is None
    network.zero_grad()
    specimen.square().sum().backward()
    assert all(parameter.grad is None for parameter in network.segmenting.parameters())


def test_one_level_up_by_hand():
    """The decoders, written out for two levels."""
    torch.manual_seed(2)
    network = UMC(classes=3, filters=(3, 5)).eval()
    image = torch.randn(1, 1, 4, 6, 8)
    top = network.encoder[0](image)
    deep = network.encoder[1](torch.nn.functional.max_pool3d(top, 2))
    large = deep.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    denoised = network.denoising[0](torch.cat([large, top], 1))
    expected = network.class_head(network.segmenting[0](torch.cat([large, top, denoised], 1)))
    assert torch.allclose(network(image), expected, atol=1e-5)


@pytest.mark.parametrize("network", [UMC(filters=(4, 6, 8)), UNet3D(width=2, levels=3)], ids=["umc", "unet3d"])
def test_bfloat16_is_near_float32(network):
    torch.manual_seed(1)
    image = torch.randn(1, 1, 12, 20, 28)
    network.eval()
    exact = network(image)
    network.compute_dtype = torch.bfloat16
    rough = network(image)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_autocast_of_the_caller_wins():
    x = torch.zeros(1, 1, 16, 16, 16)
    with torch.autocast("cpu", dtype=torch.float16), mixed_precision(x, torch.bfloat16, multiple=4):
        assert torch.get_autocast_dtype("cpu") == torch.float16
    with mixed_precision(x, torch.float32, multiple=4):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("network", [UMC(filters=(4, 6, 8)), UNet3D(width=2, levels=3)], ids=["umc", "unet3d"])
def test_sides_that_do_not_halve_are_refused(network):
    with pytest.raises(VoxpickError, match="multiples of 4"):
        network(torch.zeros(1, 1, 12, 20, 30))


@pytest.mark.parametrize(
    "make", [lambda **s: UMC(filters=(16, 16), **s), lambda **s: UNet3D(width=8, levels=2, **s)], ids=["umc", "unet3d"]
)
def test_training_starts_near_the_background_asked_for(make):
    torch.manual_seed(3)
    image = torch.randn(1, 1, 12, 20, 28)
    networks = [make(classes=13, background=0.9), make(classes=13)]
    outputs = [network(image) for network in networks]
    scores = [output[1] if isinstance(output, tuple) else output for output in outputs]
    aware, even = (score.softmax(1)[:, 0].mean().item() for score in scores)
    assert aware == pytest.approx(0.9, abs=0.06)
    assert even < 0.3
    head = torch.nn.Conv3d(2, 5, 1)
    start_at_background(head.bias, 0.8)
    assert head.bias.softmax(0).tolist() == pytest.approx([0.8, *[0.05] * 4])
    with pytest.raises(VoxpickError, match="background is 1 for 13 classes; give a probability between 0 and 1"):
        make(classes=13, background=1)


def test_bad_settings_are_refused():
    with pytest.raises(VoxpickError, match="at least two levels"):
        UMC(filters=(4,))
    with pytest.raises(VoxpickError, match="levels is 1"):
        UNet3D(levels=1)
