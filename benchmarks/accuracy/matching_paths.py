"""What the low-rank search finds of what the exact one finds, on a part of a simulated tomogram.

python benchmarks/accuracy/matching_paths.py MODEL_FOLDER [--rotations 1000] [--side 96]
All search the same part, at the middle of the tomogram, with the same templates and orientations: the exact way, the
low-rank way at every voxel, and as it is by default, at as few places as the templates allow. Peaks are paired with the
exact ones within a voxel, and with the particles that are there. Writes matching_paths.json beside this script and the
table of docs/matching.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from voxpick.io.shrec_model import open_model
from voxpick.match.rotations import super_fibonacci
from voxpick.match.sampling import EVERY
from voxpick.match.search import find_all
from voxpick.match.select import ball_radius
from voxpick.match.settings import MatchSettings
from voxpick.match.tiles import TiledVolume
from voxpick.methods.template_matching import bead_templates, make_target
from voxpick.simulate.bank import load_bank

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from record import machine

WAYS: dict[str, dict[str, Any]] = {
    "exact": {"path": "exact"}, "low-rank, every voxel": {"sampling": EVERY}, "low-rank, default": {},
}  # fmt: skip
HIT = 3
PAGE = Path(__file__).resolve().parents[2] / "docs" / "matching.md"


def main() -> None:
    """Search by both paths, pair, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--classes", nargs="+", default=["1s3x", "3h84", "1bxn", "4cr2"])
    parser.add_argument("--rotations", type=int, default=1000)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    model = open_model(arguments.model)
    whole, half = model.reconstruction, arguments.side // 2
    window = [slice(max(n // 2 - half, 0), n // 2 + half) for n in whole.shape]
    part = np.array(whole.data[tuple(window)])
    centers = model.tomogram_particles.voxels(whole.voxel_size) - [one.start for one in window]
    inside = ((centers >= 0) & (centers < part.shape)).all(axis=1)
    rows = []
    for name in arguments.classes:
        there = centers[inside & (model.tomogram_particles.classes == name)]
        rows += compared(name, part, whole, there, arguments)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("output", "model")}
    result = {"settings": settings, "shape_zyx": part.shape, "machine": machine(), "rows": rows}
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    write_table(result)


def compared(
    name: str, part: np.ndarray, whole: Any, there: np.ndarray, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Peaks of one class by all ways: how many of the exact ones are found, and of the particles (n, 3) in voxels."""
    template = bead_templates(load_bank([name]), whole)[0]
    settings = MatchSettings(candidates=arguments.number, number=arguments.number)
    target = make_target(template, super_fibonacci(arguments.rotations), settings, ball_radius(template))
    rows, exact = [], None
    for way, changes in WAYS.items():
        start = time.perf_counter()
        matched = next(find_all(TiledVolume(part, sign=-1.0), [target], **changes))
        seconds = round(time.perf_counter() - start, 1)
        peaks = matched.peaks
        exact = peaks if exact is None else exact
        distance, nearest = cKDTree(peaks.places).query(exact.places)
        same, there_too = distance <= 1.8, distance == 0
        hit = cKDTree(peaks.places).query(there)[0] <= HIT if len(there) else np.zeros(0, dtype=bool)
        rows.append({
            "class": name, "way": way, "energy_kept": matched.energy[0], "peaks": len(exact), "found": int(same.sum()),
            "particles": len(there), "particles_found": int(hit.sum()), "seconds": seconds,
            "largest_score_difference": float(np.abs(exact.scores - peaks.scores[nearest])[there_too].max(initial=0)),
            "best_lost_rank": int(np.flatnonzero(~same)[0]) + 1 if not same.all() else None,
        })  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def write_table(result: dict[str, Any]) -> None:
    """The table of docs/matching.md, between its marks."""
    settings, (z, y, x) = result["settings"], result["shape_zyx"]
    lines = [
        f"The best {settings['number']} peaks of each way, on {z} x {y} x {x} voxels of a simulated tomogram with",
        f"{settings['rotations']} orientations, by `benchmarks/accuracy/matching_paths.py`: how many of the exact",
        f"way's are there within a voxel along each axis, and of the template's own particles within {HIT} voxels.\n",
        "| template | way | energy kept | exact peaks found | first one lost, rank | particles found | s |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        lost = "-" if row["best_lost_rank"] is None else str(row["best_lost_rank"])
        lines.append(
            f"| {row['class']} | {row['way']} | {row['energy_kept']:.3f} | {row['found']} of {row['peaks']} | {lost} | "
            f"{row['particles_found']} of {row['particles']} | {row['seconds']} |"
        )
    worst = max(row["largest_score_difference"] for row in result["rows"])
    lines.append(f"\nScores at the same place differ by {worst:.0e} at most.")
    text = "<!-- paths -->\n" + "\n".join(lines) + "\n<!-- end paths -->"
    PAGE.write_text(re.sub(r"<!-- paths -->.*?<!-- end paths -->", lambda _: text, PAGE.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
