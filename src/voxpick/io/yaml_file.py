"""YAML files that hold keys and values: settings, which have to be right, and notes, which may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxpick.errors import VoxpickError

MOST_VALUES = 1_000_000
"""That a file may stand for. By aliases of aliases a few lines stand for more than any memory holds once printed."""


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises ValueError for one that is no YAML, nests too deeply or stands for too much."""
    import yaml

    try:
        value = yaml.safe_load(text)
        values = _values(value, {})
    except MemoryError:
        raise
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error
    except Exception as error:  # besides its own, whatever int, float and others raise of a text that is none
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if values > MOST_VALUES:
        raise ValueError("its aliases (*name) stand for too many values")
    return value


def read_settings_file(path: Path) -> dict[Any, Any]:
    """The keys and values of a file. Raises VoxpickError for one that is missing, no YAML, or something else."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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


def _values(value: Any, known: dict[int, int]) -> int:
    """How many values a value stands for, each alias counted as what it stands for; of one that holds itself, no end.

    known: of the lists and mappings counted so far, by identity, so that an alias is not walked through again.
    """
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1  # what is met again before it is counted holds itself
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(value)]
