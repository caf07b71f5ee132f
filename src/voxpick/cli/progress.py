"""Progress bars for long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from voxpick.progress import Progress, StepProgress


@contextmanager
def progress_bar(description: str) -> Iterator[StepProgress]:
    """Yield report(done, total), which moves a bar on stderr; outside a terminal it prints a line per 25 %."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(description, console.file.write)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Bars(*columns, console=console) as progress:
        task = progress.add_task(description, total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield report


@contextmanager
def step_bars(prefix: str) -> Iterator[Progress]:
    """Yield report(step, done, total): a bar for each step of longer work, one after another."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        current, bar = "", None

        def report(step: str, done: int, total: int) -> None:
            nonlocal current, bar
            if step != current or bar is None:
                stack.close()
                current, bar = step, stack.enter_context(progress_bar(f"{prefix}: {step}"))
            bar(done, total)

        yield report


def _plain(description: str, write: Callable[[str], object]) -> StepProgress:
    shown = -1

    def report(done: int, total: int) -> None:
        nonlocal shown
        quarter = 4 * done // max(total, 1)
        if quarter > shown:
            shown = quarter
            write(f"{description}: {done}/{total}\n")

    return report
