"""How far the edges of the ice that is found lie from the outermost particles: what the margin of the slab has to bear.

    python benchmarks/accuracy/slab_margin.py VALIDATION/model_0 [...] [--vacuum 96]

The tomograms need some vacuum above and below their specimen. More of it is put on both ends, by sections drawn from
their own vacuum, so that the ice is searched in a tomogram as deep as real ones. `short`: by how many sections the
edges found, without any margin, fall short of the outermost centre of a particle (negative: they lie beyond it).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from voxpick.cli.truth import read_truth
from voxpick.detect.slab import find_slab, section_skewness
from voxpick.io.shrec_model import open_model

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from record import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--vacuum", type=int, default=96, help="sections put on each end")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rows = []
    for folder in options.folders:
        volume, truth = open_model(folder).reconstruction, read_truth(folder)
        skewness = section_skewness(volume.data)
        empty = truth.z_offset - 4
        vacuum = np.concatenate([skewness[:empty], skewness[-empty:]])
        rng = np.random.default_rng(0)
        ends = [vacuum[rng.integers(len(vacuum), size=options.vacuum)] for _ in range(2)]
        slab = find_slab(np.concatenate([ends[0], skewness, ends[1]]), margin=0)
        z = truth.tomogram_particles.centers_zyx[:, 0] / truth.voxel_size + options.vacuum
        whole = (slab.start, slab.stop) == (0, len(skewness) + 2 * options.vacuum)
        short = [float(slab.start - z.min()), float(z.max() - (slab.stop - 1))]
        rows.append(
            {
                "tomogram": folder.name, "found": not whole, "slab": [slab.start, slab.stop],
                "particles": [float(z.min()), float(z.max())], "short": None if whole else short,
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    found = [max(row["short"]) for row in rows if row["short"]]
    result = {
        "benchmark": "slab_margin", "vacuum": options.vacuum, "tomograms": len(rows), "found": len(found),
        "machine": machine(), "voxel_size": truth.voxel_size, "most_short": max(found, default=None), "rows": rows,
    }  # fmt: skip
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{len(found)} of {len(rows)} found; at most {result['most_short']} sections short")


if __name__ == "__main__":
    main()
