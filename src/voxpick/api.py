"""The four verbs on the two nouns, for scripts and notebooks.

from voxpick.api import detect, evaluate, simulate

world = simulate(seed=1, size_zyx=(120, 160, 192))
picks = detect(world.tomogram)
print(evaluate(picks, world).f1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from voxpick.default_method import DEFAULT_METHOD
from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.volume import Volume, intensity_statistics

READ = "read one by voxpick.io.mrc.read_mrc(path), or make one by voxpick.volume.Volume(array_zyx, voxel_size=A)"
SIMULATE = "make one by voxpick.api.simulate(seed=...)"
LOAD = "read a file of models by voxpick.io.model.load_models(path), which gives each by the name of its stage"

if TYPE_CHECKING:
    from voxpick.evaluate.shrec_score import Shrec20Score
    from voxpick.networks.model import Model
    from voxpick.simulate.shrec20 import Recipe, Simulation


@dataclass(frozen=True)
class World:
    """A simulated tomogram and the truth about it.

    tomogram: [z, y, x]. particles: centres in A in the specimen's frame, row i being occupancy id i + 1.
    class_mask, occupancy: integers [z, y, x] of the specimen, whose first section is z_offset of the tomogram.
    """

    tomogram: Volume
    particles: Particles
    class_mask: np.ndarray
    occupancy: np.ndarray
    z_offset: int
    simulation: Simulation

    @property
    def tomogram_particles(self) -> Particles:
        """The particles with centres in A in the tomogram's frame, as picks have them."""
        shift = [self.z_offset * self.tomogram.voxel_size, 0, 0]
        return self.particles.with_columns(centers_zyx=self.particles.centers_zyx + shift)


def simulate(
    *, seed: int, structures: dict[str, Any] | None = None, device: str = "cpu", vary: bool = False, **settings: Any
) -> World:
    """One tomogram by the SHREC'20 recipe; settings are those of `simulate.shrec20.Recipe`.

    structures: bead models by name; none takes the built-in twelve. vary: draw SNR, tilts, defocus, ice, crowding and
    contrast from the seed, around the settings. device: cpu, cuda or auto. Raises VoxpickError for a setting that is
    unknown or wrong, and for a device that is not there.
    """
    from voxpick.precision import choose_device
    from voxpick.simulate.bank import load_bank
    from voxpick.simulate.shrec20 import simulate_shrec20
    from voxpick.simulate.variation import Variation, draw_recipe, varying

    bank = load_bank()
    chosen = bank if structures is None else structures
    _check_seed_and_structures(seed, chosen)
    recipe = _recipe(settings)
    if vary:
        recipe = draw_recipe(recipe, chosen, Variation(), varying(seed))
    simulation = simulate_shrec20(chosen, recipe, seed=seed, device=choose_device(device))
    order = list(bank) if all(name in bank for name in chosen) else list(chosen)
    packing, voxel_size = simulation.packing, simulation.recipe.voxel_size
    names = np.array(packing.names, dtype=object)
    particles = Particles(
        packing.centers_zyx * voxel_size, classes=names[packing.class_index], rotations=packing.rotations_zyx
    )
    ids = np.array([order.index(name) + 1 for name in packing.names])
    return World(
        tomogram=Volume(simulation.reconstruction, voxel_size),
        particles=particles,
        class_mask=packing.class_of(packing.occupancy, ids),
        occupancy=packing.occupancy,
        z_offset=(simulation.reconstruction.shape[0] - packing.occupancy.shape[0]) // 2,
        simulation=simulation,
    )


def _recipe(settings: dict[str, Any]) -> Recipe:
    """The recipe of these settings. Raises VoxpickError that names the first wrong one."""
    from pydantic import ValidationError

    from voxpick.errors import wrong_setting
    from voxpick.simulate.shrec20 import Recipe

    try:
        return Recipe(**settings)
    except ValidationError as error:
        raise wrong_setting("simulate: ", error, Recipe) from error


def train(
    worlds: Sequence[World],
    stage: str | None = None,
    *,
    method: str = DEFAULT_METHOD,
    preset: str = "minutes",
    earlier: dict[str, Model] | None = None,
    **settings: Any,
) -> Model:
    """Train one stage of a method, its first if none is named, on the CPU; settings are those of `train.settings`.

    earlier: stages that are trained already, by name, for a method whose later stages build on them.
    Raises VoxpickError without worlds, for something else in their place, and for an unknown method, stage or setting.
    """
    from voxpick.methods.catalogue import find_method
    from voxpick.methods.recipe import class_names
    from voxpick.methods.training_spectrum import OneSpectrum
    from voxpick.train.targets import TrainingVolume

    _check_worlds(worlds)
    _check_models("train: earlier", {} if earlier is None else earlier)
    volumes = [
        TrainingVolume(
            world.tomogram,
            world.class_mask,
            world.tomogram_particles,
            world.occupancy,
            z_offset=world.z_offset,
            intensity=intensity_statistics(world.tomogram),
            density=world.simulation.grandmodel,
        )
        for world in worlds
    ]
    chosen = find_method(method)
    if not chosen.STAGES:
        raise VoxpickError(f"{method} learns nothing, so there is nothing to train")
    how = chosen.training_settings(stage or chosen.STAGES[0], preset, settings)
    if how.stream:
        raise VoxpickError(f"train: stream = {how.stream}; give worlds, or train with `voxpick train --stream`")
    classes = class_names(volumes)
    model = chosen.create_model(how, classes, voxel_size=worlds[0].tomogram.voxel_size)
    volumes = OneSpectrum(model, earlier, keep=how.keep_spectrum)(volumes)
    chosen.train(volumes, model, how, classes=classes, earlier=earlier)
    if how.stage == "classifier":
        model.detection = {**model.detection, "subtomogram": how.patch}
    model.provenance = {"method": method, "preset": preset, "settings": how.model_dump()}
    return model


def detect(
    volume: Volume,
    localizer: Model | None = None,
    classifier: Model | None = None,
    *,
    models: dict[str, Model] | None = None,
    device: str = "auto",
    **settings: Any,
) -> Particles:
    """Find and name the particles of a tomogram, most confident first; without models, by the built-in ones.

    localizer: what `train` made, of a method whose one stage finds particles; one that does not name them leaves that
    to the classifier. models: trained stages by name, of any method; given with a classifier, that one names the picks.
    settings are those of the method's detection, `detect.settings.DetectSettings` and what it adds.
    Raises VoxpickError for other than a Volume and Models, and for a setting that is unknown or wrong.
    """
    from voxpick.io.model import builtin_model_path, load_models
    from voxpick.methods.catalogue import find_method, method_of
    from voxpick.methods.naming import detect_and_name
    from voxpick.networks.model import Model

    _require(volume, Volume, "detect: volume", READ)
    for what, model in (("localizer", localizer), ("classifier", classifier)):
        if model is not None:
            _require(model, Model, f"detect: {what}", f"give what voxpick.api.train made; {LOAD}")
    if localizer is not None and models is not None:
        raise VoxpickError("give either a localizer or the models of a method")
    if models is not None:
        _check_models("detect: models", models)
        if not models:
            raise VoxpickError("detect: models is empty; leave it out for the built-in ones")
    if localizer is not None:
        models = {_stage(localizer): localizer}
    if models is None:
        models = load_models(builtin_model_path(DEFAULT_METHOD))
    name = method_of(models)
    found = detect_and_name(volume, find_method(name), models, classifier, changes=settings, device=device)
    return found.particles


def _stage(model: Model) -> str:
    """Which part of a model file this is; one that does not say is a localizer."""
    return str(model.provenance.get("settings", {}).get("stage", "localizer"))


def evaluate(picks: Particles, world: World, *, strict: bool = False) -> Shrec20Score:
    """Score picks, in the tomogram's frame, as SHREC'20 does.

    Raises VoxpickError for other than Particles and a World.
    """
    from voxpick.evaluate.shrec import score_shrec

    way = "give what voxpick.api.detect or voxpick.io.formats.read_particles made, or Particles(centers_zyx in A)"
    _require(picks, Particles, "evaluate: picks", way)
    _require(world, World, "evaluate: world", SIMULATE)
    return score_shrec(
        picks,
        world.particles,
        world.occupancy,
        voxel_size=world.tomogram.voxel_size,
        z_offset=world.z_offset,
        thickness=world.tomogram.shape[0],
        frame="tomogram",
        strict=strict,
    )


def _require(value: object, kind: type, what: str, way_out: str) -> None:
    """Raise VoxpickError for an argument that is not of its kind."""
    if not isinstance(value, kind):
        raise VoxpickError(f"{what} is {_kind(value)}, not a {kind.__name__}; {way_out}")


def _kind(value: object) -> str:
    """What a value is, for a message."""
    return "None" if value is None else f"of type {type(value).__name__}"


def _check_worlds(worlds: object) -> None:
    """Raise VoxpickError unless these are worlds, at least one."""
    if isinstance(worlds, str) or not isinstance(worlds, Sequence):
        raise VoxpickError(f"train: worlds is {_kind(worlds)}; give a list of them, such as [world]")
    if not worlds:
        raise VoxpickError("there is no world to train on; make some with simulate")
    for k, world in enumerate(worlds):
        _require(world, World, f"train: worlds[{k}]", SIMULATE)


def _check_models(what: str, models: object) -> None:
    """Raise VoxpickError unless these are models by the names of their stages."""
    from voxpick.networks.model import Model

    _require(models, dict, what, LOAD)
    assert isinstance(models, dict)
    for stage, model in models.items():
        _require(model, Model, f"{what}[{stage!r}]", LOAD)


def _check_seed_and_structures(seed: object, structures: object) -> None:
    """Raise VoxpickError for a seed that is no whole number from 0 on, and for other than bead models by name."""
    from voxpick.simulate.structures import BeadModel

    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise VoxpickError(f"simulate: seed = {seed!r}: give a whole number from 0 on")
    way = "read a bank by voxpick.cli.structures.read_bank(path)"
    _require(structures, dict, "simulate: structures", way)
    assert isinstance(structures, dict)
    if not structures:
        raise VoxpickError("simulate: structures is empty; leave it out for the built-in twelve")
    for name, model in structures.items():
        _require(model, BeadModel, f"simulate: structures[{name!r}]", way)
