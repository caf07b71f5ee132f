"""Compiled kernels for processors with AVX-512, built with the machine's own C++ compiler on first use.

Without a compiler or such a processor `library` gives None and the portable engine is used. VOXPICK_NATIVE=0 turns
the kernels off. The library is kept in the user's cache directory under a name made from the source and the flags.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("msdnet.cpp")
FLAGS = ("-O3", "-std=c++20", "-fPIC", "-shared", "-pthread", "-w", "-mfma") + tuple(
    f"-mavx512{part}" for part in ("f", "bw", "vl", "dq", "bf16")
)


def supported() -> bool:
    """Whether this processor has AVX-512 with bf16 dot products."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None when they cannot be had here."""
    if os.environ.get("VOXPICK_NATIVE", "1") == "0" or not supported():
        return None
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    sources = b"".join(path.read_bytes() for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h"))))
    digest = hashlib.sha256(sources + " ".join((compiler, *FLAGS)).encode()).hexdigest()[:16]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voxpick"
    path = cache_home / f"msdnet-{digest}.so"
    try:
        if not path.exists():
            cache_home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_home) as folder:
                built = Path(folder) / path.name
                command = [compiler, *FLAGS, str(SOURCE), "-o", str(built)]
                subprocess.run(command, check=True, capture_output=True, timeout=300)
                built.replace(path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None
