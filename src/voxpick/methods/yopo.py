"""YOPO, from the paper (X. Zeng and M. Xu in Gubins et al., SHREC 2020, Computers & Graphics 91, 2020, section 3.4).

Names are those of the paper; the network is networks/yopo.py, the detector detect/peaks.py. The preset 'paper' is
section 3.4: subtomograms of 24^3 at the true positions and 20,000 at random places of the background, K = 13 classes;
detection at every voxel, probability above 0.99, more than 14 voxels apart. What the paper leaves open, or we do
otherwise:
- loss, optimiser, batch, rate and length of the training: cross-entropy, Adam at 1e-3, 32 boxes, 20 epochs;
- "an additional 20000 ... from the background" is read as 20,000 for all of the training tomograms together, nearly as
  many as particles in eight of them (half of the boxes here); they are drawn anew each time, not once;
- background is every place at least 7 voxels, half of the picks' distance, from all centres (after 1000 draws that were
  too near, the farthest of them is taken); it reaches 24 voxels into the vacuum;
- boxes with a particle are drawn at random, as many an epoch as there are particles; the paper may have shown each of
  them once;
- no augmentation is mentioned and 'paper' does none; 'minutes' shifts boxes by up to 1 voxel, turns and mirrors them,
  varies contrast and brightness, and draws every class equally often;
- "high confidence to be one of the structural classes" is read as P(any particle) = 1 - P(background) > 0.99; the class
  is the most probable;
- the distance is kept by taking the most confident place, dropping all within 14 voxels, and so on; where maximum
  pooling makes several of them equally confident, the centre is their mean; of two such means within 14 voxels the one
  with the higher confidence, as below, stays;
- "the whole testing tomogram": sections without specimen are left out (slab = off takes all);
- the network's other layers, its widths and first weights (He et al. 2015): networks/yopo.py;
- the order of picks is that of their confidence, P(any particle) times that of the name, which the paper does not have;
- intensities, amplitude spectra and bfloat16: as in `methods.ms_d`;
- which weights are taken: those that validate best, every 60 minutes, by this detection at every second voxel.
The preset 'minutes' fits a time budget besides: a rate that falls as a cosine, a moving average of the weights and
clipped gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxpick.detect.peaks import detect_peaks
from voxpick.detect.pipeline import Detection
from voxpick.detect.scan_settings import PeakSettings, make_scan_settings
from voxpick.methods.recipe import box_settings, part_of, train_boxes
from voxpick.methods.recipe import create_box_model as create_model
from voxpick.networks.model import Model
from voxpick.train.fit import Fitted
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

__all__ = [
    "DETECTION_SETTINGS", "PAPER", "PRESETS", "SEGMENTS", "STAGES", "TINY", "TITLE", "VALIDATION",
    "VALIDATION_THRESHOLDS", "create_model", "detect", "train", "training_settings",
]  # fmt: skip

TITLE = "one network that pools once, asked at every voxel"
PAPER = "Zeng and Xu in Gubins et al., Computers & Graphics (2020)"
STAGES: tuple[str, ...] = ("classifier",)
SEGMENTS = False
DETECTION_SETTINGS = PeakSettings
VALIDATION: dict[str, Any] = {"stride": 2}
"""Every second voxel is enough to tell weights apart, and takes an eighth of the time."""
VALIDATION_THRESHOLDS = (0.99,)
"""The paper's."""

SETTINGS: dict[str, Any] = {
    "method": "yopo", "network": "yopo", "patch": 24, "batch": 32, "loss": "cross_entropy",
    "options": {"background": 0.5, "distance": 7.0, "orientations": "wedge"},
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "epochs": 20, "learning_rate": 1e-3, "schedule": "step", "decay_epoch": 1_000_000, "jitter": 0.0,
        "balanced": False, "turns": False, "intensity_scale": 0.0, "intensity_shift": 0.0, "gradient_clip": 0.0,
        "average_decay": 0.0, "validate_minutes": 60.0,
    },
    "minutes": {
        "minutes": 60.0, "learning_rate": 2e-3, "schedule": "cosine", "warmup": 0.03, "jitter": 1.0, "balanced": True,
        "mirrors": True, "gradient_clip": 5.0, "average_decay": 0.995, "validate_minutes": 10.0,
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    "classifier": {"network_settings": {"widths": [8, 8, 16], "hidden": 16}, "patch": 10, "batch": 16}
}
"""By stage: changes to the preset 'minutes' that train within seconds, for tests."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of the one stage, 'classifier', by preset, with changes.

    Raises VoxpickError for unknown names and for options out of range.
    """
    return box_settings(stage, SETTINGS, PRESETS, preset, changes, title="YOPO")


def train(
    volumes: Sequence[TrainingVolume],
    model: Model,
    settings: TrainSettings,
    *,
    classes: Sequence[str],
    earlier: dict[str, Model] | None = None,
    **options: Any,
) -> Fitted:
    """Train in place on tomograms with positions and classes of their particles. classes: without background.

    There is no earlier stage. options: validate, log, save, resume, stop, device and progress of `train.fit.fit`.
    """
    return train_boxes(volumes, model, settings, classes=classes, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Scan a tomogram: scored, named picks.

    changes: settings of `detect.scan_settings.PeakSettings`. options: device and progress.
    """
    model = part_of(models, STAGES[0], title="YOPO")
    return detect_peaks(volume, model, settings=make_scan_settings(PeakSettings, model, changes), **options)
