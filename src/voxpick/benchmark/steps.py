"""Steps of a benchmark: a command that is run once, and again only when what it depends on has changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from voxpick.benchmark.launch import Interrupted, Outcome, last_lines, launch, leftover
from voxpick.errors import VoxpickError
from voxpick.io.atomic import write_text

PROGRAM = (sys.executable, "-m", "voxpick")
ERROR = "voxpick: error: "
"""How the last line of a command begins that says what was wrong."""


class StepFailed(VoxpickError):
    """A command failed. tail: the last lines of its log."""

    def __init__(self, message: str, tail: Sequence[str]) -> None:
        super().__init__(message)
        self.tail = list(tail)


@dataclass(frozen=True)
class Record:
    """What is known of a step. seconds: wall time of all attempts that count; peak_bytes: the largest of them, as
    device_bytes, None where no GPU was used."""

    fingerprint: str
    done: bool
    seconds: float
    peak_bytes: int
    command: list[str]
    device_bytes: int | None = None


@dataclass(frozen=True)
class Steps:
    """Runs commands and keeps records of them in a folder.

    label: in messages. program: what comes before every command. say: a listener.
    """

    folder: Path
    label: str = ""
    program: Sequence[str] = PROGRAM
    say: Callable[[str], None] = print

    def known(self, name: str, mark: str) -> Record | None:
        """The record of a step made under this fingerprint, finished or not."""
        try:
            values = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            record = Record(**values)
        except (OSError, ValueError, TypeError):
            return None
        return record if record.fingerprint == mark else None

    def recorded(self, name: str) -> bool:
        """Whether the step was ever begun here, under whatever fingerprint."""
        return (self.folder / f"{name}.json").exists()

    def forget(self, name: str, mark: str) -> None:
        """Drop the record of a finished step whose result is gone; that of an interrupted one stays."""
        record = self.known(name, mark)
        if record is not None and record.done:
            (self.folder / f"{name}.json").unlink()

    def run(self, name: str, mark: str, command: Sequence[str], *, makes: Path, resumed: bool = False) -> Record:
        """Run a command that makes a file or folder, unless it did so under the same fingerprint.

        resumed: it goes on from an earlier attempt, whose time then counts too. Raises StepFailed.
        """
        before, log = self.known(name, mark), self.folder / f"{name}.log"
        if before is not None and before.done and makes.exists():
            return before
        left = leftover(log)
        earlier = before if resumed else None
        if earlier is not None and left is not None:
            earlier = _add(earlier, left, earlier)
        self._write(name, earlier or Record(mark, False, 0.0, 0, list(command)))
        self.say(f"{self.label} {name}: voxpick {command[0]} ...")
        try:
            outcome = launch([*self.program, *command], log)
        except Interrupted as stopped:
            self._write(name, _add(earlier, stopped.outcome, Record(mark, False, 0.0, 0, list(command))))
            raise
        done = outcome.code == 0 and makes.exists()
        record = _add(earlier, outcome, Record(mark, done, 0.0, 0, list(command)))
        self._write(name, record)
        if not done:
            why, said = outcome.explain() if outcome.code else f"it made no {makes.name}", last_lines(log)
            if said and said[-1].startswith(ERROR):
                why = f"{said[-1].removeprefix(ERROR)} ({why})"
            raise StepFailed(f"voxpick {command[0]} ({name}) failed: {why}; see {log}", said)
        return record

    def _write(self, name: str, record: Record) -> None:
        write_text(self.folder / f"{name}.json", json.dumps(asdict(record), indent=1) + "\n")


def _add(earlier: Record | None, outcome: Outcome, record: Record) -> Record:
    """The record with time and memory of this attempt and the one it went on from, if any."""
    seconds, peak = (earlier.seconds, earlier.peak_bytes) if earlier else (0.0, 0)
    device = [n for n in (earlier.device_bytes if earlier else None, outcome.device_bytes) if n is not None]
    return replace(
        record, seconds=seconds + outcome.seconds, peak_bytes=max(peak, outcome.peak_bytes),
        device_bytes=max(device, default=None),
    )  # fmt: skip
