"""What methods share that train one network to name the class of every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from voxpick.detect.one_stage import detect_in_one_stage
from voxpick.detect.pipeline import Detection
from voxpick.detect.settings import make_settings as make_detect_settings
from voxpick.errors import VoxpickError
from voxpick.losses import cross_entropy, dice, weighted_focal
from voxpick.methods.recipe import part_of, require_unset
from voxpick.networks.model import Model
from voxpick.train.augment import Augmentation
from voxpick.train.fit import Loss
from voxpick.train.patches import Sampler, SegmentationPatches
from voxpick.train.settings import TrainSettings, output_weights
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

STAGE = "segmenter"


def class_patches(volumes: Sequence[TrainingVolume], settings: TrainSettings) -> SegmentationPatches:
    """Patches with the class of every voxel; `centred_fraction` of them around a particle, shifted at random."""
    return SegmentationPatches(
        volumes, size=settings.patch, centred_fraction=settings.centred_fraction, touching=settings.touching,
        augmentation=Augmentation.of(settings), binary=False,
    )  # fmt: skip


class TurnedAboutTiltAxis:
    """A sampler whose patches are turned by 180 degrees about y, the tilt axis, with a chance of one half."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.epoch = sampler, sampler.epoch

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One image and its labels [z, y, x]."""
        image, labels = self.sampler.draw(rng)
        if rng.random() < 0.5:
            image, labels = image[::-1, :, ::-1].copy(), labels[::-1, :, ::-1].copy()
        return image, labels


def class_loss(settings: TrainSettings, *, channels: int, dice_weight: float = 0.0) -> Loss:
    """The settings' loss over `channels` classes, plus `dice_weight` times the Dice loss of all classes.

    'dice' is averaged over all classes, background included; the others are means over voxels, weighted by
    `class_weights` or, background alone, by `background_weight`. Raises VoxpickError for another loss or other weights.
    """
    if settings.loss not in ("cross_entropy", "focal", "dice"):
        raise VoxpickError(f"loss is {settings.loss!r}; {settings.method} has cross_entropy, focal and dice")
    if settings.loss == "dice":
        require_unset(
            settings, ("class_weights",), reason="the Dice loss takes none; train with cross_entropy or focal"
        )
    alpha = torch.tensor(output_weights(settings, channels))

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        here = alpha.to(logits.device)
        if settings.loss == "dice":
            value = dice(logits, labels, include_background=True)
        elif settings.loss == "focal":
            value = weighted_focal(logits, labels, class_weights=here, gamma=settings.gamma)
        else:
            value = cross_entropy(logits, labels, class_weights=here)
        return value + dice_weight * dice(logits, labels, include_background=True) if dice_weight else value

    return loss


def require_entropy(settings: TrainSettings, cross_entropy_weight: float) -> None:
    """Raise VoxpickError for a gamma, and for weights of classes where no cross-entropy is added to take them."""
    require_unset(settings, ("gamma",), reason=f"{settings.method} has no focal loss")
    if not cross_entropy_weight:
        reason = f"{settings.loss} takes none; only the cross-entropy does that options.cross_entropy_weight adds"
        require_unset(settings, ("background_weight", "class_weights"), reason=reason)


def voxel_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """Mean over voxels, weighted by `class_weights` or, background alone, by `background_weight` (1: all alike)."""
    return cross_entropy(logits, labels, class_weights=output_weights(settings, logits.shape[1]))


def detect_classes(
    volume: Volume,
    models: dict[str, Model],
    *,
    changes: dict[str, Any] | None,
    defaults: dict[str, Any],
    **options: Any,
) -> Detection:
    """The picks of the part 'segmenter', by the method's `defaults`, the model's settings and then `changes`."""
    model = part_of(models, STAGE, title="detection")
    settings = make_detect_settings([model], changes, defaults=defaults)
    return detect_in_one_stage(volume, model, settings=settings, per_class=settings.per_class, **options)
