"""Write docs/centres.md from the figures that centres.py measured.

python benchmarks/accuracy/centres_page.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from voxpick.benchmark.machine import commit_in_words
from voxpick.io.atomic import write_text

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "centres.md"


def main() -> None:
    """Read, format, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", default=HERE / "centres.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    result = json.loads(options.source.read_text())
    tomograms = len({(row["tomogram"]) for row in result["rows"]})
    lines = [
        "# From our network's output to picks",
        "",
        "Made by `benchmarks/accuracy/centres_page.py` from what `centres.py` measured; do not edit by hand.",
        "",
        "Our network gives a heat map of centres, and in training also the class of every voxel. Picks can be made of",
        "either: peaks of the heat map, or the segmentation split into particles by mean-shift, watershed or",
        "components, and named by its own vote. Scores as SHREC'20, each way at that of the tried thresholds which",
        f"gives its best F1; means over {tomograms} validation tomograms that no training has seen.",
        "",
        "Peaks have the shipped calibration, which was fitted on these tomograms: their threshold is a least",
        "calibrated location score, and classes keep their distances. The splits have none; theirs is a probability of",
        "voxels.",
        "",
        "| way | threshold | F1 | mean class F1 |",
        "|---|---:|---:|---:|",
    ]
    ranked = sorted(result["best"].items(), key=lambda pair: -pair[1]["f1"])
    lines += [
        f"| {way} | {best['threshold']:g} | {best['f1']:.3f} | {best['mean_class_f1']:.3f} |" for way, best in ranked
    ]
    lines += ["", *verdict(ranked), "", _made_with(result)]
    write_text(options.page, "\n".join(lines) + "\n")


def _made_with(result: dict[str, Any]) -> str:
    """Weights, machine and commit."""
    model, machine = result["model"], result["machine"]
    return (
        f"Weights {model['sha256'][:12]} (sha256) of {model['method']}; {machine['processor']}, torch "
        f"{machine['versions']['torch']}, commit {commit_in_words(machine['commit'])}."
    )


def verdict(ranked: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What the table says of the default."""
    peaks = max((pair for pair in ranked if pair[0].startswith("peaks")), key=lambda pair: pair[1]["f1"])
    voxels = max((pair for pair in ranked if not pair[0].startswith("peaks")), key=lambda pair: pair[1]["f1"])
    more, less = ("Peaks", "segmentation") if peaks[1]["f1"] >= voxels[1]["f1"] else ("The segmentation", "peaks")
    named = "named better" if (peaks[1]["mean_class_f1"] >= voxels[1]["mean_class_f1"]) == (more == "Peaks") else (
        "named worse"
    )  # fmt: skip
    return [
        f"{more} win: F1 {max(peaks[1]['f1'], voxels[1]['f1']):.3f} against {min(peaks[1]['f1'], voxels[1]['f1']):.3f} "
        f"of the best {less}; their picks are {named}. The package takes peaks."
    ]


if __name__ == "__main__":
    main()
