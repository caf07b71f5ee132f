"""Methods by name, and what each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from voxpick.detect.pipeline import Detection
from voxpick.errors import VoxpickError
from voxpick.methods import (
    deepfinder,
    densenet,
    dilated_densenet,
    dn3dunet,
    dog,
    ms_d,
    resnet3d,
    template_matching,
    tm_t,
    umc,
    voxpick,
    vp_detector,
    yopo,
)
from voxpick.networks.model import Model
from voxpick.progress import Progress
from voxpick.train.fit import Fitted
from voxpick.train.settings import TrainSettings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume


class Method(Protocol):
    """A system, published or our own: one module of this package."""

    TITLE: str
    """What it is, in one line."""

    PAPER: str
    """Where it was published: authors, journal, year."""

    STAGES: tuple[str, ...]
    """Parts of its model file in the order in which they are trained; empty when nothing is trained."""

    PRESETS: dict[str, dict[str, Any]]
    """Training settings by name; 'paper' as published, 'minutes' for a budget of minutes."""

    TINY: dict[str, dict[str, Any]]
    """By stage: changes to the preset 'minutes' (network_settings, patch, batch) that train in seconds, for tests."""

    def training_settings(
        self, stage: str, preset: str = "minutes", changes: dict[str, Any] | None = None
    ) -> TrainSettings:
        """Settings of a stage by preset, with changes. Raises VoxpickError for unknown names."""
        ...

    def create_model(self, settings: TrainSettings, classes: Sequence[str], *, voxel_size: float) -> Model:
        """An untrained stage, drawn from the seed. classes: of the particles, without background; voxel_size: A."""
        ...

    def train(
        self,
        volumes: Sequence[TrainingVolume], model: Model, settings: TrainSettings, *, classes: Sequence[str],
        earlier: dict[str, Model] | None = None, **options: Any,
    ) -> Fitted:  # fmt: skip
        """Train one stage in place. earlier: stages that are trained already; options: of `train.fit.fit`."""
        ...

    def detect(
        self, volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None,
        device: str = "auto", progress: Progress | None = None,
    ) -> Detection:  # fmt: skip
        """Scored, named picks, most confident first. changes: detection settings; progress(step, done, total)."""
        ...


METHODS: dict[str, Method] = {
    "deepfinder": deepfinder,
    "densenet": densenet,
    "dilated-densenet": dilated_densenet,
    "dn3dunet": dn3dunet,
    "dog": dog,
    "ms-d": ms_d,
    "resnet3d": resnet3d,
    "tm-f": template_matching,
    "tm-t": tm_t,
    "umc": umc,
    "voxpick": voxpick,
    "vp-detector": vp_detector,
    "yopo": yopo,
}


def find_method(name: str) -> Method:
    """The method called `name`. Raises VoxpickError for an unknown one."""
    if name not in METHODS:
        raise VoxpickError(f"unknown method {name!r}; one of {', '.join(METHODS)}")
    return METHODS[name]


def method_of(models: dict[str, Model], *, source: str = "the model") -> str:
    """Name of the method that the parts of a model were trained by; parts that do not say are VP-Detector's.

    Raises VoxpickError for parts of several methods, and of one that is not known.
    """
    names = {part: str(model.provenance.get("method", "vp-detector")) for part, model in models.items()}
    for part, name in names.items():
        if name not in METHODS:
            raise VoxpickError(
                f"{source}: its {part} was trained by the method {name!r}, which this version does not know; take a "
                f"newer one, or train one of {', '.join(METHODS)}"
            )
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{part} of {name}" for part, name in names.items())
        raise VoxpickError(
            f"{source}: holds parts of several methods ({listed}); keep each method in its own file, and join a "
            "localizer and a classifier when you detect"
        )
    return next(iter(names.values()), "vp-detector")
