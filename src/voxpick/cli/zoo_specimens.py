"""The specimens that zoo models are trained, validated and tested on: one seed for each role, simulated once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxpick.errors import VoxpickError

SEEDS: Mapping[str, int] = {"training": 212_001, "validation": 922_001, "test": 532_001}
"""Of `voxpick simulate shrec20`; no specimen of one role is one of another."""

TESTS = 3
SIZES = {"minutes": (200, 128, 512), "paper": (200, 512, 512)}
"""Voxels (z, y, x) of a specimen by preset."""

TRAINING = {"minutes": 8, "paper": 9}
"""How many specimens to train on, by preset."""

MARGIN = 28
"""Sections of vacuum on each side of a specimen."""


@dataclass(frozen=True)
class Specimens:
    """Folders model_N by role, and one line about each role."""

    training: list[Path]
    validation: list[Path]
    test: list[Path]
    about: list[str]


def make_specimens(
    folder: Path, *, training: int, size: tuple[int, int, int], device: str, stop: Callable[[], bool] = lambda: False
) -> Specimens | None:
    """Simulate what the folder does not hold yet; training: how many to train on, 0 for none.

    None where stop() said so before all were there. Raises VoxpickError where a specimen of the folder was made in
    another way, or another process makes them there.
    """
    from voxpick.io.alone import alone_in

    counts = {"training": training, "validation": 1, "test": TESTS}
    made: dict[str, list[Path]] = {role: [] for role in counts}
    with alone_in(folder, use="makes specimens"):
        for role, number in counts.items():
            for k in range(number):
                path = folder / role / f"model_{k}"
                if not path.exists() and stop():
                    return None
                made[role].append(_specimen(path, role, k, size, device))
    about = [_about(role, made[role], size) for role, number in counts.items() if number]
    return Specimens(made["training"], made["validation"], made["test"], about)


def _specimen(path: Path, role: str, number: int, size: tuple[int, int, int], device: str) -> Path:
    from voxpick.cli.progress import step_bars
    from voxpick.cli.simulation_folders import model_seed, provenance, write_simulation
    from voxpick.simulate.bank import load_bank
    from voxpick.simulate.shrec20 import Recipe, simulate_shrec20

    bank, seed = load_bank(), SEEDS[role]
    recipe = Recipe(size_zyx=size, thickness=size[0] + 2 * MARGIN)
    record = provenance(recipe, bank, seed, number, device=device)
    if path.exists():
        _require_same(path, record)
        return path
    with step_bars(f"{role} {path.name}") as report:
        simulation = simulate_shrec20(bank, recipe, seed=model_seed(seed, number), device=device, progress=report)
    ids = {name: k for k, name in enumerate(bank, start=1)}
    write_simulation(path, simulation, ids, provenance=record, overwrite=False)
    return path


def _require_same(path: Path, record: Mapping[str, Any]) -> None:
    """Raise VoxpickError unless the folder was simulated from this record, by whatever version."""
    from voxpick.cli.simulation_notes import read_simulation

    found = read_simulation(path)
    if any(key not in found or found[key] != record[key] for key in ("seed", "model", "recipe")):
        raise VoxpickError(
            f"{path}: is not the specimen that this model needs (seed {record['seed']}, number {record['model']}, "
            f"voxels {record['recipe']['size_zyx']}); remove it, or give another --data"
        )


def _about(role: str, paths: list[Path], size: tuple[int, int, int]) -> str:
    from voxpick.cli.simulation_notes import NOISE, read_simulation

    nz, ny, nx = size
    what = "specimen" if len(paths) == 1 else "specimens"
    devices = sorted({str(on) for path in paths if (on := read_simulation(path).get(NOISE)) is not None})
    return (
        f"{role}: {len(paths)} simulated {what} of {nx} x {ny} x {nz} voxels (x, y, z), setting 0.004, seed "
        f"{SEEDS[role]} of `voxpick simulate shrec20`{', noise drawn on ' * bool(devices)}{' and '.join(devices)}"
    )
