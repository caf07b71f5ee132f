"""3D ResNet with consensus checking (X. Wang and D. Kihara in Gubins et al., SHREC 2020, Computers & Graphics 91).

Section 3.3 of that paper (2020); the network is networks/resnet3d.py, the detector detect/consensus.py. The preset
'paper' is that section: ResNet of 20 layers on 32^3, 13 outputs, 23,350 boxes with a particle in the middle and 9,000
of the background at least 16 voxels from any, flipped and rotated at random, Adam at 0.002; detection at every second
voxel, labels checked against the majority in the box of the protein's size (but for 1s3x, 3qm1 and 3gl1), counted,
clustered, and of each class the N with the highest counts, by the class ratios of the training set.
What the paper leaves open, or we do otherwise:
- the kind of ResNet: 'paper' takes the zero padded one, whose boxes share nothing, so that a scan evaluates each by
  itself and asks for a GPU; 'minutes' takes one without padding that is scanned as a whole, exactly (see the network);
- loss, batch and length of the training: cross-entropy, 32 boxes, 30 epochs, constant rate;
- "flipped and rotated" is read as all quarter turns and mirrors of the cube, although they turn the missing wedge and
  change the handedness; 'minutes' does those that leave the wedge where it is;
- "not closer than 16 grid units to any proteins" is read as the distance from their centres; background is drawn anew
  each time (after 1000 draws that were too near, the farthest of them is taken) and reaches 32 voxels into the vacuum;
- "the box size of each target protein was provided by the organizers", which the paper does not print: the mean side
  of the boxes that hold each particle's voxels in the training data is stored with the model, as are the class ratios;
  of a stream of specimens those of the last ones in memory. The voxels are those of occupancy_mask.mrc. Every model
  folder has the boxes as well (occupancy_bbox.mrc), but boxes overlap and a voxel there names one particle, so that
  they are cut short by their neighbours where particles touch; in our own simulations the two agree elsewhere;
- "the majority of the assigned labels" is read as the most frequent particle label, not more than half of all;
  background is not among them, and a tie lets a label stand. Counting background (background_votes) drops all but the
  smallest classes: boxes are as large as the protein and labels agree near its centre alone;
- "clustered those points with the same label and computed the mean of their coordinates" is read as: those that were
  counted, that is the places of one label in one box, the place with the highest count first, each place once;
- counted are the labels in the box that the check lets stand;
- first weights: as He et al. (2015);
- N: the class ratio times the number of particles that the training data have on an area as large, less where a thinner
  part is searched;
- boxes with a particle are drawn at random, as many an epoch as there are particles; the paper may have shown each
  once. Of its two numbers of boxes only the ratio is set: 23,350 is taken to be what its nine tomograms of 2400 to 2800
  particles hold, which the section does not say;
- the confidence of a pick, which the paper does not have, is its count as a share of the places in the box;
- intensities, amplitude spectra and bfloat16: as in `methods.ms_d`; sections without specimen are left out;
- which weights are taken: those that validate best, every 60 minutes, by this detection, which has no threshold.
The preset 'minutes' departs from the paper in what it shows the network. The paper's boxes hold a particle's centre or
nothing within 16 voxels, so that labels of all the places between them are arbitrary, and those are most of what a scan
asks. Here boxes with a particle are up to 2 voxels off its centre, 0.4 of all boxes are background, and 0.6 of these
lie around a particle, from 1.2 times half the side of its box (6 voxels at least) to 16 voxels from its centre, and as
far from others. The settings in benchmarks/shrec20/resnet3d compare the two; no results of them are committed. It fits
a time budget besides: a rate that falls as a cosine, a moving average of the weights, clipped gradients, every class
equally often, contrast and brightness varied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from voxpick.detect.consensus import detect_consensus
from voxpick.detect.pipeline import Detection
from voxpick.detect.scan_settings import ConsensusSettings, make_scan_settings
from voxpick.methods.recipe import box_settings, part_of, train_boxes
from voxpick.methods.recipe import create_box_model as create_model
from voxpick.networks.model import Model
from voxpick.train.centred import particle_statistics
from voxpick.train.fit import Fitted
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

__all__ = [
    "DETECTION_SETTINGS", "PAPER", "PRESETS", "SEGMENTS", "STAGES", "TINY", "TITLE", "VALIDATION_THRESHOLDS",
    "create_model", "detect", "train", "training_settings",
]  # fmt: skip

TITLE = "one 3D ResNet asked at every second voxel, labels checked against their neighbours"
PAPER = "Wang and Kihara in Gubins et al., Computers & Graphics (2020)"
STAGES: tuple[str, ...] = ("classifier",)
SEGMENTS = False
DETECTION_SETTINGS = ConsensusSettings
VALIDATION_THRESHOLDS = (None,)
"""There is no threshold to choose."""

SETTINGS: dict[str, Any] = {
    "method": "resnet3d", "network": "resnet3d", "patch": 32, "batch": 32, "loss": "cross_entropy", "jitter": 0.0,
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "network_settings": {"padded": True}, "epochs": 30, "learning_rate": 2e-3, "schedule": "step",
        "decay_epoch": 1_000_000, "balanced": False, "mirrors": True, "intensity_scale": 0.0, "intensity_shift": 0.0,
        "gradient_clip": 0.0, "average_decay": 0.0, "validate_minutes": 60.0,
        "options": {"background": 9000 / 32350, "distance": 16.0, "orientations": "cube"},
    },
    "minutes": {
        "network_settings": {"padded": False}, "minutes": 60.0, "learning_rate": 2e-3, "schedule": "cosine",
        "warmup": 0.03, "balanced": True, "jitter": 2.0, "mirrors": True, "gradient_clip": 5.0, "average_decay": 0.995,
        "validate_minutes": 10.0,
        "options": {"background": 0.4, "distance": 16.0, "shell": 0.6, "near": 1.2, "orientations": "wedge"},
    },
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    "classifier": {"network_settings": {"widths": [4, 8], "blocks": 1}, "patch": 12, "batch": 16}
}
"""By stage: changes to the preset 'minutes' that train within seconds, for tests."""


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of the one stage, 'classifier', by preset, with changes.

    Raises VoxpickError for unknown names and for options out of range.
    """
    return box_settings(stage, SETTINGS, PRESETS, preset, changes, title="3D ResNet")


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
    model.detection = {**model.detection, **particle_statistics(volumes, classes)}
    return train_boxes(volumes, model, settings, classes=classes, **options)


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Scan a tomogram: scored, named picks.

    changes: settings of `detect.scan_settings.ConsensusSettings`. options: device and progress.
    """
    model = part_of(models, STAGES[0], title="3D ResNet")
    return detect_consensus(volume, model, settings=make_scan_settings(ConsensusSettings, model, changes), **options)
