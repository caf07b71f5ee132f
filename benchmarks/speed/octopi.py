"""The own network, from array to picks, against the network and sliding window of octopi 1.7.0 (MONAI), alternating.

python benchmarks/speed/octopi.py [--shape 144 192 192]
octopi (https://pypi.org/project/octopi) is the picker of the CZ Imaging Institute. It refuses to start without a GPU,
so what is timed is the work that its defaults ask of MONAI, in float32 as it computes off the GPU: a residual U-Net
with channels 32, 64, 96, 96, patches of 96^3 that overlap by half, four at a time; and the same four times, for its
four test-time augmentations, beside our four half turns. Its search for particles in the segmentation is not counted,
ours is. Weights are random there, as shipped here. Without MONAI the script says so and ends.
"""

from __future__ import annotations

import torch
from record import alternating, parser, row, write

from voxpick.io.model import builtin_model_path, load_models
from voxpick.methods import voxpick
from voxpick.volume import Volume

CHANNELS, STRIDES, UNITS, PATCH, TOGETHER, OVERLAP, AUGMENTATIONS = (32, 64, 96, 96), (2, 2, 1), 1, 96, 4, 0.5, 4


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--shape", type=int, nargs=3, default=(144, 192, 192))
    options.add_argument("--repeats", type=int, default=2)
    options = options.parse_args()
    try:
        from monai.inferers import sliding_window_inference
        from monai.networks.nets import UNet
    except ImportError:
        print("octopi: skipped, MONAI is not installed (pip install monai)")
        return
    torch.manual_seed(0)
    network = UNet(3, 1, 13, channels=CHANNELS, strides=STRIDES, num_res_units=UNITS).eval()
    image = torch.randn(1, 1, *options.shape)
    volume = Volume(image[0, 0].numpy(), 10.0, "noise")
    models = load_models(builtin_model_path("voxpick"))

    def theirs(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times):
                sliding_window_inference(image, (PATCH,) * 3, TOGETHER, network, overlap=OVERLAP)

    def ours(turns: bool) -> None:
        voxpick.detect(volume, models, changes={"turns": turns, "slab": "off"}, device="cpu")

    ours(False)  # the first evaluation of a process readies kernels and memory
    theirs(1)
    once, octopi = alternating([lambda: ours(False), lambda: theirs(1)], repeats=options.repeats)
    turned, augmented = alternating([lambda: ours(True), lambda: theirs(AUGMENTATIONS)], repeats=options.repeats)
    write(
        options,
        [
            row("own network, array to picks", once, peer="octopi's U-Net, sliding window", peer_seconds=octopi),
            row("the same, mean of four turns", turned, peer="four augmentations", peer_seconds=augmented),
        ],
        note=f"A volume of {' x '.join(str(n) for n in options.shape)} voxels.",
    )


if __name__ == "__main__":
    main()
