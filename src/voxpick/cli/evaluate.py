"""voxpick evaluate"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.evaluate.pairing import PairingScore
    from voxpick.evaluate.shrec_score import Shrec20Score


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
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
            "CSV files the tomogram, if most picks lie in its slab."
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
        typer.Option(help="When TRUTH is another picking: a folder for the picks of both, and of one alone (CSV)."),
    ] = None,
    near: Annotated[
        Path | None, typer.Option(help="With --agreement: a mask (MRC), to whose nearest voxel distances are counted.")
    ] = None,
    voxel_size: Annotated[float | None, typer.Option(help="Voxel size in A, where the file's header is wrong.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all numbers to this file.")] = None,
) -> None:
    """Score picks against the truth: what was found, what was named rightly, and how sure the picks were."""
    from voxpick.cli.outputs import keep_inputs
    from voxpick.io.atomic import require_writable

    if json_path is not None:
        if json_path.is_dir():
            raise VoxpickError(f"--json {json_path}: is a folder; name a file in it")
        in_folder = sorted(truth.iterdir()) if truth.is_dir() else [truth]
        keep_inputs([json_path], [picks, segmentation, near, *in_folder])
        require_writable(json_path.parent)
    if near is not None and agreement is None:
        raise VoxpickError(f"--near {near}: goes with --agreement")
    if agreement is not None:
        from voxpick.cli.agreement import compare_pickings

        result = compare_pickings(picks, truth, agreement, radius=radius, near=near, voxel_size=voxel_size)
    elif truth.is_dir():
        result = _against_model(
            picks, truth, benchmark, frame, strict=strict, segmentation=segmentation, voxel_size=voxel_size
        )
    else:
        if segmentation is not None or strict:
            raise VoxpickError(f"{truth}: --segmentation and --strict need a SHREC model folder as the truth")
        result = _against_picks(picks, truth, radius, beta, voxel_size)
    if json_path is not None:
        import json

        from voxpick.io.atomic import write_text

        write_text(json_path, json.dumps(result, indent=1, allow_nan=False) + "\n")


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
    from voxpick.cli.truth import read_picks, read_truth, scored, told

    truth = read_truth(folder, benchmark=benchmark, voxel_size=voxel_size)
    picks = read_picks(
        picks_path,
        tomogram=folder.resolve().name,
        voxel_size=truth.voxel_size,
        shape=truth.tomogram_shape,
        year=2019 if benchmark == "shrec19" else 2020,
    )
    result: dict[str, Any] = {}
    for mode in (False, True) if strict else (False,):
        score = scored(picks, truth, picks_path=picks_path, benchmark=benchmark, frame=frame, strict=mode)
        print_shrec(score)
        result |= {"strict_scoring": score.to_dict()} if mode else told(score, picks, truth)
    print_confidence(result["calibration"])
    if segmentation is not None:
        result["segmentation"] = _segmentation(segmentation, folder)
    return result


def _against_picks(
    picks_path: Path, truth_path: Path, radius: float | None, beta: float, voxel_size: float | None
) -> dict[str, Any]:
    from voxpick.cli.truth import read_picks
    from voxpick.evaluate.calibration import confidence
    from voxpick.evaluate.pairing import score_pairing

    if not truth_path.exists():
        raise VoxpickError(f"{truth_path}: no such file or folder; give a SHREC model folder or a pick file")
    if radius is None:
        raise VoxpickError(f"{truth_path}: is a pick file, so say with --radius how far in A a pick may lie from it")
    truth = read_picks(truth_path, tomogram=picks_path.stem, voxel_size=voxel_size)
    picks = read_picks(picks_path, tomogram=truth_path.stem, voxel_size=voxel_size)
    score = score_pairing(picks, truth, radius=radius, beta=beta)
    _print_pairing(score)
    calibration = confidence(picks, score.hit_ids, truth.classes)
    print_confidence(calibration)
    return {**score.to_dict(), "calibration": calibration}


def _segmentation(path: Path, folder: Path) -> dict[str, Any]:
    from voxpick.cli.progress import progress_bar
    from voxpick.evaluate.segmentation import score_segmentation
    from voxpick.io.mrc import read_labels
    from voxpick.io.shrec_model import open_model
    from voxpick.shrec_classes import SHREC20_CLASSES

    labels = ("background", *SHREC20_CLASSES)
    with progress_bar("Comparing voxels") as progress:
        claimed, true = read_labels(path), open_model(folder).class_mask
        try:
            score = score_segmentation(claimed, true, labels=labels, progress=progress)
        except VoxpickError as error:
            raise VoxpickError(f"{path}: {error}") from error
    result = score.to_dict()
    overall = {name: result[name] for name in ("VA", "MVA", "MIoU")}
    _print_table("Segmentation", list(overall), [list(overall.values())])
    return result


def print_shrec(score: Shrec20Score) -> None:
    from voxpick.evaluate.shrec_score import weight_kda

    if score.outside:
        typer.secho(
            f"WARNING: {score.outside} of {score.reported} picks lie outside the tomogram; check their unit and frame",
            err=True, fg=typer.colors.YELLOW,
        )  # fmt: skip
    for text in score.warnings:
        typer.secho(f"WARNING: {text}", err=True, fg=typer.colors.YELLOW)
    rules = f"{score.benchmark.upper()} scoring{', strict' if score.strict else ''}"
    _print_table(f"{rules}: localisation of {score.particles} particles", list(score.table3), [score.table3.values()])
    accuracy = score.class_accuracy
    count = dict(zip(score.labels, score.confusion.sum(axis=1).tolist(), strict=True))
    rows = [[name, weight_kda(name), count[name], f1, accuracy[name]] for name, f1 in score.class_f1.items()]
    rows.append(["mean", None, score.particles, score.mean_class_f1, None])
    _print_table(f"{rules}: classes", ["class", "kDa", "particles", "F1", "accuracy"], rows)
    _print_table(f"{rules}: mean class F1 by size", list(score.size_groups), [score.size_groups.values()])
    matrix = [[name, *counts] for name, counts in zip(score.labels, score.confusion.tolist(), strict=True)]
    shown = matrix if score.strict else matrix[1:]
    _print_table(f"{rules}: confusion (rows true, columns claimed; 0 is missed)", ["", *score.labels], shown)


def print_confidence(calibration: Mapping[str, Any]) -> None:
    """What the scores are worth: calibration errors and Brier scores; nothing where picks have no scores."""
    if not calibration:
        return
    columns = {
        "picks": "picks", "right": "right", "ECE": "ece", "ECE, equal counts": "ece_equal_count",
        "ECE by chance": "ece_by_chance", "Brier": "brier",
    }  # fmt: skip
    meaning = {"located": "location score: on a particle", "named": "score: on a particle, rightly named"}
    rows = [[meaning[kind], *(found[key] for key in columns.values())] for kind, found in calibration.items()]
    _print_table("Confidence: how far scores are from the share of right picks", ["", *columns], rows)


def _print_pairing(score: PairingScore) -> None:
    names = ["", "TP", "FP", "FN", "precision", "recall", f"F{score.location.beta:g}"]
    rows: list[list[Any]] = []
    for name, counts in (("any class", score.location), *score.classes.items()):
        values: Mapping[str, float] = counts.to_dict()
        rows.append([name, *(values[key] for key in ("TP", "FP", "FN", "precision", "recall", "F"))])
    _print_table(f"One-to-one within {score.radius:g} A (mean distance {score.distance:.1f} A)", names, rows)


def _print_table(title: str, header: Sequence[str], rows: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    table = Table(title=title, title_justify="left", header_style="bold")
    for k, name in enumerate(header):
        table.add_column(name, justify="left" if k == 0 and name in ("", "class") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
