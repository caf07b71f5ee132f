"""Losses of voxel-wise classification, as functions of logits (b, c, z, y, x) and integer targets (b, z, y, x).

All leave out voxels whose target is IGNORE. The means of `cross_entropy` and `weighted_focal` divide by the number of
voxels that count, not by the sum of class weights. All raise VoxpickError for targets of another shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from voxpick.errors import VoxpickError

IGNORE = -100


def cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    class_weights: torch.Tensor | Sequence[float] | None = None,
) -> torch.Tensor:
    """Mean over voxels of -alpha_t log p_t, t the true class. class_weights: alpha, one per class; None is 1 for all.

    Raises VoxpickError for another number of class weights than of classes.
    """
    return weighted_focal(logits, target, class_weights=class_weights, gamma=0.0)


def weighted_focal(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    class_weights: torch.Tensor | Sequence[float] | None = None,
    gamma: float = 2.0,
) -> torch.Tensor:
    """Mean over voxels of -alpha_t (1 - p_t)^gamma log p_t, t the true class (VP-Detector, eq. 6).

    class_weights: alpha, one per class; None is 1 for all. gamma 0 with weights 1 is the cross-entropy.
    Raises VoxpickError for another number of class weights than of classes, and for a gamma below 0.
    """
    _check(logits, target, class_weights)
    if gamma < 0:
        raise VoxpickError(f"focal loss: gamma is {gamma}; it must be 0 or more")
    counted = target != IGNORE
    index = torch.where(counted, target, 0).long()
    if logits.shape[1] == 2:  # log p_t from the difference of the two logits: one channel instead of a softmax
        margin = logits[:, 1].float() - logits[:, 0].float()
        log_p = F.logsigmoid(torch.where(index == 1, margin, -margin))
    else:
        log_p = F.log_softmax(logits.float(), 1).gather(1, index[:, None])[:, 0]
    loss = -log_p
    if gamma > 0:
        # 1 - p without cancellation; clamped, since the derivative of x^gamma at 0 is infinite for gamma < 1
        loss = loss * (-torch.expm1(log_p)).clamp_min(1e-12).pow(gamma)
    factor = counted.to(loss.dtype)
    if class_weights is not None:
        factor = factor * torch.as_tensor(class_weights, dtype=loss.dtype, device=loss.device)[index]
    return (loss * factor).sum() / counted.sum().clamp_min(1)


def dice(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    include_background: bool = False,
) -> torch.Tensor:
    """1 - mean over classes of 2 |P and G| / (|P| + |G|), P soft; the sums run over the whole batch.

    Classes neither present nor predicted count as a perfect overlap.
    """
    overlap, predicted, true = _sums(logits, target)
    first = 0 if include_background else 1
    score = (2 * overlap + 1e-6) / (predicted + true + 1e-6)
    return 1 - score[first:].mean()


def generalised_dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - 2 sum_c v_c |P and G|_c / sum_c v_c (|P|_c + |G|_c), v_c = 1 / |G|_c^2 (Sudre et al. 2017).

    Classes absent from the batch get the largest v_c of those present.
    """
    overlap, predicted, true = _sums(logits, target)
    volumes = torch.where(true > 0, 1 / true.clamp_min(1e-6).square(), torch.zeros_like(true))
    volumes = torch.where(true > 0, volumes, volumes.max())
    return 1 - 2 * (volumes * overlap).sum() / (volumes * (predicted + true)).sum().clamp_min(1e-12)


def tversky(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    include_background: bool = False,
) -> torch.Tensor:
    """1 - mean over classes of TP / (TP + alpha FP + beta FN) (Salehi et al. 2017); alpha = beta = 1/2 is `dice`."""
    overlap, predicted, true = _sums(logits, target)
    wrong = alpha * (predicted - overlap) + beta * (true - overlap)
    first = 0 if include_background else 1
    score = (overlap + 0.5e-6) / (overlap + wrong + 0.5e-6)
    return 1 - score[first:].mean()


def effective_radius_weights(radii: torch.Tensor | Sequence[float], *, background: float | None = 1.0) -> torch.Tensor:
    """Class weights alpha (background first) from effective radii 3 V / A of the particle classes, any unit.

    alpha_c = mean radius / radius_c, scaled to mean 1 over the particle classes: the smaller the harder. The
    paper says only that alpha is "based on the effective radius", so the inverse is a choice made here. background:
    the weight put in front for class 0; None gives the particle classes alone.
    """
    values = torch.as_tensor(radii, dtype=torch.float64)
    if values.ndim != 1 or len(values) == 0 or not bool((torch.isfinite(values) & (values > 0)).all()):
        raise VoxpickError(f"effective radii {values.tolist()}: give one positive number for each particle class")
    alpha = values.mean() / values
    alpha = (alpha / alpha.mean()).float()
    return alpha if background is None else torch.cat([alpha.new_tensor([background]), alpha])


def _check(logits: torch.Tensor, target: torch.Tensor, class_weights: torch.Tensor | Sequence[float] | None) -> None:
    expected = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != expected:
        raise VoxpickError(f"loss: the target has shape {tuple(target.shape)}; the logits ask for {expected}")
    if class_weights is not None and len(class_weights) != logits.shape[1]:
        raise VoxpickError(f"loss: {len(class_weights)} class weights for {logits.shape[1]} classes")


def _sums(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """|P and G|, |P| and |G| of every class over the batch."""
    _check(logits, target, None)
    classes = logits.shape[1]
    counted = target != IGNORE
    factor = counted.float()
    index = torch.where(counted, target, 0).long()
    probability = F.softmax(logits.float(), 1)
    true_p = probability.gather(1, index[:, None])[:, 0] * factor
    overlap, true = _sums_by_class(true_p, index, classes), _sums_by_class(factor, index, classes)
    predicted = (probability * factor[:, None]).sum((0, 2, 3, 4))
    return overlap, predicted, true


def _sums_by_class(values: torch.Tensor, index: torch.Tensor, classes: int) -> torch.Tensor:
    """(classes,) sums of values (b, z, y, x) by the class of each voxel.

    Row by row first: one float32 number that adds up millions of values one at a time rounds each of them (0.9 becomes
    1 from four millions on), and a GPU's threads would wait for each other to add to it.
    """
    rows = index.flatten(0, -2)
    places = rows + classes * torch.arange(len(rows), device=index.device)[:, None]
    sums = torch.zeros(len(rows) * classes, device=values.device)
    return sums.index_add(0, places.flatten(), values.flatten()).view(-1, classes).sum(0)
