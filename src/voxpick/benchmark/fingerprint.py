"""What a result was made from, as a short text: equal texts mean that it need not be made again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SAMPLE = 1 << 20


def fingerprint(content: Any) -> str:
    """Of anything JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def of_file(path: Path) -> str:
    """Of the size of a file and its first, middle and last megabyte."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in (0, size // 2, max(size - SAMPLE, 0)):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:16]


def of_model_folder(folder: Path) -> str:
    """Of the tomogram, the masks and the particle list of a model folder; its place does not matter."""
    names = ("particle_locations.txt", "reconstruction.mrc", "class_mask.mrc", "occupancy_mask.mrc")
    return fingerprint([of_file(folder / name) for name in names if (folder / name).is_file()])
