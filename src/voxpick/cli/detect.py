"""voxpick detect"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.detect.pipeline import Detection
    from voxpick.networks.model import Model
    from voxpick.particles import Particles

SUFFIXES = {"star": ".star", "csv": ".csv", "shrec": ".txt"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detect")(detect_command)


def detect_command(
    volumes: Annotated[list[Path], typer.Argument(help="Tomograms as MRC files, of any size and voxel size.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that receives the picks.")],
    model: Annotated[
        str, typer.Option(help="A model that ships with voxpick, by name, or a model file made by 'voxpick train'.")
    ] = "vp-detector",
    format: Annotated[
        str,
        typer.Option(help="Files to write, comma-separated: star (RELION 5), csv (A), shrec (text, voxels)."),
    ] = "star,csv,shrec",
    voxel_size: Annotated[
        float | None, typer.Option(help="Voxel size in A, where the file's header is wrong or silent.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Protein is bright in these tomograms; voxpick expects it dark.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability, 0 to 1, from which a voxel is taken for a particle.", show_default="the model's"
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Leave out picks with a confidence below this, 0 to 1.", show_default="keep all"),
    ] = None,
    no_classes: Annotated[
        bool, typer.Option("--no-classes", help="Only find particles; do not name them (faster).")
    ] = False,
    segmentation: Annotated[
        bool, typer.Option("--segmentation", help="Also write NAME_segmentation.mrc: the class number of every voxel.")
    ] = False,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="From voxels to picks exactly as in the VP-Detector paper: mean-shift, majority vote."
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all")] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(help="Main memory that may be taken, such as 4G or 800M.", show_default="6G"),
    ] = None,
    slab: Annotated[
        str | None,
        typer.Option(
            help="Sections (z) to search: auto finds the ice and skips the vacuum above and below, off searches all, "
            "156:356 searches those, the last excluded.",
            show_default="auto",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, as key=value; for instance --set split=mean-shift."),
    ] = None,
) -> None:
    """Find the particles in tomograms and name them, with a confidence for every pick.

    For each tomogram NAME.mrc the folder receives NAME.star, NAME.csv and NAME.txt, most confident picks first.
    """
    from voxpick.cli.threads import set_threads
    from voxpick.methods.vp_detector import PAPER_DETECTION

    changes = {**(PAPER_DETECTION if paper else {}), **_assignments(set_ or [])}
    given = {
        "threshold": threshold, "minimum_score": min_score, "invert": invert or None, "max_memory": max_memory,
        "slab": slab,
    }  # fmt: skip
    changes |= {name: value for name, value in given.items() if value is not None}
    set_threads(threads)
    _detect(
        volumes,
        output,
        model=model,
        formats=_formats(format),
        voxel_size=voxel_size,
        changes=changes,
        with_classes=not no_classes,
        segmentation=segmentation,
        device=device,
    )


def _detect(
    volumes: list[Path],
    output: Path,
    *,
    model: str,
    formats: list[str],
    voxel_size: float | None,
    changes: dict[str, Any],
    with_classes: bool,
    segmentation: bool,
    device: str,
) -> None:
    from voxpick.cli.progress import step_bars
    from voxpick.detect.pipeline import detect_with_segmentation, make_settings
    from voxpick.io.atomic import require_writable
    from voxpick.io.mrc import read_mrc, write_mrc
    from voxpick.precision import choose_device

    _check_volumes(volumes)
    require_writable(output)
    where = choose_device(device)
    localizer, classifier = _models(model)
    if not with_classes:
        classifier = None
    settings = make_settings([classifier, localizer], changes)
    found: dict[str, Particles] = {}
    with _warnings_on_one_line():
        for path in volumes:
            volume = read_mrc(path, voxel_size=voxel_size)
            with _naming(path, volume.name), step_bars(path.name) as report:
                detection = detect_with_segmentation(
                    volume, localizer, classifier, settings=settings, device=str(where), progress=report
                )
            typer.echo(_searched(detection), err=True)
            write_picks(output / _name(path), detection.particles, formats, volume.voxel_size, volume.shape)
            if segmentation:
                write_mrc(output / f"{_name(path)}_segmentation.mrc", detection.segmentation)
            found[_name(path)] = detection.particles
    _write_settings(output / "detect.yaml", model, settings.model_dump(), str(where))
    _print_summary(found, output)


def _name(path: Path) -> str:
    """What the picks are called after: the file without .mrc, or .mrc.gz."""
    return Path(path.name.removesuffix(".gz")).stem


def _formats(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SUFFIXES:
            raise VoxpickError(f"--format {text}: unknown format {name!r}; choose among {', '.join(SUFFIXES)}")
    if not names:
        raise VoxpickError(f"--format is empty; choose among {', '.join(SUFFIXES)}")
    return names


def _check_volumes(volumes: list[Path]) -> None:
    """Refuse before the first detection what the headers and names of all files tell."""
    from voxpick.io.mrc_header import read_header

    for path in volumes:
        read_header(path)
    name, times = Counter(_name(path) for path in volumes).most_common(1)[0]
    if times > 1:
        raise VoxpickError(
            f"{times} tomograms are called {name}; their picks would overwrite each other, detect them apart"
        )


@contextmanager
def _naming(path: Path, name: str) -> Iterator[None]:
    """Let errors that begin with the name of a volume begin with its file."""
    try:
        yield
    except VoxpickError as error:
        raise VoxpickError(f"{path}: {str(error).removeprefix(f'{name}: ')}") from error


def _models(name: str) -> tuple[Model, Model | None]:
    from voxpick.io.model import builtin_model_path, load_models

    path = Path(name)
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise VoxpickError(f"{name}: no such model file")
        path = builtin_model_path(name)
    parts = load_models(path)
    if "localizer" not in parts:
        raise VoxpickError(f"{path}: holds no localizer (it has: {', '.join(parts) or 'nothing'}); train one first")
    return parts["localizer"], parts.get("classifier")


def _assignments(changes: list[str]) -> dict[str, Any]:
    from voxpick.cli.assignments import read_assignments

    # YAML reads off as a boolean and 10:30 as a number
    return read_assignments(changes, example="split=mean-shift", as_text=("slab", "max_memory"))


def write_picks(
    stem: Path, particles: Particles, formats: list[str], voxel_size: float, shape: tuple[int, int, int]
) -> None:
    from voxpick.io.formats import write_particles

    for name in formats:
        path = stem.with_name(stem.name + SUFFIXES[name])
        write_particles(path, particles, voxel_size=voxel_size, shape=shape, format=name)


def _searched(detection: Detection) -> str:
    slab, volume = detection.slab, detection.volume
    return f"{volume.name}: searched sections {slab.start}:{slab.stop} of {volume.shape[0]} ({slab.reason})"


def _write_settings(path: Path, model: str, settings: dict[str, Any], device: str) -> None:
    import yaml

    from voxpick import __version__
    from voxpick.io.atomic import write_text

    content = {"voxpick": __version__, "model": model, "device": device, "settings": settings}
    write_text(path, yaml.safe_dump(content, sort_keys=False))


def _print_summary(found: dict[str, Particles], output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    classes = sorted({str(name) for particles in found.values() for name in particles.classes})
    table = Table(title=f"Picks in {output}")
    table.add_column("tomogram")
    for name in [*classes, "all", "median confidence"]:
        table.add_column(name, justify="right")
    for tomogram, particles in found.items():
        counts = Counter(str(name) for name in particles.classes)
        scores = particles.scores
        median = "-" if scores is None or not len(scores) else f"{sorted(scores)[len(scores) // 2]:.2f}"
        table.add_row(tomogram, *(str(counts[name]) for name in classes), str(len(particles)), median)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


@contextmanager
def _warnings_on_one_line() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *rest, **more: typer.echo(f"voxpick: warning: {message}", err=True)
        yield
