"""Options that are given for all classes of the picks, or for one: --radius 80 --radius ribosome=130."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voxpick.errors import VoxpickError

BACKGROUND = "background"
"""Picks of this class mark places without particles."""


def of_class(given: list[str], name: str, option: str) -> str | None:
    """The value of CLASS=value for a class, else the value given without a class."""
    common = [text for text in given if "=" not in text]
    if len(common) > 1:
        raise VoxpickError(f"{option} is given twice without a class; write CLASS=value")
    own = [text.partition("=")[2] for text in given if text.partition("=")[0] == name and "=" in text]
    if len(own) > 1:
        raise VoxpickError(f"{option} is given twice for class {name!r}, {own[0]} and {own[1]}; leave out one")
    return own[0] if own else (common[0] if common else None)


def require_known_classes(given: Sequence[str], names: Iterable[str], option: str) -> None:
    """Refuse CLASS=value of a class that no pick has."""
    for text in given:
        name, equals, _ = text.partition("=")
        if equals and name not in names:
            raise VoxpickError(f"{option} {text}: no pick is of class {name!r}; there are {', '.join(names)}")


def require_sensible_radius(
    name: str, radius: float, *, voxel_size: float, widest: float, otherwise: str = ""
) -> None:  # fmt: skip
    """Refuse balls smaller than a voxel, or wider than the tomogram; all in A. otherwise: what else to do than that."""
    if radius < voxel_size:
        raise VoxpickError(
            f"class {name!r}: --radius {radius:g} A is less than a voxel of {voxel_size:g} A and may hold none; give a "
            f"larger one, in A{otherwise}"
        )
    if 2 * radius > widest:
        raise VoxpickError(
            f"class {name!r}: --radius {radius:g} A makes a ball wider than the tomogram of {widest:g} A; give that of "
            "the particle, in A"
        )
