"""What a network said of a tomogram, remembered so that a higher threshold need not ask it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Remembered:
    """For detections on one tomogram by the same models and settings, but for the threshold: the lowest one first.

    What the first of them asked of a network the others take from here; memory for what is found at its threshold.
    A threshold lower than all before asks anew, and so does the next one after a detection that raised.
    """

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, Any]] = {}

    def answer(self, what: str, ask: Callable[[], Answer], threshold: float) -> Answer:
        """What is remembered under a name for this threshold or a lower one, else what `ask` returns."""
        if what not in self._answers or threshold < self._answers[what][0]:
            self._answers[what] = threshold, ask()
        found: Answer = self._answers[what][1]
        return found


def recalled(
    remembered: Remembered | None, what: str, ask: Callable[[], Answer], *, threshold: float = 0.0
) -> Answer:  # fmt: skip
    """`remembered.answer`; what `ask` returns where nothing is remembered. threshold: 0 where it has no say."""
    return ask() if remembered is None else remembered.answer(what, ask, threshold)
