"""voxpick match"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.cli import detect_options as option
from voxpick.cli.class_names import check_classes
from voxpick.cli.detect_output import PicksFolder, print_summary, read_formats, searched
from voxpick.cli.match_words import energy_in_words, say_search, search_notes
from voxpick.cli.tomograms import Failures, errors_name_file, read_tomogram, warnings_on_one_line
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxpick.detect.pipeline import Detection
    from voxpick.match.search import Matched
    from voxpick.particles import Particles
    from voxpick.progress import Progress
    from voxpick.volume import Volume

TEMPLATES = typer.Option(
    "--template", "-t",
    help="What to look for; give it several times for several. The name of a built-in structure ('voxpick structures "
    "list' shows them), or a file: PDB, mmCIF, a density map (MRC), or a bank of structures (.npz).",
    show_default="all twelve built-in structures",
)  # fmt: skip
METHOD = typer.Option(
    help="tm-f: a pick never overlaps one of a larger structure; tm-t: the best of each structure, even where they "
    "overlap; dog: no template, only --radius."
)
STEP = typer.Option(
    help="Angle in degrees between the orientations that are tried. Half of it takes eight times as long.",
    show_default="12.85",
)
EXACT = typer.Option("--exact", help="Try every orientation by itself: slower; the scores of picks are the same.")
NUMBER = typer.Option(min=1, help="Picks of each structure at most.", show_default="217")
FALSE_POSITIVES = typer.Option(
    help="Keep only scores that noise alone would exceed so many times, for each structure in the whole tomogram.",
    show_default="no such limit",
)
CTF = typer.Option(
    help="What of the microscope's transfer function acts on the templates: first-zero (up to its first zero), full, "
    "or off, for tomograms that were corrected.",
    show_default="first-zero",
)
DEFOCUS = typer.Option(help="Underfocus of the tilt series in um.", show_default="3")
TILTS = typer.Option(help="Lowest and highest tilt in degrees, such as -60:60; off ignores the missing wedge.",
                     show_default="-60:60")  # fmt: skip
WHITEN = typer.Option("--whiten", help="Give all frequencies of the tomogram the same power before it is searched.")
BACKGROUND = typer.Option(
    help="Set scores against those of each template with random phases: subtract, divide, or off.", show_default="off"
)
REPORT = typer.Option("--report", help="Also write NAME.html: slices with the picks, and the histogram of the scores.")
CLASSIFIER = typer.Option(
    help="Name what is found by the 'classifier' of this model (file, or name of a shipped one), of any method; picks "
    "have no orientations then.",
    show_default="the templates name it",
)
RADIUS = typer.Option(help="Radius in A of the particles (dog), or of the mask about each template (tm-f, tm-t).")
OUTPUT = typer.Option("--output", "-o", help="Folder that receives the picks.")


OF_TEMPLATES = {
    "angular_step": "--step", "path": "--exact", "ctf": "--ctf", "defocus": "--defocus", "tilt_range": "--tilt-range",
    "false_positives": "--false-positives", "whiten": "--whiten", "background": "--background",
}  # fmt: skip
"""Options that only matching with templates takes, by what they set."""
OF_ALL = {
    "number": "--number", "radius": "--radius", "mask_radius": "--radius", "minimum_score": "--min-score",
    "invert": "--invert", "slab": "--slab",
}  # fmt: skip
"""The other options that set something."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("match", short_help="Find particles of known structure by template matching.")(match_command)


def match_command(
    volumes: option.Tomograms,
    output: Annotated[Path, OUTPUT],
    template: Annotated[list[str] | None, TEMPLATES] = None,
    method: Annotated[str, METHOD] = "tm-f",
    classifier: Annotated[str | None, CLASSIFIER] = None,
    step: Annotated[float | None, STEP] = None,
    exact: Annotated[bool, EXACT] = False,
    number: Annotated[int | None, NUMBER] = None,
    false_positives: Annotated[float | None, FALSE_POSITIVES] = None,
    ctf: Annotated[str | None, CTF] = None,
    defocus: Annotated[float | None, DEFOCUS] = None,
    tilt_range: Annotated[str | None, TILTS] = None,
    radius: Annotated[float | None, RADIUS] = None,
    whiten: Annotated[bool, WHITEN] = False,
    background: Annotated[str | None, BACKGROUND] = None,
    report: Annotated[bool, REPORT] = False,
    min_score: option.MinimumScore = None,
    format: option.Formats = "star,csv,shrec",
    voxel_size: option.VoxelSize = None,
    invert: option.Invert = False,
    slab: option.Slab = None,
    overwrite: option.Overwrite = False,
    device: option.Device = "auto",
    threads: option.Threads = None,
    set_: option.Changes = None,
) -> None:
    """Find particles of known structure by template matching, with the orientation of every pick; nothing is trained.

    Each structure is turned to thousands of orientations and compared with the tomogram at every voxel. For each
    tomogram NAME.mrc the folder receives NAME.star, NAME.csv and NAME.txt, best picks first.
    """
    from voxpick.cli.assignments import read_assignments
    from voxpick.cli.threads import set_threads

    given = {
        "angular_step": step, "path": "exact" if exact else None, "number": number, "ctf": ctf, "defocus": defocus,
        "false_positives": false_positives, "tilt_range": None if tilt_range is None else _tilts(tilt_range),
        "radius" if method == "dog" else "mask_radius": radius, "minimum_score": min_score, "invert": invert or None,
        "slab": slab, "whiten": whiten or None, "background": background,
    }  # fmt: skip
    for name, text in OF_TEMPLATES.items():
        if method == "dog" and given[name] is not None:
            raise VoxpickError(f"{text}: is for templates, and --method dog has none; leave it out")
    changes = read_assignments(set_ or [], example="residual=0.01", as_text=("slab", "max_memory"))
    given = {name: value for name, value in given.items() if value is not None}
    changes |= given
    options = {name: text for name, text in (OF_TEMPLATES | OF_ALL).items() if name in given}
    _check_method(method, template or [], changes, options, named=classifier is not None)
    set_threads(threads)
    _match(
        volumes, output, names=template or [], method=method, changes=changes, formats=read_formats(format),
        voxel_size=voxel_size, device=device, with_report=report, overwrite=overwrite, classifier=classifier,
    )  # fmt: skip


def _match(
    volumes: list[Path], output: Path, *, names: list[str], method: str, changes: dict[str, Any], formats: list[str],
    voxel_size: float | None, device: str, with_report: bool, overwrite: bool, classifier: str | None,
) -> None:  # fmt: skip
    """Read, match, write, one tomogram after the other."""
    from voxpick.cli.detect_models import read_classifier
    from voxpick.cli.progress import step_bars
    from voxpick.cli.templates import check_templates
    from voxpick.methods.catalogue import find_method
    from voxpick.methods.naming import finding_changes, named_by, require_same_voxels
    from voxpick.precision import choose_device

    check_templates(names)
    namer = None if classifier is None else read_classifier(classifier)
    folder = PicksFolder(output, "match.yaml", formats, beside=("{}.html",) if with_report else ())
    files = folder.prepare(volumes, overwrite=overwrite)
    where = str(choose_device(device))
    templates = {} if method == "dog" else {"templates": names or "the twelve built-in structures"}
    about = {"method": method, **templates, **({} if namer is None else {"classifier": classifier}), "device": where}
    found: dict[str, Particles] = {}
    failures = Failures(len(volumes))
    with warnings_on_one_line():
        for name, path in files.items():
            with failures.of(path):
                volume = read_tomogram(path, voxel_size)
                with errors_name_file(path, volume.name), step_bars(path.name) as progress:
                    check = partial(check_classes, output / name, formats=formats)
                    if namer is not None:
                        require_same_voxels(namer, volume.voxel_size)
                        check([each for each in namer.classes if each != "background"])
                    finding = changes if namer is None else finding_changes(find_method(method), changes)
                    detection, found_of = _detection(volume, method, names, finding, where, progress, check)
                    if namer is not None:
                        detection = named_by(detection, namer, changes=changes, device=where, progress=progress)
                typer.echo(searched(detection), err=True)
                search = {template: search_notes(matched) for template, matched in found_of.items()}
                page = _page(detection, found_of, method) if with_report else None
                folder.write(name, path, detection, about, page=page, search=search)
                found[name] = detection.particles
    if found:
        print_summary(found, output)
    failures.raise_any()


def _detection(
    volume: Volume,
    method: str,
    names: list[str],
    changes: dict[str, Any],
    device: str,
    progress: Progress,
    check: Callable[[list[str]], None],
) -> tuple[Detection, dict[str, Matched]]:
    """What was found, in all and of each template."""
    import numpy as np

    from voxpick.cli.templates import read_templates
    from voxpick.match.rotations import coverage, rotation_grid
    from voxpick.match.settings import MatchSettings, make_match_settings
    from voxpick.methods.catalogue import find_method
    from voxpick.methods.template_matching import match

    if method == "dog":
        return find_method(method).detect(volume, {}, changes=changes, device=device, progress=progress), {}
    defaults: dict[str, Any] = getattr(find_method(method), "DETECTION", {})
    settings = make_match_settings(MatchSettings, {**defaults, **changes})
    templates = read_templates(names, volume)
    check([template.name for template in templates])
    grid = rotation_grid(settings.angular_step, settings.rotations)
    typer.echo(f"{volume.name}: {coverage(grid, np.random.default_rng(0))}", err=True)
    found: dict[str, Matched] = {}

    def tell(name: str, matched: Matched) -> None:
        say_search(name, matched)
        found[name] = matched

    return match(volume, templates, settings, device=device, progress=progress, report=tell), found


def _page(detection: Detection, found: dict[str, Matched], method: str) -> str:
    from voxpick.report.matching_charts import score_charts
    from voxpick.report.page import build_report

    volume, settings = detection.volume, {"method": method, **detection.settings}
    histograms = {name: matched.histogram for name, matched in found.items()}
    charts = score_charts(histograms, {name: energy_in_words(matched) for name, matched in found.items()})
    return build_report(volume, detection.particles, title=volume.name, settings=settings, charts=charts)


def _check_method(
    method: str, names: list[str], changes: dict[str, Any], options: dict[str, str], *, named: bool
) -> None:
    """Refuse what no tomogram can be searched with. options: what those settings are called that options gave.

    named: a classifier names the picks, and its settings are among the changes.
    """
    from voxpick.match.settings import DogSettings, MatchSettings, make_match_settings
    from voxpick.methods.catalogue import find_method
    from voxpick.methods.naming import finding_changes
    from voxpick.methods.traits import check_detection

    if method not in ("tm-f", "tm-t", "dog"):
        raise VoxpickError(f"--method {method}: one of tm-f, tm-t, dog; methods with a model run with 'voxpick detect'")
    if method == "dog" and names:
        raise VoxpickError("--method dog looks for no structure; leave --template out, or match with --method tm-f")
    if "classes" in changes:
        raise VoxpickError("--set classes: name what to look for with --template, once for each")
    finding = changes
    if named:
        check_detection(find_method(method), changes, named=True)
        finding = finding_changes(find_method(method), changes)
    make_match_settings(DogSettings if method == "dog" else MatchSettings, finding, options=options)


def _tilts(text: str) -> list[float] | str:
    if text == "off":
        return text
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise VoxpickError(f"--tilt-range {text}: give the lowest and highest tilt, such as -60:60, or off") from error
    return [low, high]
