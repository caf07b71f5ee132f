"""What a method that learns nothing answers when it is asked to train, and how its picks become a detection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from voxpick.detect.locate import Located
from voxpick.detect.pipeline import Detection
from voxpick.detect.prepare import Prepared
from voxpick.detect.select import selected
from voxpick.detect.settings import SharedSettings
from voxpick.errors import VoxpickError
from voxpick.match.settings import PickSettings
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.train.fit import Fitted
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume


def training_settings(stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None) -> TrainSettings:
    """Raises VoxpickError: there is nothing to train."""
    _refuse()


def create_model(settings: TrainSettings, classes: Sequence[str], *, voxel_size: float) -> Model:
    """Raises VoxpickError: there is nothing to train."""
    _refuse()


def train(
    volumes: Sequence[TrainingVolume], model: Model, settings: TrainSettings, *, classes: Sequence[str],
    earlier: dict[str, Model] | None = None, **options: Any,
) -> Fitted:  # fmt: skip
    """Raises VoxpickError: there is nothing to train."""
    _refuse()


def _refuse() -> NoReturn:
    raise VoxpickError("this method learns nothing, so there is nothing to train; use it with 'voxpick match'")


def shared_settings(settings: PickSettings) -> SharedSettings:
    """What every detection has of these settings, in the form that preparing and selecting take."""
    return SharedSettings(**{name: getattr(settings, name) for name in PickSettings.model_fields})


def as_detection(
    ready: Prepared, settings: PickSettings, classes: Sequence[str], labels: np.ndarray, places: np.ndarray,
    scores: np.ndarray, rotations: np.ndarray | None = None,
) -> Detection:  # fmt: skip
    """Picks at `places` (n, 3), in voxels of the tomogram, as a detection, most confident first.

    labels: (n,) of classes, from 1 on; classes: names without background. scores: (n,), clipped to [0, 1].
    rotations: (n, 3, 3), on (z, y, x). Where picks have to keep a distance, the better one stays.
    """
    names, n = ["background", *classes], len(places)
    order = np.argsort(-scores, kind="stable")
    places, labels, confidence = places[order], labels[order].astype(np.int64), np.clip(scores[order], 0, 1)
    particles = Particles(
        places.astype(np.float64) * ready.voxel_size,
        classes=np.array(names, dtype=object)[labels],
        scores=confidence,
        rotations=None if rotations is None else rotations[order],
        tomograms=np.full(n, ready.volume.name, dtype=object),
    )
    nothing = np.zeros(0, dtype=np.int64)
    located = Located(places.astype(np.float64), np.zeros(n, np.int64), confidence, nothing,
                      nothing, ready.grid.shape)  # fmt: skip
    kept = selected(particles, shared_settings(settings), ready.slab, ready.volume.voxel_size)
    made_with = settings.model_dump(mode="json")
    return Detection(kept, names, ready.volume, ready.slab, located, labels, ready.voxel_size, made_with)
