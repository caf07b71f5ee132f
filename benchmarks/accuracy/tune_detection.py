"""Choose how a localizer's probabilities become picks, on validation tomograms, and store it in the model file.

    python benchmarks/accuracy/tune_detection.py MODEL.pt VALIDATION/model_0 [...]

One setting after another of the grid below is chosen by localisation F1 as SHREC'20 scores it, averaged over the
tomograms, each at the lowest score that suits it best, as `voxpick calibrate` chooses one afterwards. Both ways to tell
particles apart are tuned, watershed and the paper's mean-shift; the better one is written into the model file's
localizer, with its F1, so that `voxpick detect` uses it. Never give a test tomogram.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

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

START = {"threshold": 0.7, "minimum_size": 35, "neck": 0.6, "opening": 0}
GRID = {
    "threshold": (0.6, 0.65, 0.7, 0.75, 0.8, 0.85),
    "minimum_size": (20, 35, 50, 65),
    "neck": (0.5, 0.6, 0.75, 0.9),
    "bandwidth": (45.0, 60.0, 75.0),
    "opening": (0, 1),
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
        average, deviation = intensity_statistics(volume)
        found = probabilities(
            volume.data, localizer.network, tile=defaults.tile, halo=defaults.halo, mean=average, deviation=deviation
        )
        cases.append((found, read_truth(folder, benchmark="shrec20", voxel_size=None)))
    watershed, its_settings = search(cases, {**START, "split": "watershed", "bandwidth": 60.0}, skip="bandwidth")
    paper, paper_settings = search(cases, {**START, "split": "mean-shift", "bandwidth": 60.0}, skip="neck")
    print(f"watershed {watershed:.4f} {its_settings}\nmean-shift {paper:.4f} {paper_settings}")
    settings = its_settings if watershed > paper else paper_settings
    localizer.detection = {**localizer.detection, **settings}
    localizer.provenance = {
        **localizer.provenance,
        "detection_tuned_on": [folder.name for folder in arguments.validation],
        "validation_f1": max(watershed, paper),
        "validation_f1_watershed": watershed,
        "validation_f1_mean_shift": paper,
    }
    save_models(arguments.model, models)


def search(cases: list, settings: dict, *, skip: str = "") -> tuple[float, dict]:
    """Improve one setting after another; the mean F1 and the settings."""
    best = -1.0
    for name, values in GRID.items():
        if name == skip:
            continue
        scores = {
            value: mean(f1(found, truth, {**settings, name: value}) for found, truth in cases) for value in values
        }
        settings = {**settings, name: max(scores, key=scores.__getitem__)}
        best = max(scores.values())
    return best, settings


def f1(found: np.ndarray, truth, settings: dict) -> float:
    """Localisation F1 of one combination on one tomogram, with the lowest score that is best for it."""
    settings = {**settings, "bandwidth": settings["bandwidth"] / truth.voxel_size}
    located = locate(found, **settings)
    picks = Particles(located.centers * truth.voxel_size, scores=located.scores).sorted_by_score()
    best = score_shrec(
        picks, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset, frame="tomogram"
    ).curve.best()
    return best[1] if best else 0.0


if __name__ == "__main__":
    main()
