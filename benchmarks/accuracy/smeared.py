"""How far half maps of noise agree that were laid onto each other: what `average.half_maps.SMEARED` has to exceed.

    python benchmarks/accuracy/smeared.py [--averages 25] [--output a.json]

Boxes of noise that share no voxel, less what the missing wedge hides, are averaged from nothing, so that the second
half map is laid onto the first on detail down to the particle's radius, by the best of all turns and shifts. White
noise, and such whose finer detail is weaker, as in tomograms. Told is where the half maps cease to agree (0.143), in a
soft sphere and in a mask of the average's own outline: how much finer than the radius, in 1/A, times the radius in A of
a ball of the mask's volume.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from voxpick.average.fsc import THRESHOLDS, ShellCorrelation
from voxpick.average.half_maps import SMEARED, HalfMapCorrelation
from voxpick.average.own_mask import with_own_mask
from voxpick.average.refinement import refine
from voxpick.average.subtomograms import Subtomograms
from voxpick.cli.averaging import make_averaging
from voxpick.particles import Particles
from voxpick.wedge import wedge_mask

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from record import machine

VOXEL_SIZE = 10.0
PARTICLES = 24
STEP_DEG = 30.0
ITERATIONS = 2
CASES = [(radius, blur) for radius in (60.0, 80.0, 100.0) for blur in (0.0, 1.0)]
"""Radius of the particle, A; deviation, in voxels, of the Gaussian that weakens fine detail."""
MASKS = ("sphere", "own")


def main() -> None:
    """All averages of all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--averages", type=int, default=25, help="of each case")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    began, rows = time.perf_counter(), list[dict[str, Any]]()
    for radius, blur in CASES:
        for seed in range(options.averages):
            rows.append({"radius_A": radius, "blur": blur, "seed": seed, **_farther(radius, blur, seed)})
        here = [row for row in rows if (row["radius_A"], row["blur"]) == (radius, blur)]
        most = {mask: max((row[mask] for row in here if row[mask] is not None), default=None) for mask in MASKS}
        print(f"radius {radius:g} A, blur {blur:g}: {most}, {time.perf_counter() - began:.0f} s", flush=True)
    result = {
        "benchmark": "smeared", "machine": machine(), "voxel_size": VOXEL_SIZE, "particles": PARTICLES,
        "step_deg": STEP_DEG, "iterations": ITERATIONS, "averages": options.averages, "allowed": SMEARED,
        "minutes": round((time.perf_counter() - began) / 60, 1), "rows": rows,
    }  # fmt: skip
    options.output.write_text(json.dumps(result, indent=1) + "\n")


def _farther(radius: float, blur: float, seed: int) -> dict[str, float | None]:
    """How far beyond their registration the half maps of one average agree in each mask; None where they do nowhere."""
    how = make_averaging(VOXEL_SIZE, radius=radius, step=STEP_DEG, finest=6.0, iterations=ITERATIONS)
    rng = np.random.default_rng([seed, int(radius), int(10 * blur)])
    shape = (how.box,) * 3
    wedge = wedge_mask(shape, how.alignment.tilt_range_deg).numpy()
    boxes = []
    for _ in range(PARTICLES):
        white = rng.normal(size=shape)
        noise = gaussian_filter(white, blur, mode="wrap") if blur else white
        boxes.append(np.fft.irfftn(np.fft.rfftn(noise) * wedge, s=shape, axes=(0, 1, 2)))
    data = np.stack(boxes)
    data = ((data - data.mean()) / data.std()).astype(np.float32)
    nowhere = np.zeros((PARTICLES, 3))
    noise_boxes = Subtomograms(data, Particles(nowhere), VOXEL_SIZE, nowhere)
    refined = refine(noise_boxes, how.alignment, iterations=ITERATIONS, rng=rng, rotations=how.rotations)
    own = with_own_mask(refined, radius=radius, rng=rng)
    return dict(zip(MASKS, map(_beyond, (refined.fsc, own.fsc)), strict=True))


def _beyond(fsc: HalfMapCorrelation) -> float | None:
    """(1 / agreed - 1 / registered) times the mask's radius, as SMEARED counts."""
    plain = ShellCorrelation(fsc.frequencies, fsc.correlation, begins=fsc.begins)
    agreed = plain.resolution(THRESHOLDS[0])
    if np.isnan(agreed):
        return None
    mask_radius = SMEARED / (1 / fsc.conclusive - 1 / fsc.registered)
    return round(float((1 / agreed - 1 / fsc.registered) * mask_radius), 3)


if __name__ == "__main__":
    main()
