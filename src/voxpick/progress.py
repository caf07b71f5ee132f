"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""progress(step, done, total): `done` of the `total` parts of the step are done."""

StepProgress = Callable[[int, int], None]
"""progress(done, total) of work that is one step."""


def of_step(progress: Progress | None, step: str) -> StepProgress | None:
    """What a step reports to, so that `progress` hears its name; None where nobody listens."""
    if progress is None:
        return None
    return lambda done, total: progress(step, done, total)
