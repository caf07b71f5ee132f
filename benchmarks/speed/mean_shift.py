"""Mean-shift against scikit-learn, same mask, same seeds, same bandwidth, alternating in one run.

python benchmarks/speed/mean_shift.py [--output FILE.json]
The mask: 300 spheres of radius 3 to 8 voxels, touching, in 160 x 200 x 180 voxels. Both do the whole of it: modes and
the nearest mode of every voxel. The shortest of the repeats counts, for other work on the machine only adds time.
Beside the times it checks that the modes are the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.cluster import MeanShift

import voxpick
from voxpick.detect.mean_shift import bin_seeds, mean_shift, nearest_mode

SHAPE = (160, 200, 180)
PARTICLES = 300
BANDWIDTH = 6.0
SEED = 1


def touching_spheres(rng: np.random.Generator) -> np.ndarray:
    """A mask of PARTICLES spheres that do not overlap; most touch an earlier one."""
    mask = np.zeros(SHAPE, dtype=bool)
    centers, radii = np.empty((0, 3)), np.empty(0)
    while len(centers) < PARTICLES:
        radius = rng.uniform(3, 8)
        if len(centers) and rng.random() < 0.7:
            k = rng.integers(len(centers))
            direction = rng.normal(size=3)
            center = centers[k] + direction / np.linalg.norm(direction) * (radius + radii[k] + 0.1)
        else:
            center = rng.uniform(radius + 1, np.array(SHAPE) - radius - 2)
        inside = (center >= radius + 1).all() and (center <= np.array(SHAPE) - radius - 2).all()
        if not inside or (np.linalg.norm(centers - center, axis=1) <= radius + radii).any():
            continue
        centers, radii = np.vstack([centers, center]), np.append(radii, radius)
        window = tuple(slice(int(c - radius), int(c + radius) + 2) for c in center)
        grid = np.mgrid[window]
        mask[window] |= np.square(grid - center[:, None, None, None]).sum(axis=0) <= radius**2
    return mask


def main() -> None:
    """Run both, alternating, and write the ratio of the shortest times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    mask = touching_spheres(np.random.default_rng(SEED))
    voxels = np.argwhere(mask)
    seeds = bin_seeds(voxels, bandwidth=BANDWIDTH)
    ours, theirs = [], []
    for _ in range(options.repeats):
        start = time.perf_counter()
        modes, _ = mean_shift(mask, seeds, bandwidth=BANDWIDTH)
        labels = nearest_mode(voxels, modes)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        peer = MeanShift(bandwidth=BANDWIDTH, seeds=seeds).fit(voxels)
        theirs.append(time.perf_counter() - start)
    same = len(modes) == len(peer.cluster_centers_)
    result = {
        "benchmark": "mean_shift",
        "peer": f"scikit-learn {sklearn.__version__} MeanShift",
        "shape": SHAPE,
        "voxels": len(voxels),
        "seeds": len(seeds),
        "bandwidth": BANDWIDTH,
        "modes": len(modes),
        "largest_difference_of_modes": float(np.abs(modes - peer.cluster_centers_).max()) if same else None,
        "share_of_equal_labels": float((labels == peer.labels_).mean()) if same else None,
        "seconds": min(ours),
        "peer_seconds": min(theirs),
        "ratio": min(theirs) / min(ours),
        "seed": SEED,
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "versions": {"voxpick": voxpick.__version__, "numpy": np.__version__},
        "commit": _commit(),
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"mean-shift, {len(voxels)} voxels, {len(seeds)} seeds: {result['seconds']:.3f} s", end="; ")
    print(f"scikit-learn {result['peer_seconds']:.2f} s; ratio {result['ratio']:.1f}")


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
