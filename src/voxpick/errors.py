"""The one error a user is meant to see: a line that names the value and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class VoxpickError(Exception):
    """Bad input or an impossible request. The commands print its text on one line and exit with code 2."""


class TooMuchForeground(VoxpickError):
    """A detection gave up as far too much of the volume lies above its threshold, as a network that has learnt little
    makes it."""


def wrong_setting(place: str, error: ValidationError, kind: type[BaseModel]) -> VoxpickError:
    """What pydantic complained of first when settings of a kind were made: `place` with the name, value and reason.

    A complaint of several settings together has no name; then it is `place` and the reason.
    """
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    known = f"; known: {', '.join(kind.model_fields)}" if first["type"] == "extra_forbidden" else ""
    given = f"{place}{name} = {first['input']!r}" if name else place.rstrip(" .:")
    return VoxpickError(f"{given}: {first['msg'].removeprefix('Value error, ')}{known}")
