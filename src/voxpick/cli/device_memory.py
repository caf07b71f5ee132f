"""What a command took of a GPU, for `voxpick benchmark`, which asks for it by an environment variable."""

from __future__ import annotations

import os
import sys


def note_device_memory() -> None:
    """Write the most bytes that tensors took on a GPU into the file asked for, if one is and a GPU was used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    from pathlib import Path

    from voxpick.benchmark.launch import DEVICE_MEMORY

    if path := os.environ.get(DEVICE_MEMORY):
        peaks = [torch.cuda.max_memory_allocated(k) for k in range(torch.cuda.device_count())]
        Path(path).write_text(str(max(peaks, default=0)), encoding="utf-8")
