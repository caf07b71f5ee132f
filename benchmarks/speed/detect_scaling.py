"""Time and peak memory of the whole detection with the built-in VP-Detector as the volume grows.

python benchmarks/speed/detect_scaling.py [--sides 128 192 256 384] [--seconds 300] [--max-memory 6G]
Each size runs in a process of its own on noise from a memory-mapped file, with as many particles to name as a SHREC'20
specimen of that size has, placed at random. A size is left out when the last one says that the run would take longer
than --seconds by it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from phantom import PER_VOXEL
from record import parser, row, write


def measure(side: int, threads: int, max_memory: str, model: str) -> None:
    """Detect in a cube of noise and print seconds of both stages and the peak memory."""
    import torch

    from voxpick.detect.locate import Located
    from voxpick.detect.memory import peak_bytes
    from voxpick.detect.pipeline import localise, make_settings, name_particles
    from voxpick.io.model import builtin_model_path, load_models
    from voxpick.methods.vp_detector import DETECTION
    from voxpick.volume import Volume

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    models = load_models(Path(model) if model else builtin_model_path("vp-detector"))
    changes = {"max_memory": max_memory, "threshold": 0.999}
    settings = make_settings([models.get("classifier"), models["localizer"]], changes, defaults=DETECTION)
    with tempfile.TemporaryFile() as file:
        for _ in range(side):
            file.write(rng.normal(size=(side, side)).astype(np.float32).tobytes())
        file.flush()
        data = np.memmap(file, dtype=np.float32, mode="r", shape=(side,) * 3)
        volume = Volume(data, models["localizer"].voxel_size)
        start = time.perf_counter()
        localise(volume, models["localizer"], settings=settings, device="cpu")
        middle = time.perf_counter()
        if "classifier" in models:
            centers = rng.uniform(0, side - 1, (max(1, round(PER_VOXEL * side**3)), 3))
            number, nothing = len(centers), np.zeros(0, dtype=np.int64)
            located = Located(centers, np.full(number, 400), np.ones(number), nothing, nothing, volume.shape)
            name_particles(volume, located, models["classifier"], settings=settings, device="cpu")
        end = time.perf_counter()
    print(json.dumps({"find": middle - start, "name": end - middle, "peak": peak_bytes() / 2**30}))


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--sides", type=int, nargs="+", default=[128, 192, 256, 384])
    options.add_argument("--seconds", type=float, default=300)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--max-memory", default="6G")
    options.add_argument("--model", default="", help="a model file instead of the built-in one")
    options.add_argument("--measure", type=int, help="only this side, in this process")
    options = options.parse_args()
    if options.measure:
        measure(options.measure, options.threads, options.max_memory, options.model)
        return
    rows, began, last, note = [], time.perf_counter(), 0.0, ""
    command = [sys.executable, __file__, "--threads", str(options.threads), "--max-memory", options.max_memory]
    known = 0
    for side in options.sides:
        expected = last * (side / known) ** 3 if known else 0.0
        if time.perf_counter() - began + expected > options.seconds:
            note += f"{side}^3 was left out: it would have taken about {expected:.0f} s. "
            continue
        done = subprocess.run(
            [*command, "--model", options.model, "--measure", str(side)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr)
        seen = json.loads(done.stdout.splitlines()[-1])
        last, known = seen["find"] + seen["name"], side
        rows.append(row(f"detect, {side}^3 voxels", last, peak_gb=seen["peak"], find=seen["find"], name=seen["name"]))
    write(options, rows, note=note)


if __name__ == "__main__":
    main()
