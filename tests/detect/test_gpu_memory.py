"""Tiles and batches fit into the memory of a GPU, which is not the main memory."""

import math

import numpy as np
import pytest
import torch
from test_memory import SHAPE

from voxpick.detect import budget, scan
from voxpick.detect.budget import GPU_BATCH, plan_batch, plan_tile
from voxpick.detect.memory import GPU_SHARE, bytes_per_voxel, room_on
from voxpick.detect.scan import peak_bytes_of, plan_scan
from voxpick.detect.segment import softmax_map
from voxpick.errors import VoxpickError
from voxpick.networks.resnet3d import BOXES_AT_A_TIME, ON_GPU, ResNet3D
from voxpick.networks.unet import UNet
from voxpick.networks.yopo import YOPO

CPU = torch.device("cpu")


class Elsewhere:
    """Stands for a GPU where only its kind is asked for; tensors stay where they are."""

    type = "cuda"


@pytest.fixture
def network():
    torch.manual_seed(0)
    return UNet(filters=[4, 8]).eval()


@pytest.fixture
def gpu(monkeypatch):
    """gpu(bytes): a GPU of which so many bytes can be used, and on which nothing is really done."""

    def of(room):
        for module in (budget, scan):
            monkeypatch.setattr(module, "room_on", lambda device: room)
        there, to = Elsewhere(), torch.nn.Module.to
        stays = lambda module, device: module if device is there else to(module, device)  # noqa: E731
        monkeypatch.setattr(torch.nn.Module, "to", stays)
        monkeypatch.setattr(budget, "softmax_map", lambda image, net, device: softmax_map(image, net, device=CPU))
        return there

    return of


def test_what_torch_keeps_of_freed_memory_counts_as_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 << 30)
    assert room_on(torch.device("cuda:1")) == pytest.approx(GPU_SHARE * (6 << 30))
    assert room_on(torch.device("mps")) == math.inf


def test_tiles_shrink_on_a_small_gpu_whatever_the_main_memory(network, gpu):
    volume, each = np.zeros(SHAPE, np.float32), bytes_per_voxel(lambda x: softmax_map(x, network, device=CPU))
    settings = {"tile": 64, "halo": 4, "max_memory": 1}
    whole = plan_tile(volume, network, **settings, device=gpu(1e12))
    assert whole == tuple(n + n % 2 for n in SHAPE)
    room = 0.4 * math.prod(SHAPE) * each
    assert math.prod(plan_tile(volume, network, **settings, device=gpu(room))) * each <= room
    with pytest.raises(VoxpickError, match=r"of the GPU's memory can be used.*--device cpu"):
        plan_tile(volume, network, **settings, device=gpu(1000 * each))


def test_scans_shrink_too(gpu):
    network, counts, rest = YOPO(box=10, widths=[4, 8], hidden=8), (12, 20, 28), {"tile": 64, "max_memory": 1}
    whole = plan_scan(network, counts, 1, device=gpu(1e12), dtype=torch.float32, **rest)
    some = plan_scan(network, counts, 1, device=gpu(8e5), dtype=torch.float32, **rest)
    assert whole == counts and math.prod(some) < math.prod(whole)
    with pytest.raises(VoxpickError, match="GPU"):
        plan_scan(network, counts, 1, device=gpu(1e3), dtype=torch.float32, **rest)


def test_a_padded_resnet_is_planned_with_the_boxes_it_takes_together_there(gpu):
    """Planned as on a CPU, it took 16 times the memory that was left for it."""
    network, counts = ResNet3D(box=8, widths=[8, 16], blocks=1, padded=True, classes=3), (12, 20, 28)
    here, there = (peak_bytes_of(network, [30, 30, 30], 2, torch.float32, device=kind) for kind in ("cpu", "cuda"))
    assert there > 0.6 * ON_GPU / BOXES_AT_A_TIME * here, "but for the image and the scores"
    rest = {"tile": 64, "max_memory": 1, "dtype": torch.float32}
    assert plan_scan(network, counts, 1, device=gpu(1.1 * there), **rest) == counts
    assert math.prod(plan_scan(network, counts, 1, device=gpu(there / 3), **rest)) < ON_GPU


def test_a_gpu_names_many_subtomograms_at_once(network, gpu):
    settings = {"size": 16, "batch": 4, "max_memory": 1}
    each = bytes_per_voxel(lambda x: softmax_map(x, network, device=CPU), (16, 16, 16)) * 16**3
    assert plan_batch(network, **settings, device=gpu(1e12)) == GPU_BATCH
    assert plan_batch(network, **{**settings, "batch": 100}, device=gpu(1e12)) == 100
    assert plan_batch(network, **settings, device=gpu(10.5 * each)) == 10
    assert plan_batch(network, **settings, device=gpu(1)) == 1
