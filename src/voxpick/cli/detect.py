"""voxpick detect"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.cli import detect_options as option
from voxpick.cli.class_names import check_classes
from voxpick.cli.detect_options import check_given
from voxpick.cli.detect_output import PicksFolder, print_summary, read_formats, searched
from voxpick.cli.tomograms import Failures, errors_name_file, read_tomogram, warnings_on_one_line
from voxpick.default_method import DEFAULT_METHOD

if TYPE_CHECKING:
    from voxpick.detect.pipeline import Detection
    from voxpick.particles import Particles


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detect", short_help="Find particles in tomograms and name them, with confidences.")(detect_command)


def detect_command(
    volumes: option.Tomograms,
    output: option.Output,
    model: option.ModelName = DEFAULT_METHOD,
    classifier: option.Classifier = None,
    format: option.Formats = "star,csv,shrec",
    voxel_size: option.VoxelSize = None,
    invert: option.Invert = False,
    threshold: option.Threshold = None,
    min_score: option.MinimumScore = None,
    no_classes: option.NoClasses = False,
    segmentation: option.Segmentation = False,
    paper: option.Paper = False,
    device: option.Device = "auto",
    threads: option.Threads = None,
    max_memory: option.MaxMemory = None,
    slab: option.Slab = None,
    overwrite: option.Overwrite = False,
    set_: option.Changes = None,
) -> None:
    """Find the particles in tomograms and name them, with a confidence for every pick.

    For each tomogram NAME.mrc the folder receives NAME.star, NAME.csv and NAME.txt, most confident picks first.
    """
    from voxpick.cli.threads import set_threads

    given = {
        "threshold": threshold, "minimum_score": min_score, "invert": invert or None, "max_memory": max_memory,
        "slab": slab,
    }  # fmt: skip
    check_given(min_score, max_memory, threshold)
    changes = _assignments(set_ or []) | {name: value for name, value in given.items() if value is not None}
    set_threads(threads)
    _detect(
        volumes, output, model=model, classifier=classifier, formats=read_formats(format), voxel_size=voxel_size,
        changes=changes, with_classes=not no_classes, segmentation=segmentation, paper=paper, device=device,
        overwrite=overwrite,
    )  # fmt: skip


def _detect(
    volumes: list[Path], output: Path, *, model: str, classifier: str | None, formats: list[str],
    voxel_size: float | None, changes: dict[str, Any], with_classes: bool, segmentation: bool, paper: bool, device: str,
    overwrite: bool,
) -> None:  # fmt: skip
    """Read, detect, write, one tomogram after the other."""
    from voxpick.cli.detect_models import make_detector
    from voxpick.cli.progress import step_bars
    from voxpick.precision import choose_device

    folder = PicksFolder(output, "detect.yaml", formats, beside=("{}_segmentation.mrc",) if segmentation else ())
    files = folder.prepare(volumes, overwrite=overwrite)
    where = str(choose_device(device))
    detector = make_detector(
        model, changes, classifier=classifier, with_classes=with_classes, paper=paper, segmentation=segmentation
    )
    check_classes(output / next(iter(files)), detector.names(), formats)
    named = {} if classifier is None else {"classifier": classifier}
    about = {"model": model, "method": detector.method, **named, "device": where}
    found: dict[str, Particles] = {}
    failures = Failures(len(volumes))
    with warnings_on_one_line():
        for name, path in files.items():
            with failures.of(path):
                volume = read_tomogram(path, voxel_size)
                with errors_name_file(path, volume.name), step_bars(path.name) as report:
                    detection = detector(volume, device=where, progress=report)
                typer.echo(searched(detection), err=True)
                _tell_of_none(detection)
                labelled = detection.segmentation if segmentation else None
                folder.write(name, path, detection, about, labelled=labelled)
                found[name] = detection.particles
    if found:
        print_summary(found, output)
    failures.raise_any()


def _tell_of_none(detection: Detection) -> None:
    """What may be done where nothing was found."""
    if len(detection.particles):
        return
    settings = detection.settings
    limits = {name: settings.get(name) for name in ("threshold", "minimum_score")}
    listed = " and ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in limits.items() if value)
    typer.echo(
        f"voxpick: warning: {detection.volume.name}: no picks{f' at {listed}' if listed else ''}; lower limits "
        "(--threshold, --min-score) let more through, and a model that was trained for minutes may know too little yet",
        err=True,
    )


def _assignments(changes: list[str]) -> dict[str, Any]:
    from voxpick.cli.assignments import read_assignments

    # YAML reads off as a boolean and 10:30 as a number
    return read_assignments(changes, example="minimum_distance=100", as_text=("slab", "max_memory"))
