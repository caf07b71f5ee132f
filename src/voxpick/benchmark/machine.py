"""What made a result: the code of the package, and the machine it ran on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("voxpick", "numpy", "scipy", "torch")
DIRTY = "+"
"""Behind a commit: the sources of the package, or the scripts of the benchmarks, were not as they are in it."""
Machine = Mapping[str, Any]


@cache
def code_digest() -> str:
    """Of the Python sources of the package, wherever they lie."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: path.relative_to(PACKAGE).as_posix()):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@cache
def commit() -> str | None:
    """The git commit that the package is checked out at, with DIRTY behind it where sources or scripts differ from it;
    None where it lies in no checkout. What git does not track does not count."""
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:  # a checkout of something else around it
        return None
    found = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/benchmarks/*.py")
    return f"{found}{DIRTY}" if found and changed else found


def commit_in_words(found: str | None) -> str:
    """A commit, or several ('a1b2c3 and d4e5f6'), as pages print it; 'unknown' for none."""
    return "unknown" if found is None else found.replace(DIRTY, " with uncommitted changes")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def processor() -> str:
    """The processor's name, as Linux tells it; elsewhere its kind, or that of the machine."""
    if (found := Path("/proc/cpuinfo")).exists():
        for line in found.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def gpus(folder: Path = Path("/proc/driver/nvidia/gpus")) -> str:
    """The names of NVIDIA's GPUs, as their driver for Linux tells them without torch; empty where it does not."""
    try:
        told = [line for path in sorted(folder.glob("*/information")) for line in path.read_text().splitlines()]
    except OSError:
        return ""
    names = [line.split(":", 1)[1].strip() for line in told if line.startswith("Model:")]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, cores, versions of the packages that are installed, and commit."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = {"processor": processor(), "cores": os.cpu_count(), "versions": versions, "commit": commit()}
    return {**found, "gpus": named} if (named := gpus()) else found


def together(machines: Sequence[Machine]) -> dict[str, Any]:
    """Machines as one, in words where they differ: 'a1b2c3 and d4e5f6'. Needs one at least."""
    first, *others = machines
    return {
        key: together([found[key] for found in machines])
        if isinstance(value, Mapping)
        else _joined([value, *(other.get(key) for other in others)])
        for key, value in first.items()
    }


def _joined(values: Sequence[Any]) -> Any:
    different = list(dict.fromkeys(values))
    return different[0] if len(different) == 1 else " and ".join("none" if v is None else str(v) for v in different)
