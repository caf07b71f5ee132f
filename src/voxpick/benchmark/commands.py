"""The command lines that a benchmark runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from voxpick.benchmark.data_settings import Recipe
from voxpick.benchmark.settings import Benchmark, Entry


def simulate_command(
    out: str, recipe: Recipe, *, models: int, seed: int, threads: int | None, resume: bool
) -> list[str]:  # fmt: skip
    """`voxpick simulate shrec20` for a set of tomograms; resume: those that are there already are kept."""
    command = ["simulate", "shrec20", out, "--models", str(models), "--seed", str(seed)]
    command.append("--resume" if resume else "--overwrite")
    values = {**recipe.model_dump(), "size": ",".join(map(str, recipe.size)), "threads": threads}
    for key, value in values.items():
        if value is not None:
            command += [f"--{key.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return command


def train_command(
    entry: Entry, stage: str, benchmark: Benchmark, *, data: Sequence[str], validation: str, output: str, config: str,
    minutes: float | None, seed: int, resume: bool,
) -> list[str]:  # fmt: skip
    """`voxpick train` for one stage; config: a YAML file with the entry's changes."""
    command = [
        "train", *data, "--method", entry.method, "--stage", stage, "--preset", entry.preset,
        "--validation", validation, "--validation-side", str(benchmark.validation_side), "--output", output,
        "--config", config, "--seed", str(seed), "--device", benchmark.device, "--no-tensorboard",
    ]  # fmt: skip
    if minutes is not None:
        command += ["--minutes", f"{minutes:g}"]
    if benchmark.threads:
        command += ["--threads", str(benchmark.threads)]
    return [*command, "--resume" if resume else "--overwrite"]


def detect_command(
    entry: Entry, benchmark: Benchmark, *, tomogram: str, model: str | None, classifier: str | None, output: str,
    method: str, voxel_size: float | None = None, tilt_range: tuple[float, float] | None = None,
) -> list[str]:  # fmt: skip
    """`voxpick detect` for one tomogram, or `voxpick match` by a method that has no model. method: that finds.
    voxel_size: A, of a tomogram whose header may not tell it. tilt_range: degrees, a setting besides the entry's."""
    detection = dict(entry.detection)
    if tilt_range is not None:
        detection["tilt_range"] = list(tilt_range)
    if model is None:
        command = ["match", tomogram, "--method", method]
        command += [word for name in detection.pop("classes", None) or () for word in ("--template", name)]
    else:
        command = ["detect", tomogram, "--model", model]
    command += ["--output", output, "--format", "csv", "--device", benchmark.device]
    if voxel_size is not None:
        command += ["--voxel-size", f"{voxel_size:g}"]
    if classifier:
        command += ["--classifier", classifier]
    if benchmark.threads:
        command += ["--threads", str(benchmark.threads)]
    if entry.paper_detection:
        command.append("--paper")
    for key, value in detection.items():
        command += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return command


def training_changes(entry: Entry, stage: str) -> dict[str, Any]:
    """What goes into the stage's configuration file."""
    return dict(entry.changes.get(stage, {}))
