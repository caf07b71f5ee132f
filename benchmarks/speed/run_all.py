"""Run the benchmarks of this folder, one after another, and make docs/speed.md from what they wrote.

python benchmarks/speed/run_all.py [--only NAME ...] [--threads 2] [--refuse-busy] [--suffix amx]
Takes under 10 minutes on two cores; run it on a machine that does nothing else. To stay below, some are run small:
big_volume over one tile, detect_scaling as far as one minute goes. What takes longer is a command of its own, and the
page shows what it wrote as well:

python benchmarks/speed/detect_shrec.py
python benchmarks/speed/detect_scaling.py --seconds 1200 --output benchmarks/speed/detect_scaling_full.json
python benchmarks/speed/big_volume.py --output benchmarks/speed/big_volume_full.json
python benchmarks/speed/match_twelve.py
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
    "allocation",
    "demo",
    "components",
    "mean_shift",
    "msdnet",
    "sliding_window",
    "octopi",
    "unet",
    "winograd",
    "sampler",
    "simulate",
    "match",
    "big_volume",
    "detect_scaling",
)
ARGUMENTS = {
    "big_volume": ["--tiles", "1"],
    "detect_scaling": ["--seconds", "40"],
    "allocation": ["--repeats", "1"],
    "match": ["--repeats", "1"],
    "mean_shift": ["--repeats", "1"],
    "msdnet": ["--repeats", "1"],
    "unet": ["--repeats", "1"],
    "winograd": ["--repeats", "3"],
    "octopi": ["--repeats", "1", "--shape", "96", "144", "144"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--refuse-busy", action="store_true", help="no benchmark starts while other things keep cores")
    parser.add_argument("--suffix", default="", help="write NAME_SUFFIX.json, for another processor than NAME.json's")
    options = parser.parse_args()
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    more = ["--refuse-busy"] if options.refuse_busy else []
    began, failed = time.perf_counter(), []
    for name in options.only:
        start = time.perf_counter()
        print(f"--- {name}", flush=True)
        command = [sys.executable, str(FOLDER / f"{name}.py"), *ARGUMENTS.get(name, []), *more]
        if options.suffix:
            command += ["--output", str(FOLDER / f"{name}_{options.suffix}.json")]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
        print(f"    ({time.perf_counter() - start:.0f} s)", flush=True)
    subprocess.run([sys.executable, str(FOLDER / "table.py")], check=True)
    print(f"all in {time.perf_counter() - began:.0f} s")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
