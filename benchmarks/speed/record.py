"""What all benchmarks share: the machine they ran on, alternating timings, and the JSON file they write."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def machine() -> dict[str, Any]:
    """Processor, cores, versions and commit."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    versions = {"python": platform.python_version()}
    packages = ("voxpick", "numpy", "scipy", "torch", "connected-components-3d", "scikit-learn", "monai", "openvino")
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "processor": name, "cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1), "versions": versions,
        "commit": commit,
    }  # fmt: skip


def alternating(works: Sequence[Callable[[], Any]], *, repeats: int) -> list[float]:
    """The shortest time in seconds of each work, run in turns: other work on the machine can only add time."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for k, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[k] = min(best[k], time.perf_counter() - start)
    return best


def parser(doc: str | None, script: str) -> argparse.ArgumentParser:
    """A command line with --output, by default a JSON file beside the script."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, default=Path(script).with_suffix(".json"))
    return made


def row(what: str, seconds: float, *, peer: str = "", peer_seconds: float | None = None, **more: Any) -> dict[str, Any]:
    """One line of a result: ours, the peer's and how many times ours is faster."""
    ratio = None if peer_seconds is None else peer_seconds / seconds
    return {"what": what, "seconds": seconds, "peer": peer, "peer_seconds": peer_seconds, "ratio": ratio, **more}


def write(options: argparse.Namespace, rows: list[dict[str, Any]], *, note: str = "") -> None:
    """Print the rows and write them with settings and machine."""
    settings = {key: value for key, value in vars(options).items() if key != "output"}
    result = {"benchmark": options.output.stem, "settings": settings, "note": note, "machine": machine(), "rows": rows}
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    for line in rows:
        peer = "" if line["peer_seconds"] is None else f"; {line['peer']} {line['peer_seconds']:.2f} s"
        ratio = "" if line["ratio"] is None else f"; ratio {line['ratio']:.1f}"
        print(f"{line['what']}: {line['seconds']:.3f} s{peer}{ratio}", flush=True)
    if note:
        print(note)
