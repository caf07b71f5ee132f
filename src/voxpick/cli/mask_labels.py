"""What the numbers of a class mask mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from voxpick.cli.truth import ShrecTruth

LAST_NUMBER = 127
"""The largest that class masks, int8 as a rule, hold."""


def mask_labels(truth: ShrecTruth, class_mask: np.ndarray, *, claimed: np.ndarray) -> tuple[str, ...]:
    """Names of the class numbers of a model folder's mask from 0, the background, on; 'class 7' where none is known.

    They are those of simulation.yaml, or else of the particles in the mask; where they are SHREC'20's, all its twelve.
    claimed: numbers of a segmentation, each of which up to LAST_NUMBER gets a name too.
    """
    from voxpick.cli.simulation_notes import noted_classes
    from voxpick.shrec_classes import CLASS_IDS, SHREC20_CLASSES
    from voxpick.train.targets import TrainingVolume, classes_by_number
    from voxpick.volume import Volume

    names = noted_classes(truth.directory)
    if not names:
        whole = Volume(class_mask, truth.voxel_size, truth.directory.name)  # stands for the specimen, and is not read
        names = classes_by_number([TrainingVolume(whole, class_mask, truth.particles, truth.occupancy)])
    if all(CLASS_IDS.get(name.lower()) == number for number, name in names.items()):
        names = dict(enumerate(SHREC20_CLASSES, start=1))
    last = max([*names, int(class_mask.max()), min(int(claimed.max()), LAST_NUMBER)])
    return ("background", *(names.get(number, f"class {number}") for number in range(1, last + 1)))
