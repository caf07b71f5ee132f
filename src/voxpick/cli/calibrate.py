"""voxpick calibrate: scores that are the chance of being right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.cli import options as option
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.cli.fit_confidence import Confidence
    from voxpick.networks.model import Model


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate", short_help="Make scores mean what they say: 0.8 is right 8 times in 10.")(
        calibrate_command
    )


def calibrate_command(
    model: Annotated[
        str, typer.Argument(help="Model file, changed unless --output names another; or a model of the zoo, by name.")
    ],
    tomograms: Annotated[
        list[Path], typer.Argument(help="Folders model_N with truth, kept out of training and not used for tests.")
    ],
    aim: Annotated[
        str,
        typer.Option(
            help="What picks of low score are left out for: 'located' (F-beta of finding), 'named' (F-beta of each "
            "class), or 'none'."
        ),
    ] = "located",
    beta: Annotated[float, typer.Option(help="More than 1 favours finding all over being right.")] = 1.0,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Detect with this threshold from now on: a lower one finds more, and their scores tell what to keep.",
            show_default="the model's",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Model file to write.", show_default="MODEL")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --output where it is there and is not MODEL.")
    ] = False,
    device: option.Device = "auto",
    threads: option.Threads = None,
) -> None:
    """Make the scores of a model mean what they say: 0.8 is right 8 times in 10.

    Detects in tomograms with truth, and writes into the model a map from its scores to the share that is right, the
    lowest location score that is worth keeping (or, by --aim named, the lowest score of each class), and how far
    classes keep from each other.
    """
    from voxpick.cli.detect_models import read_parts
    from voxpick.cli.detect_options import check_threshold
    from voxpick.cli.fit_confidence import check_aim
    from voxpick.cli.outputs import files_of, keep_existing, keep_inputs
    from voxpick.cli.threads import set_threads
    from voxpick.cli.training_marks import weights_mark
    from voxpick.io.atomic import require_file_place
    from voxpick.precision import choose_device

    check_threshold(threshold)
    set_threads(threads)
    path, models = read_parts(model)
    marks = {stage: weights_mark(part) for stage, part in models.items()}
    if output is None and path != Path(model):
        raise VoxpickError(f"{model} is a model in the package, which stays as it is; name a file with --output")
    written = output or path
    keep_inputs([written], [file for folder in tomograms for file in files_of(folder)])
    require_file_place(written)
    if not (written.exists() and written.samefile(path)):
        keep_existing([written], overwrite=overwrite)
    check_aim(aim, beta)
    where = str(choose_device(device))
    found = calibrate(models, tomograms, aim=aim, beta=beta, threshold=threshold, device=where)
    print_fit(found)
    _write(written, path, models, marks)
    typer.echo(f"{written}: scores are calibrated on {', '.join(str(path) for path in tomograms)}")


def _write(written: Path, path: Path, models: dict[str, Model], marks: dict[str, str]) -> None:
    """Write the calibrated parts; of `path` itself, stages that were trained into it meanwhile are kept.

    marks: of the weights that were calibrated. Raises VoxpickError where the file holds other ones by now.
    """
    from voxpick.cli.training_marks import weights_mark
    from voxpick.io.alone import alone_in
    from voxpick.io.model import load_models, save_models, stored_dtype

    with alone_in(written.absolute().parent, use="writes", patience=60):
        if written.exists() and written.samefile(path):
            now = load_models(path)
            for stage, part in models.items():
                if stage not in now or weights_mark(now[stage]) != marks[stage]:
                    raise VoxpickError(
                        f"{path}: its {stage} was trained anew while the earlier one was calibrated; calibrate again"
                    )
                now[stage].detection, now[stage].provenance = part.detection, part.provenance
            models = now
        save_models(written, models, dtype=stored_dtype(path))


def calibrate(
    models: dict[str, Model], folders: list[Path], *, aim: str = "located", beta: float = 1.0,
    threshold: float | None = None, device: str = "cpu",
) -> Confidence:  # fmt: skip
    """Fit on the tomograms of model_N folders and put what was found into the models' detection settings.

    threshold: of the detection, from now on; None leaves the model's.
    Raises `fit_confidence.NothingFound` where the model finds no particle.
    """
    from voxpick.cli.fit_confidence import UNSPACED, check_aim, fit_confidence
    from voxpick.cli.progress import step_bars
    from voxpick.cli.tomograms import warnings_on_one_line
    from voxpick.cli.training_marks import is_training_data
    from voxpick.cli.truth import read_truth
    from voxpick.detect.select import Spacing
    from voxpick.io.shrec_model import open_model
    from voxpick.methods.catalogue import find_method, method_of

    check_aim(aim, beta)
    method = find_method(method_of(models))
    last, first = _parts(models, method.STAGES)
    if threshold is not None:
        first.detection = {**first.detection, "threshold": threshold}
    detections, made = [], {}
    for folder in folders:
        truth, tomogram = read_truth(folder), open_model(folder).reconstruction
        if is_training_data(tomogram, folder / "reconstruction.mrc", models.values()):
            typer.echo(
                f"voxpick: warning: {folder}: the model was trained on its tomogram, so calibrated scores will be too "
                "sure elsewhere; take a tomogram kept out of training",
                err=True,
            )
        with step_bars(folder.name) as report, warnings_on_one_line():
            found = method.detect(tomogram, models, changes=dict(UNSPACED), device=device, progress=report)
        detections.append((found.particles, truth))
        made = found.settings
    spacing = Spacing(made["minimum_distance"], made.get("too_close") == "none")
    fitted = fit_confidence(detections, aim=aim, beta=beta, spacing=spacing)
    first.detection = {**first.detection, **fitted.located}
    last.detection = {**last.detection, **fitted.named}
    last.provenance = {**last.provenance, "calibration": told_of(fitted, folders, aim=aim, beta=beta)}
    return fitted


def told_of(fitted: Confidence, folders: list[Path], *, aim: str, beta: float) -> dict[str, Any]:
    """What a model's provenance says of its calibration: plain data."""
    return {
        "data": [path.name for path in folders],
        "aim": aim,
        "beta": beta,
        "picks": fitted.before["located"].picks,
        **{
            kind: {
                "ece_before": round(fitted.before[kind].ece, 4),
                "ece_after": round(fitted.after[kind].ece, 4),
                "ece_by_chance": round(fitted.after[kind].ece_by_chance, 4),
            }
            for kind in fitted.before
        },
        "f1_before": round(fitted.f1[0], 4),
        "f1_after": round(fitted.f1[1], 4),
    }


def print_fit(fitted: Confidence) -> None:
    """What calibration changed."""
    for kind, before in fitted.before.items():
        after = fitted.after[kind]
        typer.echo(
            f"{kind}: {before.picks} picks, {before.right} right; calibration error {before.ece:.3f} before, "
            f"{after.ece:.3f} after (on picks held out in turn; {after.ece_by_chance:.3f} is chance)"
        )
    typer.echo(f"localisation F1 on these tomograms: {fitted.f1[0]:.3f} before, {fitted.f1[1]:.3f} after")


def _parts(models: dict[str, Model], stages: tuple[str, ...]) -> tuple[Model, Model]:
    """The part that names, or finds where none names, and the part that finds."""
    present = [stage for stage in stages if stage in models]
    if not present:
        raise VoxpickError(f"the model holds {', '.join(models) or 'nothing'}; it needs {' or '.join(stages)}")
    finders = [stage for stage in present if stage != "classifier"] or present
    return models[present[-1]], models[finders[-1]]
