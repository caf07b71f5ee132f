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

from voxpick.particles import Particles
from voxpick.volume import Volume, intensity_statistics

if TYPE_CHECKING:
    from voxpick.evaluate.shrec_score import Shrec20Score
    from voxpick.networks.model import Model
    from voxpick.simulate.shrec20 import Simulation


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


def simulate(*, seed: int, structures: dict[str, Any] | None = None, device: str = "cpu", **settings: Any) -> World:
    """One tomogram by the SHREC'20 recipe; settings are those of `simulate.shrec20.Recipe`.

    structures: bead models by name; none takes the built-in twelve.
    """
    from voxpick.simulate.bank import load_bank
    from voxpick.simulate.shrec20 import Recipe, simulate_shrec20

    bank = load_bank()
    chosen = bank if structures is None else structures
    simulation = simulate_shrec20(chosen, Recipe(**settings), seed=seed, device=device)
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


def train(worlds: Sequence[World], stage: str, *, preset: str = "minutes", **settings: Any) -> Model:
    """Train one stage of VP-Detector, 'localizer' or 'classifier'; settings are those of `train.settings`."""
    from voxpick.methods import vp_detector
    from voxpick.methods.recipe import class_names
    from voxpick.train.targets import TrainingVolume

    volumes = [
        TrainingVolume(
            world.tomogram,
            world.class_mask,
            world.particles.with_columns(
                centers_zyx=world.particles.centers_zyx + [world.z_offset * world.tomogram.voxel_size, 0, 0]
            ),
            world.occupancy,
            z_offset=world.z_offset,
            intensity=intensity_statistics(world.tomogram),
        )
        for world in worlds
    ]
    chosen = vp_detector.training_settings(stage, preset, settings)
    classes = class_names(volumes)
    model = vp_detector.create_model(chosen, classes, voxel_size=worlds[0].tomogram.voxel_size)
    vp_detector.train(volumes, model, chosen, classes=classes)
    return model


def detect(
    volume: Volume,
    localizer: Model | None = None,
    classifier: Model | None = None,
    *,
    device: str = "auto",
    **settings: Any,
) -> Particles:
    """Find and name the particles of a tomogram, most confident first; without models, by the built-in VP-Detector.

    settings are those of `detect.pipeline.DetectSettings`. A localizer alone finds without naming.
    """
    from voxpick.detect.pipeline import detect as run
    from voxpick.detect.pipeline import make_settings
    from voxpick.io.model import builtin_model_path, load_models

    if localizer is None:
        parts = load_models(builtin_model_path("vp-detector"))
        localizer, classifier = parts["localizer"], classifier or parts.get("classifier")
    return run(volume, localizer, classifier, settings=make_settings([classifier, localizer], settings), device=device)


def evaluate(picks: Particles, world: World, *, strict: bool = False) -> Shrec20Score:
    """Score picks, in the tomogram's frame, as SHREC'20 does."""
    from voxpick.evaluate.shrec import score_shrec

    return score_shrec(
        picks,
        world.particles,
        world.occupancy,
        voxel_size=world.tomogram.voxel_size,
        z_offset=world.z_offset,
        frame="tomogram",
        strict=strict,
    )
