"""How many particles are found near the faces of a tomogram, where a part of each may be cut off.

    python benchmarks/accuracy/faces.py MODEL.pt [...] --tomogram VALIDATION/model_0 [...]

MODEL: a file, or the name of shipped weights, of any method. Recall by the distance of the true centre from the nearest
face along y and x (a specimen's z faces are in the ice or in vacuum), over all tomograms; found as SHREC'20 counts it.
Training cubes used to begin anywhere within the tomogram, so that few of them held a voxel near a face; in the
committed figures before.pt was trained so, and after.pt is before.pt after twenty more minutes with cubes that reach
the faces as often as the middle (docs/decisions/0004).
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from voxpick.cli.detect_models import read_parts
from voxpick.cli.truth import read_truth
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.atomic import write_text
from voxpick.io.shrec_model import open_model
from voxpick.methods.catalogue import find_method, method_of

EDGES = (0, 3, 6, 10, 16, 32, np.inf)
"""Voxels."""


def main() -> None:
    """Detect, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--tomogram", type=Path, action="append", required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    rows = [measured(name, options.tomogram) for name in options.models]
    for row in rows:
        print(json.dumps(row))
    write_text(options.output, json.dumps({"edges": [str(edge) for edge in EDGES], "rows": rows}, indent=1) + "\n")


def measured(name: str, folders: list[Path]) -> dict[str, Any]:
    """A model's F1 and its recall by distance from the faces."""
    path, models = read_parts(name)
    method = find_method(method_of(models, source=str(path)))
    distances, hits, scores = [], [], []
    for folder in folders:
        volume, truth = open_model(folder).reconstruction, read_truth(folder)
        picks = method.detect(volume, models, device="cpu").particles
        score = score_shrec(
            picks, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset,
            frame="tomogram",
        )  # fmt: skip
        yx = truth.particles.voxels(truth.voxel_size)[:, 1:]
        distances.append(np.minimum(yx, np.array(volume.shape[1:]) - 1 - yx).min(axis=1))
        hits.append(np.isin(np.arange(1, len(yx) + 1), score.hit_ids))
        scores.append((score.f1, score.mean_class_f1))
    distance, hit = np.concatenate(distances), np.concatenate(hits)
    bins = [(distance >= low) & (distance < high) for low, high in pairwise(EDGES)]
    f1, mean_class_f1 = np.mean(scores, axis=0)
    return {
        "model": path.name, "training": [model.provenance.get("steps") for model in models.values()],
        "tomograms": [folder.name for folder in folders], "f1": float(f1), "mean_class_f1": float(mean_class_f1),
        "particles": [int(inside.sum()) for inside in bins],
        "recall": [round(float(hit[inside].mean()), 4) if inside.any() else None for inside in bins],
    }  # fmt: skip


if __name__ == "__main__":
    main()
