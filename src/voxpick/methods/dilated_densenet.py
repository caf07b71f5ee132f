"""3D-Dilated-DenseNet: one class of each subtomogram, at the places that a localizer gives.

Gao et al., Dilated-DenseNet for macromolecule classification in cryo-electron tomography, Bioinformatics Research and
Applications (ISBRA 2020), LNCS 12304, 82-94.

It differs from 3D-DenseNet in the dilations of the four layers of a block, 1, 2, 3, 1 here (section 2.2). Training,
presets and detection are in methods/densenet.py, with all that the paper leaves open or that we do otherwise. In short:
Adam at 0.1 with batch 64 and a warm-up, divided by 10 every ten of 30 epochs, is the paper's; a warm-up of five epochs
(of its reference [20]), cross-entropy, an output for the background that is shown no example, mean 0 and deviation 1 a
tomogram, particles drawn at random and the weights that validate best are our readings; nothing is augmented. Not the
paper's are one amplitude spectrum for all tomograms, bfloat16 in the convolutions where the processor gains from it,
and one device instead of two. The network: networks/densenet.py. Class activation maps (section 2.3):
detect/activation.py, `voxpick cam`.
"""

from __future__ import annotations

from typing import Any

from voxpick.methods import densenet
from voxpick.methods.densenet import (
    DETECTION_SETTINGS,
    FINDS,
    PAPER,
    PRESETS,
    STAGES,
    TINY,
    create_model,
    detect,
    train,
)
from voxpick.train.settings import TrainSettings

__all__ = [
    "DETECTION_SETTINGS", "FINDS", "NAME", "NETWORK", "PAPER", "PRESETS", "STAGES", "TINY", "TITLE", "create_model",
    "detect", "train", "training_settings",
]  # fmt: skip

NAME = "dilated-densenet"
TITLE = "3D-Dilated-DenseNet: names the subtomograms that another method's localizer finds"
NETWORK: dict[str, Any] = {**densenet.NETWORK, "dilations": [1, 2, 3, 1]}


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """The settings of the 'classifier' by preset, with changes, as `densenet.training_settings` for this network."""
    return densenet.training_settings(stage, preset, changes, method=NAME, network_settings=NETWORK)
