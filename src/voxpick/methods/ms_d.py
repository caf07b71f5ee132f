"""3D MS-D: one multi-scale dense network names every voxel, and mean-shift makes particles of them.

Hao et al. in Gubins et al., SHREC 2020: classification in cryo-electron tomograms, Comput. Graph. 91 (2020), section
3.1.

The preset 'paper': 64 layers with dilations from 1 to 16, patches of 64^3, batch 125, Adam 1e-4, 200 epochs. What the
paper leaves open:
- the layers: those of VP-Detector's MSDNet (`networks.msdnet`, one dilation a layer), later work of the same group;
- the order of the dilations: 1, 2, .., 16, four times over;
- maps a layer: 2, as in VP-Detector (1 in MS-D networks of 2D images; 'width' changes it). 54 * 64^2 + 128 + 13 * 129
  + 13 = 223,002 parameters;
- classes: "from 0 to 13" is read as the background and the 12 classes, numbers 0 to 12;
- "the tomogram is cropped into cubic volumes": patches anywhere in the specimen, up to 16 voxels beyond
  it, those beyond a face of the tomogram moved inside; an epoch has as many as cover the specimen once;
- the loss: cross-entropy, all classes alike; augmentation: none is mentioned;
- intensities: mean 0 and standard deviation 1 in the middle half of each side of a tomogram;
- amplitude spectra: a tomogram of another one than the mean of the training's is brought to it, in training and in
  detection (docs/decisions/0006); keep_spectrum and match_spectrum leave it;
- which weights are taken: those that validate best, every 60 minutes, by the default detection (watershed, vote by
  probability) on the middle of the tomogram kept out, at the best of some thresholds;
- bfloat16 where the processor gains from it.
PAPER_DETECTION: mean-shift over all labelled voxels, seeded by the centroids of connected components (by faces,
weighted with the probability; a component with nothing within a bandwidth of its centroid begins at its voxel nearest
to it), which may merge particles and splits none that touch; seeds = bins, the default without --paper, adds seeds of
ours (docs/decisions/0003). The most frequent label names a cluster, whose centre is its mode. A voxel is foreground
where 1 - P(background) is above 0.5 (by default what validation chose). Bandwidth (60 A) and least cluster (30 voxels;
smaller components go before the clustering) are not given, nor whether the cubes of 64^3 overlap: tiles have at most so
many voxels, in the shape that covers the specimen with the fewest, and none overlap. Sections without specimen are left
out. A voxel's label is its most probable particle class. The order of picks is that of their confidence, which the
paper does not have. The defaults take tiles of up to 176^3 voxels that overlap by 32, split by watershed and vote by
probability.
The preset 'minutes' fits a time budget: batch 1, a higher rate that falls as a cosine, clipped gradients, a moving
average of the weights, half turns, changes of contrast and brightness, half of the patches around a particle, focal
loss (gamma 1) with less weight on background. Training starts at P(background) = 0.9 instead of even odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxpick.detect.pipeline import Detection
from voxpick.detect.settings import DetectSettings
from voxpick.methods.recipe import create_class_model as create_model
from voxpick.methods.recipe import preset_settings, require_options, require_stage, require_voxel_size
from voxpick.methods.voxel_classes import STAGE, class_loss, class_patches, detect_classes
from voxpick.networks.model import Model
from voxpick.train.fit import Fitted, fit
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

__all__ = [
    "DETECTION_SETTINGS", "PAPER", "PAPER_DETECTION", "PRESETS", "STAGES", "TINY", "TITLE", "create_model", "detect",
    "train", "training_settings",
]  # fmt: skip

TITLE = "one 3D MS-D network names voxels, mean-shift makes particles"
PAPER = "Hao et al. in Gubins et al., Comput. Graph. (2020)"
STAGES: tuple[str, ...] = (STAGE,)

SETTINGS: dict[str, Any] = {
    "method": "ms-d", "network": "msdnet", "patch": 64,
    "network_settings": {"depth": 64, "width": 2, "dilations": list(range(1, 17))},
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "batch": 125, "epochs": 200, "learning_rate": 1e-4, "schedule": "step", "decay_epoch": 1_000_000,
        "loss": "cross_entropy", "centred_fraction": 0.0, "turns": False, "intensity_scale": 0.0,
        "intensity_shift": 0.0, "gradient_clip": 0.0, "validate_minutes": 60.0,
    },
    "minutes": {
        "network_settings": {**SETTINGS["network_settings"], "background": 0.9}, "batch": 1, "minutes": 60.0,
        "learning_rate": 3e-3, "schedule": "cosine", "warmup": 0.03, "loss": "focal",
        "gamma": 1.0, "background_weight": 0.3, "centred_fraction": 0.5, "turns": True, "gradient_clip": 1.0,
        "average_decay": 0.995, "validate_minutes": 10.0,
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    STAGE: {"network_settings": {"depth": 6, "dilations": [1, 2, 3]}, "patch": 16, "batch": 2, "learning_rate": 0.01}
}

DETECTION_SETTINGS = DetectSettings
PAPER_DETECTION: dict[str, Any] = {
    "tile": 64, "halo": 0, "split": "mean-shift", "seeds": "centroids", "voting": "majority", "per_class": False,
    "threshold": 0.5,
}  # fmt: skip
"""Settings of `detect` as in section 3.1."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of the one stage, 'segmenter', by preset, with changes. Raises VoxpickError for unknown names."""
    require_stage(stage, STAGES, title="3D MS-D")
    settings = preset_settings(stage, SETTINGS, PRESETS, preset, changes)
    require_options(settings, {})
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
    loss = class_loss(settings, channels=len(model.classes))
    return fit(model.network, class_patches(volumes, settings), loss, settings, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Scored, named picks, most confident first.

    changes: settings of `detect.settings.DetectSettings`, such as PAPER_DETECTION. options: device and progress.
    """
    return detect_classes(volume, models, changes=changes, defaults={}, **options)
