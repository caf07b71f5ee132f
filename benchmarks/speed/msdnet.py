"""Time MSDNet's engine against concatenate-and-convolve, alternating in one process: forward pass and training step.

python benchmarks/speed/msdnet.py --size 64 --depth 49 --dilations 1 2 3 4 5 6 7
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "networks"))

from reference_msdnet import reference_msdnet  # noqa: E402

from voxpick.detect.memory import LiveBytes  # noqa: E402
from voxpick.networks import dense_native  # noqa: E402
from voxpick.networks.msdnet import MSDNet  # noqa: E402

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


def compare(network: MSDNet, x: torch.Tensor, *, repeats: int) -> list[dict[str, object]]:
    """One row per engine, format and task: medians of alternating runs after one warm-up each."""
    engines = {"portable": portable}
    if dense_native.usable(x, network.layout, torch.float32):
        engines["compiled"] = nullcontext
    rows: list[dict[str, object]] = []
    for name, dtype in DTYPES.items():
        network.compute_dtype = dtype
        for task in (forward, training_step):
            reference = lambda v, dtype=dtype: reference_msdnet(network, v, dtype=dtype)  # noqa: E731
            times: dict[str, list[float]] = {}
            memory: dict[str, float] = {}
            for repeat in range(repeats + 1):
                for engine, context in {"reference": nullcontext, **engines}.items():
                    evaluate = reference if engine == "reference" else network
                    with context():
                        work = lambda task=task, evaluate=evaluate: task(network, x, evaluate)  # noqa: E731
                        if repeat:
                            times.setdefault(engine, []).append(seconds(work))
                        else:
                            memory[engine] = peak_mb(work)
            slow = statistics.median(times["reference"])
            for engine in engines:
                fast = statistics.median(times[engine])
                rows.append({"engine": engine, "format": name, "task": task.__name__, "reference_s": slow,
                             "engine_s": fast, "ratio": slow / fast, "reference_mb": memory["reference"],
                             "engine_mb": memory[engine]})  # fmt: skip
    return rows


def machine() -> dict[str, str]:
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": model, "gpu": device, "python": platform.python_version(), "torch": torch.__version__,
            "commit": commit}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="side of the volume in voxels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--depth", type=int, default=49)
    parser.add_argument("--dilations", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7])
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="where to write the result; default: beside this script")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = MSDNet(classes=options.classes, depth=options.depth, dilations=options.dilations).to(options.device)
    x = torch.randn(options.batch, 1, *(options.size,) * 3, device=options.device)
    rows = compare(network, x, repeats=options.repeats)
    settings = {key: value for key, value in vars(options).items() if key != "json"}
    result = {"settings": settings, "machine": machine(), "rows": rows}
    print(f"MSDNet {settings}; peak memory of the tensors, in MiB, in brackets")
    line = (
        "{engine:>9} {format:>9} {task:>14}: {engine_s:.3f} s ({engine_mb:.0f}); reference {reference_s:.3f} s "
        "({reference_mb:.0f}); ratio {ratio:.1f}"
    )
    for row in rows:
        print(line.format(**row))
    path = options.json or Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
