"""VP-Detector's two stages from a tomogram to scored, named picks (Hao et al. 2022, section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from voxpick.detect.budget import check_foreground, foreground_watch, plan_batch, plan_tile
from voxpick.detect.classify import Classified, classify
from voxpick.detect.inference import for_inference, measured, on_engine
from voxpick.detect.locate import Located, locate
from voxpick.detect.memory import parse_memory
from voxpick.detect.prepare import prepare
from voxpick.detect.rescale import labels_like, same_voxel_size
from voxpick.detect.segment import particle_voxels
from voxpick.detect.select import selected
from voxpick.detect.settings import LOCATE_SETTINGS, DetectSettings, make_settings
from voxpick.detect.slab import Slab
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.precision import choose_device
from voxpick.progress import Progress, of_step
from voxpick.shrec_classes import CLASS_IDS
from voxpick.volume import Volume, intensity_statistics


@dataclass(frozen=True)
class Detection:
    """The picks, most confident first, and what they came from.

    classes[k] names the label k. volume: the tomogram. slab: the sections of it that were looked at.
    located: in a volume of `voxel_size` A and the model's grid; labels: class of each of them. A method that scans
    for centres has no voxels to locate them by: voxels and owner are empty then, and there is no segmentation.
    settings: all that the detection was made with, by name.
    """

    particles: Particles
    classes: list[str]
    volume: Volume
    slab: Slab
    located: Located
    labels: np.ndarray
    voxel_size: float
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def segmentation(self) -> Volume:
        """uint8 [z, y, x] on the grid of the tomogram, 0 background; made when it is asked for.

        Numbers are SHREC'20's where all classes are, as in masks and lists of picks, and else places in `classes`.
        Raises VoxpickError when the method found centres without voxels.
        """
        if len(self.located) and not len(self.located.voxels):
            raise VoxpickError(
                f"{self.volume.name}: this method finds {len(self.located)} centres without segmenting voxels, so "
                "there is no segmentation; detect with another method, or leave the segmentation out"
            )
        known = all(name in CLASS_IDS for name in self.classes[1:])
        numbers = np.array([0, *(CLASS_IDS[name] if known else k for k, name in enumerate(self.classes[1:], start=1))])
        painted = self.located.painted(numbers[self.labels].astype(np.uint8))
        if self.voxel_size != self.volume.voxel_size:
            painted = labels_like(painted, self.voxel_size, self.volume)
        return Volume(painted, self.volume.voxel_size, name=self.volume.name)


def detect_with_segmentation(
    volume: Volume,
    localizer: Model,
    classifier: Model | None = None,
    *,
    settings: DetectSettings | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Detection:
    """Find the particles of a tomogram and name them; centres in A, sorted by score, most confident first.

    A volume of another voxel size than the localizer's is rescaled, with a warning. Without a classifier every pick
    is called by the localizer's one particle class. score = location_score * class_score. progress(step, done, total).
    settings: None takes `make_settings` of the models. Raises VoxpickError for NaN or constant volumes and for models
    that do not fit together.
    """
    settings = settings or make_settings([classifier, localizer])
    _check_models(localizer, classifier)
    ready = prepare(volume, localizer.voxel_size, settings, spectrum=localizer.spectrum, device=device)
    grid, intensity = ready.grid, (ready.mean, ready.deviation)
    located = localise(
        grid, localizer, settings=settings, sections=ready.sections, intensity=intensity, device=device,
        progress=progress,
    )  # fmt: skip
    classes = (classifier or localizer).classes
    named = None
    if classifier is not None:
        named = name_particles(
            grid, located, classifier, settings=settings, intensity=intensity, device=device, progress=progress
        )
    index = np.ones(len(located), dtype=np.int64) if named is None else named.class_index
    shares = None if named is None else named.scores
    particles = picks_of(located, classes, index, shares, voxel_size=grid.voxel_size, tomogram=volume.name)
    particles = selected(particles, settings, ready.slab, volume.voxel_size)
    return Detection(
        particles, list(classes), volume, ready.slab, located, index, grid.voxel_size, settings.model_dump()
    )


def localise(
    volume: Volume,
    localizer: Model,
    *,
    settings: DetectSettings,
    sections: slice | None = None,
    intensity: tuple[float, float] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Located:
    """Stage 1 alone, on a volume that has the model's voxel size; in its `sections` only where they are given.

    intensity: mean and deviation as `prepare` gives them; measured anew without.
    """
    mean, deviation = intensity or _intensity(volume, settings)
    sections = sections or slice(0, volume.shape[0])
    data = volume.data[sections]
    where, max_memory = choose_device(device), parse_memory(settings.max_memory)
    network = for_inference(localizer.network, where)
    engine = on_engine(network, settings.engine, where, voxels=data.size)
    tile = plan_tile(
        data, measured(network, engine), tile=settings.tile, halo=settings.halo, max_memory=max_memory, device=where
    )
    found = particle_voxels(
        data,
        engine,
        tile=tile,
        halo=settings.halo,
        merge=settings.merge,
        mean=mean,
        deviation=deviation,
        threshold=settings.threshold,
        device=where,
        progress=of_step(progress, "finding particles"),
        watch=foreground_watch(data.shape, split=settings.split, max_memory=max_memory, threshold=settings.threshold),
    )
    check_foreground(len(found), data.shape, split=settings.split, max_memory=max_memory, threshold=settings.threshold)
    chosen = {name: getattr(settings, name) for name in LOCATE_SETTINGS}
    located = locate(found, bandwidth=settings.bandwidth / volume.voxel_size, **chosen)
    return located.moved(sections.start, volume.shape)


def name_particles(
    volume: Volume,
    located: Located,
    classifier: Model,
    *,
    settings: DetectSettings,
    intensity: tuple[float, float] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Classified:
    """Stage 2 alone: classes of the particles that stage 1 (or anything else) located in `volume`."""
    mean, deviation = intensity or _intensity(volume, settings)
    where = choose_device(device)
    batch = plan_batch(
        classifier.network,
        size=settings.subtomogram,
        batch=settings.batch,
        max_memory=parse_memory(settings.max_memory),
        device=where,
    )
    return classify(
        volume.data,
        located.centers,
        classifier.network,
        size=settings.subtomogram,
        radii=np.cbrt(located.sizes * 3 / (4 * np.pi)),
        voting=settings.voting,
        turns=settings.name_turns,
        mean=mean,
        deviation=deviation,
        batch=batch,
        device=where,
        progress=of_step(progress, "naming particles"),
    )


def picks_of(
    located: Located,
    classes: Sequence[str],
    labels: np.ndarray,
    shares: np.ndarray | None,
    *,
    voxel_size: float,
    tomogram: str,
) -> Particles:
    """Located particles as picks, in the same order: centres in A, score = location_score * class_score.

    labels: (n,) which of `classes` each has. shares: (n,) class scores; None where nothing named them. voxel_size: A,
    of the grid they were located in.
    """
    return Particles(
        centers_zyx=located.centers * voxel_size,
        classes=np.array(classes, dtype=object)[labels],
        scores=located.scores if shares is None else located.scores * shares,
        location_scores=located.scores,
        class_scores=shares,
        tomograms=np.full(len(located), tomogram, dtype=object),
    )


def _intensity(volume: Volume, settings: DetectSettings) -> tuple[float, float]:
    mean, deviation = intensity_statistics(volume)
    return mean, -deviation if settings.invert else deviation


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
