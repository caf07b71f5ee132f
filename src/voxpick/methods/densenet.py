"""3D-DenseNet: one class of each subtomogram, at the places that a localizer gives.

Gao et al., Dilated-DenseNet for macromolecule classification in cryo-electron tomography, Bioinformatics Research and
Applications (ISBRA 2020), LNCS 12304, 82-94: the network it compares with. methods/dilated_densenet.py has the paper's
own network; the two differ in the dilations only, and all else is here. networks/densenet.py says what is open about
the networks.

The paper classifies subtomograms of 32 voxels (1 nm each) with a macromolecule at the centre; it does not find them.
So there is one stage, 'classifier', and detection joins it with the localizer of another method. Class activation maps
(section 2.3): detect/activation.py, `voxpick cam`.
The preset 'paper' departs from section 3.2 or reads it as follows:
- classes: the paper's are the macromolecules (12 in SHREC'19). Here an output for the background comes first, as in all
  models of this package. The preset shows it no example (option background = 0), so training drives it to probability
  0;
- optimiser: Adam with PyTorch's other constants, rate 0.1 at batch 64. "Linear scaling learning rate" of [20] would
  give 0.1 at batch 256; 0.1 is stated without that, and taken as the rate that was used;
- warm-up: [20]'s five epochs of 30, linear;
- other "techniques mentioned in [20]" than these two are not named, and none is used;
- loss: not named; cross-entropy of the softmax of section 2.3;
- intensities: no normalisation is given; each tomogram to mean 0 and deviation 1, as everywhere in this package;
- amplitude spectra: a tomogram of another one than the mean of the training's is brought to it, in training and in
  detection (docs/decisions/0006); keep_spectrum and match_spectrum leave it;
- an epoch: as many subtomograms as there are particles, drawn at random; the paper may have meant each of them once;
- which weights are taken: those that validate best, where a tomogram is kept out;
- no augmentation and no shift off the centre, as none is mentioned; weights in float32, bfloat16 in the convolutions
  where the processor gains from it; one device instead of two.
The preset 'minutes' fits a time budget instead: batch 16, rate 0.003 with warm-up and cosine decay over the budget,
half turns, contrast and brightness, shifts of up to 2 voxels (what a localizer is off), classes equally often,
clipped gradients, and one subtomogram in 13 without a particle, so that the confidence of false picks is low.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from voxpick.detect.pipeline import Detection, detect_with_segmentation
from voxpick.detect.pipeline import make_settings as make_detect_settings
from voxpick.detect.settings import DetectSettings
from voxpick.errors import VoxpickError
from voxpick.methods.recipe import create_class_model, part_of, preset_settings, require_unset, require_voxel_size
from voxpick.networks.model import Model
from voxpick.train.augment import Augmentation
from voxpick.train.fit import Fitted, Loss, fit
from voxpick.train.settings import TrainSettings, output_weights
from voxpick.train.subtomograms import LabelledSubtomograms
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

NAME = "densenet"
TITLE = "3D-DenseNet: names the subtomograms that another method's localizer finds"
PAPER = "Gao et al., Bioinformatics Research and Applications (ISBRA 2020)"
STAGES: tuple[str, ...] = ("classifier",)
FINDS = False
DETECTION_SETTINGS = DetectSettings
NETWORK: dict[str, Any] = {"growth": 12, "blocks": 3, "dilations": [1, 1, 1, 1]}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "epochs": 30, "batch": 64, "learning_rate": 0.1, "schedule": "staircase", "decay_epoch": 10, "warmup": 5 / 30,
        "jitter": 0.0, "balanced": False, "turns": False, "intensity_scale": 0.0, "intensity_shift": 0.0,
        "gradient_clip": 0.0, "validate_minutes": 60.0, "options": {"background": 0.0},
    },
    "minutes": {
        "minutes": 60.0, "batch": 16, "learning_rate": 3e-3, "schedule": "cosine", "warmup": 0.05, "jitter": 2.0,
        "balanced": True, "gradient_clip": 1.0, "validate_minutes": 10.0, "options": {"background": 1 / 13},
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    "classifier": {
        "network_settings": {"growth": 4, "blocks": 2, "stem": 4},
        "patch": 16,
        "batch": 8,
        "learning_rate": 0.01,
    },
}


def training_settings(
    stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None, *,
    method: str = NAME, network_settings: dict[str, Any] = NETWORK,
) -> TrainSettings:  # fmt: skip
    """The settings of the 'classifier' by preset, with changes.

    A budget among the changes (minutes, steps or epochs) replaces the preset's. options: background, the share of
    subtomograms without a particle. Raises VoxpickError for unknown names and for settings of no use here.
    """
    if stage not in STAGES:
        raise VoxpickError(f"stage is {stage!r}; {method} has {STAGES[0]} alone, it names what others find")
    values = {
        "method": method, "network": "densenet", "network_settings": network_settings, "patch": 32,
        "loss": "cross_entropy",
    }  # fmt: skip
    settings = preset_settings(stage, values, PRESETS, preset, changes)
    require_unset(settings, ("gamma",), reason=f"{method} trains with cross_entropy, which takes none")
    require_unset(settings, ("touching",), reason="a subtomogram has one label, whatever its particle touches")
    _background(settings)
    return settings


def create_model(settings: TrainSettings, classes: Sequence[str], *, voxel_size: float) -> Model:
    """An untrained classifier, drawn from the seed. classes: of the particles, without background; voxel_size: A."""
    model = create_class_model(settings, classes, voxel_size=voxel_size)
    model.detection = {"subtomogram": settings.patch}
    return model


def make_loss(settings: TrainSettings, outputs: int) -> Loss:
    """Cross-entropy, the mean weighted by `class_weights` or, background alone, by `background_weight`.

    Raises VoxpickError for any other loss and for weights that do not fit.
    """
    if settings.loss != "cross_entropy":
        raise VoxpickError(f"loss is {settings.loss!r}; {settings.method} trains with cross_entropy")
    alpha = torch.tensor(output_weights(settings, outputs))

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits, labels, weight=alpha.to(logits.device))

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
    """Train the classifier in place on tomograms with truth. classes: names by number in the class masks, from 1 on.

    options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    """
    require_voxel_size(volumes, model)
    sampler = LabelledSubtomograms(
        volumes, classes=classes, size=settings.patch, jitter=settings.jitter, balanced=settings.balanced,
        background=_background(settings), augmentation=Augmentation.of(settings),
    )  # fmt: skip
    return fit(model.network, sampler, make_loss(settings, len(model.classes)), settings, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """The places of a 'localizer' of VP-Detector, named by the 'classifier'; picks, most confident first.

    changes: settings of `detect.pipeline.DetectSettings`. options: device and progress.
    Raises VoxpickError without either of the two.
    """
    classifier = part_of(models, "classifier", title=NAME)
    if "localizer" not in models:
        raise VoxpickError(
            "the model holds a classifier alone, which names particles and does not find them; give a localizer with "
            "it: voxpick detect --model vp-detector --classifier FILE"
        )
    localizer = models["localizer"]
    settings = make_detect_settings([classifier, localizer], changes)
    return detect_with_segmentation(volume, localizer, classifier, settings=settings, **options)


def _background(settings: TrainSettings) -> float:
    """The share of subtomograms without a particle, checked."""
    options = {"background": 0.0, **settings.options}
    if unknown := sorted(set(options) - {"background"}):
        raise VoxpickError(f"unknown option {unknown[0]!r} of {settings.method}; known is background")
    share = options["background"]
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise VoxpickError(f"options.background is {share!r}; it is a share from 0 to below 1")
    return float(share)
