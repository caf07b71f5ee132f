"""Run every benchmark of this folder, one after another, and make docs/speed.md from what they wrote.

python benchmarks/speed/run_all.py [--only NAME ...] [--threads 2]
Takes under 10 minutes on two cores; run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SCRIPTS = (
    "startup",
    "demo",
    "components",
    "mean_shift",
    "msdnet",
    "sliding_window",
    "unet",
    "sampler",
    "simulate",
    "big_volume",
    "detect_scaling",
)
ARGUMENTS = {
    "big_volume": ["--tiles", "1"],
    "detect_scaling": ["--seconds", "240"],
    "mean_shift": ["--repeats", "2"],
    "msdnet": ["--repeats", "2"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    began, failed = time.perf_counter(), []
    for name in options.only:
        start = time.perf_counter()
        print(f"--- {name}", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), *ARGUMENTS.get(name, [])]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
        print(f"    ({time.perf_counter() - start:.0f} s)", flush=True)
    subprocess.run([sys.executable, str(FOLDER / "table.py")], check=True)
    print(f"all in {time.perf_counter() - began:.0f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
