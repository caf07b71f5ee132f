"""What a benchmark has to know of a method, so that all of it can be checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxpick.methods.catalogue import Method
    from voxpick.networks.model import Model


def _anything(*given: Any) -> None:
    """Refuses nothing."""


@dataclass(frozen=True)
class Ability:
    """stages: in the order of training; none for a method that learns nothing. finds: whether it finds particles by
    itself. names: whether its picks have classes. paper_detection: whether `detect --paper` knows it. tilt_range: the
    default of its detection setting of that name, degrees; None for a method that has no such setting.

    check_model(name) raises VoxpickError for what is no model of it, a file or one of the package;
    check_classifier(name) for a model that holds no classifier; check_training(stage, preset, changes) and
    check_detection(changes, named) raise VoxpickError for settings that it refuses; named: by another model's
    classifier, whose settings are then among the changes.
    """

    stages: tuple[str, ...]
    finds: bool = True
    names: bool = True
    paper_detection: bool = True
    tilt_range: tuple[float, float] | None = None
    check_model: Callable[[str], object] = _anything
    check_classifier: Callable[[str], object] = _anything
    check_training: Callable[[str, str, dict[str, Any]], object] = _anything
    check_detection: Callable[[dict[str, Any], bool], object] = _anything

    @property
    def finding(self) -> tuple[str, ...]:
        """The stages that find particles: all but the classifier, unless that is the only one and finds as well."""
        if not self.finds:
            return ()
        return tuple(stage for stage in self.stages if stage != "classifier") or self.stages


Methods = Mapping[str, Ability]


def abilities() -> dict[str, Ability]:
    """Of every method in the catalogue."""
    from voxpick.methods.catalogue import METHODS

    return {name: _ability(name, method) for name, method in METHODS.items()}


def _ability(name: str, method: Method) -> Ability:
    from voxpick.methods.traits import check_detection, detection_settings, finds, gives_names

    settings = detection_settings(method)
    field = None if settings is None else settings.model_fields.get("tilt_range")
    return Ability(
        method.STAGES,
        finds=finds(method),
        names=gives_names(method),
        paper_detection=hasattr(method, "PAPER_DETECTION"),
        tilt_range=None if field is None else field.default,
        check_model=partial(_require_model_of, name),
        check_classifier=_require_classifier,
        check_training=method.training_settings,
        check_detection=partial(check_detection, method),
    )


def _require_model_of(method: str, name: str) -> None:
    from voxpick.errors import VoxpickError
    from voxpick.methods.catalogue import method_of

    path, models = _read(name)
    found = method_of(models, source=str(path))
    if found != method:
        raise VoxpickError(f"model {name}: is of {found}, not of {method}; give the method it is of")


def _require_classifier(name: str) -> None:
    from voxpick.errors import VoxpickError

    _, models = _read(name)
    if "classifier" not in models:
        raise VoxpickError(f"model {name}: holds no classifier (it has: {', '.join(models) or 'nothing'})")


def _read(name: str) -> tuple[Path, dict[str, Model]]:
    """A model file, or one of the package by name: its path and parts."""
    from voxpick.errors import VoxpickError
    from voxpick.io.model import builtin_model_path, load_models

    path = Path(name)
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise VoxpickError(f"model {name}: no such file")
        path = builtin_model_path(name)
    return path, load_models(path)
