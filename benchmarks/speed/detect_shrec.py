"""All of `voxpick detect` with VP-Detector on a tomogram of 512 x 512 x 200 voxels: seconds by phase, memory and F1.

python benchmarks/speed/detect_shrec.py [FOLDER] [--model MODEL.pt] [--max-memory 6G] [--threads 2] [--seed 777]
FOLDER: a model folder as `voxpick simulate shrec20` makes them (or SHREC's own); without it one is simulated first, of
--size voxels with no vacuum, which is not timed. The tomogram is read from its file as `voxpick detect` reads it, with
the settings of `voxpick detect`; --set changes some of them. The target is 300 s on two cores for 512 x 512 x 200, and
824 s (the paper's, on four GPUs) for 512^3:
python benchmarks/speed/detect_shrec.py --thickness 512 --output benchmarks/speed/detect_shrec_whole.json
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from record import parser, row, write

from voxpick.cli.assignments import read_assignments
from voxpick.cli.truth import read_truth
from voxpick.detect import pipeline
from voxpick.detect.memory import peak_bytes
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.model import builtin_model_path, load_models
from voxpick.io.shrec_model import open_model
from voxpick.methods import vp_detector

PHASES = {
    "prepare": "finding the ice, intensities",
    "plan_tile": "measuring what a tile takes",
    "particle_voxels": "finding: the network",
    "locate": "finding: telling particles apart",
    "name_particles": "naming",
}
"""Functions of the pipeline, one after the other, and what they do."""


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("folder", type=Path, nargs="?")
    options.add_argument("--model", type=Path)
    options.add_argument("--max-memory", default="6G")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--seed", type=int, default=777)
    options.add_argument("--size", type=int, nargs=3, default=(200, 512, 512))
    options.add_argument("--thickness", type=int, help="sections of the tomogram; as many as --size has if not given")
    options.add_argument("--set", dest="changes", nargs="+", default=[])
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    changes = read_assignments(options.changes, example="halo=16", as_text=("slab", "max_memory"))
    models = load_models(options.model or builtin_model_path("vp-detector"))
    with tempfile.TemporaryDirectory() if options.folder is None else nullcontext() as scratch:
        folder = options.folder or simulated(Path(scratch), options)
        spent: dict[str, float] = {}
        start = time.perf_counter()
        volume = open_model(folder).reconstruction
        with ExitStack() as stack:
            for name in PHASES:
                stack.enter_context(patch.object(pipeline, name, timed(getattr(pipeline, name), name, spent)))
            found = vp_detector.detect(
                volume, models, changes={"max_memory": options.max_memory, **changes}, device="cpu"
            )
        seconds = time.perf_counter() - start
        peak = peak_bytes() / 2**30
        truth = read_truth(folder)
        score = score_shrec(
            found.particles, truth.particles, truth.occupancy, voxel_size=truth.voxel_size,
            z_offset=truth.z_offset, frame="tomogram",
        )  # fmt: skip
    shape = " x ".join(str(n) for n in volume.shape)
    rows = [
        row(f"detect, {shape} voxels", seconds, peak_gb=peak, picks=len(found.particles), f1=score.f1,
            mean_class_f1=score.mean_class_f1),
        *(row(f"of this, {what}", spent.get(name, 0.0)) for name, what in PHASES.items()),
    ]  # fmt: skip
    options.model, options.folder = str(options.model or "built-in"), str(options.folder.name if options.folder else "")
    sections = f"{found.slab.stop - found.slab.start} of {volume.shape[0]} sections were searched"
    write(options, rows, note=f"{sections}; {len(found.located)} particles were named.")


def simulated(folder: Path, options: Any) -> Path:
    """A tomogram without vacuum, in a process of its own, so that the peak of memory is that of the detection."""
    size = ",".join(str(n) for n in options.size)
    command = [sys.executable, "-m", "voxpick", "simulate", "shrec20", str(folder), "--models", "1"]
    command += ["--seed", str(options.seed), "--size", size, "--thickness", str(options.thickness or options.size[0])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "model_0"


def timed(function: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The same function, adding the seconds it takes to spent[name]."""

    def work(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start

    return work


if __name__ == "__main__":
    main()
