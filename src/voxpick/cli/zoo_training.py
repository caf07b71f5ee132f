"""Training a zoo model stage by stage, so that it can be stopped at any time and gone on with elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import torch

    from voxpick.cli.training_data import TrainingData
    from voxpick.cli.zoo_specimens import Specimens
    from voxpick.networks.model import Model
    from voxpick.train.settings import TrainSettings

VALIDATION_SIDE = 192


@dataclass(frozen=True)
class Plan:
    """How a method is trained. minutes: of all stages together; None for the preset's own budget. limit: bytes of a
    checkpoint. stream: train on specimens simulated on the fly. changes: training settings of every stage."""

    method: str
    preset: str
    minutes: float | None
    seed: int
    limit: int
    stream: bool
    changes: dict[str, Any]

    def settings(self, stage: str) -> TrainSettings:
        """The settings of a stage; minutes are shared equally."""
        from voxpick.methods.catalogue import find_method
        from voxpick.train.stream import stream_settings

        method, changes = find_method(self.method), {"seed": self.seed, **self.changes}
        if self.minutes is not None:
            changes["minutes"] = self.minutes / len(method.STAGES)
        settings = method.training_settings(stage, self.preset, changes)
        if not self.stream:
            return settings
        return settings.model_copy(update={"stream": stream_settings(settings).model_dump(mode="json")})


def train_stages(
    plan: Plan, specimens: Specimens, work: Path, *, resume: bool, device: torch.device, stop: Callable[[], bool]
) -> bool:
    """Train what `work`/model.pt does not hold yet; whether all is trained. False when stop() ended it before.

    Raises VoxpickError for an earlier run in the folder that is not to be resumed, or that trained a stage otherwise.
    """
    from voxpick.io.model import load_models
    from voxpick.methods.catalogue import find_method

    model = work / "model.pt"
    if not resume and (model.exists() or list(work.glob("*/checkpoint.pt"))):
        raise VoxpickError(f"{work}: holds an earlier run; go on with it by --resume, or give another --output")
    for stage in find_method(plan.method).STAGES:
        if model.exists() and (trained := load_models(model).get(stage)) is not None:
            _require_planned(plan, stage, len(specimens.training), trained, model)
            typer.echo(f"{stage}: trained already")
        elif stop() or not _train_stage(plan, stage, specimens, work, device=device, stop=stop):
            return False
    return True


def _require_planned(plan: Plan, stage: str, specimens: int, trained: Model, file: Path) -> None:
    """Raise VoxpickError for a trained stage that the plan would not have made; what it does not tell is let pass."""
    from voxpick.train.fit import ADJUSTABLE

    made = trained.provenance
    before = {**made.get("settings", {}), **{key: made[key] for key in ("preset",) if key in made}}
    now = {**plan.settings(stage).model_dump(), "preset": plan.preset}
    if "training_data" in made and not plan.stream:
        before["specimens"], now["specimens"] = len(made["training_data"]), specimens
    free = ADJUSTABLE - {"minutes"}
    if other := [key for key, value in now.items() if key in before and key not in free and before[key] != value]:
        told = ", ".join(f"{key} = {before[key]} (now {now[key]})" for key in other)
        raise VoxpickError(
            f"{file}: its {stage} was trained with {told}; go on with the same options, or give another --output"
        )


def _train_stage(
    plan: Plan, stage: str, specimens: Specimens, work: Path, *, device: torch.device, stop: Callable[[], bool]
) -> bool:
    """Train one stage into `work`/model.pt, from its checkpoint where there is one; whether it is trained."""
    from voxpick.cli.training_data import read_training_volume
    from voxpick.cli.training_model import other_stages
    from voxpick.cli.training_stage import HeldOut, StageTraining
    from voxpick.io.run_directory import RunDirectory
    from voxpick.methods.catalogue import find_method
    from voxpick.train.compact import compact, expand

    settings, validation = plan.settings(stage), specimens.validation[0]
    source = _training_data(plan, settings, specimens, device)
    earlier = other_stages(work / "model.pt", plan.method, stage, replace=False)
    model = find_method(plan.method).create_model(settings, source.classes, voxel_size=source.voxel_size)
    held_out = HeldOut(read_training_volume(validation), validation, VALIDATION_SIDE)
    training = StageTraining(settings, plan.preset, source, model, earlier, held_out, device)
    run = RunDirectory(work / stage)
    state = expand(run.load_checkpoint()) if run.checkpoint_path.is_file() else None
    if state is None:
        run.write_settings(training.written)
    training.note_data(run, resumed=state is not None)

    def save(whole: dict[str, Any]) -> None:
        run.save_checkpoint(compact(whole, limit=plan.limit))

    fitted = training.run(run, state, title=f"the {stage} of {plan.method}", stop=stop, save=save)
    run.write_settings(training.written)
    if fitted.interrupted:
        typer.echo(f"{stage}: stopped at step {fitted.step}, {fitted.minutes:.1f} minutes; go on with --resume")
        return False
    typer.echo(training.write(work / "model.pt", fitted, held=work))
    return True


def _training_data(plan: Plan, settings: TrainSettings, specimens: Specimens, device: torch.device) -> TrainingData:
    from voxpick.cli import training_data

    if plan.stream:
        return training_data.stream(settings, None, device=device)
    return training_data.gather(specimens.training, picks=[], radius=[], partial=None)
