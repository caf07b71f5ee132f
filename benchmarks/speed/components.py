"""Components of a 12-class map: cc3d, as voxpick uses it, against scipy.ndimage.label class by class.

python benchmarks/speed/components.py [--shape 200 512 512]
"""

from __future__ import annotations

import cc3d
import numpy as np
from phantom import class_map
from record import alternating, parser, row, write
from scipy.ndimage import label

from voxpick.detect.foreground import connected, foreground_of


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--shape", type=int, nargs=3, default=(200, 512, 512))
    options.add_argument("--repeats", type=int, default=2)
    options = options.parse_args()
    labels = class_map(tuple(options.shape), seed=1)
    kinds = [int(kind) for kind in np.unique(labels) if kind]
    found = foreground_of(labels > 0)

    def scipys() -> int:
        return sum(label(labels == kind)[1] for kind in kinds)

    def ours() -> int:
        return int(cc3d.connected_components(labels, connectivity=6).max())

    assert ours() == scipys()
    assert len(connected(found)[1]) == label(labels > 0)[1]
    multi, binary, slow, slow_binary = alternating(
        [ours, lambda: connected(found), scipys, lambda: label(labels > 0)], repeats=options.repeats
    )
    peer = "scipy.ndimage.label"
    rows = [
        row("components, 12 classes at once", multi, peer=f"{peer}, 12 times", peer_seconds=slow),
        row("components of the sparse foreground", binary, peer=peer, peer_seconds=slow_binary),
    ]
    write(options, rows)


if __name__ == "__main__":
    main()
