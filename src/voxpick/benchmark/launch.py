"""One command as a process of its own: its output in a log, its time and the most memory it took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = """
import json, os, resource, signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda number, frame: None)
parent, begin = int(sys.argv[2]), time.monotonic()
child = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL)
while True:
    try:
        child.wait(0.5)
        break
    except subprocess.TimeoutExpired:
        if parent and os.getppid() != parent:
            child.terminate()
            parent = None
seconds, peak = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], "w") as file:
    json.dump({"code": child.returncode, "seconds": seconds, "peak": peak}, file)
"""
"""Starts the command from a small interpreter: a process forked from a large one counts the large one's memory.
It passes over Ctrl-C, which the command itself has to answer, and asks the command to end when the benchmark, whose
process id it is given, is gone: once, as a training takes a second signal for leave to drop its checkpoint."""


DEVICE_MEMORY = "VOXPICK_DEVICE_MEMORY"
"""Environment variable with the file into which a command on a GPU writes the most bytes its tensors took there."""


@dataclass(frozen=True)
class Outcome:
    """code: exit code, negative for a signal. seconds: wall time, start-up included. peak_bytes: largest resident set
    of the process and those it started, each taken alone. device_bytes: most memory of a GPU that its tensors took;
    None where it used none."""

    code: int
    seconds: float
    peak_bytes: int
    device_bytes: int | None = None

    def explain(self) -> str:
        """What the exit code means."""
        if self.code == -signal.SIGKILL:
            return "killed by the system, most often for want of memory"
        if self.code < 0:
            with suppress(ValueError):
                return f"ended by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a command ran. outcome: how far it came."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def launch(command: Sequence[str], log: Path) -> Outcome:
    """Run a command to its end. On Ctrl-C it gets one SIGINT, is waited for, and Interrupted is raised."""
    log.parent.mkdir(parents=True, exist_ok=True)
    note, device_note = _notes(log)
    for file in (note, device_note):
        file.unlink(missing_ok=True)
    begin = time.monotonic()
    starter = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(note.absolute()), str(os.getpid()), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            starter, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, DEVICE_MEMORY: str(device_note.absolute())},
        )  # fmt: skip
        try:
            process.wait()
        except KeyboardInterrupt:
            _stop(process)
            raise Interrupted(_usage(note, device_note, process.returncode, time.monotonic() - begin)) from None
    return _usage(note, device_note, process.returncode, time.monotonic() - begin)


def leftover(log: Path) -> Outcome | None:
    """How far the command of this log came when the benchmark itself was killed; told once."""
    found = _usage(*_notes(log), 0, 0.0)
    return found if found.seconds > 0 else None


def _notes(log: Path) -> tuple[Path, Path]:
    """Where the launcher and the command write what they took."""
    return log.with_suffix(".usage"), log.with_suffix(".device")


def _usage(note: Path, device_note: Path, code: int, seconds: float) -> Outcome:
    """What the launcher and the command wrote down, or the launcher's own exit code and time if it could not."""
    found = _read_note(note)
    device = _read_note(device_note)
    if not isinstance(found, dict):
        return Outcome(code or 1, seconds, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    return Outcome(
        int(found["code"]), float(found["seconds"]), int(found["peak"]) * unit,
        device if isinstance(device, int) else None,
    )  # fmt: skip


def _read_note(note: Path) -> object:
    """The content of a note, which is removed; None for none."""
    try:
        return json.loads(note.read_text())
    except (OSError, ValueError):
        return None
    finally:
        note.unlink(missing_ok=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGINT, then a minute's patience, then SIGKILL; a second Ctrl-C ends the patience."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(60)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_lines(log: Path, *, lines: int = 12) -> list[str]:
    """The end of a log; of a line that a progress bar rewrote, the last state."""
    try:
        text = log.read_bytes()[-20000:].decode("utf-8", "replace")
    except OSError:
        return []
    shown = [line.split("\r")[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in shown if line][-lines:]
