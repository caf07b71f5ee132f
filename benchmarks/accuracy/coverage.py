"""What an angular step covers: the table of docs/matching.md.

python benchmarks/accuracy/coverage.py
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from voxpick.match.rotations import GRIDS, coverage, rotation_grid

PAGE = Path(__file__).resolve().parents[2] / "docs" / "matching.md"
STEPS = (30.0, 25.0, 20.0, 15.0, 12.85, 10.0, 7.0)
SAMPLES = 20000


def main() -> None:
    """Draw orientations, find the nearest of each set, and put the table between its marks."""
    lines = [
        f"| step, degrees | orientations | nearest one, mean | at most ({SAMPLES} drawn) | Euler: orientations | mean "
        "| at most |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for step in STEPS:
        cells = [f"{step:g}"]
        for kind in GRIDS:
            found = coverage(rotation_grid(step, kind), np.random.default_rng(0), samples=SAMPLES)
            cells += [str(found.rotations), f"{found.mean_deg:.1f}", f"{found.largest_deg:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    text = "<!-- coverage -->\n" + "\n".join(lines) + "\n<!-- end coverage -->"
    PAGE.write_text(re.sub(r"<!-- coverage -->.*?<!-- end coverage -->", text, PAGE.read_text(), flags=re.S))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
