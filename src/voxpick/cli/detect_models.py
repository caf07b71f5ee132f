"""Which models and which method a detection runs with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.detect.pipeline import Detection
    from voxpick.networks.model import Model
    from voxpick.progress import Progress
    from voxpick.volume import Volume


@dataclass(frozen=True)
class Detector:
    """A method with trained models, and maybe the classifier of another model to name the picks by."""

    method: str
    models: dict[str, Model]
    changes: dict[str, Any]
    classifier: Model | None = None

    def names(self) -> list[str]:
        """The classes that picks may have."""
        model = self.classifier or list(self.models.values())[-1]
        return [name for name in model.classes if name != "background"]

    def __call__(self, volume: Volume, *, device: str, progress: Progress) -> Detection:
        """The picks of a tomogram."""
        from voxpick.methods.catalogue import find_method
        from voxpick.methods.naming import detect_and_name

        return detect_and_name(
            volume, find_method(self.method), self.models, self.classifier, changes=self.changes, device=device,
            progress=progress,
        )  # fmt: skip


def make_detector(
    model: str, changes: dict[str, Any], *, classifier: str | None, with_classes: bool, paper: bool, segmentation: bool
) -> Detector:
    """The detector that the options ask for; `model` and `classifier` are files or names of shipped models."""
    from voxpick.cli.fit_confidence import RAW
    from voxpick.methods.catalogue import find_method, method_of
    from voxpick.methods.naming import finding_parts
    from voxpick.methods.traits import segments

    path, models = read_parts(model)
    name = method_of(models, source=str(path))
    method = find_method(name)
    if segmentation and not segments(method):
        raise VoxpickError(
            f"--segmentation: {name} finds centres without giving voxels to particles; leave it out, or detect with "
            "a method that segments, such as --model vp-detector"
        )
    finders = [stage for stage in method.STAGES if stage != "classifier"]
    if paper:
        steps = getattr(method, "PAPER_DETECTION", None)
        if steps is None:
            raise VoxpickError(
                f"--paper: {name} has no steps beside its usual ones, which follow its paper where "
                f"'voxpick methods {name}' does not say otherwise; leave --paper out, or name the method's model, such "
                "as --model vp-detector"
            )
        changes = {**RAW, **steps, **changes}
    if classifier is not None and not with_classes:
        raise VoxpickError("--classifier names the picks and --no-classes does not; give one of them")
    if not with_classes and not (finders and "classifier" in method.STAGES):
        raise VoxpickError(
            f"--no-classes: {name} has no network that only finds particles, so nothing would be saved; leave it out, "
            "or name a model that has one, such as --model vp-detector"
        )
    if classifier is not None or not with_classes:
        models = finding_parts(method, models)
    if finders and finders[-1] not in models:
        raise VoxpickError(
            f"{path}: holds no {finders[-1]} (it has: {', '.join(models) or 'nothing'}); train one first"
        )
    return Detector(name, models, changes, None if classifier is None else read_classifier(classifier))


def read_parts(name: str) -> tuple[Path, dict[str, Model]]:
    """A model file, or a shipped model by name: its path and parts."""
    from voxpick.io.model import builtin_model_path, load_models

    path = Path(name)
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise VoxpickError(f"{name}: no such model file")
        path = builtin_model_path(name)
    return path, load_models(path)


def read_classifier(name: str) -> Model:
    """The classifier of a model file or of a shipped model."""
    path, parts = read_parts(name)
    if "classifier" not in parts:
        raise VoxpickError(
            f"{path}: holds no classifier (it has: {', '.join(parts) or 'nothing'}); "
            "train one with 'voxpick train --method densenet'"
        )
    return parts["classifier"]
