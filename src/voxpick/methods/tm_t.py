"""TM-T, template matching as the baseline of SHREC'20, thresholded: TM-F without its check for overlap.

Section 3.7 of Gubins et al. (2020), read as in template_matching.py, with its deviations: the N = 217 best candidates
of every class, from the biggest class to the smallest, so that one place may be picked for several classes. Of those
the scoring takes the name of the first in the list, that of the larger class. Lists are sorted by score everywhere, so
the order is in the score: (place of the class, counted from the smallest + correlation) / classes; the correlation
itself is the location score.
"""

from __future__ import annotations

from typing import Any

from voxpick.detect.pipeline import Detection
from voxpick.methods import template_matching
from voxpick.methods.template_matching import (
    DETECTION_SETTINGS,
    PAPER,
    PRESETS,
    STAGES,
    TINY,
    create_model,
    train,
    training_settings,
)
from voxpick.networks.model import Model
from voxpick.volume import Volume

__all__ = [
    "DETECTION", "DETECTION_SETTINGS", "PAPER", "PRESETS", "STAGES", "TINY", "TITLE", "create_model", "detect", "train",
    "training_settings",
]  # fmt: skip

TITLE = "template matching; the best candidates of each class (TM-T)"
DETECTION: dict[str, Any] = {**template_matching.DETECTION, "overlap": True}


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """As TM-F, with overlapping picks. changes: settings of `match.settings.MatchSettings`."""
    return template_matching.detect(volume, models, changes={**DETECTION, **(changes or {})}, **options)
