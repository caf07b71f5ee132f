"""What it saves to keep freed memory (voxpick.allocation): a network on one tile, with it and as the C library does.

python benchmarks/speed/allocation.py [--threads 2] [--repeats 5]
PickNet on a tile of 96 x 128 x 144 voxels. Processes of both kinds in turns, each timing three evaluations after one
that is not counted; the shortest counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from record import parser, row, write

ONE = """
import json, resource, sys, time
import torch
from voxpick.allocation import keep_freed_memory
from voxpick.detect.centre_peaks import evaluate
from voxpick.detect.inference import for_inference
from voxpick.networks.picknet import PickNet
torch.set_num_threads(int(sys.argv[1]))
keep_freed_memory()
network = for_inference(PickNet(widths=[32, 64, 128], blocks=[2, 3, 2]).eval(), torch.device("cpu"))
image = torch.zeros(1, 1, 96, 128, 144)
evaluate(network, image)
times, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    start = time.perf_counter()
    evaluate(network, image)
    times.append(time.perf_counter() - start)
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([min(times), (usage.ru_minflt - faults) / 3, usage.ru_maxrss / 2**20]))
"""


def main() -> None:
    """Both kinds in turns."""
    options = parser(__doc__, __file__)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=5)
    options = options.parse_args()
    found: dict[str, list[list[float]]] = {"1": [], "0": []}
    for _ in range(options.repeats):
        for kept, results in found.items():
            environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
            environment["VOXPICK_KEEP_MEMORY"] = kept
            command = [sys.executable, "-c", ONE, str(options.threads)]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout))
    (ours, faults, peak), (peer, many, before) = (min(results) for results in found.values())
    rows = [row("PickNet on a tile, freed memory kept", ours, peer="given back", peer_seconds=peer, peak_gb=peak)]
    write(options, rows, note=f"Page faults: {faults:.0f}, and {many:.0f} where it is given back ({before:.2f} GiB).")


if __name__ == "__main__":
    main()
