"""Write docs/few-labels.md from the figures that few_labels.py measured.

python benchmarks/accuracy/few_labels_page.py [few_labels.json ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

from voxpick.benchmark.machine import commit_in_words

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "few-labels.md"
COLUMNS = {"recall": "recall", "f1": "F1", "best_f1": "best F1", "mean_class_f1": "mean class F1"}


def main() -> None:
    """Read, format, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="*", default=[HERE / "few_labels.json"])
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    lines = [
        "# Few labels",
        "",
        "Made by `benchmarks/accuracy/few_labels_page.py` from what `few_labels.py` measured; do not edit by hand.",
        "",
        "Networks that learnt from nothing but tomograms and the positions of so many particles of each class",
        "([how](training.md#on-your-own-picks)): no masks, no validation, all else in the tomograms not labelled.",
        "F1 is at the method's own threshold, best F1 with the `--min-score` that suits the test tomogram best. Where",
        "the labelled classes are not all that the tomograms hold, the others count as false when they are picked:",
        "nothing told the network that they are not wanted. So recall and class F1 say what was learned, and F1 what",
        "is left to do.",
    ]
    tables = [line for source in options.sources for line in section(json.loads(source.read_text()))]
    if any(line.startswith("| all |") for line in tables):
        lines.append("In the row 'all', every particle is labelled, and what is none is background.")
    if any("+-" in line for line in tables):
        lines.append("After +-: half the spread over the seeds that drew the labels.")
    lines += ["", *tables]
    options.page.write_text("\n".join(lines) + "\n")


def section(result: dict[str, Any]) -> list[str]:
    """The table of one run of the script."""
    settings, found = result["settings"], result["machine"]
    tests = len(settings["test"])
    lines = [
        f"## {settings['method']}, {len(result['classes'])} classes",
        "",
        f"{', '.join(result['classes'])}; {settings['steps']} steps of each stage, a shell of {settings['shell']:g} A,",
        f"tomograms to label in: {len(settings['training'])}, to score on: {tests}, seeds:",
        f"{', '.join(map(str, settings['seeds']))}. {found['processor']}, commit {commit_in_words(found['commit'])}.",
    ]
    starts = list(dict.fromkeys(row["start"] for row in result["rows"]))
    if "shipped" in starts:
        lines.append("The shipped weights are those that the package had then, which later ones may have replaced.")
    lines.append("")
    heads = [f"{title}, {_start(start)}" for start in starts for title in COLUMNS.values()]
    lines += ["| labels of a class | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for number in sorted({row["labels"] for row in result["rows"]}, key=lambda n: n or float("inf")):
        cells = []
        for start in starts:
            same = [row for row in result["rows"] if row["labels"] == number and row["start"] == start]
            cells += [_cell([_value(row, key) for row in same]) for key in COLUMNS]
        lines.append(f"| {number or 'all'} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _value(row: dict[str, Any], key: str) -> float:
    """A number of a run, or its mean over the test tomograms."""
    return float(row[key] if key in row else mean(test[key] for test in row["tests"]))


def _start(start: str | None) -> str:
    if start is None:
        return "from random weights"
    return "from shipped weights" if start == "shipped" else f"from {Path(start).stem}"


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    spread = f" +- {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
