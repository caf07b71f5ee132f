"""Sets of rotations that cover SO(3) to an angular step, and how well they do.

The distance of two rotations is the angle of the one that leads from one to the other. In that measure SO(3) has the
volume 8 pi^2, so one rotation per cube of the step makes 8 pi^2 / step^3 of them, step in radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes

GRIDS = ("super-fibonacci", "euler")
PHI = math.sqrt(2)
PSI = 1.533751168755204288118041
MOST_BYTES = 1 << 30
"""Memory for what a search keeps of each rotation of one template."""
ROTATION_BYTES = 256
"""Of a rotation itself: its matrix in double and single precision, and its quaternions, of both signs, in a tree."""


@dataclass(frozen=True)
class Coverage:
    """Distance in degrees from a rotation to the nearest one of a set, over rotations drawn uniformly.

    mean and largest over `samples`; the largest nears the set's covering radius from below.
    """

    rotations: int
    mean_deg: float
    largest_deg: float
    samples: int

    def __str__(self) -> str:
        return (
            f"{self.rotations} rotations; any orientation is {self.mean_deg:.1f} degrees from the nearest on average "
            f"and {self.largest_deg:.1f} at most ({self.samples} drawn)"
        )


def number_of_rotations(step_deg: float) -> int:
    """How many rotations one per cube of the step makes: 7000 for 12.85 degrees.

    Raises VoxpickError for a step that is not within 1 to 180 degrees.
    """
    if not 1 <= step_deg <= 180:
        raise VoxpickError(f"angular step {step_deg:g}: give 1 to 180 degrees (12.85 makes about 7000 rotations)")
    return math.ceil(8 * math.pi**2 / math.radians(step_deg) ** 3)


def count_rotations(step_deg: float, kind: str = "super-fibonacci") -> int:
    """How many rotations `rotation_grid` makes, without making them; it raises the same errors."""
    number = number_of_rotations(step_deg)
    if kind == "super-fibonacci":
        return number
    if kind == "euler":
        rings, turns = _rings(step_deg)
        return turns * sum(around for _, around in rings)
    raise VoxpickError(f"unknown set of rotations {kind!r}; one of {', '.join(GRIDS)}")


def finest_step(most: int, kind: str = "super-fibonacci") -> float:
    """The smallest step in tenths of degrees that makes at most `most` rotations; 180 where none does."""
    tenths = math.ceil(max(10.0, 10 * math.degrees((8 * math.pi**2 / max(most, 1)) ** (1 / 3)) * 0.9))
    return next((step / 10 for step in range(tenths, 1800) if count_rotations(step / 10, kind) <= most), 180.0)


def require_room(step_deg: float, kind: str, volumes: int | None) -> None:
    """Raise VoxpickError for a step whose rotations take more than MOST_BYTES in a search with one template.

    volumes: coefficients of each rotation, in single precision; None where rotations are tried one by one.
    """
    number = count_rotations(step_deg, kind)
    each = ROTATION_BYTES if volumes is None else max(4 * volumes, ROTATION_BYTES)
    if number * each <= MOST_BYTES:
        return
    what = "" if volumes is None else f" with {volumes} coefficients each"
    raise VoxpickError(
        f"an angular step of {step_deg:g} degrees makes {number} rotations, which{what} take "
        f"{number * each / 1e6:.0f} MB a template, and there is room for {MOST_BYTES / 1e6:.0f} MB; "
        f"the smallest step that fits is {finest_step(MOST_BYTES // each, kind):g} degrees"
        + ("" if volumes is None or 4 * volumes <= ROTATION_BYTES else ", and a finer one with fewer --set volumes=N")
    )


def rotation_grid(step_deg: float, kind: str = "super-fibonacci") -> np.ndarray:
    """Matrices (n, 3, 3), which act on (z, y, x), of one of GRIDS. Raises VoxpickError for an unknown kind."""
    if kind == "super-fibonacci":
        return super_fibonacci(number_of_rotations(step_deg))
    if kind == "euler":
        return euler_grid(step_deg)
    raise VoxpickError(f"unknown set of rotations {kind!r}; one of {', '.join(GRIDS)}")


def super_fibonacci(n: int) -> np.ndarray:
    """n rotations on the spiral of Alexa (Super-Fibonacci Spirals, CVPR 2022): (n, 3, 3), on (z, y, x)."""
    place = np.arange(n) + 0.5
    inner, outer = np.sqrt(place / n), np.sqrt(1 - place / n)
    alpha, beta = 2 * np.pi * place / PHI, 2 * np.pi * place / PSI
    quaternions = np.stack(
        [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], axis=1
    )
    return swap_axes(Rotation.from_quat(quaternions).as_matrix())


def euler_grid(step_deg: float) -> np.ndarray:
    """Rings of directions `step_deg` apart, and as many turns about each direction: (n, 3, 3), on (z, y, x)."""
    number_of_rotations(step_deg)
    rings, turns = _rings(step_deg)
    angles = []
    for tilt, around in rings:
        first = 2 * np.pi * np.arange(around) / around
        last = 2 * np.pi * np.arange(turns) / turns
        grid = np.stack(np.meshgrid(first, [tilt], last, indexing="ij"), axis=-1).reshape(-1, 3)
        angles.append(grid)
    return swap_axes(Rotation.from_euler("ZYZ", np.concatenate(angles)).as_matrix())


def _rings(step_deg: float) -> tuple[list[tuple[float, int]], int]:
    """(tilt in radians, directions) of each ring of `euler_grid`, and turns about each direction."""
    step = math.radians(step_deg)
    rings, turns = math.ceil(math.pi / step), math.ceil(2 * math.pi / step)
    tilts = [math.pi * (ring + 0.5) / rings for ring in range(rings)]
    return [(tilt, max(1, math.ceil(2 * math.pi * math.sin(tilt) / step))) for tilt in tilts], turns


def coverage(rotations: np.ndarray, rng: np.random.Generator, *, samples: int = 5000) -> Coverage:
    """How near `rotations` (n, 3, 3) come to rotations drawn uniformly from SO(3)."""
    known = Rotation.from_matrix(rotations).as_quat()
    drawn = Rotation.random(samples, random_state=rng).as_quat()
    chord = cKDTree(np.concatenate([known, -known])).query(drawn)[0]
    angle = np.rad2deg(4 * np.arcsin(np.clip(chord / 2, 0, 1)))
    return Coverage(len(rotations), float(angle.mean()), float(angle.max()), samples)
