"""VP-Detector's two stages from a tomogram to scored, named picks (Hao et al. 2022, section 2.1)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxpick.detect.classify import Classified, classify
from voxpick.detect.locate import Located, locate
from voxpick.detect.rescale import labels_like, rescaled, same_voxel_size
from voxpick.detect.segment import probabilities
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.volume import Volume, intensity_statistics

Progress = Callable[[str, int, int], None]
LOCATE_SETTINGS = ("threshold", "split", "minimum_size", "opening", "neck", "smoothing")


class DetectSettings(BaseModel):
    """How to detect; lengths in A unless the name says otherwise, voxels are those of the model."""

    model_config = ConfigDict(extra="forbid")

    tile: int = Field(128, ge=16, description="greatest side of a tile in voxels, halo included")
    halo: int = Field(16, ge=0, description="voxels at each inner side of a tile that are computed and not kept")
    merge: Literal["crop", "border"] = Field("crop", description="how tiles are merged; 'border' is the paper's")
    threshold: float = Field(0.5, gt=0, lt=1, description="a voxel above this probability belongs to a particle")
    opening: int = Field(0, ge=0, description="iterations of the morphological opening of the segmentation")
    split: Literal["watershed", "mean-shift", "components"] = Field(
        "watershed", description="how touching particles are told apart; 'mean-shift' is the paper's"
    )
    bandwidth: float = Field(
        60.0, gt=0, description="A; radius of the mean-shift kernel and of the core that is scored"
    )
    minimum_size: int = Field(30, ge=1, description="voxels; smaller clusters are dropped")
    neck: float = Field(0.6, gt=0, le=1, description="watershed: a pass below this part of the lower maximum splits")
    smoothing: float = Field(0.5, ge=0, description="watershed: voxels; Gaussian over the distances")
    subtomogram: int = Field(32, ge=8, description="side in voxels of what the classifier sees")
    voting: Literal["probability", "majority"] = Field("probability", description="'majority' is the paper's")
    batch: int = Field(4, ge=1, description="subtomograms at a time")
    minimum_score: float = Field(0.0, ge=0, le=1, description="picks with a lower confidence are left out")
    invert: bool = Field(False, description="protein is bright in this tomogram; the models expect it dark")


@dataclass(frozen=True)
class Detection:
    """The picks, most confident first, and the segmentation they came from.

    segmentation: uint8 [z, y, x] on the grid of the tomogram, 0 background; classes[k] names the label k.
    """

    particles: Particles
    segmentation: Volume
    classes: list[str]


def make_settings(models: Iterable[Model | None], changes: dict[str, Any] | None = None) -> DetectSettings:
    """Defaults, then each model's own `detection` settings (the last wins), then `changes` that are not None.

    Raises VoxpickError for an unknown setting or a value out of range.
    """
    values: dict[str, Any] = {}
    for model in models:
        values.update(model.detection if model else {})
    values.update({key: value for key, value in (changes or {}).items() if value is not None})
    try:
        return DetectSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = f"; known: {', '.join(DetectSettings.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise VoxpickError(f"detect: {name} = {first['input']!r}: {first['msg']}{known}") from error


def detect(
    volume: Volume,
    localizer: Model,
    classifier: Model | None = None,
    *,
    settings: DetectSettings | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Particles:
    """Find the particles of a tomogram and name them; centres in A, sorted by score, most confident first.

    A volume of another voxel size than the localizer's is rescaled, with a warning. Without a classifier every pick
    is called by the localizer's one particle class. score = location_score * class_score. progress(step, done, total).
    settings: None takes `make_settings` of the models. Raises VoxpickError for NaN or constant volumes and for models
    that do not fit together.
    """
    return detect_with_segmentation(
        volume, localizer, classifier, settings=settings, device=device, progress=progress
    ).particles


def detect_with_segmentation(
    volume: Volume,
    localizer: Model,
    classifier: Model | None = None,
    *,
    settings: DetectSettings | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Detection:
    """As `detect`, with the voxels of every pick labelled by its class."""
    settings = settings or make_settings([classifier, localizer])
    _check_models(localizer, classifier)
    voxel_size = localizer.voxel_size
    on_grid = volume
    if same_voxel_size(volume.voxel_size, voxel_size):
        voxel_size = volume.voxel_size
    else:
        intensity_statistics(volume)
        warnings.warn(
            f"{volume.name}: {volume.voxel_size:g} A voxels are rescaled to the model's {voxel_size:g} A", stacklevel=2
        )
        on_grid = rescaled(volume, voxel_size)
    located = localise(on_grid, localizer, settings=settings, device=device, progress=progress)
    classes = (classifier or localizer).classes
    named = None
    if classifier is not None:
        named = name_particles(on_grid, located, classifier, settings=settings, device=device, progress=progress)
    index = np.ones(len(located), dtype=np.int64) if named is None else named.class_index
    labels = located.painted(index.astype(np.uint8))
    if on_grid is not volume:
        labels = labels_like(labels, voxel_size, volume)
    particles = _particles(located, named, index, classes, voxel_size, volume.name)
    assert particles.scores is not None
    particles = particles[particles.scores >= settings.minimum_score].sorted_by_score()
    return Detection(particles, Volume(labels, volume.voxel_size, name=volume.name), list(classes))


def localise(
    volume: Volume,
    localizer: Model,
    *,
    settings: DetectSettings,
    device: str = "auto",
    progress: Progress | None = None,
) -> Located:
    """Stage 1 alone, on a volume that has the model's voxel size."""
    mean, deviation = _intensity(volume, settings)
    probability = probabilities(
        volume.data,
        localizer.network,
        tile=settings.tile,
        halo=settings.halo,
        merge=settings.merge,
        mean=mean,
        deviation=deviation,
        threshold=settings.threshold,
        device=device,
        progress=_named(progress, "finding particles"),
    )
    chosen = {name: getattr(settings, name) for name in LOCATE_SETTINGS}
    return locate(probability, bandwidth=settings.bandwidth / volume.voxel_size, **chosen)


def name_particles(
    volume: Volume,
    located: Located,
    classifier: Model,
    *,
    settings: DetectSettings,
    device: str = "auto",
    progress: Progress | None = None,
) -> Classified:
    """Stage 2 alone: classes of the particles that stage 1 (or anything else) located in `volume`."""
    mean, deviation = _intensity(volume, settings)
    return classify(
        volume.data,
        located.centers,
        classifier.network,
        size=settings.subtomogram,
        radii=np.cbrt(located.sizes * 3 / (4 * np.pi)),
        voting=settings.voting,
        mean=mean,
        deviation=deviation,
        batch=settings.batch,
        device=device,
        progress=_named(progress, "naming particles"),
    )


def _particles(
    located: Located,
    named: Classified | None,
    index: np.ndarray,
    classes: list[str],
    voxel_size: float,
    tomogram: str,
) -> Particles:
    names = np.array(classes, dtype=object)
    return Particles(
        centers_zyx=located.centers * voxel_size,
        classes=names[index],
        scores=located.scores if named is None else located.scores * named.scores,
        location_scores=located.scores,
        class_scores=None if named is None else named.scores,
        tomograms=np.full(len(located), tomogram, dtype=object),
    )


def _intensity(volume: Volume, settings: DetectSettings) -> tuple[float, float]:
    mean, deviation = intensity_statistics(volume)
    return mean, -deviation if settings.invert else deviation


def _named(progress: Progress | None, step: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(step, done, total)


def _check_models(localizer: Model, classifier: Model | None) -> None:
    for part, model in (("localizer", localizer), ("classifier", classifier)):
        if model is not None and not 2 <= len(model.classes) <= 256:
            raise VoxpickError(
                f"detect: the {part} has the classes {model.classes}; it needs the background and 1 to 255"
            )
    if classifier is not None and not same_voxel_size(classifier.voxel_size, localizer.voxel_size):
        raise VoxpickError(
            f"detect: the models work at {localizer.voxel_size:g} A (localizer) and {classifier.voxel_size:g} A "
            "(classifier); train both at one voxel size"
        )
