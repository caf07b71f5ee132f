"""What the halo and the size of tiles cost in localisation F1 and in time, on validation tomograms.

    python benchmarks/accuracy/halo.py VALIDATION/model_0 [...] [--halos 8 16 24 32] [--tiles 128 176]

The network sees further than any halo, so tiles agree with the whole volume only nearly; the largest halo in the
largest tile is the reference for `largest_difference` of the probabilities that are above the threshold in either.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from fingerprint import described

from voxpick.cli.truth import read_truth
from voxpick.detect.locate import locate
from voxpick.detect.pipeline import LOCATE_SETTINGS, make_settings
from voxpick.detect.segment import best_tile, probabilities
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.model import builtin_model_path, load_models
from voxpick.io.shrec_model import open_model
from voxpick.particles import Particles
from voxpick.volume import intensity_statistics

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from record import machine


def main() -> None:
    """Every tile with every halo, the reference first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomograms", type=Path, nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--halos", type=int, nargs="+", default=[8, 16, 24, 32])
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 176])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    source = options.model or builtin_model_path("vp-detector")
    models = load_models(source)
    model = models["localizer"]
    settings = make_settings([model])
    rows = []
    for folder in options.tomograms:
        volume, truth = open_model(folder).reconstruction, read_truth(folder, benchmark="shrec20", voxel_size=None)
        mean, deviation = intensity_statistics(volume)
        reference = None
        for tile, halo in product(sorted(options.tiles, reverse=True), sorted(options.halos, reverse=True)):
            start = time.perf_counter()
            found = probabilities(
                volume.data, model.network, tile=tile, halo=halo, mean=mean, deviation=deviation
            )  # fmt: skip
            seconds = time.perf_counter() - start
            reference = found if reference is None else reference
            either = (found > settings.threshold) | (reference > settings.threshold)
            chosen = {name: getattr(settings, name) for name in LOCATE_SETTINGS}
            located = locate(found, bandwidth=settings.bandwidth / volume.voxel_size, **chosen)
            picks = Particles(located.centers * volume.voxel_size, scores=located.scores).sorted_by_score()
            score = score_shrec(
                picks, truth.particles, truth.occupancy,
                voxel_size=truth.voxel_size, z_offset=truth.z_offset, frame="tomogram",
            )  # fmt: skip
            difference = np.abs(found.astype(np.float32) - reference)[either]
            rows.append(
                {
                    "tomogram": folder.name, "tile": tile, "halo": halo, "f1": score.f1, "seconds": round(seconds, 1),
                    "sides": best_tile(volume.shape, tile**3, halo), "picks": len(picks),
                    "largest_difference": float(difference.max(initial=0)),
                    "mean_difference": float(difference.mean()) if either.any() else 0.0,
                }
            )  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "model": described(models, source=str(source)), "machine": machine(), "threads": torch.get_num_threads(),
        "threshold": settings.threshold, "rows": rows,
    }  # fmt: skip
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
