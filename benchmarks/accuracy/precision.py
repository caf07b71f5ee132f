"""What number format and engine do to the picks of a model: F1, and how many picks are the same.

    python benchmarks/accuracy/precision.py MODEL.pt VALIDATION/model_0 [...] [--set split=mean-shift]

Detects with torch in float32 (the reference), torch in bfloat16 and OpenVINO in bfloat16, as the model's own method
does, and scores as `voxpick evaluate`. A pick is the same when the reference has one of its class within a voxel.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from fingerprint import described
from scipy.spatial import cKDTree

from voxpick.cli.assignments import read_assignments
from voxpick.cli.truth import read_truth
from voxpick.detect.pipeline import Detection
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.model import load_models
from voxpick.io.shrec_model import open_model
from voxpick.methods.catalogue import find_method, method_of
from voxpick.particles import Particles
from voxpick.precision import choose_dtype

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from record import machine

WAYS = (
    ("torch, float32", "torch", torch.float32),
    ("torch, bfloat16", "torch", torch.bfloat16),
    ("OpenVINO, bfloat16", "openvino", torch.bfloat16),
)
LARGEST_DIFFERENCE = 0.005
"""In F1, between a way and the reference."""


def main() -> None:
    """Every tomogram in every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tomograms", type=Path, nargs="+")
    parser.add_argument("--set", dest="changes", nargs="+", default=[])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    models = load_models(options.model)
    method = find_method(method_of(models, source=str(options.model)))
    changes = read_assignments(options.changes, example="split=mean-shift", as_text=("slab", "max_memory"))
    rows: list[dict[str, Any]] = []
    for folder in options.tomograms:
        volume, truth = open_model(folder).reconstruction, read_truth(folder)
        reference: Detection | None = None
        reference_f1 = 0.0
        for name, engine, dtype in WAYS:
            if engine == "openvino" and importlib.util.find_spec("openvino") is None:
                print("precision: OpenVINO is not installed (pip install openvino)")
                continue
            if dtype not in (torch.float32, choose_dtype(torch.device("cpu"))):
                print(f"precision: {name} is left out, as this processor only emulates the format")
                continue
            start = time.perf_counter()
            with computing_in(dtype):
                found = method.detect(volume, models, changes={**changes, "engine": engine}, device="cpu")
            seconds = time.perf_counter() - start
            score = score_shrec(
                found.particles, truth.particles, truth.occupancy, voxel_size=truth.voxel_size,
                z_offset=truth.z_offset, frame="tomogram",
            )  # fmt: skip
            if reference is None:
                reference, reference_f1 = found, score.f1
            rows.append(
                {
                    "tomogram": folder.name, "way": name, "seconds": round(seconds, 1), "picks": len(found.particles),
                    "f1": score.f1, "mean_class_f1": score.mean_class_f1, "difference": score.f1 - reference_f1,
                    "same": same(found.particles, reference.particles, distance=volume.voxel_size),
                }
            )  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    largest = max(abs(row["difference"]) for row in rows)
    result = {
        "model": described(models, source=str(options.model)), "default_dtype": str(choose_dtype(torch.device("cpu"))),
        "machine": machine(), "threads": torch.get_num_threads(), "largest_difference": largest,
        "within": largest <= LARGEST_DIFFERENCE, "rows": rows,
    }  # fmt: skip
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"largest difference in F1: {largest:.4f}; allowed {LARGEST_DIFFERENCE}")


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Detection in this number format, by whichever module runs the network."""
    with ExitStack() as stack:
        for module in ("segment", "centre_peaks", "scan"):
            stack.enter_context(patch(f"voxpick.detect.{module}.choose_dtype", return_value=dtype))
        yield


def same(picks: Particles, reference: Particles, *, distance: float) -> float:
    """Share of the picks that have one of their class within `distance` A among the reference; 1 for none."""
    if not len(picks):
        return 1.0
    count = 0
    for name in set(picks.classes):
        others = reference.centers_zyx[reference.classes == name]
        if len(others):
            nearest, _ = cKDTree(others).query(picks.centers_zyx[picks.classes == name])
            count += int((nearest <= distance).sum())
    return count / len(picks)


if __name__ == "__main__":
    main()
