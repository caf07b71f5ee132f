"""Do averages tell true picks from false ones? Two pickings whose truth is known, held against each other.

    python benchmarks/accuracy/agreement.py DATA/model_* [--class 4d8q] [--output agreement.json]

The expert's picking is the truth less a part drawn at random. The network's is the truth less another part, with as
many places added where no particle is. What the network found alone is thus partly what the expert missed and partly
false, and what the expert found alone is all true. `voxpick agreement` does the rest, as a user would call it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from voxpick.average.parts import concatenated, random_positions
from voxpick.cli.averaging import make_averaging
from voxpick.io.formats import read_particles, write_particles
from voxpick.io.shrec_model import open_model
from voxpick.particles import Particles
from voxpick.simulate.bank import load_bank

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from masks import link, source
from record import machine

RADIUS_FACTOR = 1.15
PAIRS_WITHIN = 50.0


def main() -> None:
    """Pickings, comparison, numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="Folders model_N.")
    parser.add_argument("--class", dest="name", default="4d8q")
    parser.add_argument("--missed", type=float, default=0.35, help="Share of the truth that each picking lacks.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    radius = RADIUS_FACTOR * load_bank([options.name])[options.name].radius
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        true = _write_pickings(folder, options, radius)
        tomograms = [link(folder / f"{path.resolve().name}.mrc", path / "reconstruction.mrc") for path in options.data]
        command = [sys.executable, "-m", "voxpick", "agreement", folder / "network.csv", folder / "expert.csv"]
        command += ["--radius", PAIRS_WITHIN, "--particle-radius", f"{radius:.1f}", "--output", folder / "out"]
        command += [word for path in tomograms for word in ("--tomogram", path)]
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        rows = _rows(folder / "out", true)
    result = {
        "class": options.name, "missed": options.missed, "seed": options.seed, "radius_A": round(radius, 1),
        "low_pass_first_A": round(radius / 2, 1), "data": [source(path) for path in options.data],
        "machine": machine(), "rows": rows,
    }  # fmt: skip
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(row["part"], row["picks"], row["true"], row["averaged"], row["resolution_A"])


def _write_pickings(folder: Path, options: argparse.Namespace, radius: float) -> Particles:
    """expert.csv and network.csv; the truth."""
    rng = np.random.default_rng(options.seed)
    truth, false = [], []
    for path in options.data:
        model = open_model(path)
        everything, volume = model.tomogram_particles, model.reconstruction
        mine = everything[everything.classes == options.name]
        names = np.full(len(mine), path.resolve().name, dtype=object)
        truth.append(Particles(mine.centers_zyx, mine.classes, tomograms=names))
        how = make_averaging(volume.voxel_size, radius=radius)
        places = random_positions(volume, everything, round(options.missed * len(mine)), how, rng=rng)
        name = np.full(len(places), path.resolve().name, dtype=object)
        false.append(Particles(places.centers_zyx, np.full(len(places), options.name), tomograms=name))
    true = concatenated(truth)
    order, lacking = rng.permutation(len(true)), round(options.missed * len(true))
    write_particles(folder / "expert.csv", true[np.sort(order[lacking:])])
    write_particles(folder / "network.csv", concatenated([true[np.sort(order[:-lacking])], *false]))
    return true


def _rows(folder: Path, true: Particles) -> list[dict[str, Any]]:
    """Each average: its picks, how many are true, resolution and curve."""
    numbers = json.loads((folder / "agreement.json").read_text())["averages"]
    curves = pd.read_csv(folder / "fsc.csv")
    rows = []
    for name, found in numbers.items():
        part, _, rest = name.partition(": ")
        picks = read_particles(folder / f"{part}.csv")
        right = sum(
            int((np.linalg.norm(true.centers_zyx - center, axis=1)[true.tomograms == tomogram] < 1).any())
            for center, tomogram in zip(picks.centers_zyx, np.asarray(picks.tomograms), strict=True)
        )
        column = name.replace(": ", "_").replace(" ", "_")
        rows.append({
            "part": name, "averaged": None if found is None else found["particles"],
            "picks": None if rest else len(picks), "true": None if rest else right,
            "resolution_A": None if found is None else found["resolution_A"],
            "half_maps": None if found is None else {
                "frequency": curves["frequency"].round(5).tolist(), "correlation": curves[column].round(3).tolist(),
                "conclusive_A": found["conclusive_A"],
            },
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
