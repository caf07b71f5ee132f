"""Score a VP-Detector model file on held-out tomograms, and write the figures of its model card.

    python benchmarks/accuracy/vp_detector.py MODEL.pt TEST/model_0 [...] --output benchmarks/accuracy/vp_detector.json

Runs the whole pipeline as `voxpick detect` does, and scores as `voxpick evaluate` does; then stage 1 alone on the first
tomogram with the paper's own post-processing, and with components instead of its mean-shift (its section 3.3.2).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import time
from pathlib import Path

import torch

from voxpick.cli.truth import read_truth
from voxpick.detect.pipeline import detect_with_segmentation, make_settings
from voxpick.evaluate.segmentation import score_segmentation
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.model import load_models
from voxpick.io.shrec_model import open_model
from voxpick.methods.vp_detector import PAPER_DETECTION
from voxpick.shrec_classes import SHREC20_CLASSES


def main() -> None:
    """Detect, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("tests", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    models = load_models(arguments.model)
    localizer, classifier = models["localizer"], models.get("classifier")
    settings = make_settings([classifier, localizer])
    rows = []
    for folder in arguments.tests:
        files = open_model(folder)
        truth = read_truth(folder, benchmark="shrec20", voxel_size=None)
        start = time.perf_counter()
        detection = detect_with_segmentation(files.reconstruction, localizer, classifier, settings=settings)
        seconds = time.perf_counter() - start
        score = score_shrec(
            detection.particles, truth.particles, truth.occupancy,
            voxel_size=truth.voxel_size, z_offset=truth.z_offset, frame="tomogram",
        )  # fmt: skip
        inside = slice(truth.z_offset, truth.z_offset + files.class_mask.shape[0])
        voxels = score_segmentation(
            detection.segmentation.data[inside], files.class_mask, labels=("background", *SHREC20_CLASSES)
        )
        rows.append(
            {
                "tomogram": folder.name,
                "shape_zyx": files.reconstruction.shape,
                "seconds": round(seconds, 1),
                "table3": score.table3,
                "class_f1": score.class_f1,
                "class_accuracy": score.class_accuracy,
                "mean_class_f1": score.mean_class_f1,
                "segmentation": {k: v for k, v in voxels.to_dict().items() if k in ("VA", "MVA", "MIoU")},
            }
        )
        print(json.dumps(rows[-1], indent=1))
    variants = {}
    for name, changes in {
        "default": {},
        "paper": PAPER_DETECTION,
        "paper, components instead of mean-shift": {**PAPER_DETECTION, "split": "components"},
    }.items():
        files, truth = open_model(arguments.tests[0]), read_truth(arguments.tests[0])
        changed = make_settings([localizer], changes)
        picks = detect_with_segmentation(files.reconstruction, localizer, settings=changed).particles
        variants[name] = score_shrec(
            picks, truth.particles, truth.occupancy,
            voxel_size=truth.voxel_size, z_offset=truth.z_offset, frame="tomogram",
        ).table3  # fmt: skip
        print(name, variants[name])
    result = {
        "model": {part: model.provenance for part, model in models.items()},
        "detection": settings.model_dump(),
        "test": rows,
        "post_processing": variants,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "machine": {"processor": _processor(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
    }
    arguments.output.write_text(json.dumps(result, indent=1, default=str) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
