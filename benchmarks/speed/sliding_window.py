"""voxpick's tiling against MONAI's SlidingWindowInferer: the same network, patch size and overlap, alternating.

python benchmarks/speed/sliding_window.py [--shape 128 192 192] [--tile 96] [--halo 16]
The network is VP-Detector's localizer, cut to --depth layers to make the run short. MONAI is needed here alone; without
it the script says so and ends.
"""

from __future__ import annotations

import torch
from record import alternating, parser, row, write

from voxpick.detect.segment import best_tile, multiple_of, particle_voxels, softmax_map
from voxpick.networks.msdnet import MSDNet


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--shape", type=int, nargs=3, default=(128, 192, 192))
    options.add_argument("--tile", type=int, default=96)
    options.add_argument("--halo", type=int, default=16)
    options.add_argument("--depth", type=int, default=14)
    options.add_argument("--repeats", type=int, default=2)
    options = options.parse_args()
    try:
        from monai.inferers import SlidingWindowInferer
    except ImportError:
        print("sliding_window: skipped, MONAI is not installed (pip install monai)")
        return
    torch.manual_seed(0)
    network = MSDNet(depth=options.depth).eval()
    image = torch.randn(1, 1, *options.shape)
    volume = image[0, 0].numpy()
    inferer = SlidingWindowInferer(
        (options.tile,) * 3, sw_batch_size=1, overlap=2 * options.halo / options.tile, mode="constant"
    )
    device = torch.device("cpu")

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            return inferer(image, lambda patch: softmax_map(patch, network, device=device))

    def ours() -> object:
        return particle_voxels(volume, network, tile=options.tile, halo=options.halo, threshold=0.9, device=device)

    sides = best_tile(tuple(options.shape), options.tile**3, options.halo, multiple=multiple_of(network))
    fast, slow = alternating([ours, theirs], repeats=options.repeats)
    write(
        options,
        [row("tiled inference", fast, peer="MONAI SlidingWindowInferer", peer_seconds=slow, tile=sides)],
        note=f"voxpick's tiles have the sides {sides}, of at most {options.tile}^3 voxels, and its result is sparse.",
    )


if __name__ == "__main__":
    main()
