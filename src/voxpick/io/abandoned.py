"""Temporary files and folders beside a target whose process was killed: `.NAME.PID.partial` and `.NAME.PID.old`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def remove_partial_files(target: Path) -> None:
    """Remove what processes that have ended left of a file `target`, which was to be renamed to it (`io.atomic`)."""
    number = r"\.([0-9]{1,9})\.partial"  # once, or twice where the file itself was a temporary one
    form = rf"\.+{re.escape(target.stem)}(?:{number})?{number}{re.escape(target.suffix)}"
    for path in _of_the_dead(target, form):
        with suppress(OSError):
            path.unlink()


def remove_partial_folders(target: Path) -> None:
    """Remove what processes that have ended left of a folder `target`, and what it was while there is one."""
    form = rf"\.{re.escape(target.name)}\.([0-9]{{1,9}})\.(?:partial{'|old' if target.exists() else ''})"
    for path in _of_the_dead(target, form):
        shutil.rmtree(path, ignore_errors=True)


def restore_folder(target: Path) -> None:
    """Give a folder its name back where the process that was to replace it ended between its two renames."""
    if target.exists():
        return
    form = rf"\.{re.escape(target.name)}\.([0-9]{{1,9}})\.old"
    old = max(_of_the_dead(target, form), key=lambda path: path.stat().st_mtime, default=None)
    if old is not None:
        os.replace(old, target)


def _of_the_dead(target: Path, form: str) -> Iterator[Path]:
    """What lies beside the target and has a name of this form, whose last group is the number of a process that ended.

    This process's own number counts, as it holds nothing yet: containers give the same one again.
    """
    if os.name != "posix" or not target.parent.is_dir():  # elsewhere signal 0 would end the process
        return
    for path in list(target.parent.iterdir()):
        found = re.fullmatch(form, path.name)
        if found and not _runs(int(found[found.lastindex or 0])):
            yield path


def _runs(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
