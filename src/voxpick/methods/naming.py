"""Any localizer with any classifier: picks of one method, named by the network of another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from voxpick.detect.calibration import OF_NAMES
from voxpick.detect.pipeline import Detection, name_particles, picks_of
from voxpick.detect.prepare import matched
from voxpick.detect.rescale import rescaled, same_voxel_size
from voxpick.detect.select import selected
from voxpick.detect.settings import DetectSettings, make_settings
from voxpick.errors import VoxpickError
from voxpick.methods.catalogue import Method
from voxpick.networks.model import Model
from voxpick.progress import Progress
from voxpick.volume import Volume, intensity_statistics

NAMING_ALONE = ("subtomogram", "batch", "name_turns")
"""Settings that mean nothing to the finding of particles."""
OF_CLASSIFIER = (*NAMING_ALONE, "voting")
"""Settings that a classifier brings along; what the particles were found with does not count for them."""


def finding_changes(method: Method, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes that the finding of particles is given where another model's classifier names them.

    Left out are those of naming alone, and those that only the classifier's detection has.
    """
    kind: type[BaseModel] | None = getattr(method, "DETECTION_SETTINGS", None)
    known = set(changes) if kind is None else {*kind.model_fields, *(set(changes) - {*DetectSettings.model_fields})}
    return {key: value for key, value in changes.items() if key in known and key not in NAMING_ALONE}


def finding_parts(method: Method, models: dict[str, Model]) -> dict[str, Model]:
    """The models without the 'classifier', unless that is the one stage of the method, which then needs it to find."""
    if set(method.STAGES) <= {"classifier"}:
        return models
    return {part: model for part, model in models.items() if part != "classifier"}


def detect_and_name(
    volume: Volume,
    method: Method,
    models: dict[str, Model],
    classifier: Model | None = None,
    *,
    changes: dict[str, Any] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Detection:
    """The picks of a method; with a `classifier` the method only finds them and that one, of any method, names them.

    changes: settings of the method's detection, and of `detect.settings.DetectSettings` for the naming. Raises
    VoxpickError for a setting that neither has, and when the two work at different voxel sizes.
    """
    if classifier is None:
        return method.detect(volume, models, changes=changes, device=device, progress=progress)
    finding = finding_changes(method, changes or {})
    parts = finding_parts(method, models)
    detection = method.detect(volume, parts, changes=finding, device=device, progress=progress)
    return named_by(detection, classifier, changes=changes, device=device, progress=progress)


def named_by(
    detection: Detection,
    classifier: Model,
    *,
    changes: dict[str, Any] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Detection:
    """The same picks with the classes that `classifier` gives them, most confident first.

    score = location_score * class_score. changes: detection settings; the subtomogram's side and the vote are the
    classifier's unless they are among them. Raises VoxpickError when the two work at different voxel sizes.
    """
    require_same_voxels(classifier, detection.voxel_size)
    settings = _settings(detection, classifier, changes)
    grid = detection.volume
    if detection.voxel_size != grid.voxel_size:
        grid = rescaled(grid, detection.voxel_size)
    mean, deviation = intensity_statistics(grid, warn=False)  # detection did
    if settings.match_spectrum == "auto" and classifier.spectrum is not None:
        sections = detection.slab.on_grid(detection.volume.voxel_size / grid.voxel_size, grid.shape[0])
        grid, mean, deviation = matched(
            grid, sections, classifier.spectrum, mean=mean, deviation=deviation, device=device
        )
    intensity = (mean, -deviation if settings.invert else deviation)
    located = detection.located
    if not len(located.voxels):  # centres without voxels say nothing of a particle's size: all of the cube may vote
        located = replace(located, sizes=np.full(len(located), settings.subtomogram**3))
    named = name_particles(
        grid, located, classifier, settings=settings, intensity=intensity, device=device, progress=progress
    )
    particles = picks_of(
        located, classifier.classes, named.class_index, named.scores, voxel_size=detection.voxel_size,
        tomogram=detection.volume.name,
    )  # fmt: skip
    kept = selected(particles, settings, detection.slab, detection.volume.voxel_size)
    return replace(
        detection, particles=kept, classes=list(classifier.classes), labels=named.class_index,
        settings={**detection.settings, **settings.model_dump()},
    )  # fmt: skip


def require_same_voxels(classifier: Model, voxel_size: float) -> None:
    """Raise VoxpickError for a classifier of another voxel size than that of the grid (A) particles are found in."""
    if not same_voxel_size(classifier.voxel_size, voxel_size):
        raise VoxpickError(
            f"the particles are found in voxels of {voxel_size:g} A and the classifier is made for "
            f"{classifier.voxel_size:g} A; take one trained at the same voxel size"
        )


def _settings(detection: Detection, classifier: Model, changes: dict[str, Any] | None) -> DetectSettings:
    """What the detection was made with, then the classifier's own settings, then changes; those known to both.

    How either calibrates its scores was found with other names or other centres, so it is left out.
    """
    known = DetectSettings.model_fields
    other = (*OF_CLASSIFIER, *OF_NAMES)
    mine = {key: value for key, value in detection.settings.items() if key in known and key not in other}
    own = {key: value for key, value in classifier.detection.items() if key in OF_CLASSIFIER}
    wanted = {key: value for key, value in (changes or {}).items() if key in known and value is not None}
    return make_settings([], {**mine, **own, **wanted})
