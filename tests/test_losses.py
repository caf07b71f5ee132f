import math

import pytest
import torch
import torch.nn.functional as F

from voxpick import losses
from voxpick.errors import VoxpickError


def case(classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 3, 4, 5, generator=generator)
    target = torch.randint(0, classes, (2, 3, 4, 5), generator=generator)
    return logits, target


def probabilities(*rows):
    """Logits of voxels along x with the given class probabilities: (1, c, 1, 1, n)."""
    return torch.tensor(rows).log().t()[None, :, None, None, :]


@pytest.mark.parametrize("classes", [2, 3, 13])
def test_focal_without_focus_is_cross_entropy(classes):
    logits, target = case(classes)
    expected = F.cross_entropy(logits, target)
    ones = torch.ones(classes)
    assert losses.weighted_focal(logits, target, gamma=0, class_weights=ones).item() == pytest.approx(expected.item())
    assert losses.cross_entropy(logits, target).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("classes", [2, 3])
def test_focal_by_hand(classes):
    rows = [[0.8, 0.2], [0.4, 0.6]] if classes == 2 else [[0.8, 0.15, 0.05], [0.3, 0.6, 0.1]]
    logits = probabilities(*rows)
    target = torch.tensor([0, 1])[None, None, None]
    alpha = [0.5, 3.0, 7.0][:classes]
    expected = -(0.5 * 0.2**2 * math.log(0.8) + 3.0 * 0.4**2 * math.log(0.6)) / 2
    found = losses.weighted_focal(logits, target, class_weights=alpha, gamma=2)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_focal_gradient_equals_finite_differences(classes):
    logits, target = case(classes)
    logits = logits[:1, :, :1, :2, :2].requires_grad_()
    target = target[:1, :1, :2, :2]
    losses.weighted_focal(logits, target, gamma=1.5).backward()
    probe = torch.zeros_like(logits)
    probe[0, 1, 0, 1, 1] = 1e-2
    with torch.no_grad():
        up = losses.weighted_focal(logits + probe, target, gamma=1.5)
        down = losses.weighted_focal(logits - probe, target, gamma=1.5)
    assert logits.grad[0, 1, 0, 1, 1].item() == pytest.approx((up - down).item() / 2e-2, rel=1e-2)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_finite_for_extreme_logits(classes, gamma):
    logits = torch.full((1, classes, 1, 1, 2), -200.0)
    logits[0, 0, 0, 0, 0] = logits[0, 1, 0, 0, 1] = 200.0
    logits.requires_grad_()
    loss = losses.weighted_focal(logits, torch.zeros(1, 1, 1, 2, dtype=torch.long), gamma=gamma)
    loss.backward()
    assert loss.item() == pytest.approx(200.0)  # one voxel right (0), one wrong by 400
    assert torch.isfinite(logits.grad).all()


def test_ignored_voxels():
    logits, target = case()
    ignored = target.clone()
    ignored[:, 1:] = -100
    expected = F.cross_entropy(logits[:, :, :1], target[:, :1])
    assert losses.cross_entropy(logits, ignored).item() == pytest.approx(expected.item())
    for name in ("dice", "generalised_dice", "tversky"):
        loss = getattr(losses, name)
        assert loss(logits, ignored).item() == pytest.approx(loss(logits[:, :, :1], target[:, :1]).item(), abs=1e-5)
    one = torch.full_like(target, -100)
    one[1, 2, 3, 4] = target[1, 2, 3, 4]
    expected = F.cross_entropy(logits[1:, :, 2:, 3:, 4:], target[1:, 2:, 3:, 4:])
    assert losses.cross_entropy(logits, one).item() == pytest.approx(expected.item())
    everything = torch.full_like(target, -100)
    assert losses.cross_entropy(logits, everything).item() == 0.0


def test_dice_and_tversky_by_hand():
    logits = probabilities([0.2, 0.8], [0.6, 0.4], [0.9, 0.1])
    target = torch.tensor([1, 1, 0])[None, None, None]
    overlap, predicted, true = 1.2, 1.3, 2.0
    assert losses.dice(logits, target).item() == pytest.approx(1 - 2 * overlap / (predicted + true), rel=1e-4)
    assert losses.tversky(logits, target).item() == pytest.approx(losses.dice(logits, target).item(), abs=1e-6)
    expected = 1 - overlap / (overlap + 0.3 * 0.1 + 0.7 * 0.8)
    assert losses.tversky(logits, target, alpha=0.3, beta=0.7).item() == pytest.approx(expected, rel=1e-4)


def test_generalised_dice_by_hand():
    logits = probabilities([0.2, 0.8], [0.6, 0.4], [0.9, 0.1])
    target = torch.tensor([1, 1, 0])[None, None, None]
    # class 0: volume 1, overlap 0.9, predicted 1.7; class 1: volume 2, overlap 1.2, predicted 1.3
    expected = 1 - 2 * (0.9 + 1.2 / 4) / ((1.7 + 1) + (1.3 + 2) / 4)
    assert losses.generalised_dice(logits, target).item() == pytest.approx(expected, rel=1e-4)


def test_generalised_dice_charges_for_a_class_that_is_not_there():
    """With the largest weight of those that are, here 1."""
    logits = probabilities([0.2, 0.7, 0.1], [0.6, 0.3, 0.1])
    target = torch.tensor([1, 0])[None, None, None]
    expected = 1 - 2 * (0.7 + 0.6) / ((0.8 + 1) + (1.0 + 1) + 0.2)
    assert losses.generalised_dice(logits, target).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["dice", "generalised_dice", "tversky"])
def test_perfect_overlap_costs_nothing(name):
    target = torch.tensor([0, 1, 2, 2])[None, None, None]
    logits = 60.0 * F.one_hot(target, 4).movedim(-1, 1)  # class 3 absent
    assert getattr(losses, name)(logits, target).item() == pytest.approx(0.0, abs=1e-5)


def test_weights_from_effective_radius():
    alpha = losses.effective_radius_weights([10.0, 20.0, 40.0])
    assert alpha[0] == 1.0
    assert torch.allclose(alpha[1:], torch.tensor([12.0, 6.0, 3.0]) / 7)
    assert losses.effective_radius_weights([10.0, 20.0], background=None).tolist() == pytest.approx([4 / 3, 2 / 3])
    with pytest.raises(VoxpickError, match="positive"):
        losses.effective_radius_weights([10.0, 0.0])


def test_bad_shapes_are_refused():
    logits, target = case()
    with pytest.raises(VoxpickError, match="target has shape"):
        losses.dice(logits, target[:1])
    with pytest.raises(VoxpickError, match="2 class weights for 3 classes"):
        losses.weighted_focal(logits, target, class_weights=[1.0, 2.0])
    with pytest.raises(VoxpickError, match="gamma is -1"):
        losses.weighted_focal(logits, target, gamma=-1)


@pytest.mark.parametrize(("name", "options"), [
    ("tversky", {"alpha": 0.7, "beta": 0.3, "include_background": True}),
    ("tversky", {"alpha": 0.3, "beta": 0.7, "include_background": False}),
    ("dice", {"include_background": True}),
    ("dice", {"include_background": False}),
    ("generalised_dice", {}),
])  # fmt: skip
def test_overlap_losses_equal_monai(name, options):
    monai = pytest.importorskip("monai.losses")
    logits, target = case(13)
    assert len(torch.unique(target)) == 13
    peer = {"tversky": "TverskyLoss", "dice": "DiceLoss", "generalised_dice": "GeneralizedDiceLoss"}[name]
    oracle = getattr(monai, peer)(to_onehot_y=True, softmax=True, batch=True, smooth_nr=0, smooth_dr=1e-12, **options)
    expected = oracle(logits, target[:, None])
    assert getattr(losses, name)(logits, target, **options).item() == pytest.approx(expected.item(), abs=2e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_focal_equals_monai(gamma):
    monai = pytest.importorskip("monai.losses")
    logits, target = case(5)
    weights = [0.2, 1.0, 2.0, 0.5, 3.0]
    oracle = monai.FocalLoss(gamma=gamma, to_onehot_y=True, use_softmax=True, weight=weights, reduction="sum")
    expected = oracle(logits, target[:, None]) / len(target)  # the sum of the means over each volume
    found = losses.weighted_focal(logits, target, class_weights=weights, gamma=gamma)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_sums_over_many_voxels_are_not_rounded_voxel_by_voxel():
    values, index = torch.full((2, 64, 192, 192), 0.9), torch.zeros(2, 64, 192, 192, dtype=torch.int64)
    index[1, :32] = 2
    total = 0.9 * values.numel()
    assert losses._sums_by_class(values, index, 3).tolist() == pytest.approx([0.75 * total, 0, 0.25 * total], rel=1e-5)
    naive = torch.zeros(3).index_add(0, index.flatten(), values.flatten())  # what it is about
    assert abs(float(naive[0]) / (0.75 * total) - 1) > 0.01


def test_cross_entropy_by_hand():
    logits = probabilities([0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4])
    target = torch.tensor([0, 2, 2, -100])[None, None, None]
    # -(log 0.7 + log 0.25 + log 0.8) / 3 = (0.356675 + 1.386294 + 0.223144) / 3
    assert losses.cross_entropy(logits, target).item() == pytest.approx(0.655371, abs=1e-6)
    # (0.5 * 0.356675 + 2 * 1.386294 + 2 * 0.223144) / 3: by the number of voxels, not by the sum of the weights
    found = losses.cross_entropy(logits, target, class_weights=[0.5, 1.0, 2.0])
    assert found.item() == pytest.approx(1.132404, abs=1e-6)
