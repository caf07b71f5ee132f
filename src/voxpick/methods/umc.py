"""UMC: a U-net Multi-task Cascade that denoises first and segments second, in one network.

Gubins, Veltkamp and Forster in Gubins et al., SHREC 2020: classification in cryo-electron tomograms, Comput. Graph. 91
(2020), section 3.6; the network and how its layout was inferred: `networks.umc`.

The preset 'paper': 64^3 patches, batch 24, Adam 1e-3, 25 epochs, mean squared error of the denoising decoder against
the grandmodel and Tversky loss with alpha 0.7 and beta 0.3 of the segmenting one. What the paper leaves open:
- alpha and beta: as in the paper's reference for them (Salehi et al. 2017), alpha 0.7 weighs false positives and beta
  0.3 false negatives. Other programs have it the other way round, and Salehi et al. found more weight on false
  negatives better; the options alpha and beta change it.
- classes that Tversky's index is averaged over: all 13, background included; sums over the batch.
- how the two losses are added: with equal weights (option denoising_weight is the first one's); the grandmodel is
  brought to mean 0, deviation 1 and the tomogram's contrast for that (`train.denoising`), and voxels beyond it do not
  count.
- 75 % overlap: patches lie on a grid of 16 voxels over the specimen (8,410 of 200 x 512 x 512 voxels; a whole tomogram
  of 512^3 has 24,389), the last along each side moved back to its end. An epoch has as many, drawn at random; the paper
  may have shown each once. By the option grid = false, as in 'minutes', they lie anywhere, up to 16 voxels beyond the
  specimen, where the label is background.
- random horizontal flips: y and x are mirrored, each with a chance of one half. One mirror alone changes the handedness
  of particles, which no real particle of the other hand matches; the paper's flips are what it did.
- intensities: mean 0 and standard deviation 1 in the middle half of each side of a tomogram.
- amplitude spectra: a tomogram of another one than the mean of the training's is brought to it, in training and in
  detection (docs/decisions/0006); keep_spectrum and match_spectrum leave it.
- which weights are taken: those that validate best, where a tomogram is kept out (the paper's last training had none).
- bfloat16 where the processor gains from it.
Detection: connected components, by faces, of all voxels that are more likely a particle than not (P(background) < 0.5,
or what validation chose; the class with the highest probability is nearly the same), those below 10 voxels or with a
centroid less than 5 voxels from another's dropped, the most common class. Of two that are too close the one with the
better score stays; PAPER_DETECTION drops both, as the section has it ("filtered out components that [...] have
centroids less than 5 voxels away from another connected component"), those below 10 voxels first. Centroids are
weighted with the probability, sections without specimen are left out, and picks are listed by their confidence, which
the paper does not have. Tiles have up to 176^3 voxels and overlap by 32; the network sees 123 to each side.
The preset 'minutes' fits a time budget: batch normalisation, small batches, a rate of 2e-3 that falls as a cosine, a
moving average of the weights, clipped gradients, and half turns instead of mirrors. Its loss adds the cross-entropy to
Tversky's, as a class that is absent from a small batch teaches the latter nothing; all voxels weigh alike there, so
that background counts by its volume (background_weight and class_weights change it; Tversky's index has no such
weights). Training starts at P(background) = 0.9 instead of even odds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from voxpick.detect.pipeline import Detection
from voxpick.detect.settings import DetectSettings
from voxpick.errors import VoxpickError
from voxpick.losses import IGNORE, tversky
from voxpick.methods.recipe import create_class_model as create_model
from voxpick.methods.recipe import preset_settings, require_options, require_stage, require_voxel_size
from voxpick.methods.voxel_classes import detect_classes, require_entropy, voxel_cross_entropy
from voxpick.networks.model import Model
from voxpick.train.augment import Augmentation
from voxpick.train.denoising import SpecimenPatches
from voxpick.train.fit import Fitted, fit
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

__all__ = [
    "DETECTION", "DETECTION_SETTINGS", "PAPER", "PAPER_DETECTION", "PRESETS", "STAGES", "TINY", "TITLE",
    "create_model", "detect", "train", "training_settings",
]  # fmt: skip

TITLE = "U-Net with two decoders: one denoises, one segments"
PAPER = "Gubins, Veltkamp, Förster in Gubins et al., Comput. Graph. (2020)"
STAGES: tuple[str, ...] = ("segmenter",)

OPTIONS: dict[str, Any] = {
    "alpha": 0.7, "beta": 0.3, "denoising_weight": 1.0, "cross_entropy_weight": 0.0, "overlap": 0.75, "flips": True,
}  # fmt: skip
"""Of the settings' `options`: weights of false positives and negatives and of the losses' parts; patches."""

KNOWN: dict[str, Any] = {**OPTIONS, "grid": False}
"""All that `options` may hold; those of runs that were begun before there was a grid lack it."""

SETTINGS: dict[str, Any] = {
    "method": "umc", "network": "umc", "loss": "tversky", "patch": 64, "options": OPTIONS, "intensity_scale": 0.0,
    "intensity_shift": 0.0,
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "network_settings": {"filters": [16, 32, 64, 128, 256], "batch_norm": False}, "batch": 24, "epochs": 25,
        "learning_rate": 1e-3, "schedule": "step", "decay_epoch": 1_000_000, "turns": False, "gradient_clip": 0.0,
        "validate_minutes": 60.0, "options": {**OPTIONS, "grid": True},
    },
    "minutes": {
        "network_settings": {"filters": [16, 32, 64, 128, 256], "batch_norm": True, "background": 0.9}, "batch": 2,
        "minutes": 60.0, "learning_rate": 2e-3, "schedule": "cosine", "warmup": 0.03, "turns": True,
        "gradient_clip": 1.0, "average_decay": 0.995, "validate_minutes": 10.0,
        "options": {**OPTIONS, "cross_entropy_weight": 1.0, "flips": False},
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    "segmenter": {"network_settings": {"filters": [4, 8]}, "patch": 16, "batch": 2, "learning_rate": 0.02}
}

DETECTION_SETTINGS = DetectSettings
DETECTION: dict[str, Any] = {
    "split": "components", "voting": "majority", "minimum_size": 10, "minimum_distance": 50.0, "threshold": 0.5,
}  # fmt: skip
"""Settings of `detect` as in section 3.6, on voxels of 10 A, but that of two that are too close one stays."""

PAPER_DETECTION: dict[str, Any] = {**DETECTION, "too_close": "none"}
"""Settings of `detect` as in section 3.6."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of the one stage, 'segmenter', by preset, with changes.

    Raises VoxpickError for unknown names, for options that are out of range and for weights that nothing would take.
    """
    require_stage(stage, STAGES, title="UMC")
    settings = preset_settings(stage, SETTINGS, PRESETS, preset, changes)
    require_options(settings, KNOWN)
    options = {**OPTIONS, **settings.options}
    if options["overlap"] >= 1:
        raise VoxpickError(f"umc: options.overlap is {options['overlap']:g}; it is a share of a patch's side, below 1")
    if options["alpha"] + options["beta"] == 0:
        raise VoxpickError("umc: options.alpha and options.beta are both 0; then no error counts in Tversky's index")
    require_entropy(settings, options["cross_entropy_weight"])
    return settings


def make_loss(settings: TrainSettings) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """loss((specimen (b, 1, z, y, x), logits), targets (b, 2, z, y, x)), the targets as `SpecimenPatches` draws them.

    Voxels with the label IGNORE, or without a density, are left out of their part.
    Raises VoxpickError for another loss.
    """
    if settings.loss != "tversky":
        raise VoxpickError(f"loss is {settings.loss!r}; UMC has tversky, to which options.cross_entropy_weight adds")
    options = {**OPTIONS, **settings.options}

    def loss(output: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        specimen, logits = output
        labels, density = targets[:, 0].long(), targets[:, 1]
        known = torch.isfinite(density) & (labels != IGNORE)
        error = torch.where(known, specimen[:, 0] - density.nan_to_num(), 0.0)
        total = options["denoising_weight"] * error.square().sum() / known.sum().clamp_min(1)
        total = total + tversky(logits, labels, alpha=options["alpha"], beta=options["beta"], include_background=True)
        if options["cross_entropy_weight"]:
            total = total + options["cross_entropy_weight"] * voxel_cross_entropy(logits, labels, settings)
        return total

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
    """Train the network in place on tomograms with truth and noise-free density.

    classes: names by number in the class masks, from 1 on; they are those of the model. There is no earlier stage.
    options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    """
    require_voxel_size(volumes, model)
    known = {**KNOWN, **settings.options}
    sampler = SpecimenPatches(
        volumes, size=settings.patch, overlap=known["overlap"], flips=known["flips"], touching=settings.touching,
        augmentation=Augmentation.of(settings), grid=known["grid"],
    )  # fmt: skip
    return fit(model.network, sampler, make_loss(settings), settings, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Scored, named picks, most confident first.

    changes: settings of `detect.settings.DetectSettings`, such as PAPER_DETECTION; DETECTION are the defaults.
    options: device and progress.
    """
    return detect_classes(volume, models, changes=changes, defaults=DETECTION, **options)
