"""Compiled kernels for processors with AVX-512 or AVX2, built with the machine's own C++ compiler on first use.

Without a compiler or such a processor `library` gives None and the portable engine is used. VOXPICK_NATIVE=0 turns
the kernels off; VOXPICK_NATIVE=avx2 and the other names of INSTRUCTIONS ask for those of lesser processors. The library
is kept in the user's cache directory under a name made from the source and the flags.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from voxpick.precision import has_amx, has_avx512_bf16

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
PATIENCE_SECONDS = 300
"""How long the compiler may take."""

_given_up: list[subprocess.TimeoutExpired] = []
"""Not empty once it took longer."""

FLAGS = ("-O3", "-std=c++20", "-fPIC", "-shared", "-pthread", "-w", "-mfma")
_AVX512 = tuple(f"-mavx512{part}" for part in ("f", "bw", "vl", "dq"))
_AMX = ("-mamx-tile", "-mamx-bf16")
INSTRUCTIONS = {
    "amx": (*_AVX512, "-mavx512bf16", *_AMX),
    "avx512_bf16": (*_AVX512, "-mavx512bf16"),
    "avx512": _AVX512,
    "avx2": ("-mavx2",),
}
"""Sets of instructions, the best first, and the compiler's flags for them. Only the first two compute in bf16."""


@cache
def supported() -> tuple[str, ...]:
    """Which of INSTRUCTIONS this processor has, the best first."""
    level = torch.backends.cpu.get_cpu_capability()
    if level not in ("AVX512", "AVX2"):
        return ()
    has: dict[str, Callable[[], bool]] = {
        "amx": has_amx,
        "avx512_bf16": has_avx512_bf16,
        "avx512": lambda: True,
        "avx2": lambda: True,
    }
    return tuple(name for name in INSTRUCTIONS if (level == "AVX512" or name == "avx2") and has[name]())


@cache
def chosen() -> str | None:
    """The instructions that the kernels use here; None where there are no kernels."""
    wanted = os.environ.get("VOXPICK_NATIVE", "1")
    if wanted == "0":
        return None
    names = supported()
    if wanted in names:
        names = names[names.index(wanted) :]
    return next((name for name in names if build(name) is not None), None)  # an old compiler may know lesser ones only


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None when they cannot be had here."""
    instructions = chosen()
    return None if instructions is None else build(instructions)


def has_bfloat16() -> bool:
    """Whether the kernels compute in bf16 as well as in float32."""
    return chosen() in ("amx", "avx512_bf16")


@cache
def build(instructions: str) -> ctypes.CDLL | None:
    """The kernels compiled for one of INSTRUCTIONS, or None without a compiler.

    With OpenMP, whose threads they then share with torch, where the compiler has it; else with threads of their own.
    A compiler that takes longer than PATIENCE_SECONDS is told of, and not asked again by this process.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    flags = (*FLAGS, *INSTRUCTIONS[instructions])
    return _built(compiler, (*flags, "-fopenmp")) or _built(compiler, flags)


def _built(compiler: str, flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """The library, compiled unless the cache has it; None where that fails, or it cannot be loaded.

    Of processes that start together one compiles and the others wait for it.
    """
    sources = b"".join(path.read_bytes() for path in (*SOURCES, *sorted(Path(__file__).parent.glob("*.h"))))
    digest = hashlib.sha256(sources + " ".join((compiler, *flags)).encode()).hexdigest()[:16]
    try:
        cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voxpick"
    except RuntimeError:  # a user without a home, as in some containers
        return None
    path = cache_home / f"kernels-{digest}.so"
    try:
        if not path.exists():
            cache_home.mkdir(parents=True, exist_ok=True)
            with _alone(cache_home / f"{path.stem}.lock"):
                if not path.exists():
                    if _given_up:
                        return None
                    _compile([*shlex.split(compiler), *flags, *map(str, SOURCES)], path)
        return ctypes.CDLL(str(path))
    except subprocess.TimeoutExpired as error:
        _given_up.append(error)
        warnings.warn(
            f"the compiler took more than {PATIENCE_SECONDS} seconds for the fast kernels, so torch's own are used; "
            "the next run tries again",
            stacklevel=2,
        )
        return None
    except (OSError, subprocess.SubprocessError):
        return None


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait for other processes that hold this file; file systems without locks hold nothing."""
    with lock.open("w") as file:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(command: list[str], path: Path) -> None:
    """Let the compiler write the file, under its name only when it is whole."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        subprocess.run([*command, "-o", str(built)], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
        built.replace(path)
