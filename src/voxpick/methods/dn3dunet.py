"""Dn3DUnet: a 2-D network removes the noise slice by slice, then a 3D U-Net segments.

Nguyen, White and Bunyak in Gubins et al., SHREC 2020: classification in cryo-electron tomograms, Comput. Graph. 91
(2020), section 3.5; the networks: `networks.dncnn` (Zhang et al. 2017) and `networks.unet3d` (Cicek et al. 2016).

The preset 'paper': DnCNN with 20 layers on xy slices, Adam 2.5e-3; 3D U-Net with generalised Dice loss, 13 classes,
Adam 1e-3, patches of 104^3. What the paper leaves open:
- the "latent clean image": the slice of the grandmodel, the only noise-free volume of the benchmark, scaled to mean 0,
  deviation 1 and the contrast of the tomogram (`train.denoising`). A grandmodel has no missing wedge and no CTF, so the
  residual holds those too. Loss: mean squared error of the residual, as Zhang et al.;
- which 3D U-Net: Cicek's, as the section cites the 2-D one. 104 is a multiple of 8 and not of 16, which fits its three
  maxima. "Modified" is read as the loss, which is the change that is named;
- patches in training: 104^3 as in the test, anywhere in the denoised specimen, up to a quarter of a side beyond it
  (those beyond a face of the tomogram moved inside), one at a time; slices whole, four at a time; 50 epochs of the
  denoiser (Zhang et al.), 100 of the U-Net; rates stay as they are. The hours that the paper gives (2.8 and 12.4) do
  not tell the epochs;
- slices split 0.8 : 0.1 : 0.1 into training, validation and test: here whole tomograms are kept out instead, as slices
  of one tomogram share their particles;
- "retrained" is read as trained from random weights; slices and patches are of the specimens, as grandmodels have
  nothing else, and an epoch has as many as cover them once;
- generalised Dice: classes weighted by 1 / volume^2, as in [21] (Sudre et al. 2017) of "[21, 26]"; those that are not
  in the patch as the rarest that is;
- intensities: mean 0 and standard deviation 1 in the middle half of each side, of the denoised tomograms anew;
- amplitude spectra: a noisy tomogram of another one than the mean of the training's is brought to it, in training and
  in detection (docs/decisions/0006); keep_spectrum and match_spectrum leave it;
- which weights are taken: the denoiser's last; of the U-Net's, those that validate best;
- which connected components: by faces, of all voxels that are more likely a particle than not (or above the threshold
  that validation chose), the most common class each; centroids weighted with the probability; the least size: 30
  voxels, as the paper gives none; sections without specimen are left out;
- the order of picks is that of their confidence, which the paper does not have;
- test patches: the paper's of 104^3 do not overlap. PAPER_DETECTION takes tiles of at most so many voxels, in the shape
  that covers the specimen with the fewest, and none overlap; the default tiles have up to 176^3 voxels and overlap by
  32, less than the 51 voxels that the network sees to each side;
- bfloat16 where the processor gains from it. Denoised volumes are kept as float16.
The preset 'minutes' fits a time budget on a CPU: fewer filters, smaller patches, a rate that falls as a cosine, a
moving average of the weights, clipped gradients, half turns. Its U-Net adds the cross-entropy to generalised Dice,
whose gradient is dominated by the rarest class of a small batch and by background hardly at all; in the cross-entropy
all voxels weigh alike (background_weight and class_weights change it). Training starts at P(background) = 0.9 instead
of even odds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from voxpick.detect.memory import parse_memory
from voxpick.detect.one_stage import detect_in_one_stage
from voxpick.detect.pipeline import Detection
from voxpick.detect.prepare import Prepared, prepare
from voxpick.detect.remembered import Remembered, recalled
from voxpick.detect.settings import DetectSettings
from voxpick.detect.settings import make_settings as make_detect_settings
from voxpick.errors import VoxpickError
from voxpick.losses import generalised_dice
from voxpick.methods.denoised import denoise, denoised_volume
from voxpick.methods.recipe import (
    new_model,
    part_of,
    preset_settings,
    require_options,
    require_stage,
    require_unset,
    require_voxel_size,
)
from voxpick.methods.voxel_classes import require_entropy, voxel_cross_entropy
from voxpick.networks.model import Model
from voxpick.precision import choose_device
from voxpick.progress import Progress
from voxpick.train.augment import Augmentation
from voxpick.train.denoising import SlicePatches
from voxpick.train.fit import Fitted, Loss, fit
from voxpick.train.patches import SegmentationPatches
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

TITLE = "a 2-D denoiser, then a 3D U-Net"
PAPER = "Nguyen, White, Bunyak in Gubins et al., Comput. Graph. (2020)"
STAGES: tuple[str, ...] = ("denoiser", "segmenter")
LEARNS_FROM = {"segmenter": "denoiser"}
"""The stage whose output another one is trained on."""

OPTIONS: dict[str, dict[str, Any]] = {"denoiser": {}, "segmenter": {"cross_entropy_weight": 0.0}}
"""Of the settings' `options`, by stage: what is added to generalised Dice."""

SETTINGS: dict[str, dict[str, Any]] = {
    "denoiser": {"network": "dncnn", "loss": "squared_error"},
    "segmenter": {"network": "unet3d", "loss": "generalised_dice", "options": OPTIONS["segmenter"]},
}

_PAPER: dict[str, Any] = {
    "schedule": "step", "decay_epoch": 1_000_000, "turns": False, "intensity_scale": 0.0, "intensity_shift": 0.0,
    "centred_fraction": 0.0, "gradient_clip": 0.0, "validate_minutes": 60.0,
}  # fmt: skip
_MINUTES: dict[str, Any] = {
    "minutes": 60.0, "schedule": "cosine", "warmup": 0.03, "turns": True, "intensity_scale": 0.0,
    "intensity_shift": 0.0, "centred_fraction": 0.0, "gradient_clip": 1.0, "average_decay": 0.995,
    "validate_minutes": 10.0,
}  # fmt: skip

STAGE_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "denoiser": {
        "paper": {
            **_PAPER, "network_settings": {"depth": 20, "width": 64}, "patch": 512, "batch": 4, "epochs": 50,
            "learning_rate": 2.5e-3,
        },
        "minutes": {
            **_MINUTES, "network_settings": {"depth": 20, "width": 32}, "patch": 128, "batch": 8,
            "learning_rate": 2.5e-3,
        },
    },
    "segmenter": {
        "paper": {
            **_PAPER, "network_settings": {"width": 32}, "patch": 104, "batch": 1, "epochs": 100,
            "learning_rate": 1e-3,
        },
        "minutes": {
            **_MINUTES, "network_settings": {"width": 16, "background": 0.9}, "patch": 64, "batch": 2,
            "learning_rate": 2e-3, "options": {"cross_entropy_weight": 1.0},
        },
    },
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {"paper": _PAPER, "minutes": _MINUTES}
"""What both stages share; STAGE_PRESETS holds all of it."""

TINY: dict[str, dict[str, Any]] = {
    "denoiser": {"network_settings": {"depth": 4, "width": 8}, "patch": 20, "batch": 4, "learning_rate": 0.01},
    "segmenter": {"network_settings": {"width": 4, "levels": 2}, "patch": 16, "batch": 2, "learning_rate": 0.02},
}

DETECTION_SETTINGS = DetectSettings
DETECTION: dict[str, Any] = {"split": "components", "voting": "majority", "minimum_size": 30, "threshold": 0.5}
"""Settings of `detect` as in section 3.5, but for the tiles."""

PAPER_DETECTION: dict[str, Any] = {**DETECTION, "tile": 104, "halo": 0}
"""Settings of `detect` as in section 3.5."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of a stage ('denoiser' or 'segmenter') by preset, with changes.

    Raises VoxpickError for unknown names, for options that are out of range and for weights that nothing would take.
    """
    require_stage(stage, STAGES, title="Dn3DUnet")
    values = {"method": "dn3dunet", **SETTINGS[stage]}
    settings = preset_settings(stage, values, STAGE_PRESETS[stage], preset, changes)
    require_options(settings, OPTIONS[stage])
    if stage == "denoiser":
        require_unset(settings, ("touching",), reason="the denoiser learns no labels")
    require_entropy(settings, settings.options.get("cross_entropy_weight", 0.0))
    return settings


def create_model(settings: TrainSettings, classes: Sequence[str], *, voxel_size: float) -> Model:
    """An untrained stage, drawn from the seed. The denoiser has one output, which is no class.

    classes: of the particles, without background; voxel_size: A.
    """
    outputs = ["background"] if settings.stage == "denoiser" else ["background", *classes]
    return new_model(settings, outputs, voxel_size=voxel_size)


def squared_error(denoised: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the residual, which is that of the denoised slices (b, 1, z, y, x) from (b, z, y, x)."""
    return (denoised[:, 0] - clean).square().mean()


def denoising_loss(settings: TrainSettings) -> Loss:
    """The squared error. Raises VoxpickError for another loss."""
    if settings.loss != "squared_error":
        raise VoxpickError(f"loss is {settings.loss!r}; Dn3DUnet's denoiser has squared_error alone")
    return squared_error


def segmentation_loss(settings: TrainSettings) -> Loss:
    """Generalised Dice, plus the cross-entropy with the option's weight. Raises VoxpickError for another loss."""
    if settings.loss != "generalised_dice":
        raise VoxpickError(
            f"loss is {settings.loss!r}; Dn3DUnet has generalised_dice, to which options.cross_entropy_weight adds"
        )
    weight = {**OPTIONS["segmenter"], **settings.options}["cross_entropy_weight"]

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        total = generalised_dice(logits, labels)
        return total + weight * voxel_cross_entropy(logits, labels, settings) if weight else total

    return loss


def train(
    volumes: Sequence[TrainingVolume],
    model: Model,
    settings: TrainSettings,
    *,
    classes: Sequence[str],
    earlier: dict[str, Model] | None = None,
    **options: Any,
) -> Fitted:
    """Train one stage in place; the segmenter on volumes that `earlier`'s denoiser has denoised, once.

    classes: names by number in the class masks, from 1 on; they are those of the model. The denoiser needs volumes with
    noise-free density. The time that denoising takes is part of the segmenter's minutes, each time that it is done.
    options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    Raises VoxpickError for a segmenter without an earlier denoiser, for volumes of another voxel size, and for minutes
    that denoising took all of.
    """
    begun = time.monotonic()
    require_voxel_size(volumes, model)
    augmentation = Augmentation.of(settings)
    if settings.stage == "denoiser":
        slices = SlicePatches(volumes, size=settings.patch, augmentation=augmentation)
        return fit(model.network, slices, denoising_loss(settings), settings, **options)
    if "denoiser" not in (earlier or {}):
        raise VoxpickError("the segmenter is trained on denoised tomograms; train the stage 'denoiser' first")
    assert earlier is not None
    denoiser = earlier["denoiser"]
    require_voxel_size(volumes, denoiser)
    device = options.get("device") or torch.device("cpu")
    denoised = [denoised_volume(volume, denoiser, device=device) for volume in volumes]
    patches = SegmentationPatches(
        denoised, size=settings.patch, centred_fraction=settings.centred_fraction, touching=settings.touching,
        augmentation=augmentation, binary=False,
    )  # fmt: skip
    return fit(model.network, patches, segmentation_loss(settings), settings, begun=begun, **options)


def detect(
    volume: Volume,
    models: dict[str, Model],
    *,
    changes: dict[str, Any] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    remembered: Remembered | None = None,
) -> Detection:
    """Both stages on a tomogram: scored, named picks, most confident first.

    changes: settings of `detect.settings.DetectSettings`; DETECTION are the defaults. Besides the sections to look at,
    the middle ones are denoised, by which the segmenter's input is normalised. remembered: of earlier detections at
    other thresholds.
    """
    denoiser, segmenter = (part_of(models, stage, title="Dn3DUnet") for stage in STAGES)
    settings = make_detect_settings([denoiser, segmenter], changes, defaults=DETECTION)

    def look() -> tuple[Prepared, np.ndarray]:
        ready = prepare(volume, denoiser.voxel_size, settings, spectrum=denoiser.spectrum, whole=True, device=device)
        nz = ready.grid.shape[0]
        wanted = slice(min(ready.sections.start, nz // 4), max(ready.sections.stop, nz - nz // 4))
        return ready, denoise(
            ready.grid.data, denoiser, mean=ready.mean, deviation=ready.deviation, sections=wanted,
            device=choose_device(device), max_memory=parse_memory(settings.max_memory), progress=progress,
        )  # fmt: skip

    ready, clean = recalled(remembered, "denoised", look)
    changed = {"slab": f"{ready.sections.start}:{ready.sections.stop}", "invert": False, "match_spectrum": "off"}
    found = detect_in_one_stage(
        ready.grid.with_data(clean), segmenter, settings=settings.model_copy(update=changed),
        per_class=settings.per_class, device=device, progress=progress, remembered=remembered,
    )  # fmt: skip
    level = ready.slab.holds(found.particles.centers_zyx[:, 0] / volume.voxel_size)
    return replace(
        found, volume=volume, slab=ready.slab, settings=settings.model_dump(), particles=found.particles[level]
    )
