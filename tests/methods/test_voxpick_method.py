"""Our own method: its losses by hand, what it refuses, and that unknown voxels teach nothing."""

import math

import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.methods import voxpick
from voxpick.networks.picknet import CENTRE_CHANNELS


def test_centre_focal_by_hand():
    heat = torch.tensor([[[[1.0, 0.5, 0.0, math.nan]]]])
    logits = torch.tensor([[[[0.0, 0.0, -2.0, 5.0]]]])
    p = 1 / (1 + math.exp(2.0))
    expected = 0.25 * math.log(2) + 0.5**4 * 0.25 * math.log(2) + p**2 * -math.log(1 - p)
    assert float(voxpick.centre_focal(logits, heat)) == pytest.approx(expected, rel=1e-5)


def test_centre_focal_is_divided_by_the_number_of_centres():
    heat = torch.zeros(1, 4, 4, 4)
    heat[0, 1, 1, 1] = heat[0, 2, 3, 0] = 1
    logits = torch.full_like(heat, -30.0)
    assert float(voxpick.centre_focal(logits, heat)) == pytest.approx(30.0, rel=1e-4)
    assert float(voxpick.centre_focal(-logits * heat + logits * (1 - heat), heat)) < 1e-6


def case(channels=4, side=4):
    """A perfect output, and its targets: one centre of class 2 in the middle."""
    targets = torch.zeros(1, 7, side, side, side)
    targets[0, 0, 1, 1, 1], targets[0, 1, 1, 1, 1] = 1, 2
    targets[0, 2:5, 1, 1, 1] = torch.tensor([0.5, -0.25, 0.0])
    targets[0, 5, :2] = 2
    targets[0, 6] = torch.randn(side, side, side, generator=torch.Generator().manual_seed(0))
    last = CENTRE_CHANNELS + channels - 1
    output = torch.zeros(1, last + channels + 1, side, side, side)
    output[0, 0] = torch.where(targets[0, 0] == 1, 30.0, -30.0)
    output[0, 1:4] = targets[0, 2:5]
    output[0, CENTRE_CHANNELS + 1] = 30.0
    output[0, last] = torch.where(targets[0, 5] == 0, 30.0, -30.0)
    output[0, last + 2] = torch.where(targets[0, 5] == 2, 30.0, -30.0)
    output[0, -1] = targets[0, 6]
    return output, targets


def loss(**options):
    return voxpick.make_loss(voxpick.training_settings("picker", changes={"options": options}), 4)


def test_what_is_right_costs_nothing_and_each_error_costs_its_weight():
    output, targets = case()
    assert float(loss()(output, targets)) < 1e-3
    shifted, wrong, dense = output.clone(), output.clone(), output.clone()
    shifted[0, 1, 1, 1, 1] += 2.0
    assert float(loss(offset_weight=0.3)(shifted, targets)) == pytest.approx(0.3 * 1.5 / 3, abs=1e-3)
    wrong[0, CENTRE_CHANNELS : CENTRE_CHANNELS + 3] = 0
    assert float(loss(class_weight=2.0)(wrong, targets)) == pytest.approx(2 * math.log(3), abs=1e-3)
    dense[0, -1] += 3
    assert float(loss(denoising_weight=0.5)(dense, targets)) == pytest.approx(4.5, abs=1e-3)


def test_names_by_the_coarser_grids_cost_what_their_weight_says():
    output, targets = case()
    coarse = torch.zeros(1, 3, 4, 4, 4)
    both = torch.cat([output, coarse], 1)
    assert float(loss()(both, targets)) < 1e-3
    assert float(loss(coarse_weight=0.5)(both, targets)) == pytest.approx(0.5 * math.log(3), abs=1e-3)
    coarse[0, 1, 1, 1, 1] = 30.0
    assert float(loss(coarse_weight=0.5)(torch.cat([output, coarse], 1), targets)) < 1e-3
    assert float(loss(coarse_weight=0.5)(output, targets)) < 1e-3, "a network of one grid has none"


def test_unknown_voxels_teach_nothing():
    output, targets = case()
    targets[0, 0, 3], targets[0, 5, 3], targets[0, 6, 3] = math.nan, -100, math.nan
    output[0, :, 3] = 7.0
    assert float(loss()(output, targets)) < 1e-3


def test_no_centre_in_a_batch_is_no_accident():
    output, targets = case()
    targets[:, :5] = 0
    output[0, 0] = -30
    value = loss()(output.requires_grad_(), targets)
    value.backward()
    assert math.isfinite(float(value.detach())) and torch.isfinite(output.grad).all()


def test_unknown_options_and_losses_are_refused():
    with pytest.raises(VoxpickError, match="magic"):
        voxpick.training_settings("picker", changes={"options": {"magic": 1}})
    with pytest.raises(VoxpickError, match="dice"):
        voxpick.make_loss(voxpick.training_settings("picker", changes={"loss": "dice"}), 4)


@pytest.mark.parametrize(("name", "value"), [("spread", 0), ("class_weight", -1.0), ("reach", "3")])
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(VoxpickError, match=f"options.{name} is {value!r}"):
        voxpick.training_settings("picker", changes={"options": {name: value}})


def test_the_weights_to_ship_are_a_few_megabytes():
    settings = voxpick.training_settings("picker")
    model = voxpick.create_model(settings, [f"c{k}" for k in range(12)], voxel_size=10.0)
    assert 2 * sum(p.numel() for p in model.network.parameters()) < 8e6


@pytest.mark.parametrize(("name", "value"), [("gamma", 1.0), ("background_weight", 0.3), ("class_weights", [1.0, 2.0])])
def test_settings_that_would_change_nothing_are_refused(name, value):
    with pytest.raises(VoxpickError, match=f"{name} = .*: voxpick's loss takes none; its options are spread, reach"):
        voxpick.training_settings("picker", changes={name: value})
    assert voxpick.training_settings("picker", changes={"gamma": 2.0}).gamma == 2.0
