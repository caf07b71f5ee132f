"""DoG: picking by size alone, with a difference of Gaussians.

Voss et al., DoG Picker and TiltPicker, J. Struct. Biol. 166 (2009), for images; here in three dimensions. Nothing is
trained and nothing is known of the particles but their radius. Otherwise than there:
- the widths of the two Gaussians, 1.2 apart, are those that respond most to a ball of the radius;
- the threshold is in standard deviations of the response's noise, told from its median absolute deviation;
- picks are local maxima a radius apart; all are called 'particle'; a pick's score is z / (z + deviations) for a
  response of z deviations, so 0.5 at the threshold;
- the volume is mirrored beyond its faces, and what that adds to the noise there is taken out; a place is a maximum
  among its 26 neighbours;
- radius 60 A and 4 deviations unless asked otherwise; sections without specimen are left out (slab = off takes all).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from voxpick.detect.pipeline import Detection
from voxpick.detect.prepare import Prepared, prepare
from voxpick.match.dog import difference_of_gaussians, noise_level, widths
from voxpick.match.peaks import peaks_of
from voxpick.match.settings import DogSettings, make_match_settings
from voxpick.methods.untrained import as_detection, create_model, shared_settings, train, training_settings
from voxpick.networks.model import Model
from voxpick.progress import Progress
from voxpick.volume import Volume

__all__ = [
    "DETECTION_SETTINGS", "NAMES", "PAPER", "PRESETS", "STAGES", "TINY", "TITLE", "create_model", "detect", "train",
    "training_settings",
]  # fmt: skip

TITLE = "picking by size alone: a difference of Gaussians"
PAPER = "Voss et al., J. Struct. Biol. (2009), in three dimensions"
STAGES: tuple[str, ...] = ()
PRESETS: dict[str, dict[str, Any]] = {"paper": {}, "minutes": {}}
TINY: dict[str, dict[str, Any]] = {}
NAMES = False
DETECTION_SETTINGS = DogSettings
REACH = 4.0
"""Widths at which Gaussians end."""


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, device: str = "auto",
    progress: Progress | None = None,
) -> Detection:  # fmt: skip
    """Places that look like balls of the radius, most like first.

    models: not looked at. changes: settings of `match.settings.DogSettings`. device: it runs on the processor.
    """
    settings = make_match_settings(DogSettings, changes)
    ready = prepare(volume, volume.voxel_size, shared_settings(settings))
    radius = settings.radius / volume.voxel_size
    sections = _with_surroundings(ready, radius)
    data = np.asarray(ready.grid.data[sections], dtype=np.float32)
    values = (data - np.float32(ready.mean)) / np.float32(-ready.deviation)
    response = difference_of_gaussians(values, radius)
    asked = slice(ready.sections.start - sections.start, ready.sections.stop - sections.start)
    response /= noise_level(response[asked], values[asked])
    distance = settings.minimum_distance or settings.radius
    places = peaks_of(response, distance=distance / volume.voxel_size, above=settings.deviations)
    places = places[(places[:, 0] >= asked.start) & (places[:, 0] < asked.stop)]
    places = places[ready.slab.holds(places[:, 0] + sections.start)][: settings.number]
    strength = response[tuple(places.T)].astype(np.float64)
    if progress:
        progress("picking by size", 1, 1)
    shifted = places + np.array([sections.start, 0, 0])
    labels = np.ones(len(places), dtype=np.int64)
    scores = strength / (strength + settings.deviations)
    return as_detection(ready, settings, ["particle"], labels, shifted, scores)


def _with_surroundings(ready: Prepared, radius: float) -> slice:
    """The sections to look at, and beyond them what the wider Gaussian reaches, so that their ends are no faces."""
    reach = math.ceil(REACH * widths(radius)[1])
    return slice(max(ready.sections.start - reach, 0), min(ready.sections.stop + reach, ready.grid.shape[0]))
