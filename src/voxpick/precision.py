"""Which device and number format to compute in."""

from __future__ import annotations

import warnings
from functools import cache

import torch

from voxpick.errors import VoxpickError


def choose_device(name: str = "auto") -> torch.device:
    """'auto' takes a CUDA GPU when there is one that works, else the CPU; anything else is a torch device name.

    A GPU that is there and does not work, as one that this build of torch has no code for, is told of by a warning.
    Raises VoxpickError for a device that is unknown, not there or does not work.
    """
    if name == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    try:
        device = torch.device("cuda" if name == "auto" else name)
        (torch.ones(1, device=device) + 1).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if name == "auto":
            warnings.warn(f"the GPU cannot be used ({reason}); the CPU is", stacklevel=2)
            return torch.device("cpu")
        raise VoxpickError(f"--device {name}: not available here ({reason}); use cpu or auto") from error
    return device


def device_name(device: torch.device) -> str:
    """A device as results name it: 'cpu', or 'cuda (NVIDIA H200)'."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


@cache
def has_amx() -> bool:
    """Whether this processor multiplies bf16 tiles in hardware (Intel AMX)."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


@cache
def has_avx512_bf16() -> bool:
    """Whether this processor has bf16 dot products (AVX-512 BF16)."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def instructions() -> str:
    """The vector instructions of this processor that matter here, such as 'AVX512 BF16 AMX' or 'AVX2'."""
    names = [torch.backends.cpu.get_cpu_capability()]
    names += ["BF16"] * has_avx512_bf16() + ["AMX"] * has_amx()
    return " ".join(names)


def choose_dtype(device: torch.device, network: torch.nn.Module | None = None) -> torch.dtype:
    """bfloat16 where the processor or GPU gains from it, else float32.

    network: what is computed, if known. Without matrix tiles (AMX), one with modules whose `fewer_products` is True
    (`networks.winograd`) gains more from float32 (docs/decisions/0007).
    """
    if device.type == "cuda":
        native = torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
        return torch.bfloat16 if native else torch.float32  # older ones emulate it, which is slower
    if has_amx():
        return torch.bfloat16
    fewer = network is not None and any(getattr(module, "fewer_products", False) for module in network.modules())
    return torch.bfloat16 if has_avx512_bf16() and not fewer else torch.float32
