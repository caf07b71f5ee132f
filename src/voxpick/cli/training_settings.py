"""The settings of a training run, from its options, --set, --config and the method's presets."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxpick.default_method import DEFAULT_METHOD
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.train.settings import TrainSettings

NESTED = ("network_settings", "options", "stream")
"""Settings that hold settings themselves."""


def written_settings(config: Path | None, changes: list[str], options: Collection[str]) -> dict[str, Any]:
    """What --config and --set say: --set wins, name by name within NESTED.

    options: of the command line, by the settings they give. A budget there or in --set replaces that of the file.
    """
    from voxpick.cli.assignments import read_assignments, read_config
    from voxpick.methods.recipe import BUDGETS

    set_ = read_assignments(changes, example="batch=2", nested=NESTED)
    read = read_config(config)
    if any(set_.get(name) is not None or name in options for name in BUDGETS):
        read = {key: value for key, value in read.items() if key not in BUDGETS}
    for key in NESTED:
        if isinstance(set_.get(key), dict) and isinstance(read.get(key), dict):
            set_[key] = {**read[key], **set_[key]}
    return {**read, **set_}


def training_settings(written: dict[str, Any], given: dict[str, Any]) -> tuple[TrainSettings, str]:
    """What to train, and the preset it began with; the options `given` win over what was `written`."""
    from voxpick.methods.catalogue import find_method

    wanted = {**written, **given}
    name, preset = str(wanted.pop("method", DEFAULT_METHOD)), str(wanted.pop("preset", "minutes"))
    method = find_method(name)
    if not method.STAGES:
        raise VoxpickError(f"{name} learns nothing, so there is nothing to train")
    stage = str(wanted.pop("stage", method.STAGES[0]))
    if stage not in method.STAGES:
        raise VoxpickError(f"stage is {stage!r}; {name} has {' and '.join(method.STAGES)}")
    return method.training_settings(stage, preset, wanted), preset


def with_stream(
    settings: TrainSettings, asked: bool, data: list[Path] | None, structures: Path | None, picking: dict[str, Any]
) -> TrainSettings:
    """The settings with all of their stream, if there is one. Raises VoxpickError for what does not go with it."""
    from voxpick.train.stream import stream_settings

    if asked or settings.stream:
        if data:
            raise VoxpickError(f"{data[0]}: --stream simulates its training data; leave out one of the two")
        for option, value in picking.items():
            if value not in (None, []):
                raise VoxpickError(f"--{option}: --stream simulates its training data; leave out one of the two")
        return settings.model_copy(update={"stream": stream_settings(settings).model_dump(mode="json")})
    if structures is not None:
        raise VoxpickError(f"--structures {structures}: what a stream is simulated from; add --stream")
    return settings
