"""Weights of a trained network in one that names other classes."""

import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.train.fine_tuning import network_settings_of, take_weights

BEFORE = ["background", "apple", "pear", "plum"]
AFTER = ["background", "plum", "fig", "pear", "nut"]
NETWORKS = {
    "msdnet": {"depth": 4, "dilations": [1, 2]},
    "unet": {"filters": [4, 6], "bottom": 1},
    "picknet": {"stem": 4, "widths": [8, 12], "blocks": [1, 1]},
}


def model(name, classes, *, seed):
    torch.manual_seed(seed)
    settings = {"in_channels": 1, "classes": len(classes), **NETWORKS[name]}
    made = Model.create(name, settings, classes=classes, voxel_size=10.0)
    for parameter in made.network.parameters():
        torch.nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_same_classes_take_everything(name):
    source, target = model(name, BEFORE, seed=1), model(name, BEFORE, seed=2)
    assert take_weights(source, target) == []
    taken = target.network.state_dict()
    assert all(torch.equal(value, taken[key]) for key, value in source.network.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_classes_are_found_by_name(name):
    source, target = model(name, BEFORE, seed=1).network, model(name, AFTER, seed=2).network
    drawn = {key: value.clone() for key, value in target.state_dict().items()}
    holders = [Model(name, {"in_channels": 1, "classes": len(c), **NETWORKS[name]}, n, c, 10.0)
               for n, c in ((source, BEFORE), (target, AFTER))]  # fmt: skip
    assert take_weights(*holders) == ["fig", "nut"]
    old, new = source.state_dict(), target.state_dict()
    heads = [key for key in new if new[key].shape != old[key].shape]
    assert heads
    for key in new:
        if key not in heads:
            assert torch.equal(new[key], old[key])
            continue
        first, number = {"picks": (4, 1), "coarse_names": (0, 1)}.get(key.split(".")[0], (0, 0))
        for row, label in enumerate(AFTER[number:]):
            expected = old[key][first + BEFORE.index(label) - number] if label in BEFORE else drawn[key][first + row]
            assert torch.equal(new[key][first + row], expected)
        assert torch.equal(new[key][:first], old[key][:first])
        if key.startswith("training_heads"):
            assert torch.equal(new[key][-1], old[key][-1])


def test_same_number_of_other_classes_is_no_copy():
    source, target = (
        model("msdnet", ["background", "a", "b"], seed=1),
        model("msdnet", ["background", "b", "c"], seed=2),
    )
    assert take_weights(source, target) == ["c"]
    old, new = source.network.state_dict(), target.network.state_dict()
    rows = [(old[key], value) for key, value in new.items() if not torch.equal(old[key], value)]
    assert rows and all(len(value) == 3 for _, value in rows)
    for before, now in rows:
        assert torch.equal(now[0], before[0]) and torch.equal(now[1], before[2])
        assert not torch.equal(now[2], before[1]) and not torch.equal(now[2], before[2])


def test_another_network_is_refused():
    source, target = model("msdnet", BEFORE, seed=1), model("unet", BEFORE, seed=1)
    with pytest.raises(VoxpickError, match="the given weights are of the network"):
        take_weights(source, target)
    assert network_settings_of(target) == NETWORKS["unet"]
