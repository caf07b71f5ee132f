"""A 3-D U-Net over a volume: torch in float32, torch in bfloat16, OpenVINO, and MONAI's SlidingWindowInferer.

python benchmarks/speed/unet.py [--shape 96 128 160] [--tile 96] [--halo 16]
The network is DeepFinder's with batch normalisation, folded for ours and ReLU fused with the convolutions by torch. All
get volume and network, and give the foreground, 5 % of it; ours keeps its classes as well. MONAI gets the same patch
size and overlap and the network as it was trained, in float32 (its own default) and in bfloat16 with channels last.
Rows of engines that are not installed are left out, as is bfloat16 where the processor only emulates it.
`largest_difference` is that of the foreground's probability to float32; converting is timed on its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from record import alternating, parser, row, write

from voxpick.detect.class_voxels import class_voxels
from voxpick.detect.inference import OpenVinoNetwork, for_inference, on_engine
from voxpick.detect.segment import best_tile, softmax_map
from voxpick.networks.unet import UNet
from voxpick.precision import choose_dtype

CPU = torch.device("cpu")


def main() -> None:
    """Every engine in turns."""
    options = parser(__doc__, __file__)
    options.add_argument("--shape", type=int, nargs=3, default=(96, 128, 160))
    options.add_argument("--tile", type=int, default=96)
    options.add_argument("--halo", type=int, default=16)
    options.add_argument("--repeats", type=int, default=2)
    options = options.parse_args()
    torch.manual_seed(0)
    network = UNet(1, 13, norm=True).eval()
    torch.nn.init.normal_(network.output.weight, std=1.0)
    image = torch.randn(1, 1, *options.shape)
    plain = for_inference(network, CPU)
    light = on_engine(plain, "torch", CPU, voxels=image.numel())
    exact = foreground(image, light, torch.float32)
    threshold = float(np.quantile(exact, 0.95))

    def ours(engine: torch.nn.Module, dtype: torch.dtype) -> Any:
        return lambda: class_voxels(
            image[0, 0].numpy(),
            engine,
            tile=options.tile,
            halo=options.halo,
            threshold=threshold,
            device=CPU,
            dtype=dtype,
        )

    short = choose_dtype(CPU)  # float32 where bfloat16 is only emulated, many times slower
    name = str(short).removeprefix("torch.")
    works, networks = {"torch, float32": ours(light, torch.float32)}, {}
    if short != torch.float32:
        works[f"torch, {name}"] = ours(light, short)
        networks[f"torch, {name}"] = (light, short)
    converting = 0.0
    try:
        begun = time.perf_counter()
        converted = OpenVinoNetwork(plain)
        converting = time.perf_counter() - begun
        works[f"OpenVINO, {name}"] = ours(converted, short)
        networks[f"OpenVINO, {name}"] = (converted, short)
    except ImportError:
        print("unet: OpenVINO is not installed (pip install openvino)")
    peers = monai(network, image, threshold, options, formats=dict.fromkeys(("float32", name)))
    times = dict(
        zip([*works, *peers], alternating([*works.values(), *peers.values()], repeats=options.repeats), strict=True)
    )
    rows = []
    for name in works:
        peer = f"MONAI SlidingWindowInferer, {name.split(', ')[1]}"
        more: dict[str, Any] = {"voxels_per_second": float(np.prod(options.shape) / times[name])}
        if name in networks:
            more["largest_difference"] = float(np.abs(foreground(image, *networks[name]) - exact).max())
        rows.append(row(name, times[name], peer=peer, peer_seconds=times.get(peer), **more))
    if converting:
        rows.append(row("converting to OpenVINO, once", converting))
    sides = best_tile(tuple(options.shape), options.tile**3, options.halo, multiple=4)
    write(options, rows, note=f"voxpick's tiles have the sides {sides}, of at most {options.tile}^3 voxels.")


def monai(
    network: torch.nn.Module, image: torch.Tensor, threshold: float, options: Any, *, formats: Iterable[str]
) -> dict[str, Any]:
    """The inferer of MONAI in some formats, where it is installed."""
    try:
        from monai.inferers import SlidingWindowInferer
    except ImportError:
        print("unet: MONAI is not installed (pip install monai)")
        return {}
    inferer = SlidingWindowInferer(
        (options.tile,) * 3, sw_batch_size=1, overlap=2 * options.halo / options.tile, mode="constant"
    )

    def run(dtype: torch.dtype) -> Any:
        def work() -> torch.Tensor:
            with torch.inference_mode():
                maps = inferer(image, lambda patch: softmax_map(patch, network, device=CPU, dtype=dtype))
                return (1 - maps[0, 0]) > threshold

        return work

    return {f"MONAI SlidingWindowInferer, {name}": run(getattr(torch, name)) for name in formats}


def foreground(image: torch.Tensor, network: torch.nn.Module, dtype: torch.dtype) -> np.ndarray:
    """1 - P(background) of a corner of the image."""
    corner = image[..., :48, :64, :64].contiguous()
    return 1 - softmax_map(corner, network, device=CPU, dtype=dtype)[0, 0].numpy()


if __name__ == "__main__":
    main()
