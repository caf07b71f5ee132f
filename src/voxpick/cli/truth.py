"""The truth of a SHREC model folder, and picks scored against it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    import numpy as np

    from voxpick.evaluate.shrec_score import Shrec20Score
    from voxpick.particles import Particles

SHREC_SECTIONS = 200
"""Sections of a specimen of SHREC."""


@dataclass(frozen=True)
class ShrecTruth:
    """particles: specimen frame, A; row i is occupancy id i + 1. z_offset: voxels from the specimen to the tomogram.

    thickness: sections of the tomogram; None where it is not known, and taken for specimen nz + 2 z_offset.
    """

    directory: Path
    particles: Particles
    occupancy: np.ndarray
    voxel_size: float
    z_offset: int
    thickness: int | None = None

    @property
    def tomogram_shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) of the tomogram."""
        nz, ny, nx = self.occupancy.shape
        return self.thickness or nz + 2 * self.z_offset, ny, nx

    @property
    def tomogram_particles(self) -> Particles:
        """The truth in the tomogram's frame."""
        shift = [self.z_offset * self.voxel_size, 0, 0]
        return self.particles.with_columns(centers_zyx=self.particles.centers_zyx + shift)


def read_truth(directory: Path, *, benchmark: str = "shrec20", voxel_size: float | None = None) -> ShrecTruth:
    """The truth of a model folder; without a reconstruction, the tomogram is as thick as simulation.yaml says.

    Where neither is there, the offset is the benchmark's, with a warning if the specimen is not one of SHREC's.
    Raises VoxpickError when the folder lacks the particle list or the occupancy mask (hit boxes for SHREC'19).
    """
    from voxpick.cli.simulation_notes import simulated_thickness
    from voxpick.evaluate.shrec_rules import BENCHMARKS, ORGANISERS_Z_OFFSET
    from voxpick.io.mrc import read_labels
    from voxpick.io.mrc_header import read_header
    from voxpick.io.shrec import SHREC_VOXEL_SIZE, read_locations
    from voxpick.io.shrec_model import open_model

    check_rules(benchmark)
    if benchmark == "shrec19":
        size = voxel_size or SHREC_VOXEL_SIZE
        locations = read_locations(_only(directory, "particle_locations*.txt"), voxel_size=size, year=2019)
        mask = _only(directory, "*hitbox*.mrc")
        return ShrecTruth(directory, locations, read_labels(mask), size, ORGANISERS_Z_OFFSET)
    model = open_model(directory, voxel_size=voxel_size)
    occupancy = read_labels(model.path("occupancy_mask"))
    nz, thickness = len(occupancy), simulated_thickness(directory)
    if model.path("reconstruction").is_file():
        offset, thickness = model.z_offset, read_header(model.path("reconstruction")).shape[0]
    elif thickness is not None and thickness >= nz:
        offset = (thickness - nz) // 2
    else:
        offset, thickness = BENCHMARKS[benchmark].z_offset, None
        if nz != SHREC_SECTIONS and offset:
            typer.echo(
                f"voxpick: warning: {directory}: holds no reconstruction.mrc, so its specimen of {nz} sections is "
                f"taken to begin at section {offset} of the tomogram, as SHREC's of {SHREC_SECTIONS} do",
                err=True,
            )
    particles = read_locations(model.path("particles"), voxel_size=model.voxel_size)
    return ShrecTruth(directory, particles, occupancy, model.voxel_size, offset, thickness)


def check_rules(benchmark: str, frame: str = "auto") -> None:
    """Raise VoxpickError for an unknown --benchmark or --frame."""
    from voxpick.evaluate.shrec_rules import check_frame, rules_of

    try:
        rules_of(benchmark)
        check_frame(frame)
    except VoxpickError as error:
        raise VoxpickError(f"--{error}") from error


def scored(
    picks: Particles, truth: ShrecTruth, *, picks_path: Path, benchmark: str, frame: str, strict: bool = False
) -> Shrec20Score:
    """The picks scored by a benchmark's rules. Raises VoxpickError that names both files.

    frame 'auto' is the organisers' guess for their text files; picks in A that lie in the ice, most of them, count from
    the tomogram's first section, so that one stray pick does not move all. A tomogram that is all specimen has one
    frame, so there is nothing to guess.
    """
    from voxpick.evaluate.shrec import score_shrec

    guessed = picks_path.suffix.lower() == ".txt" or not _mostly_in_ice(picks, truth)
    if frame == "auto" and (truth.z_offset == 0 or not guessed):
        frame = "tomogram"
    try:
        return score_shrec(
            picks,
            truth.particles,
            truth.occupancy,
            voxel_size=truth.voxel_size,
            z_offset=truth.z_offset,
            thickness=truth.thickness,
            benchmark=benchmark,
            frame=frame,
            strict=strict,
        )
    except VoxpickError as error:
        raise VoxpickError(f"{picks_path} against {truth.directory}: {error}") from error


def _mostly_in_ice(picks: Particles, truth: ShrecTruth) -> bool:
    z = picks.voxels(truth.voxel_size)[:, 0] - truth.z_offset
    return 2 * int(((z >= 0) & (z <= truth.occupancy.shape[0])).sum()) > len(picks)


def told(score: Shrec20Score, picks: Particles, truth: ShrecTruth) -> dict[str, Any]:
    """All numbers of a score as plain data, and what the scores of its picks are worth.

    Picks on particles that the benchmark leaves out of the truth count as wrong, as they do in its precision.
    """
    import numpy as np

    from voxpick.evaluate.calibration import confidence
    from voxpick.evaluate.shrec_rules import BENCHMARKS

    names = np.array([str(name).lower() for name in truth.particles.classes], dtype=object)
    counted = np.append(False, ~np.isin(names.astype(str), BENCHMARKS[score.benchmark].excluded))
    hits = np.where(counted[score.hit_ids], score.hit_ids, 0)
    return {**score.to_dict(), "calibration": confidence(picks, hits, names)}


def _only(directory: Path, pattern: str) -> Path:
    if not directory.is_dir():
        raise VoxpickError(f"{directory}: no such folder; give a model folder")
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise VoxpickError(f"{directory}: holds {len(found)} files like {pattern}; exactly one is needed")
    return found[0]
