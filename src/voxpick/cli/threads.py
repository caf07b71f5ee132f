"""How many CPU threads a command uses."""

from __future__ import annotations


def set_threads(threads: int | None) -> None:
    """Let torch use so many threads, at most one a processor; none or 0 leaves its choice."""
    if threads:
        import os

        import torch

        torch.set_num_threads(min(threads, os.cpu_count() or 1))
