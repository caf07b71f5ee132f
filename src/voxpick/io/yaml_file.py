"""YAML files that hold keys and values: settings, which have to be right, and notes, which may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxpick.errors import VoxpickError


def read_settings_file(path: Path) -> dict[Any, Any]:
    """The keys and values of a file. Raises VoxpickError for one that is missing, no YAML, or something else."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise VoxpickError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise VoxpickError(f"{path}: expected lines of 'key: value'")
    return values


def read_notes(path: Path) -> dict[Any, Any]:
    """As `read_settings_file`; empty where it would raise."""
    try:
        return read_settings_file(path)
    except VoxpickError:
        return {}
