"""Beginning with the weights of a trained network, also when it is to name other classes."""

from __future__ import annotations

from typing import Any

import torch

from voxpick.errors import VoxpickError
from voxpick.networks.model import Model, build_network
from voxpick.networks.picknet import CENTRE_CHANNELS

LAYOUT = {"picks": (CENTRE_CHANNELS, 1), "training_heads": (0, 0)}
"""Of output layers with more rows than classes, by name: the row of the first class, and that class's number.

Others have a row for each class, the background being class 0, or for each class but the background.
"""

BY_DATA = ("in_channels", "classes")
"""Settings of a network that follow from its data."""


def network_settings_of(model: Model) -> dict[str, Any]:
    """The settings of a model's network but those that its classes decide."""
    return {key: value for key, value in model.settings.items() if key not in BY_DATA}


def take_weights(source: Model, target: Model) -> list[str]:
    """Copy the weights of `source` into `target` in place; the classes whose output rows were drawn anew.

    All of the network is copied; of its output layers the rows of classes that both models name.
    Raises VoxpickError when the networks differ in more than their classes.
    """
    mine, given = ({**network_settings_of(model), "network": model.name} for model in (target, source))
    if mine != given:
        raise VoxpickError(f"the given weights are of the network {given}, to be trained is {mine}; take the same one")
    old, new = source.network.state_dict(), target.network.state_dict()
    heads = {} if source.classes == target.classes else _class_rows(target)
    with torch.no_grad():
        for key, value in new.items():
            if key not in heads:
                value.copy_(old[key])
            else:
                first, number = heads[key]
                _copy_rows(old[key], value, source.classes[number:], target.classes[number:], first=first)
    return [name for name in target.classes if name not in source.classes]


def _class_rows(model: Model) -> dict[str, tuple[int, int]]:
    """Tensors whose size follows the number of classes: the row of their first class and that class's number."""
    count = len(model.classes)
    larger = build_network(model.name, {**model.settings, "classes": count + 1}).state_dict()
    found = {}
    for key, value in model.network.state_dict().items():
        if value.shape == larger[key].shape:
            continue
        first, number = LAYOUT.get(key.split(".")[0], (0, count - len(value)))
        if number not in (0, 1) or len(larger[key]) != len(value) + 1 or value.shape[1:] != larger[key].shape[1:]:
            raise VoxpickError(f"{model.name}: {key} has no row for each class; begin with a model of the same classes")
        found[key] = (first, number)
    return found


def _copy_rows(old: torch.Tensor, new: torch.Tensor, before: list[str], now: list[str], *, first: int) -> None:
    """Copy rows of an output layer: those of classes in both lists, and those before and after the classes."""
    new[:first].copy_(old[:first])
    new[first + len(now) :].copy_(old[first + len(before) :])
    for row, name in enumerate(now):
        if name in before:
            new[first + row].copy_(old[first + before.index(name)])
