"""Write the tables of docs/averaging.md from what averaging.py, smeared.py, masks.py and agreement.py measured.

python benchmarks/accuracy/averaging_tables.py

A resolution that a result lacks is read from its curve: results older than the rule of `ShellCorrelation.resolution`
gave none of a curve that is below the threshold in the coarsest shell alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from voxpick.average.fsc import ShellCorrelation
from voxpick.benchmark.machine import commit_in_words
from voxpick.shrec_classes import SHREC20_SIZE_GROUPS

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "averaging.md"
KINDS = {
    "true": "true masks of the simulation",
    "pasted": "averages pasted, from positions alone",
    "sphere": "spheres of the class's volume",
}
DASH = (
    "–: below the threshold in each of the three coarsest shells, those of details as large as the particle's radius "
    "or larger; or, from nothing, on nothing finer than what laying one half map onto the other makes noise agree on."
)


def main() -> None:
    """Put each table between its two marks."""
    text = PAGE.read_text()
    tables = {"averaging": averaging_table, "smeared": smeared_table, "masks": masks_table, "agreement": parts_table}
    for name, make in tables.items():
        path = HERE / f"{name}.json"
        if path.is_file():
            table = "\n".join(make(json.loads(path.read_text())))
            text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", rf"\1\n{table}\n\n\2", text, flags=re.S)
    PAGE.write_text(text)


def made_on(result: dict[str, Any]) -> str:
    """Machine and commit of a run."""
    machine = result["machine"]
    return f"{machine['processor']}, commit {commit_in_words(machine['commit'])}"


def averaging_table(result: dict[str, Any]) -> list[str]:
    """A line for each class and start."""
    lines = [
        f"{len(result['data'])} specimens of {_size(result['data'][0])}, SNR setting {result['data'][0]['snr']}, "
        f"{result['iterations']} iterations, {made_on(result)}.",
        "",
        "| class | start | particles | half maps, A at 0.143 | at 0.5 | just beyond | with the density, A at 0.5 |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        halves, density = ((row[key]["resolution_A"], row[key]) for key in ("half_maps", "against_density"))
        lines.append(
            f"| {row['class']} | {row['start']} | {row['particles']} | {_fine(*halves, 0.143)} | "
            f"{_fine(*halves, 0.5)} | {_beyond(row):.2f} | {_fine(*density, 0.5)} |"
        )
    first = {row["class"]: f"{row['low_pass_first_A']:.0f} A" for row in result["rows"]}
    read = ", ".join(f"{name}: {value}" for name, value in first.items())
    return [
        *lines, "",
        f"A reference is read to the first low-pass ({read}). Just beyond: mean correlation of the half maps from "
        f"there to a detail one and a half times finer, which no reference has shaped. {DASH}",
    ]  # fmt: skip


def _beyond(row: dict[str, Any]) -> float:
    """Mean correlation of the half maps between the first low-pass and one and a half times its frequency."""
    edge = 1 / row["low_pass_first_A"]
    halves = row["half_maps"]
    shells = zip(halves["frequency"], halves["correlation"], strict=True)
    return mean(value for frequency, value in shells if edge < frequency <= 1.5 * edge)


def smeared_table(result: dict[str, Any]) -> list[str]:
    """A line for each kind of noise and mask."""
    lines = [
        f"{len(result['rows'])} averages of {result['particles']} boxes of noise, {result['voxel_size']:g} A a voxel, "
        f"steps of {result['step_deg']:g} degrees, {result['iterations']} iterations, {made_on(result)}.",
        "",
        f"| radius, A | noise | mask | averages | that agree | median | farthest | beyond {result['allowed']:g} |",
        "|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    for radius, blur in sorted({(row["radius_A"], row["blur"]) for row in result["rows"]}):
        rows = [row for row in result["rows"] if (row["radius_A"], row["blur"]) == (radius, blur)]
        for mask, title in (("sphere", "sphere"), ("own", "the map's own")):
            found = [row[mask] for row in rows if row[mask] is not None]
            noise = "weaker in fine detail" if blur else "white"
            told = (f"{median(found):.2f} | {max(found):.2f}") if found else "– | –"
            past = sum(value > result["allowed"] for value in found)
            lines.append(f"| {radius:g} | {noise} | {title} | {len(rows)} | {len(found)} | {told} | {past} |")
    return lines


def masks_table(result: dict[str, Any]) -> list[str]:
    """A line for each kind of mask."""
    seeds = sorted({run["seed"] for run in result["runs"]})
    lines = [
        f"{len(result['training'])} training specimens of {_size(result['training'][0])}, one to choose the threshold, "
        f"{len(result['test'])} held out; {result['steps']} steps each, seed {', '.join(map(str, seeds))}; "
        f"{made_on(result)}.",
        "",
        "| training masks | voxels marked | of them right | true ones found | localisation F1 | mean class F1 | "
        + " | ".join(f"{group} classes" for group in SHREC20_SIZE_GROUPS)
        + " |",
        "|---|---:|---:|---:|---:|---:|" + "---:|" * len(SHREC20_SIZE_GROUPS),
    ]
    for kind, title in KINDS.items():
        runs = [run for run in result["runs"] if run["masks"] == kind]
        if runs:
            masks = result["masks"][kind]
            groups = [
                mean(run["class_f1"][name] for run in runs for name in names) for names in SHREC20_SIZE_GROUPS.values()
            ]
            shares = [masks["share_of_voxels"], masks["right"], masks["found"]]
            values = [mean(run["localisation"]["F1"] for run in runs), mean(run["mean_class_f1"] for run in runs)]
            cells = [*(f"{share:.1%}" for share in shares), *(f"{value:.3f}" for value in (*values, *groups))]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def parts_table(result: dict[str, Any]) -> list[str]:
    """A line for each average of a part of two pickings."""
    names = {"only_picks": "only the network", "only_other": "only the expert"}
    lines = [
        f"{result['class']} in {len(result['data'])} specimens of {_size(result['data'][0])}, SNR setting "
        f"{result['data'][0]['snr']}, each picking without {result['missed']:.0%} of the truth, commit "
        f"{commit_in_words(result['machine']['commit'])}.",
        "",
        "| part | picks | true ones | averaged | half maps, A at 0.143 | at 0.5 | just beyond |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        part, colon, rest = row["part"].partition(": ")
        title = names.get(part, part) + (f", {rest}" if colon else "")
        counts = " | ".join("" if row[name] is None else str(row[name]) for name in ("picks", "true"))
        if row["averaged"] is None:
            lines.append(f"| {title} | {counts} | too few | | | |")
            continue
        halves = row["resolution_A"], row["half_maps"]
        beyond = _beyond({**row, "low_pass_first_A": result["low_pass_first_A"]})
        lines.append(
            f"| {title} | {counts} | {row['averaged']} | {_fine(*halves, 0.143)} | {_fine(*halves, 0.5)} | "
            f"{beyond:.2f} |"
        )
    return [*lines, "", DASH] if any("–" in line for line in lines) else lines


def _fine(resolution: dict[str, float | None], curve: dict[str, Any], threshold: float) -> str:
    """Where a curve falls below a threshold, in A; boxes are 3 radii, of which `begins` is the default."""
    known = resolution[f"{threshold:g}"]
    if known is None and curve.get("conclusive_A") is None:
        known = ShellCorrelation(np.array(curve["frequency"]), np.array(curve["correlation"])).resolution(threshold)
    return "–" if known is None or np.isnan(known) else f"{known:.1f}"


def _size(data: dict[str, Any]) -> str:
    return " x ".join(map(str, reversed(data["size_zyx"]))) + " voxels (x, y, z)"


if __name__ == "__main__":
    main()
