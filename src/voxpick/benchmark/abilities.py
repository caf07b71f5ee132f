"""What a benchmark has to know of a method, so that all of it can be checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxpick.methods.catalogue import Method


def _anything(*given: Any) -> None:
    """Refuses nothing."""


@dataclass(frozen=True)
class Ability:
    """stages: in the order of training; none for a method that learns nothing. finds: whether it finds particles by
    itself. names: whether its picks have classes. paper_detection: whether `detect --paper` knows it.

    check_model(name) raises VoxpickError for what is no model of it, a file or one of the package;
    check_training(stage, preset, changes) and check_detection(changes, named) raise VoxpickError for settings that it
    refuses; named: by another model's classifier, whose settings are then among the changes.
    """

    stages: tuple[str, ...]
    finds: bool = True
    names: bool = True
    paper_detection: bool = True
    check_model: Callable[[str], object] = _anything
    check_training: Callable[[str, str, dict[str, Any]], object] = _anything
    check_detection: Callable[[dict[str, Any], bool], object] = _anything


Methods = Mapping[str, Ability]


def abilities() -> dict[str, Ability]:
    """Of every method in the catalogue."""
    from voxpick.methods.catalogue import METHODS

    return {name: _ability(name, method) for name, method in METHODS.items()}


def _ability(name: str, method: Method) -> Ability:
    from voxpick.methods.traits import check_detection, finds, gives_names

    return Ability(
        method.STAGES,
        finds=finds(method),
        names=gives_names(method),
        paper_detection=hasattr(method, "PAPER_DETECTION"),
        check_model=partial(_require_model_of, name),
        check_training=method.training_settings,
        check_detection=partial(check_detection, method),
    )


def _require_model_of(method: str, name: str) -> None:
    from voxpick.errors import VoxpickError
    from voxpick.io.model import builtin_model_path, load_models
    from voxpick.methods.catalogue import method_of

    path = Path(name)
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise VoxpickError(f"model {name}: no such file")
        path = builtin_model_path(name)
    found = method_of(load_models(path), source=str(path))
    if found != method:
        raise VoxpickError(f"model {name}: is of {found}, not of {method}; give the method it is of")
