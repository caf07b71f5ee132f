"""Networks made ready for inference: batch normalisation folded, channels last, ReLU fused, OpenVINO where it gains.

Networks without convolution layers of torch (MSDNet has kernels of its own) are left alone.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch
from torch import nn

from voxpick.errors import VoxpickError
from voxpick.networks.folding import CONVOLUTIONS, folded
from voxpick.networks.fusing import FusedConvolution, fused
from voxpick.precision import choose_dtype

WORTH_CONVERTING = 2**24
"""Voxels from which on OpenVINO gains more than converting the network takes."""

PROBE = (16, 24, 32)
TOLERANCE = 0.05
"""Largest difference to torch on the probe, as a part of the largest output; bfloat16 alone makes some 0.01."""


def for_inference(network: nn.Module, device: torch.device) -> nn.Module:
    """A folded copy of a convolutional network on `device`, laid out for fast convolutions; others are moved there."""
    if not _convolutional(network):
        return network.to(device)
    ready = folded(network).to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if hasattr(ready, "compute_dtype"):
        ready.compute_dtype = torch.float32  # the format is autocast's choice
    return ready


def on_engine(network: nn.Module, engine: str, device: torch.device, *, voxels: int) -> nn.Module:
    """`network`, prepared by `for_inference`, evaluated by 'torch' or 'openvino' (on a CPU).

    'auto' takes OpenVINO where it is installed and there are so many voxels to evaluate that it pays, as converting
    takes seconds, but not where float32 convolutions have kernels with fewer products (benchmarks/speed/unet.py).
    Raises VoxpickError for 'openvino' when it is not there. A network that OpenVINO cannot take is evaluated by torch,
    with a warning. By torch, on a CPU, convolutions take along what follows them (`networks.fusing`).
    """
    if device.type != "cpu" or not _convolutional(network):
        return network
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise VoxpickError("detect: engine = openvino, but it is not installed; pip install 'voxpick[openvino]'")
    quick = fused(network)
    if engine == "torch" or not installed or (engine == "auto" and (voxels < WORTH_CONVERTING or _few_products(quick))):
        return quick
    try:
        return OpenVinoNetwork(network)
    except Exception as error:
        _warn(error)
        return quick


def measured(network: nn.Module, engine: nn.Module) -> nn.Module:
    """What memory is planned by, of a network and `on_engine` of it: OpenVINO would compile for every size tried."""
    return network if isinstance(engine, OpenVinoNetwork) else engine


def _few_products(network: nn.Module) -> bool:
    """Whether convolutions of a fused network are done by `networks.winograd`, which float32 alone is."""
    some = any(isinstance(module, FusedConvolution) and module.fewer_products for module in network.modules())
    return some and choose_dtype(torch.device("cpu"), network) == torch.float32


class OpenVinoNetwork(nn.Module):
    """A torch network of one input and one output, evaluated by OpenVINO; float32 in and out.

    Under autocast it computes in autocast's format. Compiled for one shape of input at a time.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        import openvino

        self.torch_network = network
        self.multiple_of = int(getattr(network, "multiple_of", 1))
        self._core = openvino.Core()
        self._compiled: tuple[Any, Any] = (None, None)
        image = torch.randn(1, 1, *(-(-n // self.multiple_of) * self.multiple_of for n in PROBE))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = openvino.convert_model(network, example_input=image)
        if len(self._model.inputs) != 1 or len(self._model.outputs) != 1:
            raise ValueError("a network needs one input and one output")
        self._compare(image[:, :, :, :, : image.shape[4] // 2])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Outputs as the network's own; by torch, with a warning, when OpenVINO fails."""
        if self._model is None:
            return self.torch_network(images)
        try:
            return self._infer(images)
        except Exception as error:
            _warn(error)
            self._model, self._compiled = None, (None, None)
            return self.torch_network(images)

    def _infer(self, images: torch.Tensor) -> torch.Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        key = (tuple(images.shape), dtype)
        if self._compiled[0] != key:
            self._compiled = (None, None)
            self._model.reshape(list(images.shape))
            settings = {
                "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            }
            compiled = self._core.compile_model(self._model, "CPU", settings)
            self._compiled = (key, compiled.create_infer_request())
        request = self._compiled[1]
        request.infer({0: images.float().contiguous().numpy()})
        return torch.from_numpy(request.get_output_tensor(0).data.copy())

    @torch.inference_mode()
    def _compare(self, image: torch.Tensor) -> None:
        """Refuse a conversion that does not do what the network does, in another shape than it was converted with."""
        expected, found = self.torch_network(image), self._infer(image)
        if found.shape != expected.shape or (found - expected).abs().max() > TOLERANCE * expected.abs().max():
            raise ValueError("the converted network gives other results")


def _convolutional(network: nn.Module) -> bool:
    return any(isinstance(module, CONVOLUTIONS) for module in network.modules())


def _warn(error: Exception) -> None:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    warnings.warn(f"OpenVINO cannot run this network ({reason}); torch does", stacklevel=3)
