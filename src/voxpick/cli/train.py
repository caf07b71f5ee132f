"""voxpick train: teach a network to find or to name particles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.cli import training_data
from voxpick.cli.training_run import Writing, keep_foreign, train_stage
from voxpick.default_method import DEFAULT_METHOD
from voxpick.errors import VoxpickError
from voxpick.train.seeds import MOST_SEED

if TYPE_CHECKING:
    from voxpick.cli.training_data import TrainingData

HELP = """Teach a network to find particles, to name them, or both, as one of the methods does.

Without --method it is voxpick's own. A method has one stage or several ('voxpick methods' lists them), trained one
after another into one model file, which 'voxpick detect' uses. VP-Detector has 'localizer' and 'classifier'.
Press Ctrl-C to stop; the same command with --resume goes on from there.
Example: voxpick train data/model_0 data/model_1 --validation data/model_2 --minutes 60
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("train", short_help="Teach a network to find particles, to name them, or both.", help=HELP)
    def train_command(
        data: list[Path] = typer.Argument(
            None, help="Folders model_N, made by 'voxpick simulate'; or tomograms (MRC), with --picks."
        ),
        picks: list[Path] = typer.Option(
            [],
            help="Particles of the tomograms (.star, .csv, .json, ...): one file for all, one for each in order, or "
            "any other number that name their tomograms.",
        ),
        radius: list[str] = typer.Option(
            [], help="With --picks, radius of the particles in A: one for all, or CLASS=A; may be repeated."
        ),
        voxel_size: float | None = typer.Option(
            None, help="With --picks: voxel size in A, where the tomograms' headers are wrong."
        ),
        partial: float | None = typer.Option(
            None, help="Not all particles are labelled: learn from labelled ones and so many A around, ignore the rest."
        ),
        stream: bool = typer.Option(
            False, "--stream", help="Simulate specimens on the fly, no volume seen twice; --set stream.size=..., ..."
        ),
        structures: Path | None = typer.Option(
            None, help="With --stream, your own bank of structures.", show_default="the built-in one"
        ),
        method: str | None = typer.Option(
            None, help="The method to train; see 'voxpick methods'.", show_default=DEFAULT_METHOD
        ),
        stage: str | None = typer.Option(
            None, help="The part of the method to train.", show_default="the method's first"
        ),
        validation: Path | None = typer.Option(
            None, help="A model_N folder kept out of training, to choose the best network."
        ),
        validation_side: int = typer.Option(
            192, min=0, help="Validate on the tomogram's middle, so many voxels in y and x (0: all)."
        ),
        preset: str | None = typer.Option(
            None, help="'minutes' fits a time budget; 'paper' trains as published.", show_default="minutes"
        ),
        minutes: float | None = typer.Option(None, help="Train for so many minutes, validation included."),
        steps: int | None = typer.Option(
            None,
            help="Train for so many steps; repeatable with seed and threads, if not validated by the clock.",
        ),
        output: Path = typer.Option(
            Path("model.pt"), "--output", "-o", help="Model file; other stages that the file holds are kept."
        ),
        run_dir: Path | None = typer.Option(
            None, help="Folder of settings, log, checkpoint.", show_default="OUTPUT_STAGE_run"
        ),
        resume: bool = typer.Option(False, "--resume", help="Go on from the checkpoint in the run folder."),
        overwrite: bool = typer.Option(
            False, "--overwrite", help="Replace this stage where the model file holds it already, and its earlier run."
        ),
        start_from: str | None = typer.Option(
            None,
            "--from",
            "--start-from",
            help="Begin with the weights of this model file, or with the 'shipped' ones; other classes are allowed.",
        ),
        config: Path | None = typer.Option(None, help="YAML file with settings, such as a run's settings.yaml."),
        changes: list[str] = typer.Option(
            [], "--set", help="One setting, key=value; may be repeated; wins over --config."
        ),
        seed: int | None = typer.Option(
            None, min=0, max=MOST_SEED, help="Seed of weights, patches and augmentation.", show_default="0"
        ),
        threads: int = typer.Option(0, min=0, help="CPU threads (0: all)."),
        device: str = typer.Option("auto", help="'auto', 'cpu' or 'cuda'."),
        tensorboard: bool = typer.Option(True, help="Write TensorBoard events into the run folder, beside log.csv."),
    ) -> None:
        from voxpick.cli.threads import set_threads
        from voxpick.cli.training_model import given_stage, with_network_of
        from voxpick.cli.training_settings import training_settings, with_stream, written_settings

        set_threads(threads)
        options = {
            "method": method, "stage": stage, "preset": preset, "minutes": minutes, "steps": steps, "seed": seed,
        }  # fmt: skip
        given = {name: value for name, value in options.items() if value is not None}
        written = written_settings(config, changes, given)
        if partial is not None:
            written = {"centred_fraction": 1.0, **written}
        settings, chosen_preset = training_settings(written, given)
        settings = with_stream(
            settings, stream, data, structures,
            {"picks": picks, "radius": radius, "partial": partial, "voxel-size": voxel_size},
        )  # fmt: skip
        start = None if start_from is None else given_stage(start_from, settings.method, settings.stage)
        if start is not None and not {"network", "network_settings"} & set(written):
            settings = with_network_of(settings, start)

        def read(where: Any) -> TrainingData:
            if settings.stream:
                return training_data.stream(settings, structures, device=where)
            return training_data.gather(
                data or [], picks=picks, radius=radius, partial=partial, voxel_size=voxel_size,
                given=[] if start is None else start.classes[1:],
            )  # fmt: skip

        if not output.name:  # of '.' or '/'; '' is '.' as well
            raise VoxpickError(f"--output {output}: is a folder; name the model file to write")
        run_place = run_dir or output.with_name(f"{output.stem}_{settings.stage}_run")
        writing = Writing(output, run_place, resume=resume, overwrite=overwrite, tensorboard=tensorboard)
        keep_foreign(writing, config)
        train_stage(
            data or [], read, settings, chosen_preset, writing, validation=validation, side=validation_side,
            start=start, device=device,
        )  # fmt: skip
