"""The published numbers as rows of the benchmark's tables, and what the tables say of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from voxpick.benchmark import published as paper
from voxpick.shrec_classes import SHREC20_SIZE_GROUPS


class Printed(NamedTuple):
    """A copied row: values by column, absent ones None or left out; source: where it stands.

    naming_alone: of subtomograms cut out where the truth says.
    """

    name: str
    values: Mapping[str, float | str | None]
    source: str
    naming_alone: bool = False


def _printed(columns: Sequence[str], rows: Mapping[str, Sequence[float | str | None]], source: str) -> list[Printed]:
    return [Printed(name, dict(zip(columns, row, strict=True)), source) for name, row in rows.items()]


def _with_mean(rows: Iterable[Printed]) -> list[Printed]:
    """With the mean over the classes that are printed."""
    return [row._replace(values={**row.values, "mean": _mean(row.values, row.values)}) for row in rows]


def _by_size(rows: Iterable[Printed]) -> list[Printed]:
    """Means of those size groups of SHREC'20 all of whose classes are printed."""
    return [
        row._replace(
            values={
                group: _mean(row.values, members)
                for group, members in SHREC20_SIZE_GROUPS.items() if set(members) <= set(row.values)
            },
            source=f"{row.source}, means by us",
        )
        for row in rows
    ]  # fmt: skip


def _mean(values: Mapping[str, float | str | None], of: Iterable[str]) -> float:
    return round(statistics.fmean(float(value) for name in of if (value := values[name]) is not None), 3)


_COSTS = ("training", "inference")
_DENSENETS = [
    row._replace(naming_alone=True)
    for row in _printed(paper.DENSENET_COLUMNS, paper.DENSENET_TABLE2, f"{paper.DENSENET}, Table 2")
]

PRINTED: dict[str, list[Printed]] = {
    "localisation": [
        *_printed(paper.TABLE3_COLUMNS, paper.SHREC20_TABLE3, f"{paper.SHREC20}, Table 3"),
        *_printed(paper.TABLE3_COLUMNS, paper.VPDETECTOR_TABLE1, f"{paper.VPDETECTOR}, Table 1"),
        *_printed(paper.TABLE3_COLUMNS, paper.VPDETECTOR_MEAN_SHIFT, f"{paper.VPDETECTOR}, section 3.3.2"),
    ],
    "class_f1": _with_mean([
        *_printed(paper.CLASS_COLUMNS, paper.SHREC20_TABLE4, f"{paper.SHREC20}, Table 4"), *_DENSENETS,
    ]),
    "size_groups": [
        *_printed(paper.GROUP_COLUMNS, paper.SHREC20_TABLE6, f"{paper.SHREC20}, Table 6"), *_by_size(_DENSENETS),
    ],
    "class_accuracy": _printed(paper.ACCURACY_COLUMNS, paper.VPDETECTOR_TABLE3, f"{paper.VPDETECTOR}, Table 3"),
    "costs": [
        *_printed(_COSTS, paper.SHREC20_TABLE7, f"{paper.SHREC20}, Table 7"),
        *_printed(_COSTS, paper.VPDETECTOR_TABLE5, f"{paper.VPDETECTOR}, Table 5"),
    ],
}  # fmt: skip
"""By the table they stand in."""

_NAMING_ALONE = (
    "The Dilated-DenseNet paper's rows are of other tomograms, SHREC'19's, and of naming alone: its subtomograms are "
    "cut out where the truth says, so no particle is missed and no pick is on none. "
)

NOTES = {
    "localisation": (
        "RR: results reported; TP: particles found; FP: results on no particle; FN: particles not found; MH: particles "
        "with several results; RO: results outside; AD: mean distance in voxels. SHREC'20, Table 3. "
        "Counts grow with the size of the tomogram, which differs from the published one."
    ),
    "class_f1": (
        "Smallest class first. SHREC'20, Table 4; the mean of a published row is ours. " + _NAMING_ALONE
        + "It has 4b4t, another 26S proteasome, in place of 4cr2, and in these means: "
        + ", ".join(
            f"{name} {row[paper.DENSENET_COLUMNS.index('4b4t')]:.3f}" for name, row in paper.DENSENET_TABLE2.items()
        )
        + "."
    ),
    "size_groups": (
        "Mean class F1 of complexes below 200 kDa, up to 600 kDa, and above. SHREC'20, Tables 5 and 6. "
        + _NAMING_ALONE
        + "It sorts its classes into other groups, so these means of its Table 2 are ours, where it has all of a group."
    ),
    "class_accuracy": (
        "Particles found and rightly named, of all of their class; means by size. VP-Detector, Table 3 and Fig. 7."
    ),
    "costs": (
        "Wall time with start-up, of all stages and of one tomogram; largest main memory of a process, and the most "
        "that its tensors took of a GPU where it used one. '-' for the training of a method that learns nothing. "
        "SHREC'20, Table 7, copied as printed; its section 3.7 gives the times of template matching the other way "
        "round, 27 h on a CPU. Published times are from other machines and tomograms of 512 x 512 x 512 voxels."
    ),
}  # fmt: skip
"""What is said above a table, by table."""
