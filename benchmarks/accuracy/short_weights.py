"""What keeping a model's weights in 8 bits (`networks.short_weights`) costs: scores of both on the same tomograms.

    python benchmarks/accuracy/short_weights.py MODEL TOMOGRAM/model_* [--output short_weights.json]

MODEL is a file or the name of a built-in model; it is compared as it is stored and in 8 bits. Thresholds and
calibration stay as the file has them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from voxpick.cli.zoo_scores import machine, summary, tested
from voxpick.io.model import builtin_models, load_models, save_models, stored_dtype


def main() -> None:
    """Score both, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("tomograms", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    source = builtin_models().get(options.model, Path(options.model))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / "short.pt"
        save_models(short, load_models(source), dtype=torch.int8)
        for path in (source, short):
            scores = tested(load_models(path), options.tomograms, device="cpu")
            rows += [{"stored": str(stored_dtype(path)), "bytes": path.stat().st_size, **row} for row in scores]
            print(source.name, str(stored_dtype(path)), json.dumps(summary(scores)), flush=True)
    result = {"model": Path(options.model).name, "machine": machine("cpu"), "rows": rows}
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
