"""Write to a temporary name beside the target, then rename: a file is whole or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from voxpick.errors import VoxpickError
from voxpick.io.abandoned import remove_partial_files

LONGEST_NAME = 255 - 2 * len("..4194304.partial")
"""Bytes of a file's name, of the 255 that file systems take; the rest is for the temporary one of a temporary one."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; rename it to `path` on success, remove it on any failure.

    A link stays one: what it points to is replaced. What killed processes left of the same file is removed.
    Raises VoxpickError when the folder cannot be made, the disk refuses the write, or there is a device or a pipe.
    """
    target = Path(path)
    target = Path(os.path.realpath(target)) if target.is_symlink() else target
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise VoxpickError(f"{path}: is a device or a pipe, which would be replaced by a file; name a file")
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_partial_files(target)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise VoxpickError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_paths(paths: Sequence[str | Path]) -> Iterator[list[Path]]:
    """As `atomic_path`, of files that belong together: they are renamed, in this order, once all are written.

    On any failure before that none is. Raises VoxpickError that names the files as they are to be called.
    """
    temporaries: list[Path] = []
    try:
        with ExitStack() as stack:
            for path in reversed(paths):  # the last one entered is renamed first
                temporaries.insert(0, stack.enter_context(atomic_path(path)))
            yield temporaries
    except VoxpickError as error:
        message = str(error)
        for temporary, path in zip(temporaries, paths[len(paths) - len(temporaries) :], strict=True):
            message = message.replace(str(temporary), str(path))
        raise VoxpickError(message) from error


def write_together(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write files that belong together, by what writes each to a path it is given: all are replaced, or none."""
    with atomic_paths(list(writers)) as temporaries:
        for write, temporary in zip(writers.values(), temporaries, strict=True):
            write(temporary)


def require_writable(folder: str | Path) -> None:
    """Raise VoxpickError unless files can be written into a folder, or into the one in which it would be made.

    To be called before long work whose result goes there; leaves nothing behind.
    """
    existing = Path(folder).absolute()
    while not os.path.lexists(existing):  # a link to nothing is there, and no folder can be made in its place
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise VoxpickError(
            f"{folder}: cannot be written to ({error.strerror or error}); choose another place"
        ) from error


def require_file_place(path: str | Path) -> None:
    """Raise VoxpickError unless a file can be written there; to be called before long work whose result it holds."""
    require_short_name(path)
    if Path(path).is_dir():
        raise VoxpickError(f"{path}: is a folder; name a file to write")
    require_writable(Path(path).parent)


def require_short_name(path: str | Path, *, way_out: str = "choose a shorter one") -> None:
    """Raise VoxpickError for a file whose name leaves no room for that of the temporary file that becomes it."""
    size = len(os.fsencode(Path(path).name))
    if size > LONGEST_NAME:
        raise VoxpickError(f"{path}: its name has {size} bytes, of which {LONGEST_NAME} can be written; {way_out}")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
