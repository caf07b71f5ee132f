"""Which templates go over a tomogram together, and how far all passes have come.

Templates in one pass share the tiles, their transforms and, under equal masks, the local deviations. Tiles are laid out
for the largest of them, which costs a small one more than it gains, so that only similar sizes go together. Where
memory does not hold the maps of scores of all templates in a pass, it is made in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voxpick.match.bank import Bank

RATIO = 1.25
"""Of the largest side to the smallest one in a pass."""
PARTS = 1000
Report = Callable[[int, int], None]


def passes(banks: Sequence[Bank]) -> list[list[int]]:
    """Numbers of the banks of each pass, from small to large sides."""
    found: list[list[int]] = []
    for k in sorted(range(len(banks)), key=lambda k: banks[k].side):
        if found and banks[k].side <= RATIO * banks[found[-1][0]].side:
            found[-1].append(k)
        else:
            found.append([k])
    return found


def parts_of(group: Sequence[int], sizes: Sequence[int], most: int | None) -> list[list[int]]:
    """A pass, by the numbers of what is in it, in parts whose sizes add up to at most `most`, or of one each.

    sizes: of all there are, in banks. most: None takes the pass in one.
    """
    found: list[list[int]] = []
    for k in group:
        if found and (most is None or sum(sizes[one] for one in found[-1]) + sizes[k] <= most):
            found[-1].append(k)
        else:
            found.append([k])
    return found


def share_of(report: Report | None, group: Sequence[object], before: int, total: int) -> Report | None:
    """A report for one pass that adds what the `before` banks of earlier passes were; total: number of all banks."""
    if report is None or len(group) == total:
        return report
    return lambda done, all_of_it: report(before * PARTS + (len(group) * PARTS * done) // all_of_it, total * PARTS)
