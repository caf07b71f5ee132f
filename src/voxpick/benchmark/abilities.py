"""What a benchmark has to know of a method, so that all of it can be checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxpick.methods.catalogue import Method


def _anything(*given: Any) -> None:
    """Refuses nothing."""


@dataclass(frozen=True)
class Ability:
    """stages: in the order of training; none for a method that learns nothing. finds: whether it finds particles by
    itself. names: whether its picks have classes. paper_detection: whether `detect --paper` knows it.

    check_training(stage, preset, changes) and check_detection(changes, named) raise VoxpickError for settings that it
    refuses; named: by another model's classifier, whose settings are then among the changes.
    """

    stages: tuple[str, ...]
    finds: bool = True
    names: bool = True
    paper_detection: bool = True
    check_training: Callable[[str, str, dict[str, Any]], object] = _anything
    check_detection: Callable[[dict[str, Any], bool], object] = _anything


Methods = Mapping[str, Ability]


def abilities() -> dict[str, Ability]:
    """Of every method in the catalogue."""
    from voxpick.methods.catalogue import METHODS

    return {name: _ability(method) for name, method in METHODS.items()}


def _ability(method: Method) -> Ability:
    from voxpick.methods.traits import check_detection, finds, gives_names

    return Ability(
        method.STAGES,
        finds=finds(method),
        names=gives_names(method),
        paper_detection=hasattr(method, "PAPER_DETECTION"),
        check_training=method.training_settings,
        check_detection=partial(check_detection, method),
    )
