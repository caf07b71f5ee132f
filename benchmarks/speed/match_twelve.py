"""The whole job of twelve templates: `voxpick match` over a tomogram of 512 x 512 x 200 voxels, as a user starts it.

python benchmarks/speed/match_twelve.py [FOLDER] [--step 12.78] [--threads 2] [--keep PICKS]
FOLDER: a model folder as `voxpick simulate shrec20` makes them; without it one is simulated first, of --size voxels
with no vacuum, which is not timed. The time is that of the process from its start to its end, files written; memory is
its peak. The target is 90 minutes on two cores with 7112 orientations (published: 27 h on 16 cores). The picks are
scored with the specimen's own particles.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import parser, row, write

from voxpick.cli.truth import read_truth
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.formats import read_particles


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("folder", type=Path, nargs="?")
    options.add_argument("--step", type=float, default=12.78)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--seed", type=int, default=777)
    options.add_argument("--size", type=int, nargs=3, default=(200, 512, 512))
    options.add_argument("--keep", type=Path, help="folder that keeps the picks")
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or simulated(Path(scratch), options)
        picks = options.keep or Path(scratch) / "picks"
        seconds, peak, said = matched(folder / "reconstruction.mrc", picks, options)
        truth = read_truth(folder)
        found = read_particles(picks / "reconstruction.star")
        score = score_shrec(
            found, truth.particles, truth.occupancy, voxel_size=truth.voxel_size, z_offset=truth.z_offset,
            frame="tomogram",
        )  # fmt: skip
    rows = [
        row("twelve templates, from the start of the process to the picks", seconds, minutes=seconds / 60,
            peak_gb=peak, picks=len(found), f1=score.f1, mean_class_f1=score.mean_class_f1,
            class_f1={name: round(one, 3) for name, one in score.class_f1.items()}),
    ]  # fmt: skip
    options.folder, options.keep = str(options.folder.name if options.folder else ""), None
    write(options, rows, note=" ".join(said))


def matched(tomogram: Path, picks: Path, options: Any) -> tuple[float, float, list[str]]:
    """Seconds, peak memory in GiB, and what `voxpick match` says of its orientations."""
    command = [sys.executable, "-m", "voxpick", "match", str(tomogram), "--output", str(picks)]
    command += ["--step", str(options.step), "--threads", str(options.threads), "--overwrite"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.strip())
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"voxpick match ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, used.ru_maxrss / 2**20, [line for line in lines if "orientations" in line]


def simulated(folder: Path, options: Any) -> Path:
    """A tomogram without vacuum, in a process of its own."""
    size = ",".join(str(n) for n in options.size)
    command = [sys.executable, "-m", "voxpick", "simulate", "shrec20", str(folder), "--models", "1"]
    command += ["--seed", str(options.seed), "--size", size, "--thickness", str(options.size[0])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "model_0"


if __name__ == "__main__":
    main()
