"""`voxpick detect` with our own network on a tomogram of 512 x 512 x 200 voxels, by engine: seconds, memory, F1.

python benchmarks/speed/detect_own.py [FOLDER] [--model MODEL.pt] [--max-memory 6G] [--threads 2] [--seed 777]
FOLDER: a model folder as `voxpick simulate shrec20` makes them; without it one is simulated first, of --size voxels
with no vacuum, which is not timed. Each engine detects in a process of its own, from reading the file to the picks,
imports included, so that the peak of memory is its own. The target is 60 s on two cores with AMX.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from record import parser, row, write

WAYS = (
    ("torch", {"engine": "torch", "turns": False}),
    ("OpenVINO", {"engine": "openvino", "turns": False}),
    ("torch, mean of four turns", {"engine": "torch", "turns": True}),
    ("OpenVINO, mean of four turns", {"engine": "openvino", "turns": True}),
)

ONE = """
import json, sys, time
start = time.perf_counter()
folder, model, threads, changes = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
import torch
torch.set_num_threads(threads)
from pathlib import Path
from voxpick.cli.truth import read_truth, scored
from voxpick.detect.memory import peak_bytes
from voxpick.io.model import builtin_model_path, load_models
from voxpick.io.shrec_model import open_model
from voxpick.methods import voxpick
models = load_models(Path(model) if model else builtin_model_path("voxpick"))
volume = open_model(Path(folder)).reconstruction
found = voxpick.detect(volume, models, changes=changes, device="cpu").particles
seconds, peak = time.perf_counter() - start, peak_bytes() / 2**30
score = scored(found, read_truth(Path(folder)), picks_path=Path(folder), benchmark="shrec20", frame="tomogram")
print(json.dumps({"seconds": seconds, "peak_gb": peak, "picks": len(found), "f1": score.f1,
                  "mean_class_f1": score.mean_class_f1, "shape": volume.shape}))
"""


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("folder", type=Path, nargs="?")
    options.add_argument("--model", default="")
    options.add_argument("--max-memory", default="6G")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--seed", type=int, default=777)
    options.add_argument("--size", type=int, nargs=3, default=(200, 512, 512))
    options = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() if options.folder is None else nullcontext() as scratch:
        folder = options.folder or simulated(Path(scratch), options.size, options.seed)
        for name, changes in WAYS:
            if name.startswith("OpenVINO") and importlib.util.find_spec("openvino") is None:
                continue
            wanted = json.dumps({**changes, "max_memory": options.max_memory})
            command = [sys.executable, "-c", ONE, str(folder), options.model, str(options.threads), wanted]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            shape = " x ".join(str(n) for n in found.pop("shape"))
            rows.append(row(f"detect, {shape} voxels, {name}", found.pop("seconds"), **found))
    options.model, options.folder = options.model or "built-in", str(options.folder.name if options.folder else "")
    write(options, rows, note="From the start of the process to the picks; the network is PickNet, named by `voxpick`.")


def simulated(folder: Path, size: list[int], seed: int) -> Path:
    """A tomogram without vacuum."""
    command = [
        sys.executable,
        "-m",
        "voxpick",
        "simulate",
        "shrec20",
        str(folder),
        "--models",
        "1",
        "--seed",
        str(seed),
    ]
    command += ["--size", ",".join(str(n) for n in size), "--thickness", str(size[0])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "model_0"


if __name__ == "__main__":
    main()
