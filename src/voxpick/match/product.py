"""The largest value of every column of a product of matrices, the step that takes most of a low-rank search.

The product [R, V] is never whole in memory: blocks of it stay in the processor's cache until their maximum is taken.
On processors with 8-bit dot products (AVX-512 VNNI, AMX) both factors are rounded to 8 bits, which is twice as fast as
bfloat16: rows to 127 steps of the largest coefficient, and every column to 127 steps of its own largest value, so that
the error, unlike the score itself, hardly grows at places of high score.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

from voxpick.precision import choose_dtype

FORMS = ("int8", "bfloat16", "float32")
ROWS, PLACES = 1024, 512
"""A block of the 8-bit product, whose sums take 4 bytes: 2 MiB."""
FLOAT_ROWS, FLOAT_PLACES = 1024, 4096
"""A block of the others."""
GPU_ROWS, GPU_PLACES = 4096, 1 << 15
"""A block on a GPU, which a smaller one keeps busy for less time than it takes to be asked for: 256 MiB."""
STEPS = 127

Largest = Callable[[torch.Tensor], torch.Tensor]


@cache
def has_int8_dot_products() -> bool:
    """Whether this processor has 8-bit dot products."""
    return hasattr(torch, "_int_mm") and bool(getattr(torch.cpu, "_is_vnni_supported", lambda: False)())


def choose_form(device: torch.device) -> str:
    """The fastest of FORMS on a device."""
    if device.type == "cpu" and has_int8_dot_products():
        return "int8"
    return "bfloat16" if choose_dtype(device) == torch.bfloat16 else "float32"


def kept_dtype(form: str) -> torch.dtype:
    """In which format the columns are handed over."""
    return torch.float32 if form == "float32" else torch.bfloat16


def make_largest(coefficients: torch.Tensor, form: str) -> Largest:
    """A function of columns [K, V]: the largest value (V,), float32, of each column of coefficients [R, K] @ columns.

    form: one of FORMS. Columns are in its `kept_dtype`.
    """
    if form == "int8":
        return _int8(coefficients)
    return _float(coefficients.to(kept_dtype(form)))


def _float(coefficients: torch.Tensor) -> Largest:
    def largest(columns: torch.Tensor) -> torch.Tensor:
        rows, places = (FLOAT_ROWS, FLOAT_PLACES) if columns.device.type == "cpu" else (GPU_ROWS, GPU_PLACES)
        best = torch.full((columns.shape[1],), -torch.inf, device=columns.device)
        for first in range(0, len(best), places):
            block, top = columns[:, first : first + places], best[first : first + places]
            for part in coefficients.split(rows):
                torch.maximum(top, (part @ block).amax(dim=0).float(), out=top)
        return best

    return largest


def _int8(coefficients: torch.Tensor) -> Largest:
    step = float(coefficients.abs().max().clamp(min=1e-30)) / STEPS
    parts = (coefficients / step).round().to(torch.int8).split(ROWS)

    def largest(columns: torch.Tensor) -> torch.Tensor:
        best = torch.empty(columns.shape[1], device=columns.device)
        for first in range(0, len(best), PLACES):
            block = columns[:, first : first + PLACES].float()
            steps = block.abs().amax(dim=0).clamp(min=1e-30) / STEPS
            rounded = (block / steps).round_().to(torch.int8).T.contiguous()  # rows of both lie together in memory
            tops = [torch._int_mm(rounded, part.T).amax(dim=1) for part in parts]
            best[first : first + PLACES] = torch.stack(tops).amax(dim=0) * (steps * step)
        return best

    return largest
