"""What commands that go over several tomograms share: their names, checks, and how errors and warnings name them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from voxpick.cli.one_line import one_line
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.volume import Volume


def picks_name(path: Path) -> str:
    """What the picks of a tomogram are called after: its file without .mrc, or .mrc.gz."""
    return Path(path.name.removesuffix(".gz")).stem


def check_tomograms(volumes: list[Path], formats: list[str]) -> None:
    """Refuse before the first tomogram is searched what the headers and names of all files tell."""
    from voxpick.io.mrc import tomogram_name
    from voxpick.io.mrc_header import read_header
    from voxpick.io.star import star_holds

    for path in volumes:
        read_header(path)
        if "star" in formats and not star_holds(picks_name(path)):
            raise VoxpickError(
                f"{path}: STAR files hold no #, no quotation marks and no tabs, and picks are called after the "
                "tomogram; link to it by another name, or leave star out of --format"
            )
        if not is_unicode(path.name):
            raise VoxpickError(
                f"{path}: its name is not Unicode (UTF-8), and picks are called after it; link to it by another name"
            )
    name, times = Counter(tomogram_name(path) for path in volumes).most_common(1)[0]
    if times > 1:
        raise VoxpickError(
            f"{times} tomograms are called {name}, a rec_ before the name aside; their picks would overwrite each "
            "other or be taken for each other's, so detect them apart, into two folders"
        )


def read_tomogram(path: Path, voxel_size: float | None) -> Volume:
    """The tomogram of a file. Raises VoxpickError where neither its header nor the person knows its voxel size (A).

    1 A is what programs write that do not know it; a tomogram of such voxels has to be told so.
    """
    from voxpick.io.mrc import read_mrc

    volume = read_mrc(path, voxel_size=voxel_size)
    _require_known_size(path, volume.voxel_size, voxel_size)
    _warn_of_thin_y(path, volume.shape)
    return volume


def read_grid(path: Path, voxel_size: float | None) -> tuple[float, tuple[int, int, int]]:
    """Voxel size (A) and shape (z, y, x) of the tomogram of a file, by its header. Raises as `read_tomogram`."""
    from voxpick.io.mrc_header import cubic_voxel_size, read_header, require_voxel_size

    header = read_header(path)
    if voxel_size is not None:
        require_voxel_size(voxel_size, path)
    size = cubic_voxel_size(header, path) if voxel_size is None else voxel_size
    _require_known_size(path, size, voxel_size)
    return size, header.shape


def _require_known_size(path: Path, found: float, given: float | None) -> None:
    """Raise VoxpickError for a voxel size (A) of a header that says nothing."""
    if given is None and found == 1.0:
        raise VoxpickError(
            f"{path}: the header gives a voxel size of 1 A, which is what programs write that do not know it; set the "
            "right one with --voxel-size, even if it is 1"
        )


def _warn_of_thin_y(path: Path, shape: tuple[int, int, int]) -> None:
    """A warning where y is by far the shortest side, as in tomograms that IMOD has not rotated yet."""
    nz, ny, nx = shape
    if 2 * ny < min(nz, nx) and not path.resolve().with_name("simulation.yaml").is_file():
        typer.echo(
            f"voxpick: warning: {path}: has {nx} x {ny} x {nz} voxels (x, y, z) and so is thin along y, as tomograms "
            "are before IMOD's trimvol -rx turns them; voxpick expects the ice to lie in x and y, and the tilt axis "
            "along y",
            err=True,
        )


def is_unicode(name: str) -> bool:
    """False for bytes that are no UTF-8, which Python keeps as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def require_unicode(paths: Iterable[Path]) -> None:
    """Raise VoxpickError for a file whose path no report can name, before the work that it would tell of."""
    for path in paths:
        if not is_unicode(str(path)):
            raise VoxpickError(
                f"{path}: its name is not Unicode (UTF-8), and the report names it; link to it by another name"
            )


class Failures:
    """Tomograms of a batch that could not be searched; the others are. One tomogram alone fails at once."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.messages: list[str] = []

    @contextmanager
    def of(self, path: Path) -> Iterator[None]:
        """Work on one tomogram; where there are several, an error is told and kept for `raise_any`.

        Errors that are voxpick's own fault (`one_line` has no words for them) end the batch.
        """
        try:
            yield
        except Exception as error:
            text = one_line(error)
            if self.number == 1 or not text:
                raise
            self.messages.append(str(path))
            told = text if str(path) in text else f"{path}: {text}"
            typer.echo(f"voxpick: error: {told}; going on with the next tomogram", err=True)

    def raise_any(self) -> None:
        """Raise VoxpickError that names what failed, if anything did."""
        if self.messages:
            raise VoxpickError(f"{len(self.messages)} of {self.number} tomograms failed: {', '.join(self.messages)}")


@contextmanager
def errors_name_file(path: Path, name: str) -> Iterator[None]:
    """Let errors that begin with the name of a volume begin with its file."""
    try:
        yield
    except VoxpickError as error:
        raise VoxpickError(f"{path}: {str(error).removeprefix(f'{name}: ')}") from error


@contextmanager
def warnings_on_one_line() -> Iterator[None]:
    """Warnings as one line of standard error, every time."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *rest, **more: typer.echo(f"voxpick: warning: {message}", err=True)
        yield
