"""A tomogram convolved with a small kernel, beyond its faces its mirror image, on the CPU or on a GPU.

On the CPU by cosine transforms (DCT-II), whose images are mirrored at their faces by themselves: nothing is padded, and
the transform of a kernel is real and a product of few cosines. On a GPU by FFT of larger blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from scipy import fft

from voxpick.detect.memory import room_on, spacious
from voxpick.volume import Volume, read_sections, release

CPU = torch.device("cpu")
MOST_VOXELS = 2**25
"""Of a block on the CPU that has to lie beside the result, with what it reads around: 128 MiB."""
GPU_BYTES = 36
"""For each voxel of a block on a GPU: the block, its transform, a copy of that, and what the FFT takes besides."""
Part = tuple[slice, slice, slice]


def filtered(
    volume: Volume, kernel: np.ndarray, sections: slice, *, mean: float, deviation: float,
    into: np.ndarray | None = None, device: torch.device = CPU,
) -> Volume:  # fmt: skip
    """(volume - mean) / |deviation| convolved with a kernel in `sections`, and 0 in all others.

    kernel: of odd and equal sides, the same when mirrored along any axis. Beyond its faces a volume goes on as its
    mirror image. Block by block, so that a large memory-mapped volume is never in memory as a whole, nor a GPU full.
    into: an array for the result; else a large one lies in a temporary file.
    """
    reach = len(kernel) // 2
    result = spacious(volume.shape) if into is None else into
    on_gpu = device.type == "cuda"
    itself = not on_gpu and result.dtype == np.float32 and not isinstance(result, np.memmap)  # no room but the result's
    if on_gpu:
        most = int(room_on(device) / GPU_BYTES)
    else:
        most = result.size if itself else MOST_VOXELS
    for part in _parts(sections, volume.shape, reach, most, mirrored=on_gpu):
        if on_gpu:
            image = _mirrored(volume.data, part, reach, device).sub_(mean).div_(abs(deviation))
            result[part] = _by_fft(image, kernel, part).cpu().numpy()
        else:
            wide = _around(part, volume.shape, reach)
            values = result[wide] if itself else np.empty([s.stop - s.start for s in wide], dtype=np.float32)
            _read(volume.data, wide, values, mean=mean, deviation=deviation)
            _by_cosines(values, kernel)
            if not itself:
                inner = (slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, wide, strict=True))
                result[part] = values[tuple(inner)]
            del values  # before the next block is made
        release(volume.data)
        release(result)
    result[: sections.start] = 0
    result[sections.stop :] = 0
    return Volume(result, volume.voxel_size, name=volume.name)


def _parts(sections: slice, shape: tuple[int, int, int], reach: int, most: int, *, mirrored: bool) -> Iterator[Part]:
    """The sections of a volume in even blocks, each of at most `most` voxels with what it reads around.

    mirrored: it reads `reach` voxels beyond the faces as well.
    """
    lengths = (sections.stop - sections.start, *shape[1:])
    steps = list(lengths)
    while True:
        sides = [step + 2 * reach for step in steps]
        if mirrored:
            sides = [_fast(side) for side in sides]
        else:
            sides = [min(side, n) for side, n in zip(sides, shape, strict=True)]
        if np.prod(sides, dtype=np.float64) <= most or max(steps) == 1:
            break
        axis = max(range(3), key=lambda a: (steps[a] > 1, sides[a]))
        number = -(-lengths[axis] // steps[axis]) + 1
        steps[axis] = min(-(-lengths[axis] // number), steps[axis] - 1)
    firsts = (sections.start, 0, 0)
    stops = (sections.stop, *shape[1:])
    for start in product(*(range(a, b, step) for a, b, step in zip(firsts, stops, steps, strict=True))):
        z, y, x = (slice(a, min(a + step, b)) for a, step, b in zip(start, steps, stops, strict=True))
        yield z, y, x


def _around(part: Part, shape: tuple[int, int, int], reach: int) -> Part:
    """A part and `reach` voxels around it, within the volume; a little more where that makes for a faster transform."""
    found = []
    for span, n in zip(part, shape, strict=True):
        start, stop = max(span.start - reach, 0), min(span.stop + reach, n)
        lacking = fft.next_fast_len(stop - start, real=True) - (stop - start)
        if lacking <= (stop < n) * (n - stop) + start:
            above = min(lacking, n - stop)
            start, stop = start - (lacking - above), stop + above
        found.append(slice(start, stop))
    return found[0], found[1], found[2]


def _read(data: np.ndarray, part: Part, values: np.ndarray, *, mean: float, deviation: float) -> None:
    """Fill values [z, y, x] with the normalised part of data."""
    for z, section in read_sections(data, part[0]):
        into = values[z - part[0].start]
        into[:] = section[part[1:]]
        into -= np.float32(mean)
        into /= np.float32(abs(deviation))


def _by_cosines(values: np.ndarray, kernel: np.ndarray) -> None:
    """Convolve float32 values [z, y, x] in place, mirrored at their faces."""
    workers = torch.get_num_threads()
    changed = fft.dctn(values, overwrite_x=True, workers=workers)
    frequencies = [torch.arange(n) / (2 * n) for n in values.shape]
    _multiply(torch.from_numpy(changed), kernel, frequencies)
    changed = fft.idctn(changed, overwrite_x=True, workers=workers)
    if not np.may_share_memory(changed, values):  # scipy may, but need not, overwrite
        values[:] = changed


def _mirrored(data: np.ndarray, part: Part, reach: int, device: torch.device) -> torch.Tensor:
    """The part [z, y, x] of data and `reach` voxels around it and more behind, to sides that FFTs are fast for."""
    places = []
    for span, n in zip(part, data.shape, strict=True):
        first = span.start - reach
        place = np.arange(first, first + _fast(span.stop + reach - first)) % (2 * n)
        places.append(np.where(place < n, place, 2 * n - 1 - place))
    firsts = [int(place.min()) for place in places]
    inside = tuple(slice(first, int(place.max()) + 1) for first, place in zip(firsts, places, strict=True))
    image = torch.from_numpy(np.array(data[inside], dtype=np.float32)).to(device)
    for axis, (place, first) in enumerate(zip(places, firsts, strict=True)):
        image = image.index_select(axis, torch.from_numpy(place - first).to(device))
    return image


def _by_fft(image: torch.Tensor, kernel: np.ndarray, part: Part) -> torch.Tensor:
    """The convolved `part` of an image that reaches beyond it on all sides."""
    reach, sides = len(kernel) // 2, image.shape
    transform = torch.fft.rfftn(image)
    counts = (*sides[:2], sides[2] // 2 + 1)
    _multiply(transform, kernel, [torch.arange(n) / side for n, side in zip(counts, sides, strict=True)])
    z, y, x = (slice(reach, reach + span.stop - span.start) for span in part)
    transform = torch.fft.ifft(transform, dim=0)[z]
    transform = torch.fft.ifft(transform, dim=1)[:, y]
    return torch.fft.irfft(transform, n=sides[2], dim=2)[:, :, x]


def _fast(n: int) -> int:
    """The least even number from n on that has no prime factor above 5."""
    return 2 * fft.next_fast_len(-(-n // 2), real=True)


def _multiply(transform: torch.Tensor, kernel: np.ndarray, frequencies: list[torch.Tensor]) -> None:
    """Multiply a transform [z, y, x] by that of the kernel about 0; frequencies along each axis, in periods a voxel."""
    reach = len(kernel) // 2
    half = torch.from_numpy(kernel[reach:, reach:, reach:]).to(transform.device, torch.float64)
    along = []
    for some in frequencies:
        waves = torch.cos(2 * torch.pi * some.double()[:, None] * torch.arange(reach + 1))
        waves[:, 1:] *= 2
        along.append(waves.to(transform.device))
    for values, weights in zip(transform, along[0], strict=True):
        response = along[1] @ torch.tensordot(weights, half, 1) @ along[2].T
        values *= response.float()
