"""What a network is trained on: folders with truth, tomograms with picks, or specimens simulated on the fly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.cli.class_names import warn_of_names
from voxpick.cli.class_values import BACKGROUND, of_class, require_known_classes, require_sensible_radius
from voxpick.cli.training_picks import picks_for
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import torch

    from voxpick.particles import Particles
    from voxpick.train.fit import Fitted
    from voxpick.train.settings import TrainSettings
    from voxpick.train.targets import TrainingVolume
    from voxpick.volume import Volume

Train = Callable[..., "Fitted"]


@dataclass(frozen=True)
class TrainingData:
    """classes: names by number. voxel_size: A. names: for the model's provenance.

    marks: what a resumed run must find again (`cli.training_marks`); former: those of them that earlier versions wrote
    in another way. tomograms: marks of each one's intensities; none for a stream. simulated: whether all of it is known
    to be simulated by this package. sketches: of simulated ones, by their place among the data (`cli.sketches`).
    run(train, checkpoint_seconds=, **options): call train(volumes, **options), pool by pool where there is a stream.
    """

    classes: list[str]
    voxel_size: float
    names: list[str]
    run: Callable[..., Fitted]
    marks: dict[str, str] = field(default_factory=dict)
    tomograms: list[str] = field(default_factory=list)
    simulated: bool = False
    former: dict[str, str] = field(default_factory=dict)
    sketches: dict[str, str] = field(default_factory=dict)


def gather(
    paths: Sequence[Path], *, picks: Sequence[Path], radius: Sequence[str], partial: float | None,
    voxel_size: float | None = None, given: Sequence[str] = (),
) -> TrainingData:  # fmt: skip
    """Volumes of folders model_N and of tomograms (MRC) with picks; labels known only near particles where partial (A).

    radius: 'A' or 'CLASS=A', of the balls that picks become. given: classes of the model that picks are to teach, which
    it keeps if they are all among them. Raises VoxpickError for files that do not fit together.
    """
    from voxpick.cli.sketches import folder_sketch
    from voxpick.cli.training_marks import data_mark, label_mark, simulated_mark, tomogram_mark
    from voxpick.methods.recipe import class_names, without_gaps
    from voxpick.train.partial import partly_labelled

    if partial is not None and not 0 <= partial < float("inf"):
        raise VoxpickError(f"--partial {partial:g}: give 0 or more, in A")
    if not paths:
        raise VoxpickError("no training data; give folders model_N, or tomograms with --picks, or --stream")
    tomograms = [path for path in paths if not path.is_dir()]
    if tomograms and not picks and all(path.exists() for path in tomograms):
        raise VoxpickError(f"{tomograms[0]}: a tomogram without truth; give its particles with --picks")
    if picks and len(tomograms) < len(paths):
        raise VoxpickError(f"{next(p for p in paths if p.is_dir())}: a folder with truth; --picks goes with tomograms")
    if voxel_size is not None and not picks:
        raise VoxpickError(f"--voxel-size {voxel_size:g}: goes with --picks; folders with truth know theirs")
    if radius and not picks:
        raise VoxpickError(f"--radius {radius[0]}: goes with --picks; folders with truth have masks")
    if picks:
        volumes, classes = _from_picks(tomograms, picks, radius, partial, voxel_size, given)
    else:
        volumes = without_gaps([read_training_volume(path) for path in paths])
        classes = class_names(volumes)
        if partial is not None:
            volumes = [partly_labelled(volume, shell=partial) for volume in volumes]

    def run(train: Train, *, checkpoint_seconds: float, **options: Any) -> Fitted:
        return train(volumes, **options)

    made = [simulated_mark(path) if path.is_dir() else None for path in paths]
    return TrainingData(
        classes, volumes[0].tomogram.voxel_size, [path.name for path in paths], run,
        {"mark": data_mark(volumes, made), "labels": label_mark(volumes)},
        [tomogram_mark(volume.tomogram) for volume in volumes],
        simulated=all((path / "simulation.yaml").is_file() for path in paths), former={"mark": data_mark(volumes)},
        sketches={f"the training folder {number}": folder_sketch(path, volume.tomogram) for number, (path, volume, mark)
                  in enumerate(zip(paths, volumes, made, strict=True), start=1) if mark},
    )  # fmt: skip


def stream(settings: TrainSettings, structures: Path | None, *, device: torch.device) -> TrainingData:
    """An endless stream of simulated specimens, made on the device as they are needed."""
    from voxpick.cli.structures import read_bank
    from voxpick.cli.training_marks import bank_mark
    from voxpick.methods.specimens import background_worker, specimen_maker
    from voxpick.train.stream import SpecimenStream, stream_settings, train_on_stream

    chosen, bank = stream_settings(settings), read_bank(structures)
    make = specimen_maker(bank, chosen, device=str(device))

    def run(train: Train, **options: Any) -> Fitted:
        with background_worker(str(device)) as worker:
            pool = SpecimenStream(make, worker, pool=chosen.pool, every=chosen.every)
            return train_on_stream(train, pool, **options)

    marks = {"mark": bank_mark(bank)}
    return TrainingData(list(bank), make.recipe.voxel_size, ["simulated on the fly"], run, marks, simulated=True)


def read_training_volume(directory: Path) -> TrainingVolume:
    """A model_N folder as training data; its volumes stay on disk and are read, and normalised, patch by patch."""
    from voxpick.io.shrec_model import open_model
    from voxpick.train.targets import TrainingVolume
    from voxpick.volume import intensity_statistics

    files = open_model(directory)
    tomogram, largest = files.reconstruction, int(files.occupancy_mask.max())
    if largest > len(files.particles):
        raise VoxpickError(
            f"{directory}: occupancy_mask.mrc holds particle {largest}, but particle_locations.txt lists "
            f"{len(files.particles)}; take both from one data set"
        )
    return TrainingVolume(
        tomogram, files.class_mask, files.tomogram_particles, files.occupancy_mask, z_offset=files.z_offset,
        intensity=intensity_statistics(tomogram),
        density=files.grandmodel.data if files.path("grandmodel").is_file() else None,
    )  # fmt: skip


def _from_picks(
    tomograms: Sequence[Path],
    picks: Sequence[Path],
    radius: Sequence[str],
    partial: float | None,
    voxel_size: float | None,
    given: Sequence[str],
) -> tuple[list[TrainingVolume], list[str]]:
    """Each tomogram with balls at its picks, and the classes by the number that they have in its masks."""
    from voxpick.cli.tomograms import read_tomogram

    volumes = [read_tomogram(path, voxel_size) for path in tomograms]
    name, times = Counter(volume.name for volume in volumes).most_common(1)[0]
    if times > 1 and len(picks) < len(volumes):
        raise VoxpickError(
            f"{times} tomograms are called {name}, so one file of picks cannot tell them apart; give a file of picks "
            "for each, or rename them"
        )
    found = [picks_for(volume, tomograms, index, picks) for index, volume in enumerate(volumes)]
    names = sorted({str(name) for particles in found for name in particles.classes} - {BACKGROUND})
    if not names:
        raise VoxpickError(f"{picks[0]}: holds no particle, only {BACKGROUND}; pick some")
    warn_of_names(names)
    classes = _in_order(names, given)
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    require_known_classes(radius, [*names, BACKGROUND], "--radius")
    radii = {name: _radius(radius, name) for name in names}
    of_background = [text for text in radius if text.startswith(f"{BACKGROUND}=")]
    widest = max(max(volume.shape) * volume.voxel_size for volume in volumes)
    balls = {**radii, BACKGROUND: _radius(of_background, BACKGROUND)} if of_background else radii
    for name, length in balls.items():
        require_sensible_radius(name, length, voxel_size=volumes[0].voxel_size, widest=widest)
    marked = any((particles.classes == BACKGROUND).any() for particles in found)
    wanted = partial is not None and (marked or bool(of_background))
    empty = _radius(of_background, BACKGROUND, partial) if wanted else 0.0
    labelled = [
        _with_balls(volume, particles, numbers, radii, partial=partial, empty=empty)
        for volume, particles in zip(volumes, found, strict=True)
    ]
    return labelled, classes


def _in_order(names: Sequence[str], given: Sequence[str]) -> list[str]:
    """The classes that picks of these names teach a model of the `given` ones: those, if they hold all names.

    Else the names alone, SHREC'20's in its order, others sorted.
    """
    from voxpick.shrec_classes import CLASS_IDS

    if not given or not {*names} <= {*given}:
        return sorted(names, key=lambda name: (CLASS_IDS[name] if {*names} <= {*CLASS_IDS} else 0, name))
    if unseen := [name for name in given if name not in names]:
        typer.echo(f"No pick is of {', '.join(unseen)}; the model keeps these classes as it learned them")
    return list(given)


def _with_balls(
    volume: Volume, particles: Particles, numbers: dict[str, int], radii: dict[str, float], *, partial: float | None,
    empty: float,
) -> TrainingVolume:  # fmt: skip
    """A tomogram whose class mask has a ball of its class's radius at each pick; of earlier ones where they overlap."""
    from voxpick.average.pasted import ball, paste
    from voxpick.cli.pick_files import outside
    from voxpick.train.partial import partly_labelled
    from voxpick.train.targets import TrainingVolume
    from voxpick.volume import intensity_statistics

    marked = particles.classes == BACKGROUND
    outlines = {name: ball(length, voxel_size=volume.voxel_size) for name, length in radii.items()}
    masks = paste(particles[~marked], outlines, numbers, shape=volume.shape, voxel_size=volume.voxel_size)
    if len(masks.hidden) == int((~marked).sum()):
        raise VoxpickError(
            f"{volume.name}: none of its {len(masks.hidden)} picks lies within {volume.shape} voxels (z, y, x) of "
            f"{volume.voxel_size:g} A; check their unit and frame"
        )
    if covered := int((~outside(particles[~marked], volume)[masks.hidden]).sum()):
        typer.echo(
            f"voxpick: warning: {volume.name}: {covered} of {int((~marked).sum())} picks lie wholly in the balls of "
            "earlier ones and mark no voxel; check their unit and --radius",
            err=True,
        )
    result = TrainingVolume(
        volume, masks.class_mask, particles[~marked], masks.occupancy, intensity=intensity_statistics(volume)
    )
    if partial is None:
        return result
    return partly_labelled(result, shell=partial, background=particles.centers_zyx[marked], radius=empty)


def _radius(given: Sequence[str], name: str, default: float | None = None) -> float:
    """The radius of a class in A."""
    text = of_class(list(given), name, "--radius")
    try:
        value = default if text is None else float(text)
    except ValueError as error:
        raise VoxpickError(f"--radius {text}: is not a number of A") from error
    if value is None or not 0 < value < float("inf"):
        raise VoxpickError(f"class {name!r}: picks become balls, whose --radius in A, or --radius {name}=A, is needed")
    return value
