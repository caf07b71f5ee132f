"""The model file of a training run: what it holds already, and what is written about the new part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxpick.errors import VoxpickError

SHIPPED = "shipped"

if TYPE_CHECKING:
    from voxpick.networks.model import Model
    from voxpick.train.fit import Fitted
    from voxpick.train.settings import TrainSettings


def other_stages(output: Path, method: str, stage: str, *, replace: bool) -> dict[str, Model]:
    """The parts but `stage` that the file holds already.

    Raises VoxpickError when another method made them, and for a file with `stage` that is not to be replaced.
    """
    from voxpick.io.model import load_models
    from voxpick.methods.catalogue import method_of

    if output.is_dir():
        raise VoxpickError(f"{output}: is a folder; name the model file to write with --output")
    if not output.is_file():
        return {}
    parts = load_models(output)
    made_by = method_of(parts, source=str(output))
    if parts and made_by != method:
        raise VoxpickError(f"{output}: holds a model of {made_by}; write that of {method} to another --output")
    if stage in parts and not replace:
        raise VoxpickError(
            f"{output}: holds a trained {stage} already; give another --output, go on training with --resume, or "
            "replace it by --overwrite"
        )
    return {name: model for name, model in parts.items() if name != stage}


def given_stage(source: str, method: str, stage: str) -> Model:
    """The stage of a model file, or of the weights in the package: those of `method` where source is 'shipped'.

    Raises VoxpickError for weights of another method or stage.
    """
    from voxpick.io.model import builtin_model_path, load_models
    from voxpick.methods.catalogue import method_of

    path = Path(source)
    if not path.is_file() and not path.suffix:
        path = builtin_model_path(method if source == SHIPPED else source)
    found = load_models(path)
    if (made_by := method_of(found, source=str(path))) != method:
        raise VoxpickError(f"{path}: holds weights of {made_by}, to be trained is {method}; add --method {made_by}")
    if stage not in found:
        raise VoxpickError(f"{path}: holds {', '.join(found)}, but no {stage} to begin with; leave --from out")
    return found[stage]


def with_network_of(settings: TrainSettings, model: Model) -> TrainSettings:
    """The settings with the network of a model whose weights they are to begin with."""
    from voxpick.train.fine_tuning import network_settings_of

    return settings.model_copy(update={"network": model.name, "network_settings": network_settings_of(model)})


def describe(
    model: Model, settings: TrainSettings, preset: str, data: list[str], validation: Path | None, fitted: Fitted,
    device: str, start: Model | None, *, simulated: bool = False, marks: Sequence[str] = (),
) -> None:  # fmt: skip
    """Put into the model what validation chose and where it came from.

    simulated: whether all data are known to be simulated by this package. marks: of the tomograms in data, if any.
    """
    import platform

    import torch

    if "threshold" in fitted.best_validation:
        model.detection = {**model.detection, "threshold": fitted.best_validation["threshold"]}
    if settings.stage == "classifier":
        model.detection = {**model.detection, "subtomogram": settings.patch}
    model.provenance = {
        "method": settings.method,
        "preset": preset,
        "settings": settings.model_dump(),
        "training_data": data,
        "training_marks": list(marks),
        "simulated": simulated,
        "validation_data": None if validation is None else validation.name,
        "steps": fitted.step,
        "minutes": round(fitted.minutes, 3),
        "best_validation_score": fitted.best_score if fitted.best_validation else None,
        "best_step": fitted.best_step,
        "best_validation": fitted.best_validation,
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    if start is not None:
        model.provenance["started_from"] = start.provenance


def write_stage(output: Path, method: str, stage: str, model: Model, *, replace: bool, held: Path) -> Path:
    """Update the model file, or write one beside it where that cannot be, as after another training has used its name.

    A part that the training of another stage has written meanwhile is kept. replace: `stage` itself may be replaced.
    held: the run folder, which this process holds already. The file that was written.
    """
    from voxpick.io.alone import alone_in
    from voxpick.io.model import save_models

    folder = output.absolute().parent
    alone = nullcontext() if folder.resolve() == held.resolve() else alone_in(folder, use="writes", patience=60)
    try:
        with alone:
            others = other_stages(output, method, stage, replace=replace)
            save_models(output, {**others, stage: model})
            return output
    except VoxpickError as error:
        beside = next(path for path in _beside(output, f"{method}_{stage}") if not path.exists())
        save_models(beside, {stage: model})
        typer.echo(f"voxpick: warning: {error}; written to {beside} instead", err=True)
        return beside


def _beside(path: Path, name: str) -> Iterator[Path]:
    """Other names for a file: stem_name.pt, stem_name_2.pt, ..."""
    for number in count(1):
        yield path.with_name(f"{path.stem}_{name}{'' if number == 1 else f'_{number}'}{path.suffix}")
