"""The beta of F-beta, wherever it is given."""

from __future__ import annotations

from voxpick.errors import VoxpickError

MOST_BETA = 1e6
"""Beyond it F-beta is the recall to all digits, and the square of beta soon is no number any more."""


def check_beta(beta: float, name: str = "beta") -> None:
    """Raise VoxpickError, with the name it was given by, unless 0 < beta <= MOST_BETA."""
    if not 0 < beta <= MOST_BETA:
        raise VoxpickError(f"{name} is {beta:g}; it must be a positive number, at most {MOST_BETA:g}")
