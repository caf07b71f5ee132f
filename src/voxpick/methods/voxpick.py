"""voxpick, our own method: one network that marks centres and names them, of the kind that won after 2021.

No paper; what it takes from where (docs/decisions/0004 says why):
- a heat map of centres and offsets below one voxel, named by the class scores at the peak: Zhou et al. (2019), Objects
  as Points, with their focal loss; U-Nets with heat maps of centres did well in the CZII challenge of 2024-25, such as
  Uchida and Fukui (2025), 2.5D U-Net with Depth Reduction, arXiv:2502.13484;
- a denoising task that only training sees: UMC in Gubins et al. (2020), SHREC 2020, section 3.6;
- class segmentation by cross-entropy and Tversky loss beside it, which only training sees either: its gradient reaches
  every voxel of a particle, that of the names only its middle;
- names are learned at the true centres, with cross-entropy over the classes of particles alone, so that the rare
  background of a box and the imbalance of voxels do not enter; that is what made the ResNet of SHREC'20 name well here;
- half turns that keep the wedge, a moving average of the weights, a rate that rises and then falls as a cosine.
The network: networks/picknet.py; the detector: detect/centre_peaks.py. 'paper' is the full-scale training; 'minutes'
fits a time budget on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from voxpick.detect.centre_peaks import detect_centres
from voxpick.detect.pipeline import Detection
from voxpick.detect.scan_settings import CentreSettings, make_scan_settings
from voxpick.errors import VoxpickError
from voxpick.losses import IGNORE, cross_entropy, tversky
from voxpick.methods.recipe import create_class_model as create_model
from voxpick.methods.recipe import (
    part_of,
    preset_settings,
    require_options,
    require_stage,
    require_unset,
    require_voxel_size,
)
from voxpick.networks.model import Model
from voxpick.networks.picknet import CENTRE_CHANNELS
from voxpick.train.centre_targets import CentrePatches
from voxpick.train.fit import Fitted, fit
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

__all__ = [
    "DETECTION_SETTINGS", "PAPER", "PRESETS", "SEGMENTS", "STAGES", "TINY", "TITLE", "VALIDATION_THRESHOLDS",
    "create_model", "detect", "train", "training_settings",
]  # fmt: skip

TITLE = "our own: centres and classes by a residual U-Net at half resolution"
PAPER = "voxpick; no paper"
STAGES: tuple[str, ...] = ("picker",)

OPTIONS: dict[str, Any] = {
    "spread": 2.0, "reach": 3.0, "class_weight": 1.5, "coarse_weight": 0.0, "offset_weight": 0.2,
    "segmentation_weight": 0.5, "denoising_weight": 0.5, "voxel_background": 0.2,
}  # fmt: skip
"""Of the settings' `options`: widths in voxels of a centre's peak and of where it is named, weights of the losses.

coarse_weight is that of names by the coarser grids alone (deep supervision).
"""

SETTINGS: dict[str, Any] = {
    "method": "voxpick", "network": "picknet", "loss": "focal", "patch": 64, "options": OPTIONS,
    "centred_fraction": 0.0, "turns": True, "intensity_scale": 0.1, "intensity_shift": 0.05, "schedule": "cosine",
    "warmup": 0.03, "gradient_clip": 5.0,
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "network_settings": {"widths": [64, 96, 128], "blocks": [2, 3, 2]}, "batch": 16, "epochs": 200,
        "learning_rate": 2e-3, "average_decay": 0.999, "validate_minutes": 20.0,
    },
    "minutes": {
        "network_settings": {"widths": [32, 64, 128], "blocks": [2, 3, 2]}, "batch": 2, "minutes": 60.0,
        "learning_rate": 2e-3, "average_decay": 0.998, "validate_minutes": 10.0,
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    "picker": {
        "network_settings": {"stem": 4, "widths": [8, 12], "blocks": [1, 1]}, "patch": 16, "batch": 2,
        "learning_rate": 0.01, "settle_batches": 2,
    }
}  # fmt: skip

UNUSED = ("gamma", "background_weight", "class_weights")
"""Settings that other methods' losses take; here it is the options that weigh."""

SEGMENTS = False
DETECTION_SETTINGS = CentreSettings

VALIDATION_THRESHOLDS = (0.25, 0.3, 0.35, 0.4)
"""Heights of peaks that are tried on the validation tomogram; focal loss keeps peaks low."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """Settings of the one stage, 'picker', by preset, with changes. Raises VoxpickError for names unknown or UNUSED."""
    require_stage(stage, STAGES, title="voxpick")
    settings = preset_settings(stage, SETTINGS, PRESETS, preset, changes)
    require_options(settings, OPTIONS)
    options = {**OPTIONS, **settings.options}
    for name in ("spread", "reach"):
        if not options[name]:
            raise VoxpickError(f"voxpick: options.{name} is 0; it is a width in voxels, as {OPTIONS[name]} is")
    require_unset(settings, UNUSED, reason=f"voxpick's loss takes none; its options are {', '.join(OPTIONS)}")
    return settings


def make_loss(settings: TrainSettings, channels: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """loss(output of the network in training mode, targets (b, 7, z, y, x) of `CentrePatches`).

    channels: classes with background. Raises VoxpickError for another loss than 'focal'.
    """
    if settings.loss != "focal":
        raise VoxpickError(f"loss is {settings.loss!r}; voxpick has focal, to which options add")
    options = {**OPTIONS, **settings.options}
    last = CENTRE_CHANNELS + channels - 1
    density = last + channels
    voxel_weights = [options["voxel_background"]] + [1.0] * (channels - 1)

    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        names, offsets = targets[:, 1].long(), targets[:, 2:5]
        near = names > 0
        total = centre_focal(output[:, 0], targets[:, 0])
        if bool(near.any()):
            at_centres = output[:, CENTRE_CHANNELS:last].movedim(1, -1)[near]
            total = total + options["class_weight"] * F.cross_entropy(at_centres, names[near] - 1)
            if options["coarse_weight"] and output.shape[1] > density + 1:
                coarse = output[:, density + 1 :].movedim(1, -1)[near]
                total = total + options["coarse_weight"] * F.cross_entropy(coarse, names[near] - 1)
            found, wanted = output[:, 1:4].movedim(1, -1)[near], offsets.movedim(1, -1)[near]
            total = total + options["offset_weight"] * F.smooth_l1_loss(found, wanted)
        if options["segmentation_weight"]:
            labels, logits = targets[:, 5].long(), output[:, last : last + channels]
            voxels = cross_entropy(logits, labels, class_weights=voxel_weights)
            voxels = voxels + tversky(logits, labels, alpha=0.5, beta=0.5)
            total = total + options["segmentation_weight"] * voxels
        if options["denoising_weight"]:
            known = torch.isfinite(targets[:, 6]) & (targets[:, 5] != IGNORE)
            error = torch.where(known, output[:, density] - targets[:, 6].nan_to_num(), 0.0)
            total = total + options["denoising_weight"] * error.square().sum() / known.sum().clamp_min(1)
        return total

    return loss


def centre_focal(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """Focal loss of a heat map (Zhou et al. 2019, eq. 1; alpha 2, beta 4), a sum divided by the number of centres.

    Both (b, z, y, x). Centres are where `heat` is 1; voxels where it is NaN are left out.
    """
    known = torch.isfinite(heat)
    heat = heat.nan_to_num()
    p = torch.sigmoid(logits)
    centre = known & (heat >= 1)
    hit = torch.where(centre, (1 - p).square() * F.softplus(-logits), 0.0).sum()
    miss = torch.where(known & ~centre, (1 - heat).pow(4) * p.square() * F.softplus(logits), 0.0).sum()
    return (hit + miss) / centre.sum().clamp_min(1)


def train(
    volumes: Sequence[TrainingVolume],
    model: Model,
    settings: TrainSettings,
    *,
    classes: Sequence[str],
    earlier: dict[str, Model] | None = None,
    **options: Any,
) -> Fitted:
    """Train the network in place on tomograms with truth; noise-free density is used where there is one.

    classes: names by number in the class masks, from 1 on; they are those of the model. There is no earlier stage.
    options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    """
    require_voxel_size(volumes, model)
    known = {**OPTIONS, **settings.options}
    sampler = CentrePatches(volumes, classes, settings, spread=known["spread"], reach=known["reach"])
    return fit(model.network, sampler, make_loss(settings, len(model.classes)), settings, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Scored, named picks, most confident first.

    changes: settings of `detect.scan_settings.CentreSettings`. options: device and progress.
    """
    model = part_of(models, STAGES[0], title="detection")
    return detect_centres(volume, model, settings=make_scan_settings(CentreSettings, model, changes), **options)
