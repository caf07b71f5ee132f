"""The model_N folders of a series of simulated tomograms: their seeds, what is noted about them, and their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import torch

    from voxpick.simulate.shrec20 import Recipe, Simulation
    from voxpick.simulate.structures import BeadModel
    from voxpick.simulate.variation import Variation


@dataclass(frozen=True)
class Series:
    """What the tomograms of one call share. variation: what is drawn anew for each. class_ids: of the bank's names."""

    recipe: Recipe
    variation: Variation | None
    bank: dict[str, BeadModel]
    class_ids: dict[str, int]
    seed: int

    def recipe_of(self, number: int) -> Recipe:
        """The settings of one tomogram."""
        from voxpick.simulate.variation import draw_recipe, varying

        if self.variation is None:
            return self.recipe
        rng = varying(model_seed(self.seed, number))
        return draw_recipe(self.recipe, self.bank, self.variation, rng)

    def record(self, number: int, device: torch.device) -> dict[str, Any]:
        """What simulation.yaml says of one tomogram that is made on the device."""
        record = provenance(self.recipe_of(number), self.bank, self.seed, number, device=device)
        return record if self.variation is None else {**record, "variation": self.variation.model_dump(mode="json")}


MOST_SEED = 2**32 - 1
"""Of a series: larger seeds are more than one word to numpy, and would repeat tomograms of other series."""


def model_seed(seed: int, number: int) -> int:
    """The seed of tomogram `number` of the series that begins with `seed`, which is at most MOST_SEED."""
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def make_folder(
    folder: Path, series: Series, number: int, *, device: torch.device, overwrite: bool, resume: bool
) -> None:  # fmt: skip
    """Simulate and write one tomogram; resume: unless it is there already."""
    from voxpick.cli.progress import step_bars
    from voxpick.simulate.shrec20 import simulate_shrec20

    record = series.record(number, device)
    if resume and _is_there(folder, series, record):
        return
    seed = model_seed(series.seed, number)
    with step_bars(folder.name) as report:
        simulation = simulate_shrec20(
            series.bank, series.recipe_of(number), seed=seed, device=device, progress=report
        )  # fmt: skip
    try:
        write_simulation(folder, simulation, series.class_ids, provenance=record, overwrite=overwrite)
    except VoxpickError:
        if resume and _is_there(folder, series, record):  # by now: another process goes on with the same series
            return
        raise
    typer.echo(f"{folder}: {len(simulation.packing.centers_zyx)} particles")


def _is_there(folder: Path, series: Series, record: dict[str, Any]) -> bool:
    """Whether a tomogram is made already. Raises VoxpickError for a folder that an equal call would not have made."""
    if not folder.exists():
        return False
    _require_made_by(folder, {**record, "class_ids": series.class_ids})
    typer.echo(f"{folder}: is there already")
    return True


def _require_made_by(folder: Path, record: dict[str, Any]) -> None:
    """Raise VoxpickError for a model folder whose simulation.yaml does not hold this record."""
    import yaml

    from voxpick.cli.simulation_notes import NOISE, read_simulation

    found = read_simulation(folder)
    if not found:
        raise VoxpickError(
            f"{folder}: holds no simulation.yaml that can be read, so it is not one of this command's; choose another "
            "folder or add --overwrite"
        )
    unnoted = {"bank", NOISE} - set(found)  # by earlier versions
    record = yaml.safe_load(yaml.safe_dump({name: value for name, value in record.items() if name not in unnoted}))
    other = [name for name, value in record.items() if found.get(name) != value]
    if other and other != [NOISE]:
        name = next(name for name in other if name != NOISE)
        raise VoxpickError(
            f"{folder}: was made with another {name}, so this call cannot go on with it; choose another folder or "
            "add --overwrite"
        )
    if other:
        raise VoxpickError(
            f"{folder}: its noise was drawn on {found[NOISE]}, and on {record[NOISE]} the same seed draws another; go "
            f"on with --device {found[NOISE]}, choose another folder or add --overwrite"
        )


def write_simulation(
    folder: Path, simulation: Simulation, class_ids: dict[str, int], *, provenance: dict[str, Any], overwrite: bool
) -> None:
    """Write one model_N folder, and simulation.yaml with settings, tilt angles and class ids beside it inside."""
    import numpy as np
    import yaml

    from voxpick.io.shrec_model import write_model
    from voxpick.particles import Particles

    packing = simulation.packing
    names = np.array(packing.names, dtype=object)
    ids = np.array([class_ids[name] for name in packing.names])
    record = {**provenance, "class_ids": class_ids, "tilt_angles_deg": simulation.tilt_angles_deg}
    write_model(
        folder,
        grandmodel=simulation.grandmodel,
        class_mask=packing.class_of(packing.occupancy, ids),
        occupancy_mask=packing.occupancy,
        class_bbox=packing.class_of(packing.occupancy_bbox, ids),
        occupancy_bbox=packing.occupancy_bbox,
        projections=simulation.projections,
        reconstruction=simulation.reconstruction,
        particles=Particles(
            packing.centers_zyx * simulation.recipe.voxel_size,
            classes=names[packing.class_index],
            rotations=packing.rotations_zyx,
        ),
        voxel_size=simulation.recipe.voxel_size,
        notes={"simulation.yaml": yaml.safe_dump(record, sort_keys=False)},
        overwrite=overwrite,
    )


def provenance(
    recipe: Recipe, bank: dict[str, BeadModel], seed: int, number: int, *, device: torch.device | str
) -> dict[str, Any]:
    """What simulation.yaml records: version, seed, settings, sources of the structures and a mark of their beads.

    And the kind of device: particles are the same on all, but a GPU's generator draws other noise from the same seed.
    """
    import torch

    from voxpick import __version__
    from voxpick.cli.simulation_notes import NOISE
    from voxpick.cli.training_marks import bank_mark

    return {
        "voxpick": __version__,
        "seed": seed,
        "model": number,
        "recipe": recipe.model_dump(mode="json"),
        "structures": {name: model.source for name, model in bank.items()},
        "bank": bank_mark(bank),
        NOISE: torch.device(device).type,
    }
