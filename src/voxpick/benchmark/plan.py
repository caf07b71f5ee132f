"""What a benchmark will run: entries in order, the minutes of every stage, and the command lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from voxpick.benchmark.settings import Benchmark, Entry, Recipe, Settings
from voxpick.errors import VoxpickError

BUDGETS = ("minutes", "steps", "epochs")
NAMING_ONLY = ("densenet", "dilated-densenet")
"""Methods that name what another one finds."""
Stages = Mapping[str, Sequence[str]]
"""Stages of every method, in the order of training."""


def order(entries: Mapping[str, Entry]) -> list[str]:
    """Names with every entry after those it needs. Raises VoxpickError for entries that need each other."""
    done: list[str] = []
    waiting = list(entries)
    while waiting:
        ready = [name for name in waiting if all(other in done for other in entries[name].needs)]
        if not ready:
            raise VoxpickError(f"the entries {', '.join(waiting)} need each other; one has to be trained without")
        done += ready
        waiting = [name for name in waiting if name not in ready]
    return done


def stages_to_train(entry: Entry, stages: Stages) -> tuple[str, ...]:
    """The stages an entry trains itself, in order.

    Raises VoxpickError for a method, a stage or a share that does not exist.
    """
    if entry.method not in stages:
        raise VoxpickError(f"unknown method {entry.method!r}; one of {', '.join(stages)}")
    if entry.model or entry.model_of:
        return ()
    borrowed = {"localizer"} if entry.localizer else {"classifier"} if entry.classifier else set()
    own = tuple(stage for stage in stages[entry.method] if stage not in borrowed)
    for key in (*entry.changes, *entry.split):
        if key not in own:
            raise VoxpickError(
                f"there is no stage {key!r} to train; {entry.method} trains {', '.join(own) or 'nothing'}"
            )
    if entry.split and set(entry.split) != set(own):
        raise VoxpickError(f"split names {', '.join(entry.split)}; give a share to each of {', '.join(own)}")
    return own


def stage_minutes(name: str, settings: Settings, stages: Stages) -> dict[str, float | None]:
    """Minutes of each stage that an entry trains: the benchmark's less those of the borrowed parts, split by share.

    None for a stage whose changes give a budget of their own, and for all where the benchmark gives none.
    """
    entry, total = settings.entries[name], settings.benchmark.minutes
    own = stages_to_train(entry, stages)
    if total is None:
        return dict.fromkeys(own)
    left = total - sum(_borrowed_minutes(entry, settings, stages))
    if own and left <= 0:
        raise VoxpickError(
            f"{name}: what it takes over was trained for all {total:g} minutes; split those of the other"
        )
    shares = {stage: entry.split.get(stage, 1.0) for stage in own}
    unit = left / sum(shares.values()) if shares else 0.0
    with_own = {stage for stage in own if any(entry.changes.get(stage, {}).get(key) for key in BUDGETS)}
    return {stage: None if stage in with_own else unit * share for stage, share in shares.items()}


def _borrowed_minutes(entry: Entry, settings: Settings, stages: Stages) -> list[float]:
    found: list[float] = []
    if entry.localizer:
        minutes = stage_minutes(entry.localizer, settings, stages)
        found += [value or 0.0 for stage, value in minutes.items() if stage != "classifier"]
    if entry.classifier:
        found.append(stage_minutes(entry.classifier, settings, stages).get("classifier") or 0.0)
    return found


def check(settings: Settings, stages: Stages) -> None:
    """Raise VoxpickError, with the entry, for what can be known to fail before anything runs."""
    order(settings.entries)
    for name, entry in settings.entries.items():
        try:
            own = stages_to_train(entry, stages)
        except VoxpickError as error:
            raise VoxpickError(f"{name}: {error}") from error
        stage_minutes(name, settings, stages)
        trained = entry.model or entry.model_of
        if not own and not trained:
            raise VoxpickError(
                f"{name}: {entry.method} has nothing to train here; leave it to another entry's model_of"
            )
        if entry.method in NAMING_ONLY and not (entry.localizer or trained):
            raise VoxpickError(
                f"{name}: {entry.method} only names particles; say with localizer whose model finds them"
            )
        if entry.classifier and "classifier" not in stages_to_train(settings.entries[entry.classifier], stages):
            raise VoxpickError(f"{name}: the entry {entry.classifier!r} trains no classifier")


def simulate_command(out: str, recipe: Recipe, *, models: int, seed: int, threads: int | None) -> list[str]:
    """`voxpick simulate shrec20` for a set of tomograms."""
    command = ["simulate", "shrec20", out, "--models", str(models), "--seed", str(seed), "--overwrite"]
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
    return [*command, "--resume"] if resume else command


def detect_command(
    entry: Entry, benchmark: Benchmark, *, tomogram: str, model: str, classifier: str | None, output: str
) -> list[str]:
    """`voxpick detect` for one tomogram."""
    command = [
        "detect",
        tomogram,
        "--output",
        output,
        "--model",
        model,
        "--format",
        "csv",
        "--device",
        benchmark.device,
    ]
    if classifier:
        command += ["--classifier", classifier]
    if benchmark.threads:
        command += ["--threads", str(benchmark.threads)]
    if entry.paper_detection:
        command.append("--paper")
    for key, value in entry.detection.items():
        command += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return command


def training_changes(entry: Entry, stage: str) -> dict[str, Any]:
    """What goes into the stage's configuration file."""
    return dict(entry.changes.get(stage, {}))
