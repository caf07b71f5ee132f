"""What all benchmarks share: the machine they ran on and what else it did, alternating timings, and their JSON files.

How many cores are busy with something else is measured before a benchmark starts and after it has ended. More than
QUIET and the rows are marked, in the JSON file and in docs/speed.md; with --refuse-busy it does not start at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "voxpick",
    "numpy",
    "scipy",
    "torch",
    "connected-components-3d",
    "scikit-learn",
    "monai",
    "openvino",
    "pytme",
)
QUIET = 0.5
WATCH_SECONDS = 1.0
before: dict[str, float] = {}


def busy_cores(seconds: float = WATCH_SECONDS) -> float:
    """How many cores worked during the next seconds, this process asleep; the load average where nothing else is told.

    The load average itself remembers the last minutes, and so whatever benchmark came before.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return os.getloadavg()[0]

    def idle_ticks() -> int:
        fields = stat.read_text().splitlines()[0].split()
        return int(fields[4]) + int(fields[5])

    start, idle = time.perf_counter(), idle_ticks()
    time.sleep(seconds)
    rested = (idle_ticks() - idle) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - start)
    return max(0.0, (os.cpu_count() or 1) - rested)


def machine() -> dict[str, Any]:
    """Processor, cores, versions and commit, and what else the machine did before and after."""
    from voxpick.benchmark.machine import machine as about
    from voxpick.precision import instructions

    return {**about(PACKAGES), "instructions": instructions(), **before, "busy_after": round(busy_cores(), 1)}


def alternating(works: Sequence[Callable[[], Any]], *, repeats: int) -> list[float]:
    """The shortest time in seconds of each work, run in turns: other work on the machine can only add time."""
    best = [float("inf")] * len(works)
    for _ in range(repeats):
        for k, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[k] = min(best[k], time.perf_counter() - start)
    return best


class Parser(argparse.ArgumentParser):
    """A command line that looks whether the machine is quiet once it has been read."""

    def parse_args(self, *arguments: Any, **named: Any) -> Any:
        """As argparse; records the load, and ends with --refuse-busy on a machine that is busy."""
        options = super().parse_args(*arguments, **named)
        before.update(load_before=round(os.getloadavg()[0], 1), busy_before=round(busy_cores(), 1))
        if before["busy_before"] > QUIET:
            message = f"{options.output.stem}: {before['busy_before']:.1f} cores are busy with something else"
            if options.refuse_busy:
                sys.exit(f"{message}; wait until they are free")
            print(f"{message}; the figures will be too slow, and are marked so")
        return options


def parser(doc: str | None, script: str) -> Parser:
    """A command line with --output, by default a JSON file beside the script, and --refuse-busy."""
    made = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, default=Path(script).with_suffix(".json"))
    made.add_argument("--refuse-busy", action="store_true", help="do not start while other things keep cores busy")
    return made


def row(what: str, seconds: float, *, peer: str = "", peer_seconds: float | None = None, **more: Any) -> dict[str, Any]:
    """One line of a result: ours, the peer's and how many times ours is faster."""
    ratio = None if peer_seconds is None else peer_seconds / seconds
    return {"what": what, "seconds": seconds, "peer": peer, "peer_seconds": peer_seconds, "ratio": ratio, **more}


def write(options: argparse.Namespace, rows: list[dict[str, Any]], *, note: str = "") -> None:
    """Print the rows and write them with settings and machine."""
    settings = {key: value for key, value in vars(options).items() if key not in ("output", "refuse_busy")}
    about = machine()
    quiet = max(about["busy_before"], about["busy_after"]) <= QUIET
    result = {
        "benchmark": options.output.stem, "settings": settings, "note": note, "machine": about, "quiet": quiet,
        "rows": rows,
    }  # fmt: skip
    options.output.write_text(json.dumps(result, indent=1, default=str) + "\n")
    for line in rows:
        peer = "" if line["peer_seconds"] is None else f"; {line['peer']} {line['peer_seconds']:.2f} s"
        ratio = "" if line["ratio"] is None else f"; ratio {line['ratio']:.1f}"
        print(f"{line['what']}: {line['seconds']:.3f} s{peer}{ratio}", flush=True)
    if note:
        print(note)
    if not quiet:
        print(f"not quiet: busy cores {about['busy_before']} before, {about['busy_after']} after")
