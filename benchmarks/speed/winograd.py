"""float32 convolutions with fewer products (`networks.winograd`) beside oneDNN's, alone and in voxpick's own network.

python benchmarks/speed/winograd.py [--threads 2] [--repeats 5]
Single layers have as many channels going out as coming in; both add bias and ReLU. `largest_difference` is that to
oneDNN's result, as a part of its largest value. A training step is forward and backward, two patches of 64^3 voxels.
Where the processor computes in bfloat16, the network is timed beside oneDNN in that as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from record import alternating, parser, row, write
from torch import nn

from voxpick.allocation import keep_freed_memory
from voxpick.detect.inference import for_inference
from voxpick.networks import winograd
from voxpick.networks.fusing import FusedConvolution, fused
from voxpick.networks.picknet import PickNet
from voxpick.networks.quick import quicken
from voxpick.networks.unet import UNet
from voxpick.precision import has_amx, has_avx512_bf16

LAYERS = ((16, (64, 80, 80)), (32, (64, 80, 80)), (48, (32, 40, 40)), (64, (32, 40, 40)), (128, (16, 24, 24)))
SHIPPED: dict[str, Any] = {"widths": [32, 64, 128], "blocks": [2, 3, 2]}
TILE, PATCHES = (1, 1, 96, 128, 144), (2, 1, 64, 64, 64)


def main() -> None:
    """Layers, then the network."""
    options = parser(__doc__, __file__)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=5)
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    if winograd.library() is None:
        sys.exit("winograd: no compiled kernels here (they need AVX2 and a C++ compiler)")
    rows = [line for channels, sides in LAYERS for line in layer(channels, sides, options.repeats)]
    write(options, [*rows, *tile(options.repeats), *step(options.repeats)])


def layer(channels: int, sides: tuple[int, int, int], repeats: int) -> list[dict[str, Any]]:
    """A convolution, and the gradient of its weights."""
    plain = nn.Conv3d(channels, channels, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, channels, *sides).contiguous(memory_format=torch.channels_last_3d)
    pull = torch.randn_like(x)
    ours, peer = FusedConvolution(plain), without_kernels(lambda: FusedConvolution(plain))
    difference = (ours(x) - peer(x)).abs().max() / peer(x).max()
    seconds, longer = alternating([lambda: ours(x), lambda: peer(x)], repeats=repeats)
    what = f"{channels} channels, {' x '.join(map(str, sides))} voxels"
    rows = [row(what, seconds, peer="oneDNN", peer_seconds=longer, largest_difference=float(difference))]
    conv = (None, [1] * 3, [1] * 3, [1] * 3, False, [0] * 3, 1, [False, True, False])
    seconds, longer = alternating(
        [
            lambda: winograd.weight_gradient(x, pull),
            lambda: torch.ops.aten.convolution_backward(pull, x, plain.weight, *conv),
        ],
        repeats=repeats,
    )
    return [*rows, row(f"{what}, gradient of the weights", seconds, peer="oneDNN", peer_seconds=longer)]


def tile(repeats: int) -> list[dict[str, Any]]:
    """The network on a tile of a tomogram."""
    network, image = for_inference(PickNet(**SHIPPED).eval(), torch.device("cpu")), torch.randn(TILE)
    ours, peer = fused(network), without_kernels(lambda: fused(network))
    with torch.inference_mode():
        return compared("PickNet on a tile", lambda: ours(image), lambda: peer(image), repeats)


def compared(what: str, ours: Callable[[], Any], peer: Callable[[], Any], repeats: int) -> list[dict[str, Any]]:
    """Ours in float32 beside oneDNN in float32, and in bfloat16 where the processor knows it."""

    def in_bfloat16() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            peer()

    peers = {"oneDNN": peer}
    if has_amx() or has_avx512_bf16():
        peers["oneDNN, bfloat16"] = in_bfloat16
    seconds, *longer = alternating([ours, *peers.values()], repeats=repeats)
    return [
        row(f"{what}, float32", seconds, peer=name, peer_seconds=others)
        for name, others in zip(peers, longer, strict=True)
    ]


def step(repeats: int) -> list[dict[str, Any]]:
    """A training step of it, and of DeepFinder's network."""
    unets = UNet(classes=13, norm=True), UNet(classes=13, norm=True)
    return [
        *learned("PickNet", PickNet(**SHIPPED), PickNet(**SHIPPED), torch.randn(PATCHES), repeats),
        *learned("DeepFinder's U-Net", *unets, torch.randn(2, 1, 56, 56, 56), repeats),
    ]


def learned(what: str, ours: nn.Module, peer: nn.Module, images: torch.Tensor, repeats: int) -> list[dict[str, Any]]:
    """Two networks of a kind, one with our layers."""
    quicken(ours)

    def learn(network: nn.Module) -> Callable[[], None]:
        def work() -> None:
            network.zero_grad(set_to_none=True)
            network(images).square().mean().backward()

        return work

    return compared(f"{what}, a training step", learn(ours), learn(peer), repeats)


def without_kernels(make: Callable[[], Any]) -> Any:
    """What `make` makes where there are no kernels."""
    kept = winograd.library
    winograd.library = lambda: None  # type: ignore[assignment]
    try:
        return make()
    finally:
        winograd.library = kept  # type: ignore[assignment]


if __name__ == "__main__":
    main()
