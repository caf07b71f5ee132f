"""Time MSDNet's engine against concatenate-and-convolve, alternating in one process: forward pass and training step.

The peer is timed in both memory layouts, and the faster one counts.

python benchmarks/speed/msdnet.py --size 64 --depth 49 --dilations 1 2 3 4 5 6 7
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from record import ROOT, parser, row, write

sys.path.insert(0, str(ROOT / "tests" / "networks"))

from reference_msdnet import reference_msdnet

from voxpick.detect.memory import LiveBytes
from voxpick.networks import dense_native
from voxpick.networks.msdnet import MSDNet
from voxpick.precision import choose_dtype

PEER = "concatenate and convolve"
LAYOUTS = {PEER: torch.contiguous_format, f"{PEER}, channels last": torch.channels_last_3d}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def forward(network: MSDNet, x: torch.Tensor, evaluate: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with torch.no_grad():
        evaluate(x)


def training_step(network: MSDNet, x: torch.Tensor, evaluate: Callable[[torch.Tensor], torch.Tensor]) -> None:
    network.zero_grad()
    evaluate(x).float().square().mean().backward()


def seconds(work: Callable[[], None]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


@contextmanager
def portable() -> Iterator[None]:
    """While active, MSDNet is evaluated without compiled kernels, as with VOXPICK_NATIVE=0."""
    kernels = dense_native.library
    dense_native.library = lambda: None
    try:
        yield
    finally:
        dense_native.library = kernels


def peak_mb(work: Callable[[], None]) -> float:
    """The most MiB of tensors alive at a time during `work`."""
    with LiveBytes() as count:
        work()
    return count.most / 2**20


def compare(network: MSDNet, x: torch.Tensor, *, repeats: int) -> list[dict[str, Any]]:
    """One row per engine, format and task: medians of alternating runs after one warm-up each."""
    engines = {"portable": portable}
    if dense_native.usable(x, network.layout, torch.float32):
        engines["compiled"] = nullcontext
    rows: list[dict[str, Any]] = []
    for name, dtype in DTYPES.items():
        if dtype not in (torch.float32, choose_dtype(x.device)):
            print(f"msdnet: {name} is left out, as this processor only emulates it")
            continue
        network.compute_dtype = dtype
        for task in (forward, training_step):
            ways: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Any]] = {
                peer: (partial(reference_msdnet, network, dtype=dtype, memory_format=layout), nullcontext)
                for peer, layout in LAYOUTS.items()
            }
            ways |= {engine: (network, context) for engine, context in engines.items()}
            times: dict[str, list[float]] = {}
            memory: dict[str, float] = {}
            for repeat in range(repeats + 1):
                for way, (evaluate, context) in ways.items():
                    with context():
                        work = partial(task, network, x, evaluate)
                        if repeat:
                            times.setdefault(way, []).append(seconds(work))
                        else:
                            memory[way] = peak_mb(work)
            took = {way: statistics.median(measured) for way, measured in times.items()}
            peer = min(LAYOUTS, key=took.__getitem__)
            for engine in engines:
                what = f"MSDNet, {task.__name__.replace('_', ' ')}, {name}, {engine}"
                rows.append(
                    row(
                        what, took[engine], peer=peer, peer_seconds=took[peer], engine_mb=memory[engine],
                        reference_mb=memory[peer], peers_seconds={other: took[other] for other in LAYOUTS},
                    )
                )  # fmt: skip
    return rows


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--size", type=int, default=64, help="side of the volume in voxels")
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--depth", type=int, default=49)
    options.add_argument("--dilations", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7])
    options.add_argument("--classes", type=int, default=2)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--device", default="cpu")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = MSDNet(classes=options.classes, depth=options.depth, dilations=options.dilations).to(options.device)
    x = torch.randn(options.batch, 1, *(options.size,) * 3, device=options.device)
    rows = compare(network, x, repeats=options.repeats)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    note = f"A volume of {options.size}^3 voxels, depth {options.depth}; GPU: {gpu}. Medians of {options.repeats} runs."
    write(options, rows, note=note)


if __name__ == "__main__":
    main()
