"""Two ways from our own network to picks: peaks of its heat map, and its class segmentation split into particles.

    python benchmarks/accuracy/centres.py MODEL.pt VALIDATION/model_0 [...]

Peaks with and without the mean over half turns, at several least location scores, with the model's calibration; the
segmentation, which only training sees otherwise, by mean-shift, watershed and components at several thresholds, named
by its own vote. Scored as SHREC'20. On validation tomograms: what is best here became the default.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fingerprint import described

from voxpick.cli.truth import read_truth
from voxpick.detect.one_stage import detect_in_one_stage
from voxpick.detect.settings import make_settings
from voxpick.errors import VoxpickError
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.atomic import write_text
from voxpick.io.model import load_models
from voxpick.io.shrec_model import open_model
from voxpick.methods import voxpick
from voxpick.networks.model import Model
from voxpick.networks.picknet import CENTRE_CHANNELS, STRIDE, PickNet

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from record import machine

HEIGHTS = (0.2, 0.25, 0.3, 0.35, 0.4)
THRESHOLDS = (0.5, 0.7, 0.9)
SPLITS = ("mean-shift", "watershed", "components")


class Segmentation(torch.nn.Module):
    """A PickNet's voxel classes (b, classes, z, y, x), repeated from half to full resolution."""

    def __init__(self, network: PickNet) -> None:
        super().__init__()
        self.network, self.multiple_of = network, network.multiple_of
        self.network.all_heads = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = CENTRE_CHANNELS + self.network.classes - 1
        return F.interpolate(self.network(x)[:, first:-1], scale_factor=float(STRIDE), mode="nearest")


def main() -> None:
    """Every tomogram in every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tomograms", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    models = load_models(options.model)
    model = models["picker"]
    rows = [row for folder in options.tomograms for row in _rows(folder, model)]
    best: dict[str, dict[str, Any]] = {}
    for way in dict.fromkeys(row["way"] for row in rows):
        means = []
        for limit in dict.fromkeys(row["threshold"] for row in rows if row["way"] == way):
            chosen = [row for row in rows if (row["way"], row["threshold"]) == (way, limit)]
            mean = {key: sum(row[key] for row in chosen) / len(chosen) for key in ("f1", "mean_class_f1")}
            means.append({"threshold": limit, **mean})
        best[way] = max(means, key=lambda mean: mean["f1"])
        print(f"{way:30} {json.dumps(best[way])}")
    weights = described(models, source=str(options.model))
    result = {"model": weights, "machine": machine(), "best": best, "rows": rows}
    write_text(options.output, json.dumps(result, indent=1) + "\n")


def _rows(folder: Path, model: Model) -> list[dict[str, Any]]:
    volume, truth, rows = open_model(folder).reconstruction, read_truth(folder), []

    def add(way: str, threshold: float, picks: Any) -> None:
        score = score_shrec(
            picks, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset,
            frame="tomogram",
        )  # fmt: skip
        rows.append(
            {"tomogram": folder.name, "way": way, "threshold": threshold, "picks": len(picks), "f1": score.f1,
             "mean_class_f1": score.mean_class_f1}
        )  # fmt: skip

    for turns in (False, True):
        changes = {"threshold": min(HEIGHTS), "turns": turns}
        picks = voxpick.detect(volume, {"picker": model}, changes=changes, device="cpu").particles
        assert picks.location_scores is not None
        for height in HEIGHTS:
            add("peaks, mean of four turns" if turns else "peaks", height, picks[picks.location_scores >= height])
    view = replace(model, network=Segmentation(load_network(model)), detection={})
    for split in SPLITS:
        for threshold in THRESHOLDS:
            settings = make_settings([], {"split": split, "threshold": threshold, "minimum_size": 30})
            try:
                found = detect_in_one_stage(volume, view, settings=settings, per_class=False, device="cpu")
            except VoxpickError as error:
                print(f"{folder.name}: {split} at {threshold}: {error}")
                continue
            add(f"segmentation, {split}", threshold, found.particles)
    return rows


def load_network(model: Model) -> PickNet:
    """A copy of the model's network."""
    copy = PickNet(**model.settings)
    copy.load_state_dict(model.network.state_dict())
    return copy.eval()


if __name__ == "__main__":
    main()
