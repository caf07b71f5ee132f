"""What `voxpick simulate` noted about a tomogram in simulation.yaml, beside its volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxpick.io.yaml_file import read_notes

NOISE = "noise_drawn_on"
"""Key of the kind of device, cpu or cuda, whose generator drew the noise."""


def read_simulation(directory: Path) -> dict[str, Any]:
    """The notes of a model folder; empty where there is no simulation.yaml that can be read."""
    return read_notes(directory / "simulation.yaml")


def simulated_thickness(directory: Path) -> int | None:
    """Sections of the tomogram; None where the notes do not say."""
    recipe = read_simulation(directory).get("recipe")
    if not isinstance(recipe, dict):
        return None
    sides, thickness = recipe.get("size_zyx"), recipe.get("thickness")
    if thickness is None and isinstance(sides, list) and len(sides) == 3:
        nz, _, nx = sides
        thickness = max(nx, nz)
    return thickness if isinstance(thickness, int) else None


def noted_classes(directory: Path) -> dict[int, str]:
    """Class names by their number in the class masks; empty where the notes do not say."""
    ids = read_simulation(directory).get("class_ids")
    if not isinstance(ids, dict):
        return {}
    return {number: str(name) for name, number in ids.items() if isinstance(number, int) and number > 0}
