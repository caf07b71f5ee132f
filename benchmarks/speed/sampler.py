"""What share of a training step drawing its patch takes, from memory-mapped volumes, for both stages of VP-Detector.

python benchmarks/speed/sampler.py [--steps 4] [--size 64 96 128]
The tomogram is simulated first, and written to disk so that the patches are read from a memory map.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from record import parser, row, write

from voxpick.api import simulate
from voxpick.io.mrc import read_mrc, write_mrc
from voxpick.methods import vp_detector
from voxpick.methods.recipe import class_names
from voxpick.train.targets import TrainingVolume
from voxpick.volume import intensity_statistics


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--size", type=int, nargs=3, default=(64, 96, 128))
    options.add_argument("--threads", type=int, default=2)
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    world = simulate(seed=1, size_zyx=tuple(options.size), thickness=options.size[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tomogram.mrc"
        write_mrc(path, world.tomogram)
        tomogram = read_mrc(path)
        volumes = [
            TrainingVolume(
                tomogram, world.class_mask, world.particles, world.occupancy, z_offset=world.z_offset,
                intensity=intensity_statistics(tomogram),
            )
        ]  # fmt: skip
        rows = [measure(stage, volumes, options.steps) for stage in vp_detector.NETWORK]
    write(options, rows)


def measure(stage: str, volumes: list[TrainingVolume], steps: int) -> dict[str, object]:
    """Train one stage for a few steps; the loop itself reports its share of sampling."""
    settings = vp_detector.training_settings(stage, "minutes", {"steps": steps})
    classes = class_names(volumes)
    model = vp_detector.create_model(settings, classes, voxel_size=volumes[0].tomogram.voxel_size)
    fitted = vp_detector.train(volumes, model, settings, classes=classes)
    seconds = 60 * fitted.minutes / steps
    return row(f"training step of the {stage}", seconds, sampling_share=fitted.sampling_share)


if __name__ == "__main__":
    main()
