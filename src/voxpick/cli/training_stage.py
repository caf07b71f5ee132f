"""The training of one stage, whoever asks for it: its data, what judges it, its run, and the part it makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from voxpick.cli.training_data import TrainingData
    from voxpick.io.run_directory import RunDirectory
    from voxpick.methods.training_spectrum import OneSpectrum
    from voxpick.networks.model import Model
    from voxpick.train.fit import Fitted, Loss, Validate
    from voxpick.train.settings import TrainSettings
    from voxpick.train.targets import TrainingVolume


@dataclass(frozen=True)
class HeldOut:
    """A tomogram to validate on, its folder, and how much of it counts: so many voxels in y and x (0: all)."""

    volume: TrainingVolume
    folder: Path
    side: int


@dataclass(frozen=True)
class StageTraining:
    """A stage whose `model` is to be trained in place. earlier: other stages of the model file, by name.

    start: the trained weights that the model begins with, if any.
    """

    settings: TrainSettings
    preset: str
    source: TrainingData
    model: Model
    earlier: dict[str, Model]
    held_out: HeldOut | None
    device: torch.device
    start: Model | None = None

    @cached_property
    def validate(self) -> Validate | None:
        """What the stage is judged by, if it can be: on the tomogram in the spectrum that training takes."""
        if self.held_out is None or self._validation(self.held_out.volume) is None:
            return None

        def validate(network: torch.nn.Module, loss: Loss) -> dict[str, float]:
            judge = self._validation_as_trained
            assert judge is not None
            return judge(network, loss)

        return validate

    @cached_property
    def _validation_as_trained(self) -> Validate | None:
        assert self.held_out is not None
        return self._validation(self.one_spectrum.one(self.held_out.volume))

    def _validation(self, volume: TrainingVolume) -> Validate | None:
        from voxpick.cli.training_validation import make_validation
        from voxpick.methods.catalogue import find_method

        assert self.held_out is not None
        return make_validation(
            volume, self.model, self.settings, method=find_method(self.settings.method), earlier=self.earlier,
            side=self.held_out.side,
        )  # fmt: skip

    @cached_property
    def one_spectrum(self) -> OneSpectrum:
        """What brings the tomograms to the spectrum of the model."""
        from voxpick.methods.training_spectrum import OneSpectrum

        return OneSpectrum(self.model, self.earlier, keep=self.settings.keep_spectrum, device=self.device)

    @property
    def written(self) -> dict[str, Any]:
        """The settings as the run folder keeps them."""
        return {"preset": self.preset, **self.settings.model_dump()}

    def note_data(self, directory: RunDirectory, *, resumed: bool) -> None:
        """Write down what the run learns from. Raises VoxpickError where a resumed one began on something else."""
        from voxpick.cli.sketches import folder_sketch, require_alike
        from voxpick.cli.training_marks import UNTRAINED, UNVALIDATED, simulated_mark, validation_mark, weights_mark

        mark, former, sketches = UNVALIDATED, self.source.former, {**self.source.sketches}
        if self.held_out is not None and self.validate:
            volume, side = self.held_out.volume, self.held_out.side
            simulated = simulated_mark(self.held_out.folder)
            mark = validation_mark(volume, simulated, side=side)
            former = {**former, "validation": validation_mark(volume, side=side)}
            if simulated is not None:
                sketches["the validation folder"] = folder_sketch(self.held_out.folder, volume.tomogram)
        begun = UNTRAINED if self.start is None else weights_mark(self.start)
        marks = {**self.source.marks, "validation": mark, "start": begun, **self._earlier_mark()}
        if resumed:
            directory.require_same_data(marks, former)
            require_alike(directory, sketches)
        else:
            directory.write_data(self.source.names, marks, sketches)

    def _earlier_mark(self) -> dict[str, str]:
        """Of the stage whose output this one learns from, if it does."""
        from voxpick.cli.training_marks import weights_mark
        from voxpick.methods.catalogue import find_method
        from voxpick.methods.traits import learns_from

        source = learns_from(find_method(self.settings.method), self.settings.stage)
        return {"earlier": weights_mark(self.earlier[source])} if source in self.earlier else {}

    def run(
        self, directory: RunDirectory, resume: dict[str, Any] | None, *, title: str, stop: Callable[[], bool],
        save: Callable[[dict[str, Any]], None],
    ) -> Fitted:  # fmt: skip
        """Train, from the checkpoint where there is one; title: of what is trained, for the progress bar.

        Tomograms are brought to one spectrum, the model's if it has one, which the checkpoints hold as well.
        """
        from voxpick.cli.progress import progress_bar

        if resume is not None:
            self.one_spectrum.keep |= "spectrum" not in resume  # as earlier versions trained
            self.model.spectrum = resume.get("spectrum")

        def keep(state: dict[str, Any]) -> None:
            save({**state, "spectrum": self.model.spectrum})

        with progress_bar(f"training {title}, {'steps' if self.settings.minutes is None else 'seconds'}") as progress:
            fitted = self.source.run(
                self._train, checkpoint_seconds=self.settings.checkpoint_seconds, validate=self.validate,
                log=directory.log, save=keep, resume=resume, stop=stop, device=self.device, progress=progress,
            )  # fmt: skip
        directory.close()
        return fitted

    def _train(self, volumes: list[TrainingVolume], **options: Any) -> Fitted:
        from voxpick.methods.catalogue import find_method

        return find_method(self.settings.method).train(
            self.one_spectrum(volumes), model=self.model, settings=self.settings, classes=self.source.classes,
            earlier=self.earlier, **options,
        )  # fmt: skip

    def write(self, output: Path, fitted: Fitted, *, held: Path, replace: bool = True) -> str:
        """Put the trained stage into the model file; which file that is, and how the training went, in a few words.

        held, replace: as of `training_model.write_stage`.
        """
        from voxpick.cli.training_model import describe, write_stage
        from voxpick.precision import device_name

        validation = None if self.held_out is None else self.held_out.folder
        describe(
            self.model, self.settings, self.preset, self.source.names, validation, fitted, device_name(self.device),
            self.start, simulated=self.source.simulated, marks=self.source.tomograms,
        )  # fmt: skip
        stage = self.settings.stage
        written = write_stage(output, self.settings.method, stage, self.model, replace=replace, held=held)
        best = f", best {fitted.best_score:.4f} at step {fitted.best_step}" if self.validate else ""
        return f"{written}: {stage} after {fitted.step} steps, {fitted.minutes:.1f} minutes{best}"
