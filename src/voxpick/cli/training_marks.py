"""What a training run learns from and is judged by, as digests: a resumed run has to find the same again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.networks.model import Model
    from voxpick.simulate.structures import BeadModel
    from voxpick.train.targets import TrainingVolume
    from voxpick.volume import Volume

UNVALIDATED = "none"
"""Mark of the validation of a run without one."""
UNTRAINED = "none"
"""Mark of what a run began with that was given no weights."""
MAKING = ("seed", "model", "recipe", "bank")
"""What simulation.yaml holds by which the same tomogram is made again."""


def simulated_mark(folder: Path) -> str | None:
    """Of how a tomogram was simulated, by the notes in its folder; None where they do not tell.

    Made again on another machine it is the same but for rounding, and on another kind of device but for its noise; that
    it is still what was made, `cli.sketches` tells.
    """
    from voxpick.cli.simulation_notes import read_simulation

    noted = read_simulation(folder)
    if any(noted.get(key) is None for key in MAKING):
        return None
    made = json.dumps([noted[key] for key in MAKING], sort_keys=True, default=str)
    return _text(hashlib.sha256(made.encode()))


def data_mark(volumes: Sequence[TrainingVolume], made: Sequence[str | None] | None = None) -> str:
    """Of the tomograms and particles, in whatever folder they lie.

    made: the `simulated_mark` of each, which counts in place of its intensities.
    """
    import numpy as np

    digest = hashlib.sha256()
    for volume, simulated in zip(volumes, made or [None] * len(volumes), strict=True):
        data, particles = volume.tomogram.data, volume.particles
        digest.update(
            repr((data.shape, volume.tomogram.voxel_size, [str(name) for name in particles.classes])).encode()
        )
        if simulated is None:
            digest.update(np.ascontiguousarray(data[len(data) // 2], dtype=np.float32).tobytes())
        else:
            digest.update(simulated.encode())
        digest.update(np.round(particles.centers_zyx, 2).astype(np.float64).tobytes())
    return _text(digest)


def label_mark(volumes: Sequence[TrainingVolume]) -> str:
    """Of the class of every voxel, and of what is known of it."""
    import numpy as np

    digest = hashlib.sha256()
    for volume in volumes:
        digest.update(repr((volume.class_mask.shape, volume.z_offset, volume.known is None)).encode())
        for section in volume.class_mask:
            digest.update(np.ascontiguousarray(section, dtype=np.int16).tobytes())
        for known in () if volume.known is None else volume.known:
            digest.update(np.packbits(known).tobytes())
    return _text(digest)


def tomogram_mark(tomogram: Volume) -> str:
    """Of the intensities alone, whatever particles and voxel size go with them."""
    import numpy as np

    data = tomogram.data
    digest = hashlib.sha256(repr(data.shape).encode())
    digest.update(np.ascontiguousarray(data[len(data) // 2], dtype=np.float32).tobytes())
    return _text(digest)


def bank_mark(bank: Mapping[str, BeadModel]) -> str:
    """Of the structures that a stream simulates: names in order, places and electrons of their beads."""
    import numpy as np

    digest = hashlib.sha256()
    for name, structure in bank.items():
        digest.update(repr((name, len(structure.electrons))).encode())
        for values in (structure.positions_zyx, structure.electrons):
            digest.update(np.round(np.asarray(values, dtype=np.float64), 2).tobytes())
    return _text(digest)


def weights_mark(model: Model) -> str:
    """Of the weights of a trained stage."""
    digest = hashlib.sha256()
    for name, values in model.network.state_dict().items():
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().float().numpy().tobytes())
    return _text(digest)


def validation_mark(held_out: TrainingVolume, made: str | None = None, *, side: int) -> str:
    """Of the tomogram that a run is validated on, and how much of it. made: as one of `data_mark`."""
    return f"{data_mark([held_out], [made])} side {side}"


def require_other_place(validation: Path, paths: Sequence[Path]) -> None:
    """Raise VoxpickError where the validation folder is, or holds, one of the training data."""
    for path in paths:
        if validation.resolve() in (path.resolve(), path.resolve().parent):
            raise VoxpickError(f"{validation}: is also training data; validate on a tomogram kept out of training")


def require_other_content(
    validation: Path, held_out: TrainingVolume, paths: Sequence[Path], tomograms: Sequence[str]
) -> None:
    """Raise VoxpickError where a training tomogram is a copy of the validation's. tomograms: their marks."""
    mark = tomogram_mark(held_out.tomogram)
    for path, other in zip(paths, tomograms, strict=False):
        if other == mark:
            raise VoxpickError(
                f"{validation}: holds the same tomogram as {path}, which is training data; validate on a tomogram kept "
                "out of training"
            )


def is_training_data(tomogram: Volume, file: Path, models: Iterable[Model]) -> bool:
    """Whether one of the models, or what it began with, was trained on this tomogram, of this file.

    Models of earlier versions kept names of files alone; that of every model folder's own says nothing.
    """
    runs = [run for model in models for run in _runs(model.provenance)]
    marks = {str(mark) for run in runs for mark in run.get("training_marks") or ()}
    names = {str(name) for run in runs if "training_marks" not in run for name in run.get("training_data") or ()}
    named = file.resolve().name
    return (bool(marks) and tomogram_mark(tomogram) in marks) or (named in names and named != "reconstruction.mrc")


def _runs(made: object) -> list[dict[str, Any]]:
    """What a model's provenance tells of its training, and of the trainings before."""
    return [made, *_runs(made.get("started_from"))] if isinstance(made, dict) else []


def _text(digest: hashlib._Hash) -> str:
    return digest.hexdigest()[:16]
