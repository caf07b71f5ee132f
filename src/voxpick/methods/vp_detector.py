"""VP-Detector: two MSDNets, one that finds particles and one that names them.

Hao et al., VP-Detector: a 3D multi-scale dense convolutional neural network for macromolecule localization and
classification in cryo-electron tomograms, Comput. Methods Programs Biomed. 221 (2022). Sections, equations and tables
are numbered here as in its manuscript, '... for automated macromolecule localization ...'; 2.1, 2.3, 2.4 and 3.2 for
what is below. The network, and what is open about it: `networks.msdnet`.

The preset 'paper' departs from it only where it says nothing or contradicts itself (one dilation a layer:
`networks.msdnet`):
- intensities: mean 0 and standard deviation 1 in the middle half of each side of a tomogram;
- amplitude spectra: a tomogram of another one than the mean of the training's is brought to it, in training and in
  detection (docs/decisions/0006); keep_spectrum and match_spectrum leave it;
- "decreased by ten times after 80 epochs" is read as once; the weights that validate best are kept: every 60 minutes,
  the localizer by its default detection (watershed) on the middle of the tomogram kept out, at the best of some
  thresholds, which detection then uses; the classifier by the names of 15 particles a class at their true centres;
  the loss on these is logged with either, as in Fig. 5;
- "cubic volumes cropped from the input tomogram": anywhere in the specimen, up to a quarter of a side beyond it, those
  beyond a face of the tomogram moved inside;
- patch sides (64 for the localizer, 32 for the classifier), batch sizes (1 and 8), Adam's other constants (PyTorch's),
  bfloat16 where the processor gains from it;
- an epoch: as many random patches as cover the specimens once; for the classifier as many subtomograms as there
  are particles, drawn at random, each with its particle at the centre;
- alpha_c: the reciprocal of the effective radius 3V/A of Table 4, scaled to mean 1 over the particle classes;
  background weighs 1, as does the localizer's one particle class. In data with any class that is not in Table 4, all
  classes get the radius of a ball of their mean volume, those without particles the mean radius; with loss =
  cross_entropy alpha is 1 (2.4), but for background_weight;
- the localizer's loss is not given: the same as the classifier's; gamma: 2, as in Lin et al. (2017);
- no augmentation, as the paper mentions none for VP-Detector.
PAPER_DETECTION are the steps of section 2.1. What the paper leaves open, or we do otherwise:
- no value is given for the probability threshold (here 0.5, or what validation chose), the opening (one 3-D cross),
  the tiles (at most 176^3 voxels, overlapping by 32, merged by the larger probability), the bandwidth (60 A), the
  smallest cluster (30 voxels, or what the model brings; smaller components go before the clustering) and the
  subtomogram's side (32, or the classifier's patch);
- sections without specimen are left out (slab = off takes all);
- "incomplete particles connected to the image boundary" are those at the faces between tiles; the tomogram's own faces
  drop none;
- components are of voxels that share a face;
- mean-shift: a flat kernel over all foreground voxels alike; a voxel belongs to the nearest mode, which is the centre;
  components' centroids, the seeds, are weighted with the probability;
- with one seed a component, as the paper has it, mean-shift may merge particles and splits none that touch; seeds =
  bins, the default of `detect` without --paper, adds seeds of ours (docs/decisions/0003);
- a component with nothing within a bandwidth of its centroid, such as a ring, begins at its voxel nearest to it;
- a component longer than the tiles' overlap would be incomplete in every tile; it is kept as the cropped tiles have it;
- "extract them from the segmentation maps" (2.1.2) is read as subtomograms of the tomogram, which the second network
  then segments;
- a voxel votes where 1 - P(background) is above 0.5, in the component nearest to the centre (at most 3 voxels off), and
  no farther off than 1.5 times the radius of stage 1's cluster plus 2 voxels; without such voxels those within 3 do.
  Its label is its most probable particle class;
- confidence, and with it the order of picks: that of the place times that of the name, of which the paper has none.
The preset 'minutes' fits a time budget instead: a higher rate with warm-up and cosine decay over the budget, a moving
average of the weights, clipped gradients, half of the localizer's patches around a particle, the classifier's drawn
from all classes equally often and up to 2 voxels off centre, half turns, changes of contrast and brightness, gamma 1,
less weight on background, subtomograms of 20 voxels a side, three of which cost what one of 32 does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from voxpick.detect.pipeline import Detection, detect_with_segmentation
from voxpick.detect.pipeline import make_settings as make_detect_settings
from voxpick.detect.settings import DetectSettings
from voxpick.errors import VoxpickError
from voxpick.losses import cross_entropy, effective_radius_weights, weighted_focal
from voxpick.methods.recipe import (
    new_model,
    part_of,
    preset_settings,
    require_options,
    require_stage,
    require_voxel_size,
)
from voxpick.networks.model import Model
from voxpick.shrec_classes import SHREC20_TABLE1
from voxpick.train.fit import Fitted, Loss, fit
from voxpick.train.patches import make_sampler
from voxpick.train.settings import TrainSettings, output_weights
from voxpick.train.targets import TrainingVolume, equivalent_radii
from voxpick.volume import Volume

TITLE = "two 3D MSDNets: one finds particles, one names them"
PAPER = "Hao et al., Comput. Methods Programs Biomed. (2022)"
STAGES: tuple[str, ...] = ("localizer", "classifier")

LOCALIZER: dict[str, Any] = {"depth": 49, "width": 2, "dilations": [1, 2, 3, 4, 5, 6, 7]}
CLASSIFIER: dict[str, Any] = {"depth": 100, "width": 2, "dilations": [1, 2, 3, 4, 5]}
NETWORK = {"localizer": LOCALIZER, "classifier": CLASSIFIER}
PATCH = {
    "paper": {"localizer": {"patch": 64, "batch": 1}, "classifier": {"patch": 32, "batch": 8}},
    "minutes": {"localizer": {"patch": 64, "batch": 1}, "classifier": {"patch": 20, "batch": 8}},
}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "epochs": 500, "learning_rate": 1e-3, "schedule": "step", "decay_epoch": 80, "loss": "focal", "gamma": 2.0,
        "centred_fraction": 0.0, "balanced": False, "gradient_clip": 0.0, "average_decay": 0.0,
        "turns": False, "intensity_scale": 0.0, "intensity_shift": 0.0, "jitter": 0.0, "validate_minutes": 60.0,
    },
    "minutes": {
        "minutes": 60.0, "learning_rate": 3e-3, "schedule": "cosine", "warmup": 0.03, "loss": "focal", "gamma": 1.0,
        "centred_fraction": 0.5, "balanced": True, "background_weight": 0.3, "gradient_clip": 1.0,
        "average_decay": 0.995, "validate_minutes": 10.0,
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    "localizer": {"network_settings": {"depth": 6}, "patch": 16, "batch": 2},
    "classifier": {"network_settings": {"depth": 6}, "patch": 12, "batch": 8},
}
"""By stage: changes to the preset 'minutes' that train within seconds, for tests."""

DETECTION_SETTINGS = DetectSettings
DETECTION: dict[str, Any] = {"halo": 8}
"""Settings of `detect`: what lies further off hardly counts for these networks (docs/speed.md, what the halo costs)."""

PAPER_DETECTION: dict[str, Any] = {
    "merge": "border", "halo": 16, "opening": 1, "split": "mean-shift", "seeds": "centroids", "voting": "majority"
}  # fmt: skip
"""Settings of `detect` as in section 2.1; the defaults split by watershed and vote by probability."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of a stage ('localizer' or 'classifier') by preset, with changes.

    A budget among the changes (minutes, steps or epochs) replaces the preset's. Raises VoxpickError for unknown names.
    """
    require_stage(stage, STAGES, title="VP-Detector")
    values = {"method": "vp-detector", "network_settings": NETWORK[stage], **PATCH.get(preset, {}).get(stage, {})}
    settings = preset_settings(stage, values, PRESETS, preset, changes)
    require_options(settings, {})
    return settings


def create_model(settings: TrainSettings, classes: Sequence[str], *, voxel_size: float) -> Model:
    """An untrained stage, drawn from the seed. classes: of the particles, without background; voxel_size: A."""
    outputs = ["background", *classes] if settings.stage == "classifier" else ["background", "particle"]
    return new_model(settings, outputs, voxel_size=voxel_size)


def effective_radii_nm(volumes: Sequence[TrainingVolume], classes: Sequence[str]) -> list[float]:
    """3V/A of each class in nm: Table 4, or that of a ball of the mean volume in the masks for other classes.

    A class without particles, as a stream of specimens may have for a while, gets the mean of the others. Raises
    VoxpickError where none has any.
    """
    if all(name in SHREC20_TABLE1 for name in classes):
        return [SHREC20_TABLE1[name].effective_radius_nm for name in classes]
    radii = equivalent_radii(volumes, classes) / 10
    known = np.isfinite(radii)
    if not known.any():
        raise VoxpickError(f"the training data hold no particle of the classes {', '.join(classes)}")
    return [float(radius) for radius in np.where(known, radii, radii[known].mean())]


def class_weights(settings: TrainSettings, volumes: Sequence[TrainingVolume], classes: Sequence[str]) -> torch.Tensor:
    """alpha of every output channel, background first: as set, or for the focal loss from radii (section 2.4)."""
    channels = len(classes) + 1 if settings.stage == "classifier" else 2
    if settings.class_weights is not None or settings.stage == "localizer" or settings.loss == "cross_entropy":
        return torch.tensor(output_weights(settings, channels))
    return effective_radius_weights(effective_radii_nm(volumes, classes), background=settings.background_weight)


def make_loss(settings: TrainSettings, weights: torch.Tensor) -> Loss:
    """The weighted focal loss of section 2.4, or plain weighted cross-entropy. Raises VoxpickError for another.

    weights: alpha of every output channel, background first.
    """
    if settings.loss not in ("focal", "cross_entropy"):
        raise VoxpickError(f"loss is {settings.loss!r}; VP-Detector has focal and cross_entropy")

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        alpha = weights.to(logits.device)
        if settings.loss == "cross_entropy":
            return cross_entropy(logits, labels, class_weights=alpha)
        return weighted_focal(logits, labels, class_weights=alpha, gamma=settings.gamma)

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
    """Train one stage in place on tomograms with truth. classes: names by number in the class masks, from 1 on.

    The stages do not need each other: `earlier` ones are not looked at.
    options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    """
    require_voxel_size(volumes, model)
    loss = make_loss(settings, class_weights(settings, volumes, classes))
    return fit(model.network, make_sampler(volumes, settings), loss, settings, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Both stages on a tomogram (stage 1 alone without a 'classifier' among the models): scored, named picks.

    changes: settings of `detect.pipeline.DetectSettings`, such as PAPER_DETECTION; DETECTION are the defaults.
    options: device and progress.
    """
    localizer, classifier = part_of(models, "localizer", title="detection"), models.get("classifier")
    settings = make_detect_settings([classifier, localizer], changes, defaults=DETECTION)
    return detect_with_segmentation(volume, localizer, classifier, settings=settings, **options)
