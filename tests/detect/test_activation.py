import numpy as np
import pytest
import torch

from voxpick.detect.activation import activations, class_maps, upsampled
from voxpick.errors import VoxpickError
from voxpick.networks.densenet import DenseNet
from voxpick.networks.msdnet import MSDNet


class Known(torch.nn.Module):
    """Two maps, the image and its square, averaged 2 x 2 x 2; class scores by given weights."""

    def __init__(self, weight, bias):
        super().__init__()
        self.linear = torch.nn.Linear(2, len(bias))
        self.linear.weight.data = torch.tensor(weight)
        self.linear.bias.data = torch.tensor(bias)

    def features(self, x):
        return torch.nn.functional.avg_pool3d(torch.cat([x, x**2], dim=1), 2)

    def forward(self, x):
        return self.linear(self.features(x).mean(dim=(2, 3, 4)))


WEIGHT, BIAS = [[0.0, 0.0], [2.0, 0.0], [-1.0, 0.5]], [0.3, 0.0, -0.2]


def test_maps_of_known_weights_by_hand():
    x = torch.zeros(1, 1, 2, 4, 4)
    x[0, 0, :, :2, :2] = 3.0
    x[0, 0, 0, 2, 2] = 4.0
    maps, logits = class_maps(Known(WEIGHT, BIAS), x)
    # means of the 2 x 2 x 2 blocks: of x 3 and 4 / 8, of its square 9 and 16 / 8
    assert maps[0, :, 0].tolist() == [
        [[0, 0], [0, 0]],
        [[6, 0], [0, 1]],
        [[-3 + 4.5, 0], [0, -0.5 + 1.0]],
    ]
    assert logits[0].tolist() == pytest.approx([0.3, 7 / 4, 2 / 4 - 0.2])


def test_mean_of_the_map_and_the_bias_are_the_score():
    torch.manual_seed(1)
    network = DenseNet(classes=4, growth=3, blocks=2, dilations=(1, 2, 3, 1), stem=4)
    network.linear.bias.data.normal_()
    network(torch.randn(4, 1, 8, 12, 20))
    network.eval()
    x = torch.randn(3, 1, 12, 20, 28)
    maps, logits = class_maps(network, x)
    assert maps.shape == (3, 4, 6, 10, 14)
    expected = network(x)
    torch.testing.assert_close(maps.sum(dim=(2, 3, 4)) / (6 * 10 * 14) + network.linear.bias, expected)
    torch.testing.assert_close(logits, expected)


def test_upsampling_keeps_the_place():
    """A map that rises along an axis rises by the same amount for each voxel, centred alike."""
    ramp = torch.arange(5.0).reshape(1, 1, 1, 1, 5).expand(1, 1, 3, 4, 5)
    fine = upsampled(ramp, (6, 8, 20))[0, 0, 2, 3]
    expected = np.clip((np.arange(20) + 0.5) / 4 - 0.5, 0, 4)
    np.testing.assert_allclose(fine.numpy(), expected, atol=1e-6)


def test_activations_of_a_volume():
    """One bright particle (class 1) and one dark one (class 2), in a volume with another mean and contrast."""
    volume = np.zeros((12, 20, 28), dtype=np.float32)
    volume[5:7, 5:7, 5:7], volume[5:7, 13:15, 21:23] = 3.0, -3.0
    found = activations(
        10 + 2 * volume, np.array([[6.0, 6, 6], [6, 14, 22]]), Known(WEIGHT, [0.0, 0.0, 0.0]), size=8, mean=10.0,
        deviation=2.0, batch=1, device="cpu",
    )  # fmt: skip
    assert found.class_index.tolist() == [1, 2]
    np.testing.assert_allclose(found.images[0], volume[2:10, 2:10, 2:10])
    logits = np.array([[0, 2 * 3 / 64, 1.5 / 64], [0, -2 * 3 / 64, (3 + 4.5) / 64]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
    assert found.maps.shape == (2, 8, 8, 8)
    for image_map in found.maps:
        assert {tuple(place) for place in np.argwhere(image_map == image_map.max())} <= {
            (z, y, x) for z in (3, 4) for y in (3, 4) for x in (3, 4)
        }


def test_networks_without_such_maps_are_refused():
    with pytest.raises(VoxpickError, match="this one is a MSDNet"):
        activations(np.zeros((8, 8, 8), np.float32), np.zeros((1, 3)), MSDNet(depth=2), size=8)
    with pytest.raises(VoxpickError, match="no particles"):
        activations(np.zeros((8, 8, 8), np.float32), np.zeros((0, 3)), Known(WEIGHT, BIAS), size=8)
