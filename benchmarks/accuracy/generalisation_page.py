"""Write docs/generalisation.md from the figures that generalisation.py measured.

python benchmarks/accuracy/generalisation_page.py [generalisation.json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from statistics import mean
from typing import Any

from voxpick.benchmark.machine import commit_in_words
from voxpick.io.model import builtin_models

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "generalisation.md"
USUAL, DECOYS = "as in training", "decoys"
LETTER = [
    "- Another generator: a specimen of 512 x 128 x 200 voxels (x, y, z) by `benchmarks/accuracy/letter.py`, which",
    "  follows the recipe with splines and atom maps and shares no code with the generator that the networks learned",
    "  from.",
]
TOLERATED = 0.05
"""Loss of F1 up to which a condition counts as one that holds."""


def main() -> None:
    """Read, format, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", default=HERE / "generalisation.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    result = json.loads(options.source.read_text())
    options.page.write_text("\n".join(page(result)) + "\n")


def page(result: dict[str, Any]) -> list[str]:
    """The lines of the page."""
    size = " x ".join(f"{length:g}" for length in result["extent_a"])
    lines = [
        "# Beyond the training data",
        "",
        "Made by `benchmarks/accuracy/generalisation_page.py` from `benchmarks/accuracy/generalisation.json`, which",
        "`generalisation.py` writes; do not edit by hand.",
        "",
        f"One change of the SHREC'20 recipe at a time, on the {_number(result['specimens'])} of {size} A (z, y, x)",
        f"with {result['particles']} particles, of the same seed, {result['seed']}; decoys and other voxel sizes",
        "change what is drawn from it. Tomograms of other voxel sizes are rescaled by `voxpick detect`, which runs",
        "with the settings it takes by itself.",
        "",
        "- Voxels of another size: not the same microscope sampled otherwise. The simulator's envelope is a share of",
        "  the Nyquist frequency and its noise goes by the voxel, so these rows change resolution and noise as well.",
        *(LETTER if result.get("letter") else []),
        "- F1, recall, precision and AD are of SHREC'20's localisation. Best F1: with the `--min-score` that suits",
        "  this tomogram best, which nobody knows beforehand; below the method's own threshold nothing is known.",
        "- Right: the share of picks that are in place and rightly named. Score: the mean score of the picks; a",
        "  calibrated one equals it, a model whose score is higher is surer than it should be.",
        "- Spectrum as it is: the same without bringing the tomogram's amplitude spectrum to that of the training",
        "  tomograms ([decision](decisions/0006-spectrum-of-the-training.md)), where that was tried as well.",
        "",
    ]
    for name, card in result["models"].items():
        rows = [row for row in result["rows"] if row["model"] == name]
        if rows:
            lines += [*_table(name, card, rows), *_verdict(rows), *_decoys(rows)]
    for what, reason in result.get("skipped", {}).items():
        lines += [f"Not measured: {what}, as {reason}.", ""]
    found = result["machine"]
    made = f"measured on {result['device']}, {found['processor']}, commit {commit_in_words(found['commit'])}"
    lines.append(f"Where nothing else is said: {made}.")
    return lines


def _table(name: str, card: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    heads: tuple[str, ...] = ("F1", "best F1", "recall", "precision", "mean class F1", "right", "score", "AD (voxels)")
    keys: tuple[str, ...] = ("f1", "best_f1", "recall", "precision", "mean_class_f1", "right", "mean_score", "distance")
    if "f1_unmatched" in rows[0]:
        heads += ("F1, spectrum as it is", "mean class F1, spectrum as it is")
        keys += ("f1_unmatched", "mean_class_f1_unmatched")
    about = f"Method {card['method']}, file {card['file']}, SHA-256 {card['sha256']}..."
    if found := card.get("machine"):
        about += f" Measured earlier, on {found['processor']}, commit {commit_in_words(found['commit'])}."
    lines = [f"## {name}", "", about, ""]
    shipped = builtin_models().get(name)
    if shipped is not None and hashlib.sha256(shipped.read_bytes()).hexdigest()[:16] != card["sha256"]:
        lines += ["The package holds later weights of this name; these figures are of the earlier ones.", ""]
    lines += ["| condition | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for condition in dict.fromkeys(row["condition"] for row in rows):
        same = [row for row in rows if row["condition"] == condition]
        lines.append(f"| {condition} | " + " | ".join(_mean([row[key] for row in same]) for key in keys) + " |")
    return [*lines, ""]


def _verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Which conditions hold, and which break, by a fixed rule."""
    f1 = {row["condition"]: [r["f1"] for r in rows if r["condition"] == row["condition"]] for row in rows}
    named = {row["condition"]: [r["mean_class_f1"] for r in rows if r["condition"] == row["condition"]] for row in rows}
    if USUAL not in f1:
        return []
    lines = []
    for what, values in (("Finding", f1), ("Naming", named)):
        usual = mean(values[USUAL])
        loss = {name: usual - mean(v) for name, v in values.items() if name != USUAL}
        holds = [name for name, value in loss.items() if value <= TOLERATED]
        breaks = [
            f"{name} (-{loss[name]:.2f})" for name in sorted(loss, key=lambda n: -loss[n]) if loss[name] > TOLERATED
        ]
        lines.append(
            f"{what} holds (loses at most {TOLERATED:g}) with: {', '.join(holds) or 'none'}. "
            f"It breaks with: {', '.join(breaks) or 'none'}."
        )
        lines.append("")
    return lines


def _decoys(rows: list[dict[str, Any]]) -> list[str]:
    """How many decoys were picked, and as what."""
    found = [row["decoys"] for row in rows if row.get("decoys")]
    if not found:
        return []
    lines = ["| decoy | in the specimens | picked | score | most often as |", "|---|---|---|---|---|"]
    for decoy in found[0]:
        mine = [one[decoy] for one in found]
        total, picked = sum(one["particles"] for one in mine), sum(one["picked"] for one in mine)
        claims: dict[str, int] = {}
        for one in mine:
            for name, count in one["claimed"].items():
                claims[name] = claims.get(name, 0) + count
        most = ", ".join(f"{n} ({c})" for n, c in sorted(claims.items(), key=lambda item: -item[1])[:3]) or "-"
        scores = [one["mean_score"] for one in mine if one["mean_score"] is not None]
        lines.append(f"| {decoy} | {total} | {picked} | {_mean(scores) if scores else '-'} | {most} |")
    return [*lines, ""]


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None and value == value]
    return f"{mean(known):.3f}" if known else "-"


def _number(count: int) -> str:
    return "specimen" if count == 1 else f"{count} specimens"


if __name__ == "__main__":
    main()
