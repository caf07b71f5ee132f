"""Memory of a detection: what the process holds, what a network takes for each voxel, and what fits."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import resource
import sys
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from voxpick.errors import VoxpickError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
PROBE = (16, 16, 128)
LIBRARY_SHARE = 1.2
GPU_SHARE = 0.7
"""Of a GPU's free memory: its libraries take workspaces beside the tensors, and pieces of it are too small."""


def parse_memory(text: str | float) -> int:
    """Bytes of a size such as 4G, 4.5GB, 800M or a plain number of bytes. Raises VoxpickError for anything else."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([kmgt]?)(i?b)?\s*", str(text), re.IGNORECASE)
    size = float(match[1]) * UNITS[match[2].upper()] if match else 0.0
    if not 0 < size < float("inf"):
        raise VoxpickError(f"max_memory = {text!r}: not a size; use something like 4G or 800M")
    return int(size)


def in_gigabytes(size: float) -> str:
    """A size in bytes as text, in units of 2^30 bytes, or of 2^20 where it is small."""
    return f"{size / 2**30:.1f}G" if size >= 0.1 * 2**30 else f"{size / 2**20:.0f}M"


def resident_bytes() -> int:
    """Bytes of memory the process holds now; where the system does not say, the most it held so far."""
    try:
        fields = np.fromfile("/proc/self/statm", dtype=np.int64, count=2, sep=" ")
        return int(fields[1]) * resource.getpagesize()
    except OSError:
        return peak_bytes()


def settled_bytes() -> int:
    """`resident_bytes` after memory that was freed, but kept by the C library for later, went back to the system."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # other C libraries than glibc have no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
    return resident_bytes()


def settle_above(size: float) -> None:
    """As `settled_bytes`, where the process holds more than `size` bytes: what is kept grows from tile to tile."""
    if resident_bytes() > size:
        settled_bytes()


def room_on(device: torch.device) -> float:
    """Bytes that a network may still take on a GPU: a share of what is free, or kept by torch for later."""
    if device.type != "cuda":
        return math.inf
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return GPU_SHARE * (torch.cuda.mem_get_info(device)[0] + kept)


def peak_bytes() -> int:
    """The most memory the process has held, in bytes.

    On Linux of this program alone: getrusage counts what the process held before it became this program, too.
    """
    with contextlib.suppress(OSError):
        status = np.fromfile("/proc/self/status", dtype=np.uint8, count=8192).tobytes()  # it is shorter
        if found := re.search(rb"VmHWM:\s+(\d+) kB", status):
            return int(found.group(1)) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def spacious(shape: tuple[int, ...], *, in_memory: int = 2**29, dtype: type = np.float32) -> np.ndarray:
    """An empty array; one of more than `in_memory` bytes lies in a nameless temporary file ($TMPDIR).

    Raises VoxpickError where the disk has no room for it.
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if size <= in_memory:
        return np.empty(shape, dtype=dtype)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a hole in the file would end the process once it is written to
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
    except OSError as error:
        raise VoxpickError(
            f"{tempfile.gettempdir()}: no room for a temporary file of {in_gigabytes(size)} ({error.strerror or error})"
            "; set TMPDIR to a folder on a larger disk"
        ) from error


class LiveBytes(TorchDispatchMode):
    """While active, counts the bytes of the tensors that operators return: those alive now, and the most at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _key(self, storage: Any) -> int:
        """By what a storage is known."""
        return storage.data_ptr()

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = self._key(storage), storage.nbytes()
        if key in self._known or not size:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def bytes_per_voxel(
    evaluate: Callable[[torch.Tensor], torch.Tensor], sides: tuple[int, int, int] = PROBE
) -> float:  # fmt: skip
    """Bytes that `evaluate` of an image (1, 1, z, y, x) takes for each of its voxels, measured on one of these sides.

    Counted from the tensors that live at the same time, with a fifth more for what the libraries use inside; so the
    figure, and every tiling that follows from it, is the same in every run.
    """
    image = torch.zeros(1, 1, *sides)
    with LiveBytes() as count:
        evaluate(image)
    return LIBRARY_SHARE * count.most / image.numel() + 8
