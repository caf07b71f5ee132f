"""Settings as key=value on the command line."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from voxpick.errors import VoxpickError
from voxpick.io.yaml_file import parse_yaml, read_settings_file


def read_assignments(
    changes: list[str], *, example: str, nested: Collection[str] = (), as_text: Collection[str] = ()
) -> dict[str, Any]:
    """key=value pairs, values read as YAML, or as they are for the keys as_text.

    nested: keys that hold settings themselves; key.name=value reaches inside.
    Raises VoxpickError naming the pair that cannot be read.
    """
    values: dict[str, Any] = {}
    for change in changes:
        key, equals, text = (part.strip() for part in change.partition("="))
        if not equals or not key:
            raise VoxpickError(f"--set {change}: expected key=value, such as --set {example}")
        try:
            value = text if key in as_text else parse_yaml(text)
        except ValueError as error:
            raise VoxpickError(f"--set {change}: the value is not readable YAML, such as --set {example}") from error
        outer, dot, inner = key.partition(".")
        if not (dot and outer in nested):
            values[key] = value
        elif isinstance(values.setdefault(outer, {}), dict):
            values[outer][inner] = value
        else:
            raise VoxpickError(f"--set {change}: {outer} was set to {values[outer]!r} before; set it whole or in parts")
    return values


def read_config(path: Path | None) -> dict[str, Any]:
    """Settings from YAML; none without a file. Raises VoxpickError for one that is no YAML with names for keys."""
    if path is None:
        return {}
    values = read_settings_file(path)
    for key in values:
        if not isinstance(key, str):
            raise VoxpickError(f"{path}: the key {key} is not a name; put it in quotes")
    return values
