"""A GPU for tests where there is none: what runs on 'cuda' is computed on the CPU, and watched.

Within `fake_cuda()` torch says that there is a GPU. Tensors that are made on it, moved to it or computed from such lie
in main memory all the same, but their storages are marked, and what CUDA would refuse is refused: operators on tensors
of both kinds, numpy arrays of tensors on the GPU, pointers to them. So whole commands run through the branches of the
code that are for a GPU. Not watched: kernels (what they support, and how they round), streams, and memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
ACROSS = {"aten::copy_", "aten::_to_copy", "aten::_has_compatible_shallow_copy_type"}
"""Operators that take tensors from one device to the other."""
INDEXED = {"aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
"""Operators whose indices may lie in main memory while what they index is on the GPU; the reverse is refused."""


class Marks:
    """Which storages count as the GPU's."""

    def __init__(self) -> None:
        self._marked: set[int] = set()
        self.inside = False  # a function of torch that was given tensors on the GPU, and makes others there itself

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return not tensor.is_meta and tensor.untyped_storage()._cdata in self._marked

    def set(self, tensor: torch.Tensor, on_gpu: bool = True) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if on_gpu and key not in self._marked:
            self._marked.add(key)
            weakref.finalize(storage, self._marked.discard, key)
        elif not on_gpu:
            self._marked.discard(key)

    def move(self, tensor: torch.Tensor, to_gpu: bool) -> torch.Tensor:
        """The tensor itself, or a copy on the other device."""
        if (tensor in self) == to_gpu:
            return tensor
        found = tensor.clone()
        self.set(found, to_gpu)
        return found


def _tensors(values: Any) -> list[torch.Tensor]:
    """Those in nested arguments or results, but for tensors without memory."""
    if isinstance(values, torch.Tensor):
        return [] if values.is_meta else [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (tuple, list)):
        return []
    return [tensor for value in values for tensor in _tensors(value)]


class _Operators(TorchDispatchMode):
    """Refuses operators on tensors of both devices, and marks the results of those on the GPU."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        given = _tensors((args, kwargs))
        on_gpu = [tensor for tensor in given if tensor in self.marks]
        others = [tensor for tensor in given if tensor.dim() > 0 and tensor not in self.marks]
        mixed = bool(on_gpu) and bool(others)
        if mixed and name in INDEXED and args[0] in self.marks:
            values = _tensors(args[2:3]) if "put" in name else []
            mixed = any(value.dim() > 0 and value not in self.marks for value in values)
        if mixed and name not in ACROSS:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but {name} got one of shape {tuple(others[0].shape)} "
                f"on cpu and one of shape {tuple(on_gpu[0].shape)} on {GPU}"
            )
        found = func(*args, **kwargs)
        if (on_gpu or (self.marks.inside and not given)) and not (name == "aten::copy_" and args[0] not in self.marks):
            for tensor in _tensors(found):
                self.marks.set(tensor)
        return found


class _Functions(TorchFunctionMode):
    """Lets the functions of torch and the attributes of tensors speak of the GPU."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        special = SPECIAL.get(func)
        if special is not None:
            return special(self, func, args, kwargs)
        if "device" in kwargs and kwargs["device"] is not None and torch.device(kwargs["device"]).type != "meta":
            on_gpu = torch.device(kwargs["device"]).type == "cuda"
            kwargs["device"] = torch.device("cpu")
            if func in (torch.as_tensor, torch.asarray):
                found = func(*args, **kwargs)
                return self.marks.move(found, on_gpu)
            found = func(*args, **kwargs)
            for tensor in _tensors(found):
                self.marks.set(tensor, on_gpu)
            return found
        before, self.marks.inside = self.marks.inside, any(tensor in self.marks for tensor in _tensors((args, kwargs)))
        try:
            return func(*args, **kwargs)
        finally:
            self.marks.inside = before

    def _device(self, func: Any, args: Any, kwargs: Any) -> Any:
        return GPU if args[0] in self.marks else func(*args, **kwargs)

    def _is_cuda(self, func: Any, args: Any, kwargs: Any) -> bool:
        return args[0] in self.marks

    def _is_cpu(self, func: Any, args: Any, kwargs: Any) -> bool:
        return func(*args, **kwargs) and args[0] not in self.marks

    def _to(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, *rest = args
        if rest and isinstance(rest[0], torch.Tensor):
            other = rest.pop(0)
            place, dtype = (GPU if other in self.marks else torch.device("cpu")), other.dtype
        else:
            copies = kwargs.pop("copy", False)
            place, dtype, _, layout = torch._C._nn._parse_to(*rest, **kwargs)
            kwargs = {"copy": True} if copies else {}
            if layout is not None:
                kwargs["memory_format"] = layout
        if place is not None and place.type == "meta":
            return func(tensor, place, dtype)
        found = func(tensor, dtype or tensor.dtype, **kwargs)
        return found if place is None else self.marks.move(found, place.type == "cuda")

    def _cpu(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self.marks.move(args[0], False)

    def _cuda(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self.marks.move(args[0], True)

    def _array(self, func: Any, args: Any, kwargs: Any) -> Any:
        if args[0] in self.marks:
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        return func(*args, **kwargs)

    def _pointer(self, func: Any, args: Any, kwargs: Any) -> Any:
        if args[0] in self.marks:
            raise AssertionError("a pointer to memory of the GPU is asked for")
        return func(*args, **kwargs)

    def _like_itself(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Of functions whose results are on the device of the tensor without going through an operator on it."""
        place = kwargs.pop("device", None)
        on_gpu = args[0] in self.marks if place is None else torch.device(place).type == "cuda"
        found = func(*args, **kwargs)
        self.marks.set(found, on_gpu)
        return found

    def _backward(self, func: Any, args: Any, kwargs: Any) -> Any:
        with self:  # what autograd functions of our own ask of tensors is asked here as well
            return torch.autograd.backward(args[0], *args[1:4], inputs=kwargs.pop("inputs", None), **_renamed(kwargs))


SPECIAL = {
    torch.Tensor.device.__get__: _Functions._device,
    torch.Tensor.is_cuda.__get__: _Functions._is_cuda,
    torch.Tensor.is_cpu.__get__: _Functions._is_cpu,
    torch.Tensor.to: _Functions._to,
    torch.Tensor.cpu: _Functions._cpu,
    torch.Tensor.cuda: _Functions._cuda,
    torch.Tensor.numpy: _Functions._array,
    torch.Tensor.__array__: _Functions._array,
    torch.Tensor.data_ptr: _Functions._pointer,
    torch.Tensor.new_tensor: _Functions._like_itself,
    torch.Tensor.__deepcopy__: _Functions._like_itself,
    torch.Tensor.backward: _Functions._backward,
}


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    """Options of Tensor.backward as torch.autograd.backward calls them."""
    return {"grad_tensors" if name == "gradient" else name: value for name, value in options.items()}


class _Generator(torch.Generator):
    """A generator that says it is on the GPU."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls, "cpu")
        made.place = torch.device(device)
        return made

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__()

    @property
    def device(self) -> torch.device:
        """Where it says it is."""
        return self.place


def _on_cpu(function: Any) -> Any:
    """A function of a device's kind, asked for the CPU's where the GPU's is meant."""

    def asked(kind: str = "cuda", *args: Any, **kwargs: Any) -> Any:
        return function("cpu" if kind == "cuda" else kind, *args, **kwargs)

    return asked


@contextmanager
def fake_cuda(*, capability: tuple[int, int] = (9, 0), memory: int = 8 << 30) -> Iterator[Marks]:
    """A GPU of a compute capability and so many bytes of memory, which nothing takes."""
    marks = Marks()
    attributes = {
        "is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0,
        "get_device_capability": lambda device=None: capability, "get_device_name": lambda device=None: "a fake GPU",
        "mem_get_info": lambda device=None: (memory, memory), "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0, "synchronize": lambda device=None: None,
        "empty_cache": lambda: None, "is_bf16_supported": lambda *args, **kwargs: True,
    }  # fmt: skip
    names = ("autocast", "is_autocast_enabled", "get_autocast_dtype")
    with (
        mock.patch.multiple(torch.cuda, **attributes),
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
        mock.patch.multiple(torch, Generator=_Generator, **{name: _on_cpu(getattr(torch, name)) for name in names}),
        _Operators(marks),
        _Functions(marks),
    ):
        yield marks
