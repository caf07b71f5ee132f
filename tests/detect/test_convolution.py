import tracemalloc
from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from test_matched_spectrum import noise

from fake_cuda import fake_cuda
from voxpick.detect import convolution, spectrum
from voxpick.detect.convolution import GPU_BYTES, filtered
from voxpick.detect.memory import LiveBytes
from voxpick.detect.prepare import prepare
from voxpick.detect.settings import DetectSettings
from voxpick.detect.spectrum import amplitudes, kernel_of
from voxpick.volume import Volume

CUDA = torch.device("cuda")


def by_padded_blocks(data: np.ndarray, kernel: np.ndarray, sections: slice, mean: float, deviation: float):
    """What earlier versions computed: FFTs of blocks of 160^3 voxels at most, padded by the mirror image."""
    reach = len(kernel) // 2
    result = np.zeros(data.shape, dtype=np.float32)
    shape = (sections.stop - sections.start, *data.shape[1:])
    steps = [-(-n // -(-n // (160 - 2 * reach))) for n in shape]
    stops = (sections.stop, *shape[1:])
    for start in product(*(range(a, b, c) for a, b, c in zip((sections.start, 0, 0), stops, steps, strict=True))):
        part = tuple(slice(a, min(a + step, n)) for a, step, n in zip(start, steps, stops, strict=True))
        wide = [slice(s.start - reach, s.stop + reach) for s in part]
        inside = tuple(slice(max(s.start, 0), min(s.stop, n)) for s, n in zip(wide, data.shape, strict=True))
        pads = [(i.start - s.start, s.stop - i.stop) for s, i in zip(wide, inside, strict=True)]
        image = np.pad(np.asarray(data[inside], dtype=np.float32), pads, mode="symmetric")
        image = torch.from_numpy((image - np.float32(mean)) / np.float32(abs(deviation)))
        response = torch.fft.rfftn(torch.from_numpy(kernel), s=image.shape)
        changed = torch.fft.irfftn(torch.fft.rfftn(image) * response, s=image.shape).numpy()
        result[part] = changed[tuple(slice(2 * reach, n) for n in image.shape)]
    return result


def on(device: str, data: np.ndarray, kernel: np.ndarray, sections: slice, **options):
    """The same by today's code, on the CPU or on the fake GPU."""
    volume = Volume(data, 10.0)
    if device == "cpu":
        return filtered(volume, kernel, sections, mean=4.0, deviation=-2.0, **options).data
    with fake_cuda():
        return filtered(volume, kernel, sections, mean=4.0, deviation=-2.0, device=CUDA, **options).data


@pytest.fixture
def small_blocks(monkeypatch):
    """small_blocks(voxels): blocks of so many voxels on both devices."""

    def of(voxels: int) -> None:
        monkeypatch.setattr(convolution, "MOST_VOXELS", voxels)
        monkeypatch.setattr(convolution, "room_on", lambda device: GPU_BYTES * voxels)

    return of


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("sections", [slice(0, 131), slice(37, 90)])
def test_the_same_as_by_padded_blocks(device, sections):
    kernel = kernel_of(np.linspace(1.5, 0.3, 24))
    data = 4 + 2 * noise(5, (131, 122, 170)) / noise(5, (131, 122, 170)).std()
    found, expected = on(device, data, kernel, sections), by_padded_blocks(data, kernel, sections, 4.0, -2.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6)
    assert not found[: sections.start].any() and not found[sections.stop :].any()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("voxels", [10**6, 60_000])
def test_blocks_give_what_a_plain_convolution_gives(monkeypatch, small_blocks, device, voxels):
    monkeypatch.setattr(spectrum, "REACH", 6)
    small_blocks(voxels)
    kernel = kernel_of(np.linspace(1.5, 0.3, 24))
    data = noise(5, (40, 66, 51)) + 4
    expected = convolve((data - 4) / 2, kernel, mode="reflect")
    for into in (None, np.full(data.shape, 7, dtype=np.float16), np.full(data.shape, 7, dtype=np.float32)):
        found = on(device, data, kernel, slice(4, 33), into=into)
        assert into is None or found is into
        np.testing.assert_allclose(found[4:33], expected[4:33], atol=2e-5 if found.dtype == np.float32 else 1e-3)
        assert not found[:4].any() and not found[33:].any()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_volume_thinner_than_the_kernel_reaches_is_mirrored_again_and_again(monkeypatch, device):
    monkeypatch.setattr(spectrum, "REACH", 12)
    kernel = kernel_of(np.linspace(1.5, 0.3, 24))
    data = noise(6, (5, 20, 27)) + 4
    found = on(device, data, kernel, slice(0, 5))
    np.testing.assert_allclose(found, convolve((data - 4) / 2, kernel, mode="reflect"), atol=2e-5)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.float16, np.float64])
def test_data_of_any_type(kind):
    kernel = kernel_of(np.linspace(1.5, 0.3, 24))
    data = np.rint(40 + 10 * noise(7, (50, 52, 61))).astype(kind)
    plain = on("cpu", data.astype(np.float32), kernel, slice(0, 50))
    assert np.array_equal(on("cpu", data, kernel, slice(0, 50)), plain)
    np.testing.assert_allclose(on("cuda", data, kernel, slice(0, 50)), plain, atol=4e-5)


def test_blocks_beside_a_result_that_is_not_in_memory_take_little(tmp_path, small_blocks):
    small_blocks(1_000_000)
    data = np.memmap(tmp_path / "data", dtype=np.float32, mode="w+", shape=(120, 140, 160))
    into = np.memmap(tmp_path / "into", dtype=np.float32, mode="w+", shape=data.shape)
    data[:] = noise(8, data.shape)
    kernel = kernel_of(np.linspace(1.5, 0.3, 24))
    tracemalloc.start()
    found = on("cpu", data, kernel, slice(10, 110), into=into)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 1.3 * 1_000_000
    np.testing.assert_allclose(found, on("cpu", np.array(data), kernel, slice(10, 110)), atol=4e-6)


def test_a_result_in_memory_is_all_that_it_takes():
    data, kernel = noise(9, (60, 80, 100)), kernel_of(np.linspace(1.5, 0.3, 24))
    tracemalloc.start()
    on("cpu", data, kernel, slice(0, 60))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * data.nbytes


@pytest.mark.parametrize("voxels", [700_000, 10_000_000])
def test_blocks_on_a_gpu_fit_into_it(small_blocks, voxels):
    small_blocks(voxels)
    data, kernel = noise(10, (70, 110, 130)), kernel_of(np.linspace(1.5, 0.3, 24))
    with LiveBytes() as count:
        filtered(Volume(data, 10.0), kernel, slice(0, 70), mean=0.0, deviation=1.0, device=Elsewhere())
    assert count.most < GPU_BYTES * voxels


class Elsewhere(str):
    """Stands for a GPU where only its kind is asked for; tensors stay where they are."""

    type = "cuda"

    def __new__(cls):
        return super().__new__(cls, "cpu")


def test_a_tomogram_is_matched_on_the_device_of_the_detection(monkeypatch):
    wanted = amplitudes(noise(7, sigma=1.4) / noise(7, sigma=1.4).std(), 0.0, 1.0)
    volume, seen = Volume(10 - 3 * noise(9), 10.0), []
    by_fft = convolution._by_fft
    monkeypatch.setattr(convolution, "_by_fft", lambda image, *rest: seen.append(image.device) or by_fft(image, *rest))
    with pytest.warns(UserWarning, match="amplitude spectrum"), fake_cuda():
        ready = prepare(volume, 10.0, DetectSettings(slab="off"), spectrum=wanted, device="auto")
        assert seen and {place.type for place in seen} == {"cuda"}
    with pytest.warns(UserWarning, match="amplitude spectrum"):
        plain = prepare(volume, 10.0, DetectSettings(slab="off"), spectrum=wanted, device="cpu")
    np.testing.assert_allclose(ready.grid.data, plain.grid.data, atol=4e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_threads_as_torch_may_take(monkeypatch, threads):
    asked = []
    dctn = convolution.fft.dctn
    monkeypatch.setattr(convolution.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(convolution.fft, "dctn", lambda *a, **k: asked.append(k["workers"]) or dctn(*a, **k))
    on("cpu", noise(11, (49, 50, 51)), kernel_of(np.linspace(1.5, 0.3, 24)), slice(0, 49))
    assert asked == [threads]
