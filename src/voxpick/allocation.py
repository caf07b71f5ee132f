"""Large tensors come and go by the thousand; this lets the C library keep their memory for the next one.

By default glibc asks the system for every block beyond some size and gives it back when it is freed, so that each new
tensor begins with a page fault every 4096 bytes. Kept memory costs no faults; `detect.memory.settled_bytes` gives it
back where a limit is counted. `benchmarks/speed/allocation.py` measures what it saves.

The largest buffers are better left out of that: once freed and cut up for others, their place is too small for the
next one, and the process holds them twice. `own_pages` gives them memory apart, and `large_blocks_given_back` all
large tensors for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
"""Names of glibc's mallopt(3)."""
KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}
OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")
"""Variables of the environment by which a user sets the same; they are left as they are."""
VARIABLE = "VOXPICK_KEEP_MEMORY"
LARGE_BYTES = 2**28
"""From here on a buffer is used for seconds, beside which the faults of new pages are nothing."""

SEPARATE_BYTES = 2**22
MAPPINGS = 2**14
"""Blocks with pages of their own at a time; glibc's default is four times as many, Linux allows a process as many."""


@cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory, once a process; whether it does.

    Elsewhere than on glibc, with VOXPICK_KEEP_MEMORY=0, or where the environment sets glibc's own variables, nothing
    is changed.
    """
    if not sys.platform.startswith("linux") or os.environ.get(VARIABLE) == "0":
        return False
    if any(name in os.environ for name in OWN_SETTINGS):
        return False
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        done = [mallopt(name, value) for name, value in KEEPING.items()]
        return min(done) == 1
    return False


@contextlib.contextmanager
def large_blocks_given_back() -> Iterator[None]:
    """Meanwhile blocks of SEPARATE_BYTES and more have pages of their own, which go back when they are freed.

    For networks whose every layer needs a larger place than the layers before it left, and computes for long beside
    the page faults. A block that fits into a hole which was left before goes there, and stays. Only where
    `keep_freed_memory` has changed the C library, and back to that afterwards.
    """
    if not keep_freed_memory():
        yield
        return
    library = ctypes.CDLL(None)
    for name, value in {M_TOP_PAD: 0, M_MMAP_THRESHOLD: SEPARATE_BYTES, M_MMAP_MAX: MAPPINGS}.items():
        library.mallopt(name, value)
    library.malloc_trim(0)  # or blocks are cut from what it keeps at the end, whatever their size
    try:
        yield
    finally:
        for name, value in KEEPING.items():
            library.mallopt(name, value)


def own_pages(count: int, dtype: torch.dtype) -> torch.Tensor:
    """A tensor (count,) of anything; a large one has pages of its own, which go back to the system when it is freed."""
    size = count * dtype.itemsize
    if size < LARGE_BYTES:
        return torch.empty(count, dtype=dtype, device="cpu")
    private: dict[str, Any] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return torch.frombuffer(mmap.mmap(-1, size, **private), dtype=dtype)  # shared pages, the default, cost more
