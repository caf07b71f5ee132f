"""The commands. Heavy imports wait inside each command, so that help answers at once."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from voxpick.cli.one_line import one_line

COMMANDS = (
    "demo", "structures", "simulate", "methods", "train", "detect", "match", "average", "targets", "evaluate",
    "calibrate", "agreement", "report", "cam", "benchmark", "zoo",
)  # fmt: skip


def build_app() -> typer.Typer:
    """The typer application: every module named in COMMANDS adds itself with `register(app)`."""
    from importlib import import_module

    app = typer.Typer(
        name="voxpick",
        help="Find and name macromolecules in cryo-electron tomograms.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # help in boxes takes as long to import as all the rest of it
    )

    @app.callback()
    def options(
        debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
        version: bool = typer.Option(False, "--version", is_eager=True, callback=_version, help="Show the version."),
    ) -> None:
        """Find and name macromolecules in cryo-electron tomograms."""

    for name in COMMANDS:
        import_module(f"voxpick.cli.{name}").register(app)
    return app


def _version(asked: bool) -> None:
    if asked:
        from voxpick import __version__

        typer.echo(f"voxpick {__version__}")
        raise typer.Exit


def main() -> None:
    """Run a command; bad input ends with one line on stderr and exit code 2."""
    _print_what_can_be_printed()
    with _cleaning_up_on_sigterm(), _own_warnings_on_one_line():
        _run()


def _print_what_can_be_printed() -> None:
    """Let a terminal or file of another encoding, or a name that is no Unicode, cost a character, not the command."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")


@contextmanager
def _cleaning_up_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a job, remove what is half written, as Ctrl-C does, and then end it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if asked.is_set():
            os.kill(os.getpid(), signal.SIGTERM)  # so that the one who waits for it sees what ended it


@contextmanager
def _own_warnings_on_one_line() -> Iterator[None]:
    """Show what voxpick warns of as one line of standard error, and warnings of other packages as Python does."""
    package = Path(__file__).parent.parent

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any, **more: Any) -> None:
        if issubclass(category, UserWarning) and package in Path(filename).parents:
            print(f"voxpick: warning: {' '.join(str(message).split())}", file=sys.stderr)
        else:
            as_usual(message, category, filename, *rest, **more)

    with warnings.catch_warnings():
        as_usual, warnings.showwarning = warnings.showwarning, show
        yield


def _run() -> None:
    debug = "--debug" in sys.argv[1:]
    try:
        sys.exit(build_app()(args=_debug_first(sys.argv[1:]), standalone_mode=False))
    except KeyboardInterrupt:
        print("voxpick: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        text = one_line(error)
        if text is None or debug:
            raise
        if text:
            print(f"voxpick: error: {text}", file=sys.stderr)
        sys.exit(2)
    finally:
        if "torch" in sys.modules:
            from voxpick.cli.device_memory import note_device_memory

            note_device_memory()


def _debug_first(arguments: list[str]) -> list[str]:
    """--debug is accepted anywhere on the line."""
    if "--debug" not in arguments:
        return arguments
    return ["--debug", *(argument for argument in arguments if argument != "--debug")]
