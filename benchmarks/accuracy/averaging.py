"""How near averages come to the density that was simulated, from different starts.

    python benchmarks/accuracy/averaging.py DATA/model_* [--classes 4d8q 1bxn] [--starts nothing] [--output a.json]

The true picks of a class are averaged at their true orientations, and aligned as if these were unknown: from nothing,
from the known structure, and from another one. Random places away from all particles are aligned to the known structure
as well: what comes out is the reference's bias; and from nothing: what comes out is what laying half maps of noise onto
each other makes of them. --starts takes only those whose names hold one of its words. Of each: the correlation of the
half maps, corrected for the mask, and that of the map with the simulated density, as the microscope transfers it, after
the turn and shift that fit best.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxpick.average.fsc import THRESHOLDS, ShellCorrelation, shell_correlation, soft_sphere
from voxpick.average.half_maps import HalfMapCorrelation
from voxpick.average.mean import average
from voxpick.average.parts import random_positions
from voxpick.average.refinement import FSC_EDGE, Refined, in_turned_frame, refine, register
from voxpick.average.subtomograms import Subtomograms, extract, join
from voxpick.cli.averaging import in_box, make_averaging
from voxpick.io.shrec_model import ShrecModel, open_model
from voxpick.match.filters import Optics, template_filter
from voxpick.simulate.bank import load_bank
from voxpick.simulate.structures import density

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from masks import source
from record import machine

OTHER = {"4d8q": "4cr2", "1bxn": "3cf3", "4cr2": "4d8q"}
"""A structure that each class is not."""
RADIUS_FACTOR = 1.15


def main() -> None:
    """All starts of all classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="Folders model_N.")
    parser.add_argument("--classes", nargs="+", choices=list(OTHER), default=["4d8q", "1bxn"])
    parser.add_argument("--starts", nargs="+", default=[""], help="Words of the starts to take; else all.")
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    models = [open_model(path) for path in options.data]
    rows: list[dict[str, Any]] = []
    for name in options.classes:
        rows += _class_rows(name, models, options)
        settings = {"iterations": options.iterations, "seed": options.seed}
        result = {"data": [source(path) for path in options.data], **settings, "machine": machine(), "rows": rows}
        options.output.write_text(json.dumps(result, indent=1) + "\n")


def _class_rows(name: str, models: Sequence[ShrecModel], options: argparse.Namespace) -> list[dict[str, Any]]:
    size = models[0].voxel_size
    bank = load_bank([name, OTHER[name]])
    how = make_averaging(size, radius=RADIUS_FACTOR * bank[name].radius, iterations=options.iterations, edges="pad")
    truth, other = (in_box(density(bank[key], voxel_size=size), how.box) for key in (name, OTHER[name]))
    picks, places = [], []
    rng = np.random.default_rng(options.seed)
    for model in models:
        everything, volume = model.tomogram_particles, model.reconstruction
        mine = everything[everything.classes == name]
        picks.append(extract(volume, mine, box=how.box, edges=how.edges, dark=True))
        chance = random_positions(volume, everything, len(mine), how, rng=rng)
        places.append(extract(volume, chance, box=how.box, edges=how.edges, dark=True))
    known, chance = join(picks), join(places)
    unknown = Subtomograms(
        known.data, known.particles.with_columns(rotations=None), size, known.offsets_zyx, known.dropped, known.padded
    )
    starts: list[tuple[str, Subtomograms, np.ndarray | None, int]] = [
        ("true orientations", known, None, 0),
        ("from nothing", unknown, None, options.iterations),
        (f"from the structure, {name}", unknown, truth, options.iterations),
        (f"from another structure, {OTHER[name]}", unknown, other, options.iterations),
        (f"random places, from {name}", chance, truth, options.iterations),
        ("random places, from nothing", chance, None, options.iterations),
    ]
    starts = [start for start in starts if any(word in start[0] for word in options.starts)]
    rows = []
    for start, boxes, reference, iterations in starts:
        began = time.perf_counter()
        refined = refine(
            boxes, how.alignment, iterations=iterations, rng=np.random.default_rng(options.seed), reference=reference,
            rotations=how.rotations if iterations else None,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        against = _against(_imaged(truth, size), refined, boxes, how.alignment, how.rotations)
        rows.append({
            "class": name, "start": start, "particles": len(boxes), "seconds": round(seconds, 1),
            "low_pass_first_A": how.alignment.low_pass, "radius_A": round(how.alignment.radius, 1), "box": how.box,
            "half_maps": _numbers(refined.fsc), "against_density": _numbers(against),
        })  # fmt: skip
        shown = [rows[-1][part]["resolution_A"] for part in ("half_maps", "against_density")]
        print(name, start, len(boxes), f"{seconds:.1f} s", *shown, flush=True)
    return rows


def _imaged(density_map: np.ndarray, voxel_size: float) -> np.ndarray:
    """A density [box, box, box] with the contrast that the microscope of SHREC'20 gives it, bright."""
    transfer = template_filter(density_map.shape, voxel_size, optics=Optics(cut="full"))
    spectrum = torch.fft.rfftn(torch.as_tensor(density_map - density_map.mean(), dtype=torch.float32))
    return torch.fft.irfftn(spectrum * transfer, s=density_map.shape).numpy()


def _against(truth: np.ndarray, refined: Refined, boxes: Subtomograms, alignment: Any, grid: Any) -> ShellCorrelation:
    """Correlation with the density after the turn and shift of the map that fit it best."""
    turn = register(refined.map.data, truth, alignment, voxel_size=boxes.voxel_size, rotations=grid)
    turned = average(boxes, in_turned_frame(refined.poses, turn), tilt_range_deg=alignment.tilt_range_deg)
    mask = soft_sphere(truth.shape, radius=alignment.radius / boxes.voxel_size, edge=FSC_EDGE)
    return shell_correlation(turned.data, truth, voxel_size=boxes.voxel_size, mask=mask)


def _numbers(fsc: ShellCorrelation) -> dict[str, Any]:
    at = {f"{t:g}": fsc.resolution(t) for t in THRESHOLDS}
    conclusive = fsc.conclusive if isinstance(fsc, HalfMapCorrelation) else np.inf
    return {
        "conclusive_A": round(conclusive, 1) if np.isfinite(conclusive) else None,
        "resolution_A": {name: None if np.isnan(value) else round(value, 1) for name, value in at.items()},
        "frequency": fsc.frequencies.round(5).tolist(),
        "correlation": fsc.correlation.round(3).tolist(),
    }


if __name__ == "__main__":
    main()
