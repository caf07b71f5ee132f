"""Peak memory of a detection in a tomogram of full size, 464 x 928 x 928 voxels (1.5 GiB), held under --max-memory.

python benchmarks/speed/big_volume.py [--tiles 2] [--max-memory 4G]
Noise with dark blobs is written as an MRC file and read as a memory map; the localizer has VP-Detector's size and
untrained weights. The first tiles show the peak of stage 1; blobs take the place of what an untrained network finds
when particles are told apart. Without --tiles the network goes over the whole volume.
"""

from __future__ import annotations

import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from record import parser, row, write

from voxpick.detect import segment
from voxpick.detect.budget import check_foreground, plan_tile
from voxpick.detect.foreground import Foreground
from voxpick.detect.locate import locate
from voxpick.detect.memory import parse_memory, peak_bytes
from voxpick.detect.slab import choose_slab
from voxpick.io.mrc import read_mrc
from voxpick.io.mrc_header import header_bytes
from voxpick.methods.vp_detector import DETECTION
from voxpick.networks.msdnet import MSDNet
from voxpick.volume import intensity_statistics

RADIUS = 8
SPACING = 40


def blob_section(z: int, shape: tuple[int, ...]) -> np.ndarray:
    """The section of a grid of spheres, SPACING voxels apart: boolean [y, x]."""
    far_z, far_y, far_x = (
        np.square((np.arange(n) if k else np.array([z])) % SPACING - SPACING / 2) for k, n in enumerate(shape)
    )
    return np.asarray(far_z + far_y[:, None] + far_x <= RADIUS**2)


def write_tomogram(path: Path, shape: tuple[int, ...]) -> Foreground:
    """Write noise with dark blobs section by section; the foreground is that of the blobs."""
    rng = np.random.default_rng(0)
    voxels = []
    with path.open("wb") as file:
        like = np.broadcast_to(np.float32(0), shape)
        file.write(header_bytes(like, np.dtype(np.float32), 10.0, is_stack=False))
        for z in range(shape[0]):
            blobs = blob_section(z, shape)
            file.write((rng.standard_normal(shape[1:], dtype=np.float32) - blobs).tobytes())
            voxels.append(np.flatnonzero(blobs) + z * blobs.size)
    found = np.concatenate(voxels)
    nz, ny, nx = shape
    return Foreground((nz, ny, nx), found, np.full(len(found), 0.9, dtype=np.float16))


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--shape", type=int, nargs=3, default=(464, 928, 928))
    options.add_argument("--tiles", type=int, help="only so many tiles; all by default")
    options.add_argument("--tile", type=int, default=176, help="a tile has at most tile^3 voxels")
    options.add_argument("--max-memory", default="4G")
    options.add_argument("--split", default="mean-shift")
    options = options.parse_args()
    shape, most = tuple(options.shape), parse_memory(options.max_memory)
    torch.manual_seed(0)
    network, device, halo = MSDNet().eval(), torch.device("cpu"), DETECTION["halo"]
    whole = segment.tile_windows
    if options.tiles:
        segment.tile_windows = lambda *a, **k: islice(whole(*a, **k), options.tiles)
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        blobs = write_tomogram(Path(folder) / "big.mrc", shape)
        start = time.perf_counter()
        volume = read_mrc(Path(folder) / "big.mrc")
        mean, deviation = intensity_statistics(volume)
        choose_slab(volume.data, "auto")
        peaks["read"] = peak_bytes()
        tile = plan_tile(volume.data, network, tile=options.tile, halo=halo, max_memory=most, device=device)
        found = segment.particle_voxels(
            volume.data, network, tile=tile, halo=halo, mean=mean, deviation=deviation, threshold=0.9999, device=device
        )
        peaks["tiles"] = peak_bytes()
        check_foreground(len(blobs), volume.shape, split=options.split, max_memory=most, threshold=0.5)
        located = locate(blobs, split=options.split)
        peaks["particles"] = peak_bytes()
        seconds = time.perf_counter() - start
    in_gb = ", ".join(f"{name} {peak / 2**30:.2f}" for name, peak in peaks.items())
    what = f"detect, {' x '.join(str(n) for n in shape)} voxels, {options.tiles or 'all'} tiles of {tile}"
    note = f"Peak in GiB after each step: {in_gb}. {len(located)} blobs, {len(found)} voxels from the network."
    write(options, [row(what, seconds, peak_gb=peaks["particles"] / 2**30)], note=note)
    assert peaks["particles"] <= most, "over the bound"


if __name__ == "__main__":
    main()
