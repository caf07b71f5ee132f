"""The models of the package side by side, on tomograms that no model and no choice has seen.

    voxpick simulate shrec20 FRESH --models 3 --seed 520001 --size 200,128,512 --thickness 256
    python benchmarks/accuracy/letter.py ../shared/data LETTER/model_0 --seed 11
    python benchmarks/accuracy/side_by_side.py --own FRESH/model_* --letter LETTER/model_*

Each runs with the settings it takes by itself and is scored as `voxpick evaluate` does: --own are tomograms of our
generator, --letter those of letter.py, which shares no code with it. Writes side_by_side.json, row by row, so that a
second call goes on, and docs/zoo.md; without folders the page alone, from the JSON. A row is of the weights whose
digest it carries: rows of other weights are measured anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from voxpick.benchmark.machine import commit_in_words
from voxpick.cli.zoo_scores import summary, tested
from voxpick.io.atomic import write_text
from voxpick.io.model import builtin_models, load_models
from voxpick.networks.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from record import machine

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "zoo.md"
KINDS = {"own": "our generator", "letter": "an independent generator"}


def main() -> None:
    """Measure what is missing, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=Path, nargs="+", default=[])
    parser.add_argument("--models", nargs="+", default=list(builtin_models()))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rows = json.loads(options.output.read_text())["rows"] if options.output.is_file() else []
    for name in options.models:
        file = builtin_models()[name]
        models, digest = load_models(file), hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        for kind in KINDS:
            for folder in getattr(options, kind):
                tomogram = f"{folder.resolve().parent.name}/{folder.name}"
                about = {"model": name, "kind": kind, "tomogram": tomogram}
                rows = [row for row in rows if row["digest"] == digest or not about.items() <= row.items()]
                if any(about.items() <= row.items() for row in rows):
                    continue
                row = tested(models, [folder], device="cpu")[0]
                rows.append({**row, **about, "digest": digest, "minutes": minutes(models), "machine": machine()})
                print(f"{name}, {tomogram}: F1 {row['table3']['F1']:.3f}, {row['mean_class_f1']:.3f}", flush=True)
                write_text(options.output, json.dumps({"rows": rows}, indent=1) + "\n")
    write_text(PAGE, "\n".join(page(rows)) + "\n")


def minutes(models: dict[str, Model]) -> float:
    """Minutes of training of all stages, with those of the weights that each began with."""
    return sum(_minutes(model.provenance) for model in models.values())


def _minutes(provenance: dict[str, Any]) -> float:
    before = provenance.get("started_from")
    return float(provenance.get("minutes", 0)) + (_minutes(before) if isinstance(before, dict) else 0.0)


def page(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of the page."""
    found = [row["machine"] for row in rows]
    machines = sorted({f"{each['processor']}, commit {commit_in_words(each['commit'])}" for each in found})
    lines = [
        "# The zoo, side by side",
        "",
        "Made by `benchmarks/accuracy/side_by_side.py`, which measured it; do not edit by hand.",
        "",
        "The models of the package as they are shipped, on specimens of 512 x 128 x 200 voxels (x, y, z; setting",
        "0.004) whose seeds were used for nothing else: not to train, not to choose settings, not for the model cards.",
        "'An independent generator' is `benchmarks/accuracy/letter.py`, which follows the recipe of SHREC'20 with",
        "splines and atom maps and shares no code with the generator that the networks learned from. Mean ± standard",
        "deviation over the tomograms. Minutes are of training on one or two CPU cores, over all stages and",
        "sittings: the models were not trained equally long, so this compares what is in the package, not the methods;",
        "for those see [the benchmark](benchmark.md), for seconds [speed](speed.md).",
    ]
    for kind, title in KINDS.items():
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            lines += ["", f"## {title[0].upper()}{title[1:]}", "", *_table(chosen), "", *_classes(chosen)]
            lines += ["", ahead(chosen)]
    return [*lines, "", f"Machine: {'; '.join(machines)}."]


def _models(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by model, the best names first."""
    found = {name: [row for row in rows if row["model"] == name] for name in dict.fromkeys(r["model"] for r in rows)}
    return dict(sorted(found.items(), key=lambda item: -mean(row["mean_class_f1"] for row in item[1])))


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns = ("model", "tomograms", "F1", "mean class F1", "minutes of training")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, own in _models(rows).items():
        numbers = summary(own)
        values = " | ".join(_with_spread(numbers[column]) for column in ("F1", "mean class F1"))
        lines.append(f"| {name} | {len(own)} | {values} | {own[0]['minutes']:.0f} |")
    return lines


def _classes(rows: Sequence[dict[str, Any]]) -> list[str]:
    classes = list(rows[0]["class_f1"])
    lines = [f"| class F1 | {' | '.join(classes)} |", "|---" * (len(classes) + 1) + "|"]
    for name, own in _models(rows).items():
        known = [[row["class_f1"][each] for row in own if row["class_f1"][each] is not None] for each in classes]
        lines.append(f"| {name} | {' | '.join(f'{mean(values):.2f}' if values else '-' for values in known)} |")
    return lines


def ahead(rows: Sequence[dict[str, Any]]) -> str:
    """Whether voxpick leads each other model by more than both spreads together, in words."""
    models = _models(rows)
    if "voxpick" not in models or len(models) < 2 or min(len(own) for own in models.values()) < 2:
        return "Fewer than two tomograms: no spread to compare a lead with."
    behind = []
    for column in ("F1", "mean class F1"):
        ours = summary(models["voxpick"])[column]
        for name, own in models.items():
            theirs = summary(own)[column]
            if name != "voxpick" and ours["mean"] - theirs["mean"] <= ours["spread"] + theirs["spread"]:  # type: ignore[operator]
                behind.append(f"{name} ({column})")
    if not behind:
        return "voxpick leads each other model in both columns by more than the two spreads together."
    return f"voxpick does not lead by more than the two spreads together: {', '.join(behind)}."


def _with_spread(numbers: dict[str, float | None]) -> str:
    spread = "" if numbers["spread"] is None else f" ± {numbers['spread']:.3f}"
    return "-" if numbers["mean"] is None else f"{numbers['mean']:.3f}{spread}"


if __name__ == "__main__":
    main()
