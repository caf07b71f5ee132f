"""DeepFinder: a 3-D U-Net names every voxel, and mean-shift makes particles of them.

Moebel et al., 3D ConvNet improves macromolecule localization in 3D cellular cryo-electron tomograms (2018), sections
2.1 and 2.2; Gubins et al., SHREC 2020: classification in cryo-electron tomograms, Comput. Graph. 91 (2020), section
3.2. The network and what its papers leave open: `networks.unet`.

Presets 'paper' (2018: cross-entropy, 6000 iterations) and 'shrec20' (Dice loss): patches of 56^3 around particles,
half turns about the tilt axis, Adam with a rate of 1e-4. What the papers leave open:
- patches, turns and numbers of filters in 2020: as in 2018;
- batch size: 25, of which the text says nothing;
- how a patch lies around a particle: its centre is anywhere within the middle half of each side, or nearer to the
  patch's face where the patch would leave the tomogram;
- "applying a 180 degree rotation to each training example": turned or not, with a chance of one half each;
- iterations in 2020: 25,000, as it trained for 50 h, and 6000 took 12 h in 2018 (on another GPU);
- "a Dice loss [21]" (2020): that reference, Sudre et al. (2017), proposes the generalised one, whose classes are
  weighted by 1 / volume^2 (`losses.generalised_dice`). Read as the plain one, the mean of the classes' own losses: the
  section says Dice and not generalised Dice, as 3.5 does, and the authors' program, which it names, adds up the
  classes' plain losses (deepfinder/losses.py, Tversky's with alpha = beta = 1/2, background included);
- which classes it is averaged over: all, background included, as there; sums over the batch, so that a class which is
  not in the batch counts as missed by whatever probability it is given;
- "adapted for large datasets with unbalanced classes": nothing is said of how, so nothing is done;
- targets: the simulated class masks; section 2.2's pasted averages are for data without them;
- intensities: mean 0 and standard deviation 1 in the middle half of each side of a tomogram;
- amplitude spectra: a tomogram of another one than the mean of the training's is brought to it, in training and in
  detection (docs/decisions/0006); keep_spectrum and match_spectrum leave it;
- which weights are taken: those that validate best, every 60 minutes, by the default detection (watershed) on the
  middle of the tomogram kept out, at the best of some thresholds;
- tiles in detection: up to 176^3 voxels that overlap by 48, 24 of the 31 that the network sees to each side;
- bfloat16 where the processor gains from it.
PAPER_DETECTION is 2020's, made for models of preset 'shrec20': mean-shift among the voxels of each class, which thus
names the cluster; small ones are dropped. 2018's (mean-shift over all labels, the most frequent label wins) is
per_class=False. A voxel is foreground where 1 - P(background) is above 0.5 (by default what validation chose), nearly
the same as a most probable class that is not the background. Bandwidth and least cluster are not given (60 A and 30
voxels here; smaller components go before the clustering), nor where mean-shift begins: here at the components'
centroids (by faces, weighted with the probability) and, as one seed cannot split touching particles, at the well-filled
bins of components larger than the kernel; at a voxel of each cube of a component with nothing within a bandwidth of its
centroid. A cluster is the voxels nearest to a mode, its centre the plain mean of them, as in 2018 ("uniformly averaging
the coordinates of cluster voxels"). Sections without specimen are left out, as in 2020. The order of picks is that of
their confidence, which neither paper has. The defaults split by watershed in all foreground, with centroids weighted by
probability, and vote by probability.
The preset 'minutes' fits a time budget: batch normalisation, small batches, a higher rate that falls as a cosine,
clipped gradients, a moving average of the weights, all three half turns, changes of contrast and brightness,
cross-entropy with less weight on background plus the Dice loss. Training starts at P(background) = 0.9 instead of even
odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxpick.detect.pipeline import Detection
from voxpick.detect.settings import DetectSettings
from voxpick.methods.recipe import create_class_model as create_model
from voxpick.methods.recipe import preset_settings, require_options, require_stage, require_voxel_size
from voxpick.methods.voxel_classes import STAGE, TurnedAboutTiltAxis, class_loss, class_patches, detect_classes
from voxpick.networks.model import Model
from voxpick.train.fit import Fitted, fit
from voxpick.train.patches import Sampler
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

__all__ = [
    "DETECTION", "DETECTION_SETTINGS", "PAPER", "PAPER_DETECTION", "PRESETS", "STAGES", "TINY", "TITLE",
    "create_model", "detect", "train", "training_settings",
]  # fmt: skip

TITLE = "a 3D U-Net names voxels, mean-shift makes particles"
PAPER = "Moebel et al., hal-01966819 (2018); Moebel in Gubins et al., Comput. Graph. (2020)"
STAGES: tuple[str, ...] = (STAGE,)

NETWORK: dict[str, Any] = {"filters": [32, 48, 64], "convolutions": 2, "bottom": 4}
OPTIONS: dict[str, Any] = {"dice_weight": 0.0, "tilt_axis_turns": True}
"""Of the settings' `options`: how much of the Dice loss is added, and half turns about the tilt axis alone."""

SETTINGS: dict[str, Any] = {"method": "deepfinder", "network": "unet", "patch": 56, "centred_fraction": 1.0}

AS_PUBLISHED: dict[str, Any] = {
    "network_settings": {**NETWORK, "norm": False}, "batch": 25, "learning_rate": 1e-4, "schedule": "step",
    "decay_epoch": 1_000_000, "turns": False, "options": OPTIONS, "intensity_scale": 0.0, "intensity_shift": 0.0,
    "gradient_clip": 0.0, "validate_minutes": 60.0,
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {**AS_PUBLISHED, "loss": "cross_entropy", "steps": 6000},
    "shrec20": {**AS_PUBLISHED, "loss": "dice", "steps": 25_000},
    "minutes": {
        "network_settings": {**NETWORK, "norm": True, "background": 0.9}, "batch": 2, "minutes": 60.0,
        "learning_rate": 2e-3, "schedule": "cosine", "warmup": 0.03, "turns": True, "loss": "cross_entropy",
        "background_weight": 0.15, "options": {"dice_weight": 1.0, "tilt_axis_turns": False}, "gradient_clip": 1.0,
        "average_decay": 0.995, "validate_minutes": 10.0,
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    STAGE: {"network_settings": {"filters": [8, 12], "bottom": 2}, "patch": 16, "batch": 4, "learning_rate": 0.02}
}

DETECTION: dict[str, Any] = {"halo": 24}
DETECTION_SETTINGS = DetectSettings
PAPER_DETECTION: dict[str, Any] = {
    "split": "mean-shift", "cluster_centers": "means", "voting": "majority", "per_class": True, "threshold": 0.5
}  # fmt: skip
"""Settings of `detect` as in SHREC'20; the defaults split by watershed over all foreground."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of the one stage, 'segmenter', by preset, with changes. Raises VoxpickError for unknown names."""
    require_stage(stage, STAGES, title="DeepFinder")
    settings = preset_settings(stage, SETTINGS, PRESETS, preset, changes)
    require_options(settings, OPTIONS)
    return settings


def train(
    volumes: Sequence[TrainingVolume],
    model: Model,
    settings: TrainSettings,
    *,
    classes: Sequence[str],
    earlier: dict[str, Model] | None = None,
    **options: Any,
) -> Fitted:
    """Train the network in place on tomograms with truth. classes: names by number in the class masks, from 1 on.

    There is no earlier stage. options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    """
    require_voxel_size(volumes, model)
    known = {**OPTIONS, **settings.options}
    sampler: Sampler = class_patches(volumes, settings)
    if known["tilt_axis_turns"]:
        sampler = TurnedAboutTiltAxis(sampler)
    loss = class_loss(settings, channels=len(model.classes), dice_weight=float(known["dice_weight"]))
    return fit(model.network, sampler, loss, settings, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Scored, named picks, most confident first.

    changes: settings of `detect.settings.DetectSettings`, such as PAPER_DETECTION. options: device and progress.
    """
    return detect_classes(volume, models, changes=changes, defaults=DETECTION, **options)
