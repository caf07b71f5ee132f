"""The tomograms of a benchmark: folders that exist, or simulated into its output folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path

from voxpick.benchmark.commands import simulate_command
from voxpick.benchmark.data_settings import SETS, Data, DataSet, Recipe
from voxpick.benchmark.fingerprint import fingerprint, of_model_folder
from voxpick.benchmark.settings import Settings
from voxpick.benchmark.steps import Steps
from voxpick.errors import VoxpickError
from voxpick.io.shrec_model import open_model
from voxpick.io.yaml_file import read_notes


@dataclass(frozen=True)
class Tomogram:
    """A model folder. name: in the results; mark: its fingerprint; about: what a sweep varies, and its value.

    voxel_size: A, as the benchmark's data are read, where the header of a given folder need not say so; None for ours.
    tilt_range: degrees; None where the folder does not say.
    """

    name: str
    folder: Path
    mark: str
    about: tuple[str, float] | None = None
    voxel_size: float | None = None
    tilt_range: tuple[float, float] | None = None


Datasets = dict[str, list[Tomogram]]


def prepare(settings: Settings, settings_folder: Path, output: Path, steps: Steps) -> Datasets:
    """All sets under the names of SETS, and the tomograms of the sweep under 'sweep'; simulates what is missing.

    Raises StepFailed when a simulation fails, VoxpickError for folders that are not apart, do not exist, or would be
    replaced though no benchmark made them.
    """
    sets = described_sets(settings, settings_folder, output, steps)
    _require_apart(sets)
    return sets


def described_sets(settings: Settings, settings_folder: Path, output: Path, steps: Steps | None = None) -> Datasets:
    """The sets of `prepare`; without steps nothing is simulated, and their folders need not exist."""
    benchmark = settings.benchmark
    sets: Datasets = {}
    for name in SETS:
        part: DataSet = getattr(benchmark.data, name)
        if part.folders:
            sets[name] = _distinct([_existing(name, settings_folder / path) for path in part.folders])
        else:
            assert part.seed is not None
            recipe = benchmark.data.recipe_of(part)
            sets[name] = _simulated(name, recipe, part.models, part.seed, output / "data", steps, benchmark.threads)
    sets["sweep"] = []
    if benchmark.sweep:
        sweep = benchmark.sweep
        for what, value in sweep.points():
            recipe = benchmark.data.recipe_of(benchmark.data.test, **{what: value})
            folder = f"sweep_{what}_{value:g}"
            made = _simulated(folder, recipe, sweep.models, sweep.seed, output / "data", steps, benchmark.threads)
            sets["sweep"] += [replace(tomogram, about=(what, value)) for tomogram in made]
    return sets


def require_folders(data: Data, settings_folder: Path) -> None:
    """Raise VoxpickError for a given folder that lacks what is read of it."""
    for name in SETS:
        part: DataSet = getattr(data, name)
        for path in part.folders or ():
            _require_files(name, settings_folder / path)


def _require_files(name: str, folder: Path) -> None:
    for file in ("particle_locations.txt", "reconstruction.mrc", "occupancy_mask.mrc"):
        if not (folder / file).is_file():
            raise VoxpickError(
                f"{folder}: holds no {file}; {name} takes model folders as 'voxpick simulate' makes them"
            )


def _existing(name: str, folder: Path) -> Tomogram:
    _require_files(name, folder)
    called = f"{name}_{folder.resolve().parent.name}_{folder.resolve().name}"
    return Tomogram(
        called, folder, of_model_folder(folder), voxel_size=open_model(folder).voxel_size,
        tilt_range=_tilts_of(folder),
    )  # fmt: skip


def _tilts_of(folder: Path) -> tuple[float, float] | None:
    """Lowest and highest tilt in degrees by simulation.yaml; None where it does not say."""
    angles = read_notes(folder / "simulation.yaml").get("tilt_angles_deg")
    if not isinstance(angles, list) or not all(isinstance(angle, int | float) for angle in angles) or not angles:
        return None
    return float(min(angles)), float(max(angles))


def _distinct(tomograms: list[Tomogram]) -> list[Tomogram]:
    """The tomograms, with a number after names that one before has: a/test/model_0 and b/test/model_0."""
    taken: set[str] = set()
    found = []
    for tomogram in tomograms:
        names = chain([tomogram.name], (f"{tomogram.name}_{k}" for k in count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        found.append(replace(tomogram, name=name))
    return found


def _simulated(
    name: str, recipe: Recipe, models: int, seed: int, data: Path, steps: Steps | None, threads: int | None
) -> list[Tomogram]:
    folder = data / name
    mark = fingerprint([recipe.model_dump(mode="json"), models, seed])
    if steps is not None:
        step = f"simulate_{name}"
        if folder.exists() and not steps.recorded(step):
            raise VoxpickError(
                f"{folder}: was not made by a benchmark and would be replaced; move it elsewhere, or give another "
                "--output"
            )
        known = steps.known(step, mark)
        resumed = known is not None and not known.done
        if known is None:
            shutil.rmtree(folder, ignore_errors=True)
        command = simulate_command(str(folder), recipe, models=models, seed=seed, threads=threads, resume=resumed)
        steps.run(step, mark, command, makes=folder / f"model_{models - 1}", resumed=resumed)
    tilts = recipe.tilt_range()
    return [
        Tomogram(f"{name}_model_{k}", folder / f"model_{k}", fingerprint([mark, k]), tilt_range=tilts)
        for k in range(models)
    ]


def _require_apart(sets: Datasets) -> None:
    """No tomogram in two sets, told by place, content and the seed written into simulation.yaml."""
    seen: dict[str, tuple[str, Path]] = {}
    for name, tomograms in sets.items():
        for tomogram in tomograms:
            for key in (str(tomogram.folder.resolve()), f"content {tomogram.mark}", *_seed_of(tomogram.folder)):
                other = seen.setdefault(key, (name, tomogram.folder))
                if other[0] != name:
                    raise VoxpickError(
                        f"{tomogram.folder} ({name}) and {other[1]} ({other[0]}) hold the same specimen; "
                        "scores would not be of unseen data, so take other seeds or folders"
                    )


def _seed_of(folder: Path) -> list[str]:
    record = read_notes(folder / "simulation.yaml")
    try:
        return [f"seed {record['seed']} model {record['model']} of {record['recipe']['size_zyx']}"]
    except (KeyError, TypeError):
        return []
