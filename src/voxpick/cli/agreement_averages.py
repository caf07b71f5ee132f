"""Averages of the parts of two pickings, for `voxpick agreement --tomogram`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from voxpick.average.fsc import THRESHOLDS
from voxpick.average.parts import Averaging, average_part, average_picks, concatenated, has_box, require_inside
from voxpick.average.refinement import Refined
from voxpick.average.subtomograms import require_box, require_one_voxel_size
from voxpick.cli.averaging import make_averaging, read_reference
from voxpick.cli.progress import step_bars
from voxpick.cli.tomograms import read_tomogram
from voxpick.errors import VoxpickError
from voxpick.io.atomic import write_text
from voxpick.io.mrc import write_mrc
from voxpick.particles import Particles
from voxpick.volume import Volume

SURE, CHANCE = "as many in both", "as many random places"


@dataclass(frozen=True)
class AverageOptions:
    """The options of the command: radius of the particle in A, the rest as in `voxpick average`."""

    tomograms: tuple[Path, ...]
    radius: float
    reference: str | None
    edges: str
    iterations: int
    tilts: tuple[float, float]
    bright: bool
    seed: int
    device: str

    def inputs(self) -> list[Path]:
        """The files that are read."""
        return [*self.tomograms, *([] if self.reference is None else [Path(self.reference)])]

    def read(self, voxel_size: float | None) -> list[Volume]:
        """The tomograms. Raises VoxpickError for two of one name, and for voxels of two sizes."""
        volumes = [read_tomogram(path, voxel_size) for path in self.tomograms]
        names = [volume.name for volume in volumes]
        for name in names:
            if names.count(name) > 1:
                raise VoxpickError(f"two tomograms are called {name}; picks cannot tell them apart, rename one")
        require_one_voxel_size(volumes)
        return volumes

    def plan(self, volumes: Sequence[Volume], pickings: Mapping[Path, Particles]) -> AveragePlan:
        """What averaging needs, before long work. pickings: by file, the picks of all classes.

        Raises VoxpickError for most picks of a file outside, a box that does not fit, and a reference that cannot be
        read.
        """
        how = make_averaging(
            volumes[0].voxel_size, radius=self.radius, edges=self.edges, iterations=self.iterations, tilts=self.tilts,
            bright=self.bright, device=self.device, radius_option="--particle-radius",
        )  # fmt: skip
        for volume in volumes:
            require_box(volume, how.box)
        for path, picks in pickings.items():
            require_inside(volumes, picks, path)
        given = None if self.reference is None else read_reference(self.reference, volumes[0], how.box)
        return AveragePlan(tuple(volumes), how, given, concatenated(list(pickings.values())), self.seed)


@dataclass(frozen=True)
class AveragePlan:
    """How to average parts. reference: to start from; everything: the picks that random places keep away from."""

    volumes: tuple[Volume, ...]
    how: Averaging
    reference: np.ndarray | None
    everything: Particles
    seed: int

    def without_box(self, parts: Mapping[str, Particles]) -> dict[str, int]:
        """How many picks of each part leave no box, and are in no average."""
        return {name: int((~has_box(self.volumes, part, self.how)).sum()) for name, part in parts.items()}

    def average(self, parts: Mapping[str, Particles]) -> dict[str, Refined | None]:
        """The part 'both', then each other part beside as many of both and as many random places; None for too few.

        Without a reference, all but 'both' start from its average; without that they have no common start and there is
        none of them.
        """
        rng, both = np.random.default_rng(self.seed), parts["both"]
        with step_bars("Average") as report:
            of_both = average_picks(
                self.volumes, both, self.how, reference=self.reference, rng=rng,
                report=lambda s, k, n: report(f"both, {s}", k, n),
            )  # fmt: skip
            found: dict[str, Refined | None] = {"both": of_both}
            start = self.reference if self.reference is not None or of_both is None else of_both.map.data
            for name, part in parts.items():
                if name == "both" or start is None:
                    continue
                three = average_part(
                    self.volumes, part, both, self.everything, self.how, reference=np.asarray(start), rng=rng,
                    report=report,
                )  # fmt: skip
                found[name] = three.part
                found[f"{name}: {SURE}"], found[f"{name}: {CHANCE}"] = three.sure, three.chance
        return found


def writers_of_averages(folder: Path, averages: Mapping[str, Refined | None]) -> dict[Path, Callable[[Path], object]]:
    """What writes maps, averages/NAME.mrc, and fsc.csv: frequency (1/A) and a column for each map."""
    writers: dict[Path, Callable[[Path], object]] = {}
    table: dict[str, np.ndarray] = {}
    for name, refined in averages.items():
        if refined is not None:
            writers[folder / "averages" / f"{file_name(name)}.mrc"] = partial(write_mrc, data=refined.map)
            table |= {"frequency": refined.fsc.frequencies, file_name(name): refined.fsc.correlation}
    if table:
        text = pd.DataFrame(table).to_csv(index=False, float_format="%.6g")
        writers[folder / "fsc.csv"] = partial(write_text, text=text)
    return writers


def average_numbers(refined: Refined | None) -> dict[str, Any] | None:
    """How many particles, and how fine the half maps agree, in A; None for not at all, or not past conclusive_A."""
    if refined is None:
        return None
    at = {f"{t:g}": refined.fsc.resolution(t) for t in THRESHOLDS}
    fine = {name: round(value, 2) if np.isfinite(value) else None for name, value in at.items()}
    conclusive = round(refined.fsc.conclusive, 2) if np.isfinite(refined.fsc.conclusive) else None
    return {"particles": len(refined.particles), "resolution_A": fine, "conclusive_A": conclusive}


def files_of_averages(folder: Path) -> list[Path]:
    """All files that averages of parts may be written to."""
    alone = ("only_picks", "only_other")
    names = ["both", *alone, *(f"{part}: {beside}" for part in alone for beside in (SURE, CHANCE))]
    return [folder / "fsc.csv", *(folder / "averages" / f"{file_name(name)}.mrc" for name in names)]


def file_name(name: str) -> str:
    """The name of an average without what file names should not hold."""
    return name.replace(": ", "_").replace(" ", "_")
