"""One network that finds and names at once: from class probabilities to scored, named picks."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxpick.detect.budget import check_foreground, foreground_watch, plan_tile
from voxpick.detect.class_voxels import ClassForeground, class_voxels
from voxpick.detect.foreground import Foreground
from voxpick.detect.inference import for_inference, measured, on_engine
from voxpick.detect.locate import Located, locate
from voxpick.detect.memory import parse_memory
from voxpick.detect.pipeline import Detection, picks_of
from voxpick.detect.prepare import Prepared, prepare
from voxpick.detect.remembered import Remembered, recalled
from voxpick.detect.select import selected
from voxpick.detect.settings import LOCATE_SETTINGS, DetectSettings
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model
from voxpick.precision import choose_device
from voxpick.progress import Progress, of_step
from voxpick.volume import Volume


def detect_in_one_stage(
    volume: Volume,
    model: Model,
    *,
    settings: DetectSettings,
    per_class: bool,
    device: str = "auto",
    progress: Progress | None = None,
    remembered: Remembered | None = None,
) -> Detection:
    """The picks of a network that gives every voxel a class, most confident first.

    Softmax over the classes tile by tile. Foreground is where 1 - P(background) is above `settings.threshold`, and the
    class of a foreground voxel is the most probable but for the background. Particles are told apart by
    `settings.split`:
    per_class False: in all foreground at once; the voxels of a particle then vote on its class by `settings.voting`
    ('majority' counts each voxel's class, 'probability' adds up the probabilities);
    per_class True: among the voxels of each class apart, so that the class is given.
    score = location_score * class_score: the mean foreground probability (as `locate` takes it) times the winner's
    share of the vote; with per_class the share of its class in the probability of any particle.
    The map of probabilities is never held as a whole, and `settings.max_memory` is obeyed as by `pipeline.localise`.
    progress(step, done, total). remembered: of earlier detections at other thresholds.
    Raises VoxpickError as `pipeline.detect_with_segmentation` does.
    """
    if not 2 <= len(model.classes) <= 256:
        raise VoxpickError(f"detect: the model has the classes {model.classes}; it needs the background and 1 to 255")
    if settings.merge != "crop":
        raise VoxpickError(f"detect: merge = {settings.merge} is for networks of two outputs; use merge = crop")

    def look() -> tuple[Prepared, ClassForeground]:
        ready = prepare(volume, model.voxel_size, settings, spectrum=model.spectrum, device=device)
        again = remembered is not None
        return ready, _foreground(ready, model, settings, device, progress, store=np.float32 if again else np.float16)

    ready, found = recalled(remembered, "voxels", look, threshold=settings.threshold)
    if remembered is not None:
        found = found.above(settings.threshold)
    check_foreground(
        len(found), ready.data.shape, split=settings.split, max_memory=parse_memory(settings.max_memory),
        threshold=settings.threshold,
    )  # fmt: skip
    chosen = {name: getattr(settings, name) for name in LOCATE_SETTINGS}
    chosen["bandwidth"] = settings.bandwidth / ready.voxel_size
    if per_class:
        located, labels, shares = locate_by_class(found, **chosen)
    else:
        located = locate(found.found, **chosen)
        labels, shares = vote(found, located, voting=settings.voting)
    located = located.moved(ready.sections.start, ready.grid.shape)
    particles = picks_of(located, model.classes, labels, shares, voxel_size=ready.voxel_size, tomogram=volume.name)
    return Detection(
        selected(particles, settings, ready.slab, volume.voxel_size), list(model.classes), volume, ready.slab, located,
        labels, ready.voxel_size, settings.model_dump(),
    )  # fmt: skip


def vote(found: ClassForeground, located: Located, *, voting: str) -> tuple[np.ndarray, np.ndarray]:
    """Class (n,) from 1 on and the winner's share (n,) of the vote of each particle's voxels; ties: the lower class."""
    rows = np.searchsorted(found.found.voxels, located.voxels)
    number, classes = len(located), found.probabilities.shape[1]
    votes = np.zeros((number, classes))
    if voting == "majority":
        names = found.labels[rows].astype(np.int64) - 1
        votes += np.bincount(located.owner * classes + names, minlength=number * classes).reshape(votes.shape)
    else:
        for name in range(classes):
            votes[:, name] = np.bincount(located.owner, found.probabilities[rows, name], minlength=number)
    shares = votes.max(axis=1, initial=0) / np.maximum(votes.sum(axis=1), 1e-300)
    return 1 + votes.argmax(axis=1), np.clip(shares, 0, 1)


def locate_by_class(found: ClassForeground, **settings: object) -> tuple[Located, np.ndarray, np.ndarray]:
    """`locate` among the voxels of each class apart: the particles, their classes (n,) from 1 on and shares (n,).

    The share is that of the class in the summed probability of any particle, over the particle's voxels.
    """
    of_voxel = found.labels
    parts: list[Located] = []
    for name in range(1, found.probabilities.shape[1] + 1):
        parts.append(locate(found.found.kept(of_voxel == name), **settings))  # type: ignore[arg-type]
    labels = np.repeat(np.arange(1, len(parts) + 1), [len(part) for part in parts])
    located = _joined(parts, found.found)
    rows = np.searchsorted(found.found.voxels, located.voxels)
    own = found.probabilities[rows, labels[located.owner] - 1].astype(np.float64)
    assert found.found.values is not None
    any_class = found.found.values[rows].astype(np.float64)
    number = len(located)
    share = np.bincount(located.owner, own, number) / np.maximum(np.bincount(located.owner, any_class, number), 1e-300)
    return located, labels, np.clip(share, 0, 1)


def _joined(parts: list[Located], found: Foreground) -> Located:
    """The particles of all parts in one, numbered on; voxels in order."""
    first = np.cumsum([0, *(len(part) for part in parts)])
    voxels = np.concatenate([part.voxels for part in parts])
    owner = np.concatenate([part.owner + start for part, start in zip(parts, first[:-1], strict=True)])
    order = np.argsort(voxels)
    return Located(
        centers=np.concatenate([part.centers for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        voxels=voxels[order],
        owner=owner[order].astype(np.int64),
        shape=found.shape,
    )


def _foreground(
    ready: Prepared, model: Model, settings: DetectSettings, device: str, progress: Progress | None, *,
    store: type[np.floating[Any]],
) -> ClassForeground:  # fmt: skip
    where, max_memory = choose_device(device), parse_memory(settings.max_memory)
    network = for_inference(model.network, where)
    engine = on_engine(network, settings.engine, where, voxels=ready.data.size)
    each = 8 + np.dtype(store).itemsize + 2 * (len(model.classes) - 1)
    stored = 2 * each  # while the tiles' lists are joined there are two of each
    tile = plan_tile(
        ready.data, measured(network, engine), tile=settings.tile, halo=settings.halo, max_memory=max_memory,
        device=where, stored_bytes=stored,
    )  # fmt: skip
    watch = foreground_watch(
        ready.data.shape, split=settings.split, max_memory=max_memory, threshold=settings.threshold,
        stored_bytes=each,
    )  # fmt: skip
    return class_voxels(
        ready.data,
        engine,
        tile=tile,
        halo=settings.halo,
        mean=ready.mean,
        deviation=ready.deviation,
        threshold=settings.threshold,
        device=where,
        store=store,
        progress=of_step(progress, "segmenting"),
        watch=watch,
    )
