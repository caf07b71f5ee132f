"""Large tensors come and go by the thousand; this lets the C library keep their memory for the next one.

By default glibc asks the system for every block beyond some size and gives it back when it is freed, so that each new
tensor begins with a page fault every 4096 bytes. Kept memory costs no faults; `detect.memory.settled_bytes` gives it
back where a limit is counted. `benchmarks/speed/allocation.py` measures what it saves.

The largest buffers are better left out of that: once freed and cut up for others, their place is too small for the
next one, and the process holds them twice. `own_pages` gives them memory apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import sys
from functools import cache
from typing import Any

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Names of glibc's mallopt(3)."""
OWN_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")
"""Variables of the environment by which a user sets the same; they are left as they are."""
VARIABLE = "VOXPICK_KEEP_MEMORY"
LARGE_BYTES = 2**28
"""From here on a buffer is used for seconds, beside which the faults of new pages are nothing."""


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
        values = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}
        done = [mallopt(name, value) for name, value in values.items()]
        return min(done) == 1
    return False


def own_pages(count: int, dtype: torch.dtype) -> torch.Tensor:
    """A tensor (count,) of anything; a large one has pages of its own, which go back to the system when it is freed."""
    size = count * dtype.itemsize
    if size < LARGE_BYTES:
        return torch.empty(count, dtype=dtype, device="cpu")
    private: dict[str, Any] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return torch.frombuffer(mmap.mmap(-1, size, **private), dtype=dtype)  # shared pages, the default, cost more
