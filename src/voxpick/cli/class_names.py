"""Names of classes that the files of picks cannot hold, told before hours are spent on finding or learning them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxpick.cli.detect_output import COPICK, SUFFIXES
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.particles import Particles


def check_classes(stem: Path, names: list[str], formats: list[str]) -> None:
    """Raise VoxpickError for classes that a format cannot hold."""
    import numpy as np

    from voxpick.io.copick import require_object_name
    from voxpick.io.imod import require_short_names
    from voxpick.io.shrec import require_plain_names
    from voxpick.io.star import require_star_names
    from voxpick.particles import Particles

    def each_of_copick(path: Path, particles: Particles) -> None:
        for name in particles.classes:
            require_object_name(name, path)

    some = Particles(np.zeros((len(names), 3)), classes=np.array(names, dtype=object))
    checks = {"star": require_star_names, "cbox": require_star_names, "shrec": require_plain_names}
    for name, check in {**checks, "imod": require_short_names, COPICK: each_of_copick}.items():
        try:
            if name in formats:
                check(stem.with_name(stem.name + SUFFIXES.get(name, "")), some)
        except VoxpickError as error:
            raise VoxpickError(f"{error}, or leave {name} out of --format") from error


def warn_of_names(names: Sequence[str]) -> None:
    """A warning of classes whose picks `detect` refuses to write unless it is told other formats."""
    from voxpick.io.star import star_holds

    for name in names:
        if len(name.split()) != 1 or name.startswith("#") or not star_holds(name):
            typer.echo(
                f"voxpick: warning: class {name!r}: 'voxpick detect' writes STAR files and SHREC's text, which hold "
                "names of one word without # and quotation marks; rename it in the picks, or detect with --format csv",
                err=True,
            )
