"""Which device is taken, and what is said where it cannot be."""

import pytest
import torch

from fake_cuda import fake_cuda
from voxpick.cli.one_line import one_line
from voxpick.errors import VoxpickError
from voxpick.precision import choose_device, choose_dtype, device_name


def test_auto_takes_what_there_is():
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with fake_cuda() as marks:
        assert choose_device().type == choose_device("cuda:0").type == "cuda"
        assert marks is not None and device_name(torch.device("cuda:0")) == "cuda:0 (a fake GPU)"
    assert device_name(torch.device("cpu")) == "cpu"


def test_a_gpu_that_does_not_work_is_told_of_and_left(monkeypatch):
    def broken(*args, device, **kwargs):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", broken)
    with pytest.warns(UserWarning, match=r"cannot be used \(CUDA error: no kernel image .* device\); the CPU is"):
        assert choose_device("auto").type == "cpu"
    with pytest.raises(VoxpickError, match=r"--device cuda:1: not available here \(CUDA error: no kernel"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["meta", "gpu", "cuda:99"])
def test_other_devices_are_refused(name):
    with pytest.raises(VoxpickError, match=f"--device {name}: not available"):
        choose_device(name)


def test_formats_of_gpus():
    for capability, dtype in (((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)):
        with fake_cuda(capability=capability):
            assert choose_dtype(torch.device("cuda")) == dtype


def test_a_full_gpu_is_said_in_one_line_with_ways_out():
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.00 GiB is "
        "free. Including non-PyTorch memory, this process has 6 GiB memory in use. If reserved but unallocated memory "
        "is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
    )
    text = one_line(error)
    assert "7.79 GiB" in text and "PYTORCH" not in text
    assert all(way in text for way in ("--set tile=", "--set batch=", "--device cpu"))
