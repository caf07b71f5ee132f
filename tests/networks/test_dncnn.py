"""DnCNN: slices are independent, and the network takes the predicted noise from its input."""

import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.networks.dncnn import DnCNN
from voxpick.networks.folding import folded


def test_twenty_layers_and_their_parameters():
    network = DnCNN()
    convolutions = [layer for layer in network.noise if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 20
    assert sum(p.numel() for p in network.parameters()) == 640 + 18 * (9 * 64 * 64 + 2 * 64) + 577 == 667_073


def test_residual():
    network = DnCNN(depth=4, width=5).eval()
    image = torch.randn(2, 1, 3, 12, 20)
    noise = torch.stack([network.noise(image[:, :, z]) for z in range(3)], 2)
    assert torch.allclose(network(image), image - noise, atol=1e-6)
    torch.nn.init.zeros_(network.noise[-1].weight)
    torch.nn.init.zeros_(network.noise[-1].bias)
    assert torch.equal(network(image), image)


def test_slices_do_not_see_each_other():
    network = DnCNN(depth=4, width=5).eval()
    image = torch.randn(1, 1, 5, 12, 20)
    changed = image.clone()
    changed[:, :, 2] += 1
    difference = (network(image) - network(changed)).abs().amax((0, 1, 3, 4))
    assert difference[2] > 0.01
    assert difference[[0, 1, 3, 4]].max() == 0


def test_folded_normalisation_changes_nothing():
    network = DnCNN(depth=5, width=6)
    image = torch.randn(1, 1, 4, 12, 20)
    for _ in range(3):
        network(image)
    network.eval()
    assert torch.allclose(folded(network)(image), network(image), atol=1e-4)


def test_bad_shapes_are_refused():
    with pytest.raises(VoxpickError, match=r"expected \(batch, 1, z, y, x\)"):
        DnCNN(depth=3, width=2)(torch.zeros(1, 2, 3, 4, 5))
    with pytest.raises(VoxpickError, match="one channel to one"):
        DnCNN(classes=13)
