"""voxpick evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.cli import options as option
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.cli.truth import ShrecTruth
    from voxpick.particles import Particles


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", short_help="Score picks against the truth.")(evaluate_command)


UNUSED = {
    "picks": ("benchmark", "frame", "strict", "segmentation"),
    "model": ("radius", "beta", "tomogram"),
    "agreement": ("beta", "benchmark", "frame", "strict", "segmentation", "tomogram"),
}
"""Options that have nothing to do when picks are compared with another pick file, a model folder, or by --agreement."""
RECONSTRUCTION = "reconstruction"
"""What picks in the tomogram of a model folder are called after."""
SURELY_OF_IT = 0.5
"""Share of picks on its particles from which they are of a model folder whatever they are called: folders are called
model_0, tomograms are not, and few picks of another tomogram lie on particles."""


def evaluate_command(
    context: typer.Context,
    picks: Annotated[
        Path, typer.Argument(help="Picks: .star .csv .json (A), .txt .tbl .cbox .mod .xml (voxels), the best first.")
    ],
    truth: Annotated[
        Path,
        typer.Argument(help="A SHREC model folder with particle_locations.txt and occupancy_mask.mrc, or a pick file."),
    ],
    radius: Annotated[
        float | None,
        typer.Option(help="When TRUTH is a pick file: how far from a true centre, in A, a pick may lie."),
    ] = None,
    beta: Annotated[
        float, typer.Option(help="With --radius: F-beta, where more than 1 favours finding all over being right.")
    ] = 1.0,
    benchmark: Annotated[str, typer.Option(help="Whose rules: shrec19, shrec20 or shrec21.")] = "shrec20",
    frame: Annotated[
        str,
        typer.Option(
            help="What the z of the picks counts from: tomogram, specimen (the slab, z from 0 to 199 in SHREC'20), or "
            "auto: of text files the organisers' guess, where one pick outside the slab moves all of them; of STAR and "
            "CSV files the tomogram, if most picks lie in its slab. A tomogram that is all slab has one frame."
        ),
    ] = "auto",
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Also score without the organisers' leniency: one pick per particle, no guess."),
    ] = False,
    segmentation: Annotated[
        Path | None,
        typer.Option(help="A segmentation (MRC of class numbers), compared voxel by voxel with class_mask.mrc."),
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(
            help="When TRUTH is another picking: a folder for the picks of both, and of one alone (CSV); that of an "
            "earlier comparison without averages is replaced."
        ),
    ] = None,
    near: Annotated[
        Path | None, typer.Option(help="With --agreement: a mask (MRC), to whose nearest voxel distances are counted.")
    ] = None,
    tomogram: Annotated[
        Path | None,
        typer.Option(
            help="When TRUTH is a pick file: the tomogram (MRC) of both, whose middle RELION 5 counts from, and whose "
            "voxels other formats count."
        ),
    ] = None,
    voxel_size: option.VoxelSize = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all numbers to this file.")] = None,
) -> None:
    """Score picks against the truth: what was found, what was named rightly, and how sure the picks were."""
    from voxpick.cli.outputs import keep_inputs, keep_other_numbers
    from voxpick.io.atomic import require_file_place

    if json_path is not None:
        if json_path.is_dir():
            raise VoxpickError(f"--json {json_path}: is a folder; name a file in it")
        in_folder = sorted(truth.iterdir()) if truth.is_dir() else [truth]
        keep_inputs([json_path], [picks, segmentation, near, tomogram, *in_folder], option="--json")
        keep_other_numbers(json_path)
        require_file_place(json_path)
    if near is not None and agreement is None:
        raise VoxpickError(f"--near {near}: goes with --agreement")
    if agreement is not None:
        _refuse(context, "agreement", "has nothing to do with --agreement, which sorts picks and scores nothing")
        from voxpick.cli.agreement import compare_pickings

        averaged = any((agreement / name).exists() for name in ("fsc.csv", "averages"))
        result = compare_pickings(
            picks, truth, agreement, radius=radius, near=near, voxel_size=voxel_size,
            overwrite=(agreement / "agreement.json").is_file() and not averaged,
            way_out="only the folder of an earlier comparison without averages is replaced; give another --agreement, "
            "or replace it by 'voxpick agreement --overwrite'",
        )  # fmt: skip
    elif truth.is_dir():
        _refuse(context, "model", f"goes with a pick file as the truth, and {truth} is a folder")
        result = _against_model(
            picks, truth, benchmark, frame, strict=strict, segmentation=segmentation, voxel_size=voxel_size
        )
    else:
        _refuse(context, "picks", f"needs a SHREC model folder as the truth, not {truth}")
        result = _against_picks(picks, truth, radius, beta, voxel_size, tomogram)
    if json_path is not None:
        import json

        from voxpick.io.atomic import write_text

        write_text(json_path, json.dumps(result, indent=1, allow_nan=False) + "\n")


def _refuse(context: typer.Context, mode: str, reason: str) -> None:
    """Raise VoxpickError for an option that was given although it has nothing to do in this mode."""
    from voxpick.cli.given import is_given

    for name in UNUSED[mode]:
        if is_given(context, name):
            raise VoxpickError(f"--{name} {context.params[name]}: {reason}".replace(" True:", ":"))


def _against_model(
    picks_path: Path,
    folder: Path,
    benchmark: str,
    frame: str,
    *,
    strict: bool,
    segmentation: Path | None,
    voxel_size: float | None,
) -> dict[str, Any]:
    from voxpick.cli.pick_files import read_picks, warn_of_another
    from voxpick.cli.score_tables import print_confidence, print_shrec
    from voxpick.cli.truth import check_rules, read_truth, scored, told

    check_rules(benchmark, frame)
    truth = read_truth(folder, benchmark=benchmark, voxel_size=voxel_size)
    name, linked = folder.resolve().name, _linked(folder)
    picks = read_picks(
        picks_path,
        tomogram=name,
        also=linked or RECONSTRUCTION,
        voxel_size=truth.voxel_size,
        shape=truth.tomogram_shape,
        year=2019 if benchmark == "shrec19" else 2020,
        allow_empty=True,
        place=False,
    )
    _warn_of_none(picks, picks_path)
    result: dict[str, Any] = {}
    for mode in (False, True) if strict else (False,):
        score = scored(picks, truth, picks_path=picks_path, benchmark=benchmark, frame=frame, strict=mode)
        if not mode and (score.hit_ids > 0).sum() < SURELY_OF_IT * len(picks):
            warn_of_another(picks_path, picks, linked or name, also=(name, RECONSTRUCTION))
        print_shrec(score)
        result |= {"strict_scoring": score.to_dict()} if mode else told(score, picks, truth)
    print_confidence(result["calibration"])
    if segmentation is not None:
        result["segmentation"] = _segmentation(segmentation, truth)
    return result


def _linked(folder: Path) -> str | None:
    """The name of the tomogram that a model folder's reconstruction.mrc is a link to; None of a file."""
    from voxpick.io.mrc import tomogram_name

    place = folder / f"{RECONSTRUCTION}.mrc"
    target = tomogram_name(place.resolve())
    return target if place.is_symlink() and target != RECONSTRUCTION else None


def _against_picks(
    picks_path: Path, truth_path: Path, radius: float | None, beta: float, voxel_size: float | None,
    tomogram: Path | None,
) -> dict[str, Any]:  # fmt: skip
    from voxpick.cli.pick_files import picks_of, read_all_picks, the_tomogram, warn_of_another
    from voxpick.cli.score_tables import print_confidence, print_pairing
    from voxpick.cli.tomograms import read_grid
    from voxpick.evaluate.calibration import confidence
    from voxpick.evaluate.pairing import score_pairing
    from voxpick.f_beta import check_beta
    from voxpick.io.formats import format_of

    check_beta(beta, "--beta")
    if not truth_path.exists():
        raise VoxpickError(f"{truth_path}: no such file or folder; give a SHREC model folder or a pick file")
    if picks_path.is_dir():
        raise VoxpickError(f"{picks_path}: is a folder; give the file of picks first, then the truth")
    format_of(truth_path)
    if radius is None:
        raise VoxpickError(f"{truth_path}: is a pick file, so say with --radius how far in A a pick may lie from it")
    size, shape = (voxel_size, None) if tomogram is None else read_grid(tomogram, voxel_size)
    all_true, all_picked = (read_all_picks(path, voxel_size=size, shape=shape) for path in (truth_path, picks_path))
    truth = picks_of(truth_path, all_true, _names(picks_path, all_picked))
    picks = picks_of(picks_path, all_picked, _names(truth_path, all_true), allow_empty=True)
    _warn_of_none(picks, picks_path)
    if (name := the_tomogram(truth_path, truth)) is not None:
        warn_of_another(picks_path, picks, name)
    _warn_of_numbers((picks_path, picks), (truth_path, truth))
    score = score_pairing(picks, truth, radius=radius, beta=beta)
    print_pairing(score)
    calibration = confidence(picks, score.hit_ids, truth.classes)
    print_confidence(calibration)
    return {**score.to_dict(), "calibration": calibration}


def _names(path: Path, picks: Particles) -> list[str]:
    """What the tomogram of a file of picks may be called: as the picks say, then as the file is, without rec_ too."""
    from voxpick.cli.pick_files import the_tomogram

    said = the_tomogram(path, picks)
    return [*([] if said is None else [said]), path.stem, path.stem.removeprefix("rec_")]


def _warn_of_numbers(*files: tuple[Path, Particles]) -> None:
    """A warning where the classes of one file alone are numbers, as in formats that hold no names."""
    named = [(path, {str(name) for name in picks.classes}) for path, picks in files]
    numbered = [path for path, names in named if names and all(name.isdigit() for name in names)]
    if len(numbered) == 1 and all(names for _, names in named):
        typer.echo(
            f"voxpick: warning: {numbered[0]}: its classes are numbers, so none has the name of one in the other file; "
            "they are compared by place alone (docs/formats.md, class names)",
            err=True,
        )


def _warn_of_none(picks: Particles, path: Path) -> None:
    if not len(picks):
        typer.secho(f"WARNING: {path}: holds no picks", err=True, fg=typer.colors.YELLOW)


def _segmentation(path: Path, truth: ShrecTruth) -> dict[str, Any]:
    from voxpick.cli.mask_labels import mask_labels
    from voxpick.cli.progress import progress_bar
    from voxpick.cli.score_tables import print_table
    from voxpick.evaluate.segmentation import score_segmentation
    from voxpick.io.mrc import read_labels
    from voxpick.io.shrec_model import open_model

    with progress_bar("Comparing voxels") as progress:
        claimed, true = read_labels(path), open_model(truth.directory).class_mask
        labels = mask_labels(truth, true, claimed=claimed)
        try:
            score = score_segmentation(claimed, true, labels=labels, progress=progress)
        except VoxpickError as error:
            raise VoxpickError(f"{path}: {error}") from error
    result = score.to_dict()
    overall = {name: result[name] for name in ("VA", "MVA", "MIoU")}
    print_table("Segmentation", list(overall), [list(overall.values())])
    return result
