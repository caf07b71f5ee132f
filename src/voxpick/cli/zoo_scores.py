"""How a trained zoo model does on test specimens, as its provenance and its card tell it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxpick.networks.model import Model


def tested(models: dict[str, Model], folders: Sequence[Path], *, device: str) -> list[dict[str, Any]]:
    """One row of plain data for each test tomogram: detection as `voxpick detect`, scores as `voxpick evaluate`."""
    from voxpick.cli.progress import step_bars
    from voxpick.cli.truth import read_truth, scored, told
    from voxpick.io.shrec_model import open_model
    from voxpick.methods.catalogue import find_method, method_of

    method, rows = find_method(method_of(models)), []
    alone = len({folder.name for folder in folders}) == len(folders)
    for folder in folders:
        truth, tomogram = read_truth(folder), open_model(folder).reconstruction
        start = time.perf_counter()
        with step_bars(f"test {folder.name}") as report:
            found = method.detect(tomogram, models, device=device, progress=report).particles
        seconds = round(time.perf_counter() - start, 1)
        score = scored(found, truth, picks_path=folder, benchmark="shrec20", frame="tomogram")
        numbers = told(score, found, truth)
        calibration = {
            kind: {key: value for key, value in entry.items() if key != "curve"}
            for kind, entry in numbers["calibration"].items()
        }
        rows.append({
            "tomogram": folder.name if alone else f"{folder.resolve().parent.name}/{folder.name}",
            "seconds": seconds, "table3": numbers["localisation"],
            **{key: numbers[key] for key in ("class_f1", "class_accuracy", "mean_class_f1")},
            "calibration": calibration,
        })  # fmt: skip
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation over tomograms of the F1 of localisation and the mean class F1."""
    columns = {
        "F1": [row["table3"]["F1"] for row in rows],
        "mean class F1": [row["mean_class_f1"] for row in rows],
    }
    found: dict[str, dict[str, float | None]] = {}
    for name, values in columns.items():
        known = [value for value in values if value is not None]
        found[name] = {
            "mean": round(mean(known), 4) if known else None,
            "spread": round(stdev(known), 4) if len(known) > 1 else None,
        }
    return found


def machine(device: str) -> str:
    """What the tests ran on, in words."""
    import torch

    from voxpick.benchmark.machine import processor

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
