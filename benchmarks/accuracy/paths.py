"""Picks of VP-Detector by the fast path against those of the plainest one, on a piece of a held-out tomogram.

    python benchmarks/accuracy/paths.py HELD_OUT/model_0 [--size 80 112 120] [--tile 72] [--model MODEL.pt]

Fast: as `voxpick detect` does it, that is the engine this machine has (compiled kernels or blocks), in the format it is
fast at, in tiles with a halo, in the slab where ice was found; --tile is set small, so that the piece takes several.
Plain: every layer concatenates all maps and convolves them (tests/networks/reference_msdnet.py), in float32, the whole
piece at once, no slab. Both score against the particles whose centres lie in the piece.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from fingerprint import described
from precision import same
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "benchmarks" / "speed"), str(ROOT / "tests" / "networks")]

from record import before, busy_cores, machine  # noqa: E402
from reference_msdnet import reference_msdnet  # noqa: E402

from voxpick.cli.truth import read_truth  # noqa: E402
from voxpick.detect.segment import best_tile  # noqa: E402
from voxpick.evaluate.shrec import score_shrec  # noqa: E402
from voxpick.io.model import builtin_model_path, load_models  # noqa: E402
from voxpick.io.shrec_model import open_model  # noqa: E402
from voxpick.methods import vp_detector  # noqa: E402
from voxpick.networks.dense_native import usable  # noqa: E402
from voxpick.networks.msdnet import MSDNet  # noqa: E402
from voxpick.particles import Particles  # noqa: E402
from voxpick.precision import choose_dtype  # noqa: E402
from voxpick.volume import Volume  # noqa: E402

NEAR = 3.0
"""Voxels within which two picks are of the same particle."""


class Plain(torch.nn.Module):
    """An MSDNet as its paper writes it, in float32."""

    def __init__(self, network: MSDNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return reference_msdnet(self.network, images.float(), dtype=torch.float32)


class Piece:
    """A box of a model folder's tomogram in the middle of its specimen, and the particles whose centres lie in it."""

    def __init__(self, folder: Path, size: tuple[int, int, int]) -> None:
        truth, volume = read_truth(folder), open_model(folder).reconstruction
        inside = truth.occupancy.shape
        corner = np.array([(n - wanted) // 2 for n, wanted in zip(inside, size, strict=True)])
        box = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        high = slice(box[0].start + truth.z_offset, box[0].stop + truth.z_offset)
        self.volume = Volume(np.array(volume.data[high, box[1], box[2]]), volume.voxel_size, name=folder.name)
        centers = truth.particles.centers_zyx - corner * truth.voxel_size
        kept = ((centers >= 0) & (centers <= (np.array(size) - 1) * truth.voxel_size)).all(axis=1)
        number = np.zeros(len(kept) + 1, dtype=truth.occupancy.dtype)
        number[1:][kept] = np.arange(1, kept.sum() + 1)
        self.occupancy = number[truth.occupancy[box]]
        self.particles = truth.particles.with_columns(centers_zyx=centers)[kept]

    def f1(self, picks: Particles) -> tuple[float, float]:
        """F1 of localisation, and the mean of the classes' F1."""
        score = score_shrec(
            picks, self.particles, self.occupancy, voxel_size=self.volume.voxel_size, z_offset=0, frame="tomogram"
        )
        return score.f1, score.mean_class_f1


def main() -> None:
    """Both paths over the same piece."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", type=int, nargs=3, default=(80, 112, 120))
    parser.add_argument("--tile", type=int, default=72)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    before.update(busy_before=round(busy_cores(), 1))
    source = options.model or builtin_model_path("vp-detector")
    models, piece = load_models(source), Piece(options.folder, tuple(options.size))
    picks, fast = detected(piece, models, {"tile": options.tile})
    fast["way"] = fast_way(models["localizer"].network, piece, options.tile)
    plain_models = {part: replace(model, network=Plain(model.network)) for part, model in models.items()}
    whole = {"tile": 2048, "slab": "off", "max_memory": "64G", "batch": 1}
    with patch("voxpick.detect.segment.choose_dtype", return_value=torch.float32):
        plain_picks, plain = detected(piece, plain_models, whole)
    plain["way"] = "concatenate and convolve, float32, the whole piece at once, no slab"
    for way, mine, others in ((fast, picks, plain_picks), (plain, plain_picks, picks)):
        way["same"] = same(mine, others, distance=piece.volume.voxel_size)
        way["same_place"] = same(unnamed(mine), unnamed(others), distance=piece.volume.voxel_size)
    result = {
        "benchmark": "paths", "tomogram": options.folder.name, "size": list(options.size),
        "model": described(models, source=str(source)), "machine": machine(), "threads": torch.get_num_threads(),
        "particles": len(piece.particles), "fast": fast, "reference": plain, **distances(picks, plain_picks, piece),
    }  # fmt: skip
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def detected(piece: Piece, models: dict[str, Any], changes: dict[str, Any]) -> tuple[Particles, dict[str, Any]]:
    """Picks, and their number, scores and seconds."""
    start = time.perf_counter()
    found = vp_detector.detect(piece.volume, models, changes=changes, device="cpu").particles
    seconds = time.perf_counter() - start
    f1, mean_class_f1 = piece.f1(found)
    return found, {"picks": len(found), "f1": f1, "mean_class_f1": mean_class_f1, "seconds": round(seconds, 1)}


def fast_way(network: MSDNet, piece: Piece, tile: int) -> str:
    """What the fast path is on this machine, in words."""
    dtype = choose_dtype(torch.device("cpu"))
    engine = "compiled kernels" if usable(torch.zeros(1, 1, 8, 8, 8), network.layout, dtype) else "blocks of layers"
    halo = vp_detector.DETECTION["halo"]
    sides = " x ".join(str(n) for n in best_tile(piece.volume.shape, tile**3, halo))
    return f"{engine}, {str(dtype).removeprefix('torch.')}, tiles of {sides} with a halo of {halo}, slab found"


def unnamed(picks: Particles) -> Particles:
    """The picks, all of one class."""
    return picks.with_columns(classes=np.full(len(picks), "particle", dtype=object))


def distances(picks: Particles, others: Particles, piece: Piece) -> dict[str, float]:
    """Distances (A) and differences in score of the pairs of picks that are each other's nearest and near."""
    if not len(picks) or not len(others):
        return {"pairs": 0, "largest_distance": 0.0, "mean_distance": 0.0, "largest_score_difference": 0.0}
    far, there = cKDTree(others.centers_zyx).query(picks.centers_zyx)
    _, back = cKDTree(picks.centers_zyx).query(others.centers_zyx)
    paired = (back[there] == np.arange(len(picks))) & (far <= NEAR * piece.volume.voxel_size)
    assert picks.scores is not None and others.scores is not None
    difference = np.abs(picks.scores[paired] - others.scores[there[paired]])
    return {
        "pairs": int(paired.sum()), "largest_distance": float(far[paired].max(initial=0)),
        "mean_distance": float(far[paired].mean()) if paired.any() else 0.0,
        "largest_score_difference": float(difference.max(initial=0)),
    }  # fmt: skip


if __name__ == "__main__":
    main()
