"""Mean-shift against scikit-learn, same mask, same seeds, same bandwidth, alternating in one run.

python benchmarks/speed/mean_shift.py [--output FILE.json]
The mask: 300 spheres of radius 3 to 8 voxels, touching, in 160 x 200 x 180 voxels. Both do the whole of it: modes and
the nearest mode of every voxel. The shortest of the repeats counts, for other work on the machine only adds time.
Beside the times it checks that the modes are the same. Then the 12 classes of a map of 200 x 512 x 512 voxels are
timed, components and splitting included.
"""

from __future__ import annotations

import numpy as np
from phantom import CLASSES, class_map
from record import alternating, parser, row, write
from sklearn.cluster import MeanShift

from voxpick.detect.locate import locate
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
    """Run both, alternating; then all classes of a map as large as SHREC'20's, ours alone."""
    options = parser(__doc__, __file__)
    options.add_argument("--repeats", type=int, default=3)
    options = options.parse_args()
    mask = touching_spheres(np.random.default_rng(SEED))
    voxels = np.argwhere(mask)
    seeds = bin_seeds(voxels, bandwidth=BANDWIDTH)
    modes, _ = mean_shift(mask, seeds, bandwidth=BANDWIDTH)
    labels = nearest_mode(voxels, modes)
    peer = MeanShift(bandwidth=BANDWIDTH, seeds=seeds).fit(voxels)
    assert len(modes) == len(peer.cluster_centers_)
    difference = float(np.abs(modes - peer.cluster_centers_).max())

    def ours() -> None:
        nearest_mode(voxels, mean_shift(mask, seeds, bandwidth=BANDWIDTH)[0])

    def theirs() -> None:
        MeanShift(bandwidth=BANDWIDTH, seeds=seeds).fit(voxels)

    fast, slow = alternating([ours, theirs], repeats=options.repeats)
    whole = class_map((200, 512, 512), seed=SEED)

    def every_class() -> None:
        for kind in range(1, CLASSES + 1):
            locate(whole == kind, split="mean-shift", bandwidth=BANDWIDTH)

    (every,) = alternating([every_class], repeats=options.repeats)
    same = float((labels == peer.labels_).mean())
    name = f"mean-shift, {len(voxels)} voxels, {len(seeds)} seeds"
    rows = [
        row(name, fast, peer="scikit-learn MeanShift", peer_seconds=slow, difference=difference, equal_labels=same),
        row("mean-shift, 12 classes, 200 x 512 x 512 voxels", every),
    ]
    write(options, rows, note=f"The modes differ by {difference:.1e} voxels, {same:.2%} of the labels are equal.")


if __name__ == "__main__":
    main()
