"""The one-file checkpoint: a network with all that is needed to use it on somebody else's tomogram."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from voxpick.errors import VoxpickError
from voxpick.networks.short_weights import restored, shortened

FORMAT, SHORT_FORMAT = 1, 2
"""Of files; the second has weights in 8 bits (`networks.short_weights`)."""


@dataclass
class Model:
    """A network, what its outputs mean and where it came from.

    name, settings: the entry of `networks.zoo.NETWORKS` and its keyword arguments.
    classes: names of the output channels in order; the first is 'background'.
    voxel_size: A, of the tomograms it was trained on.
    detection: post-processing settings chosen on validation data (threshold, bandwidth in A, ...).
    provenance: data, seeds, minutes, device, scores.
    spectrum: amplitudes of its training tomograms (`detect.spectrum`), to which others are brought; None: unknown.
    """

    name: str
    settings: dict[str, Any]
    network: torch.nn.Module
    classes: list[str]
    voxel_size: float
    detection: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    spectrum: list[float] | None = None

    @classmethod
    def create(cls, name: str, settings: dict[str, Any], **rest: Any) -> Model:
        """A model with a freshly initialised network."""
        return cls(name=name, settings=settings, network=build_network(name, settings), **rest)


def build_network(name: str, settings: dict[str, Any]) -> torch.nn.Module:
    """The network called `name` in the zoo. Raises VoxpickError for an unknown name."""
    from voxpick.networks.zoo import NETWORKS

    if name not in NETWORKS:
        raise VoxpickError(f"unknown network {name!r}; one of {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](**settings)


def pack(models: dict[str, Model], *, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Models by part name (for VP-Detector 'localizer' and 'classifier') as plain data for `torch.save`.

    dtype: store the weights so (bfloat16, float16 or int8 make the file small); None keeps them as they are.
    """
    parts = {}
    for part, model in models.items():
        state = {key: _stored(value.detach().cpu(), dtype) for key, value in model.network.state_dict().items()}
        parts[part] = {
            "name": model.name,
            "settings": model.settings,
            "classes": list(model.classes),
            "voxel_size": float(model.voxel_size),
            "detection": model.detection,
            "provenance": model.provenance,
            "spectrum": model.spectrum,
            "state": state,
        }
    return {"voxpick_model": SHORT_FORMAT if dtype == torch.int8 else FORMAT, "parts": parts}


def _stored(value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor | dict[str, torch.Tensor]:
    if dtype == torch.int8:
        return shortened(value)
    return value.to(dtype) if dtype and value.is_floating_point() else value


def unpack(data: Any, *, source: str = "model") -> dict[str, Model]:
    """The inverse of `pack`; weights come back as float32. Raises VoxpickError when `data` is no voxpick model."""
    if not isinstance(data, dict) or data.get("voxpick_model") not in (FORMAT, SHORT_FORMAT):
        raise VoxpickError(
            f"{source}: not a voxpick model file (format {FORMAT} or {SHORT_FORMAT}); train one with 'voxpick train'"
        )
    models = {}
    for part, entry in data["parts"].items():
        if (wrong := _wrong_with(part, entry)) is not None:
            raise VoxpickError(f"{source}: a damaged voxpick model file (of {part}: {wrong}); train it anew")
        network = build_network(entry["name"], entry["settings"])
        state = {key: restored(value) for key, value in entry["state"].items()}
        network.load_state_dict(state)
        models[part] = Model(
            name=entry["name"],
            settings=entry["settings"],
            network=network.eval(),
            classes=list(entry["classes"]),
            voxel_size=entry["voxel_size"],
            detection=dict(entry["detection"]),
            provenance=dict(entry["provenance"]),
            spectrum=entry.get("spectrum"),
        )
    return models


def _wrong_with(part: Any, entry: dict[str, Any]) -> str | None:
    """What is wrong with a part beside its weights, which detections would notice late or not at all; None: nothing."""
    classes, size, spectrum = entry["classes"], entry["voxel_size"], entry.get("spectrum")
    outputs = entry["settings"].get("classes", len(classes))
    if not isinstance(part, str):
        return "parts have names"
    if not isinstance(classes, list) or not all(isinstance(name, str) and name for name in classes):
        return f"its classes are {classes!r}, not a list of names"
    if len(set(classes)) < len(classes) or len(classes) != outputs:
        return f"its classes are {', '.join(classes)}, but the network tells {outputs} apart"
    if not (_is_number(size) and size > 0):
        return f"its voxel size is {size!r}"
    if spectrum is not None and not (isinstance(spectrum, list) and spectrum and all(map(_is_number, spectrum))):
        return "its spectrum is no list of finite numbers"
    if spectrum is not None and min(spectrum) < 0:
        return f"its spectrum has an amplitude of {min(spectrum):g}"
    if any(isinstance(value, torch.Tensor) and value.is_complex() for value in entry["state"].values()):
        return "its weights are complex numbers"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
