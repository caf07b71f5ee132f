"""Scores as tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from voxpick.evaluate.pairing import PairingScore
    from voxpick.evaluate.shrec_score import Shrec20Score


def print_shrec(score: Shrec20Score) -> None:
    """Localisation, classes, size groups and confusion; warnings go to stderr."""
    from voxpick.evaluate.shrec_score import weight_kda

    if score.outside:
        typer.secho(
            f"WARNING: {score.outside} of {score.reported} picks lie outside the tomogram; check their unit and frame",
            err=True, fg=typer.colors.YELLOW,
        )  # fmt: skip
    for text in score.warnings:
        typer.secho(f"WARNING: {text}", err=True, fg=typer.colors.YELLOW)
    rules = f"{score.benchmark.upper()} scoring{', strict' if score.strict else ''}"
    print_table(f"{rules}: localisation of {score.particles} particles", list(score.table3), [score.table3.values()])
    if len(score.labels) == 1:  # the true particles have no names
        return
    accuracy = score.class_accuracy
    count = dict(zip(score.labels, score.confusion.sum(axis=1).tolist(), strict=True))
    rows = [[name, weight_kda(name), count[name], f1, accuracy[name]] for name, f1 in score.class_f1.items()]
    rows.append(["mean", None, score.particles, score.mean_class_f1, None])
    print_table(f"{rules}: classes", ["class", "kDa", "particles", "F1", "accuracy"], rows)
    groups = score.size_groups
    if not all(math.isnan(f1) for f1 in groups.values()):  # classes of one's own are in no group
        print_table(f"{rules}: mean class F1 by size", list(groups), [groups.values()])
    matrix = [[name, *counts] for name, counts in zip(score.labels, score.confusion.tolist(), strict=True)]
    shown = matrix if score.strict else matrix[1:]
    print_table(f"{rules}: confusion (rows true, columns claimed; 0 is missed)", ["", *score.labels], shown)


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
    print_table("Confidence: how far scores are from the share of right picks", ["", *columns], rows)


def print_pairing(score: PairingScore) -> None:
    """Counts and rates of all picks and of each class."""
    names = ["", "TP", "FP", "FN", "precision", "recall", f"F{score.location.beta:g}"]
    rows: list[list[Any]] = []
    for name, counts in (("any class", score.location), *score.classes.items()):
        values: Mapping[str, float] = counts.to_dict()
        rows.append([name, *(values[key] for key in ("TP", "FP", "FN", "precision", "recall", "F"))])
    distance = "-" if math.isnan(score.distance) else f"{score.distance:.1f} A"
    print_table(f"One-to-one within {score.radius:g} A (mean distance {distance})", names, rows)


def print_table(title: str, header: Sequence[str], rows: Sequence[Any]) -> None:
    """A table with a title; numbers to three decimals, a dash for none."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    for k, name in enumerate(header):
        table.add_column(escape(name), justify="left" if k == 0 and name in ("", "class") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
