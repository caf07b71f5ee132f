"""PickNet: shapes, what each head gives, folding, and refusals."""

import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.networks.folding import folded
from voxpick.networks.picknet import CENTRE_CHANNELS, PickNet

SMALL = {"classes": 4, "stem": 4, "widths": (8, 12, 16), "blocks": (1, 1, 1)}


def drawn(**changes):
    torch.manual_seed(0)
    return PickNet(**{**SMALL, **changes})


def test_half_resolution_and_more_heads_in_training():
    network, image = drawn(), torch.randn(2, 1, 16, 24, 32)
    assert network.train()(image).shape == (2, CENTRE_CHANNELS + 3 + 4 + 1 + 3, 8, 12, 16)
    picks = network.eval()(image)
    assert picks.shape == (2, CENTRE_CHANNELS + 3, 8, 12, 16) and picks.dtype == torch.float32
    network.all_heads = True
    assert network(image).shape == (2, CENTRE_CHANNELS + 3 + 4 + 1, 8, 12, 16)
    assert drawn(widths=[8], blocks=[1]).train()(image).shape == (2, CENTRE_CHANNELS + 3 + 4 + 1, 8, 12, 16)


def test_names_by_the_coarser_grids_are_part_of_the_names():
    network, image = drawn().train(), torch.randn(1, 1, 16, 24, 32)
    for coarse in network.coarse_names:
        torch.nn.init.normal_(coarse.weight)
    torch.nn.init.zeros_(network.picks.weight)
    torch.nn.init.zeros_(network.picks.bias)
    output = network(image)
    assert output[:, -3:].abs().max() > 0
    assert torch.allclose(output[:, CENTRE_CHANNELS : CENTRE_CHANNELS + 3], output[:, -3:])


def test_the_documented_default_has_as_many_parameters_as_its_layers():
    """Counted by hand: convolutions 27 i o without bias, 2 o of each batch normalisation, 1x1x1 lifts, two heads."""

    def block(width):
        return 2 * (27 * width * width + 2 * width)

    stem, (a, b, c) = 16, (32, 96, 192)
    expected = 27 * stem + 2 * stem
    for before, after in ((stem, a), (a, b), (b, c)):
        expected += 27 * before * after + 2 * after + 2 * block(after)
    expected += (c * b + 2 * b) + (b * a + 2 * a) + block(b) + block(a)
    expected += (a + 1) * (CENTRE_CHANNELS + 12) + (a + 1) * 14 + (b + c) * 12
    assert sum(p.numel() for p in PickNet(widths=(a, b, c)).parameters()) == expected


def test_training_starts_at_the_share_of_centres():
    network = drawn(centres=0.01)
    heat = network.eval()(torch.zeros(1, 1, 16, 16, 24))[:, 0].sigmoid()
    assert torch.allclose(heat, torch.full_like(heat, 0.01), atol=1e-3)


def test_new_residual_blocks_are_the_identity_on_what_relu_leaves():
    network = drawn()
    block, x = network.down[0][3], torch.rand(1, 8, 4, 6, 8)
    assert torch.equal(block.eval()(x), x)


def test_folding_changes_nothing_but_rounding():
    network = drawn()
    for _ in range(3):  # running statistics that are not 0 and 1
        network.train()(torch.randn(1, 1, 16, 24, 16))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    network.eval()
    image = torch.randn(1, 1, 16, 24, 16)
    bare = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in bare.modules())
    with torch.inference_mode():
        assert torch.allclose(bare(image), network(image), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"in_channels": 2}, "in_channels 2"), ({"classes": 1}, "classes 1"), ({"blocks": (1,)}, "blocks"),
     ({"centres": 1.5}, "centres is 1.5")],
)  # fmt: skip
def test_settings_that_make_no_network_are_refused(changes, word):
    with pytest.raises(VoxpickError, match=word):
        PickNet(**{**SMALL, **changes})


def test_sides_that_do_not_halve_are_refused():
    with pytest.raises(VoxpickError, match="multiples of 8"):
        drawn()(torch.zeros(1, 1, 16, 20, 16))
