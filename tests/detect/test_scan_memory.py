"""What a scan by a network that names boxes makes the process hold, beside the memory it was allowed."""

import os
import subprocess
import sys

import pytest

SCAN = """
import sys
import numpy as np
import torch
from voxpick.detect import scan
from voxpick.detect.budget import SPARE_BYTES
from voxpick.detect.memory import peak_bytes, settled_bytes
from voxpick.methods import yopo
from voxpick.networks.model import Model
from voxpick.networks.resnet3d import ResNet3D
from voxpick.networks.yopo import YOPO
from voxpick.precision import choose_dtype
from voxpick.volume import Volume

torch.set_num_threads(1)
torch.manual_seed(0)
network, stride, shape, share = {
    "yopo": (YOPO(), 1, (40, 56, 72), 1.05),
    "resnet3d": (ResNet3D(classes=3, box=32, widths=[16, 48, 64]), 3, (48, 64, 80), 0.5),
}[sys.argv[1]]
sides = [(-(-n // stride) - 1) * stride + network.box for n in shape]
whole = scan.peak_bytes_of(network, sides, stride, choose_dtype(torch.device("cpu")))
limit = int(settled_bytes() + SPARE_BYTES + share * whole)
model = Model(sys.argv[1], {}, network, ["background", *map(str, range(1, network.classes))], 10.0)
volume = Volume(np.random.default_rng(0).normal(size=shape).astype(np.float32), 10.0)
changes = {"max_memory": str(limit), "slab": "off", "stride": stride}
tiles = []
yopo.detect(
    volume, {"classifier": model}, changes=changes, device="cpu",
    progress=lambda step, done, total: tiles.append(total),
)
print(tiles[0], peak_bytes(), limit)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="freed memory goes back where glibc is told to")
@pytest.mark.parametrize(("name", "tiled"), [("yopo", False), ("resnet3d", True)])
def test_a_scan_holds_no_more_than_it_may(name, tiled):
    """Room for what is planned and little more: the C library must not keep what the layers before have freed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCAN, name], env=environment, capture_output=True, text=True, check=True
    )
    tiles, peak, limit = (int(field) for field in done.stdout.split())
    assert (tiles > 1) == tiled
    assert peak <= limit


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is getrusage alone")
def test_the_peak_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it():
    code = "from voxpick.detect.memory import peak_bytes; print(peak_bytes())"
    alone = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    held = b"x" * (alone + 2**27)
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert len(held) > alone and child < alone + 2**26
