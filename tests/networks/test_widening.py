"""benchmarks/accuracy/widen.py: a larger PickNet that computes what a smaller one does."""

import importlib.util
from pathlib import Path

import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.networks.picknet import PickNet

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "widen.py"


@pytest.fixture(scope="module")
def widened():
    spec = importlib.util.spec_from_file_location("widen", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.widened


def trained(**settings):
    """A network none of whose weights and running statistics are what they begin with."""
    torch.manual_seed(0)
    network = PickNet(classes=4, stem=4, **settings)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if name.endswith("running_var") else value.normal_(std=0.2)
    return network


@pytest.mark.parametrize("blocks", [[1, 1, 1], [1, 2, 3]])
@pytest.mark.parametrize("widths", [[8, 12, 16], [8, 16, 24], [12, 12, 20]])
def test_nothing_changes_and_what_is_new_can_learn(widened, widths, blocks):
    small, large = (
        trained(widths=[8, 12, 16], blocks=[1, 1, 1]),
        PickNet(classes=4, stem=4, widths=widths, blocks=blocks),
    )
    large.load_state_dict(widened(small.state_dict(), large.state_dict()))
    image = torch.randn(1, 1, 16, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(large.eval()(image), small.eval()(image), rtol=1e-4, atol=1e-4)
    large.train()(image).square().sum().backward()
    listening = large.coarse_names[-1].weight.grad.abs().amax(dim=(0, 2, 3, 4))
    assert (listening > 0).sum() > widths[-1] // 2 and (listening[16:] > 0).sum() >= (widths[-1] - 16) // 4


def test_a_smaller_network_is_refused(widened):
    small, large = trained(widths=[8, 8, 16], blocks=[1, 1, 1]), trained(widths=[8, 12, 16], blocks=[1, 1, 1])
    with pytest.raises(VoxpickError, match="does not fit into the larger network"):
        widened(large.state_dict(), small.state_dict())
