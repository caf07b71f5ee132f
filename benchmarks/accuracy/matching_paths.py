"""What the low-rank search finds of what the exact one finds, on a part of a simulated tomogram.

python benchmarks/accuracy/matching_paths.py MODEL_FOLDER [--rotations 1000] [--side 96]
Both search the same part, at the middle of the tomogram, with the same templates and orientations; their best peaks are
paired within a voxel. Writes matching_paths.json beside this script and the table of docs/matching.md.
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
from voxpick.match.search import find_all
from voxpick.match.select import ball_radius
from voxpick.match.settings import MatchSettings
from voxpick.match.tiles import TiledVolume
from voxpick.methods.template_matching import bead_templates, make_target
from voxpick.simulate.bank import load_bank

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from record import machine

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
    whole = open_model(arguments.model).reconstruction
    half = arguments.side // 2
    part = np.array(whole.data[tuple(slice(max(n // 2 - half, 0), n // 2 + half) for n in whole.shape)])
    rows = [compared(name, part, whole, arguments) for name in arguments.classes]
    settings = {key: value for key, value in vars(arguments).items() if key not in ("output", "model")}
    result = {"settings": settings, "shape_zyx": part.shape, "machine": machine(), "rows": rows}
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    write_table(result)


def compared(name: str, part: np.ndarray, whole: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Peaks of one class by both paths: how many of the exact ones are found, and with which scores."""
    template = bead_templates(load_bank([name]), whole)[0]
    settings = MatchSettings(candidates=arguments.number)
    target = make_target(template, super_fibonacci(arguments.rotations), settings, ball_radius(template))
    found, seconds = {}, {}
    for path in ("exact", "low-rank"):
        start = time.perf_counter()
        found[path] = next(find_all(TiledVolume(part, sign=-1.0), [target], path=path))
        seconds[path] = round(time.perf_counter() - start, 1)
    exact, rough = found["exact"].peaks, found["low-rank"].peaks
    distance, nearest = cKDTree(rough.places).query(exact.places)
    same = distance <= 1.8
    lost = exact.scores[~same]
    row = {
        "class": name, "energy_kept": found["low-rank"].energy[0], "peaks": len(exact), "found": int(same.sum()),
        "largest_score_difference": float(np.abs(exact.scores[same] - rough.scores[nearest[same]]).max(initial=0)),
        "best_lost_rank": int(np.flatnonzero(~same)[0]) + 1 if len(lost) else None, "seconds": seconds,
    }  # fmt: skip
    print(row, flush=True)
    return row


def write_table(result: dict[str, Any]) -> None:
    """The table of docs/matching.md, between its marks."""
    settings, (z, y, x) = result["settings"], result["shape_zyx"]
    lines = [
        f"Best {settings['number']} peaks of the exact way that the low-rank way finds too, within a voxel along each",
        f"axis, on {z} x {y} x {x} voxels of a simulated tomogram with {settings['rotations']} orientations, by",
        "`benchmarks/accuracy/matching_paths.py`:\n",
        "| template | energy kept | found | first one lost, rank | largest difference of scores |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        lost = "-" if row["best_lost_rank"] is None else str(row["best_lost_rank"])
        lines.append(
            f"| {row['class']} | {row['energy_kept']:.3f} | {row['found']} of {row['peaks']} | {lost} | "
            f"{row['largest_score_difference']:.5f} |"
        )
    text = "<!-- paths -->\n" + "\n".join(lines) + "\n<!-- end paths -->"
    PAGE.write_text(re.sub(r"<!-- paths -->.*?<!-- end paths -->", lambda _: text, PAGE.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
