"""One process at a time in a folder: a lock that the system takes back when its holder ends, however it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from voxpick.errors import VoxpickError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

PATIENCE_SECONDS = 10.0
"""How long a run waits for one that is just ending, as after a kill."""


@contextmanager
def alone_in(folder: str | Path, *, use: str, patience: float | None = None) -> Iterator[None]:
    """Hold a folder, which is made if it is not there, and removed again if what was to fill it fails before it has.

    Nothing is written; file systems without locks hold nothing.

    use: what another process that holds it does, for the message. patience: seconds to wait for it, PATIENCE_SECONDS if
    not given. Raises VoxpickError when it does not end in that time.
    """
    place = Path(folder)
    made = not place.exists()
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDONLY) if fcntl is not None else None  # Windows opens no folders
    except OSError as error:
        raise VoxpickError(f"{folder}: the folder cannot be made or opened ({error.strerror or error})") from error
    if handle is None:
        yield
        return
    try:
        _lock(handle, place, use, time.monotonic() + (PATIENCE_SECONDS if patience is None else patience))
        try:
            yield
        except BaseException:
            if made:
                with suppress(OSError):
                    place.rmdir()  # unless there is something in it
            raise
        finally:
            with suppress(OSError):  # closed alone, it would be held by children that were forked meanwhile
                fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, use: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise VoxpickError(
                    f"{folder}: another process {use} there; wait until it has ended, or choose another folder"
                ) from error
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return
