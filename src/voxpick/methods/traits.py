"""What a method may say of itself beside what `catalogue.Method` asks for, and what holds where it says nothing.

FINDS = False: it only names what another method finds. NAMES = False: its picks have no classes. SEGMENTS = False: it
finds centres without giving voxels to particles, so there is no segmentation. DETECTION_SETTINGS:
the pydantic class of the settings that its `detect` takes as changes; without it, misspelt ones are refused once it
detects, not before. VALIDATION: changes to them while it is trained. VALIDATION_THRESHOLDS: values of `threshold` that
are tried then, (None,) where there is none; where there are several, as there are without it, its `detect` takes
`remembered` (`detect.remembered`) besides. LEARNS_FROM: by stage, the earlier one whose output it is trained on.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from voxpick.detect.settings import DetectSettings
from voxpick.errors import wrong_setting
from voxpick.methods.catalogue import Method
from voxpick.methods.naming import finding_changes


def finds(method: Method) -> bool:
    """Whether a method finds particles by itself."""
    return bool(getattr(method, "FINDS", True))


def gives_names(method: Method) -> bool:
    """Whether the picks of a method have classes."""
    return bool(getattr(method, "NAMES", True))


def segments(method: Method) -> bool:
    """Whether a method gives voxels to the particles it finds."""
    return bool(getattr(method, "SEGMENTS", True))


def learns_from(method: Method, stage: str) -> str | None:
    """The earlier stage whose output a stage is trained on; None where it learns from the tomograms alone."""
    found: str | None = getattr(method, "LEARNS_FROM", {}).get(stage)
    return found


def detection_settings(method: Method) -> type[BaseModel] | None:
    """The class of the settings of a method's detection; None where it does not say."""
    found = getattr(method, "DETECTION_SETTINGS", None)
    return found if found is None or issubclass(found, BaseModel) else None


def check_detection(method: Method, changes: dict[str, Any], named: bool = False) -> None:
    """Raise VoxpickError for changes that the detection of a method refuses, as far as can be told beforehand.

    named: another model's classifier names the picks, and its settings are among the changes.
    """
    kind = detection_settings(method)
    if kind is None:
        return
    finding = finding_changes(method, changes) if named else changes
    _check(kind, finding)
    _check(DetectSettings, {key: value for key, value in changes.items() if key not in finding})


def _check(kind: type[BaseModel], values: dict[str, Any]) -> None:
    try:
        kind(**values)
    except ValidationError as error:
        raise wrong_setting("detection: ", error, kind) from error
