"""VP-Detector's two stages from a tomogram to scored, named picks (Hao et al. 2022, section 2.1)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from voxpick.detect.budget import check_foreground, plan_batch, plan_tile
from voxpick.detect.classify import Classified, classify
from voxpick.detect.locate import Located, locate
from voxpick.detect.memory import parse_memory
from voxpick.detect.rescale import labels_like, rescaled, same_voxel_size
from voxpick.detect.segment import particle_voxels
from voxpick.detect.settings import LOCATE_SETTINGS, DetectSettings, make_settings
from voxpick.detect.slab import Slab, choose_slab
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.precision import choose_device
from voxpick.volume import Volume, intensity_statistics

Progress = Callable[[str, int, int], None]
SLAB_MARGIN = 240.0
"""A, beyond the sections where the ice was found."""


@dataclass(frozen=True)
class Detection:
    """The picks, most confident first, and what they came from.

    classes[k] names the label k. volume: the tomogram. slab: the sections of it that were looked at.
    located: in a volume of `voxel_size` A and the model's grid; labels: class of each of them.
    """

    particles: Particles
    classes: list[str]
    volume: Volume
    slab: Slab
    located: Located
    labels: np.ndarray
    voxel_size: float

    @cached_property
    def segmentation(self) -> Volume:
        """uint8 [z, y, x] on the grid of the tomogram, 0 background; made when it is asked for."""
        painted = self.located.painted(self.labels.astype(np.uint8))
        if self.voxel_size != self.volume.voxel_size:
            painted = labels_like(painted, self.voxel_size, self.volume)
        return Volume(painted, self.volume.voxel_size, name=self.volume.name)


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
    slab = choose_slab(volume.data, settings.slab, margin=round(SLAB_MARGIN / volume.voxel_size))
    sections = slab.on_grid(volume.voxel_size / voxel_size, on_grid.shape[0])
    located = localise(on_grid, localizer, settings=settings, sections=sections, device=device, progress=progress)
    classes = (classifier or localizer).classes
    named = None
    if classifier is not None:
        named = name_particles(on_grid, located, classifier, settings=settings, device=device, progress=progress)
    index = np.ones(len(located), dtype=np.int64) if named is None else named.class_index
    particles = _particles(located, named, index, classes, voxel_size, volume.name)
    assert particles.scores is not None
    particles = particles[particles.scores >= settings.minimum_score].sorted_by_score()
    return Detection(particles, list(classes), volume, slab, located, index, voxel_size)


def localise(
    volume: Volume,
    localizer: Model,
    *,
    settings: DetectSettings,
    sections: slice | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Located:
    """Stage 1 alone, on a volume that has the model's voxel size; in its `sections` only where they are given."""
    mean, deviation = _intensity(volume, settings)
    sections = sections or slice(0, volume.shape[0])
    data = volume.data[sections]
    where, max_memory = choose_device(device), parse_memory(settings.max_memory)
    tile = plan_tile(
        data, localizer.network, tile=settings.tile, halo=settings.halo, max_memory=max_memory, device=where
    )
    found = particle_voxels(
        data,
        localizer.network,
        tile=tile,
        halo=settings.halo,
        merge=settings.merge,
        mean=mean,
        deviation=deviation,
        threshold=settings.threshold,
        device=where,
        progress=_named(progress, "finding particles"),
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
    device: str = "auto",
    progress: Progress | None = None,
) -> Classified:
    """Stage 2 alone: classes of the particles that stage 1 (or anything else) located in `volume`."""
    mean, deviation = _intensity(volume, settings)
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
        mean=mean,
        deviation=deviation,
        batch=batch,
        device=where,
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
