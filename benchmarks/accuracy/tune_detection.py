"""Choose how a localizer's probabilities become picks, on validation tomograms, and store it in the model file.

    python benchmarks/accuracy/tune_detection.py MODEL.pt VALIDATION/model_0 [...]

Every combination of the grid below is scored by localisation F1 as SHREC'20 does, averaged over the tomograms; the
best is written into the model file's localizer, with the score, so that `voxpick detect` uses it. Never give a test
tomogram.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from voxpick.cli.truth import read_truth
from voxpick.detect.locate import locate
from voxpick.detect.pipeline import make_settings
from voxpick.detect.segment import probabilities
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.model import load_models, save_models
from voxpick.io.shrec_model import open_model
from voxpick.particles import Particles
from voxpick.volume import intensity_statistics

GRID = {
    "threshold": (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
    "minimum_size": (20, 35, 50, 65, 80),
    "opening": (0, 1),
    "split": ("watershed", "mean-shift"),
    "neck": (0.5, 0.6, 0.75, 0.9),
    "bandwidth": (60.0,),
}


def main() -> None:
    """Search the grid and store the winner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("validation", type=Path, nargs="+")
    arguments = parser.parse_args()
    models = load_models(arguments.model)
    localizer = models["localizer"]
    defaults = make_settings([localizer])
    cases = []
    for folder in arguments.validation:
        volume = open_model(folder).reconstruction
        mean, deviation = intensity_statistics(volume)
        found = probabilities(
            volume.data, localizer.network, tile=defaults.tile, halo=defaults.halo, mean=mean, deviation=deviation
        )
        cases.append((found, read_truth(folder, benchmark="shrec20", voxel_size=None)))
    results = []
    for values in product(*GRID.values()):
        settings = dict(zip(GRID, values, strict=True))
        if settings["split"] == "mean-shift" and settings["neck"] != GRID["neck"][0]:
            continue
        scores = [f1(found, truth, settings) for found, truth in cases]
        results.append((float(np.mean(scores)), settings))
    results.sort(key=lambda row: -row[0])
    for score, settings in results[:10]:
        print(f"{score:.4f} {settings}")
    best_paper = next(row for row in results if row[1]["split"] == "mean-shift")
    print(f"best with mean-shift: {best_paper[0]:.4f} {best_paper[1]}")
    score, settings = results[0]
    localizer.detection = {**localizer.detection, **settings}
    localizer.provenance = {
        **localizer.provenance,
        "detection_tuned_on": [folder.name for folder in arguments.validation],
        "validation_f1": score,
        "validation_f1_mean_shift": best_paper[0],
    }
    save_models(arguments.model, models)


def f1(found: np.ndarray, truth, settings: dict) -> float:
    """Localisation F1 of one combination on one tomogram."""
    settings = {**settings, "bandwidth": settings["bandwidth"] / truth.voxel_size}
    located = locate(found, **settings)
    picks = Particles(located.centers * truth.voxel_size, scores=located.scores).sorted_by_score()
    return score_shrec(
        picks, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset, frame="tomogram"
    ).f1


if __name__ == "__main__":
    main()
