"""copick picks: one JSON file holds the points of one object in one run (tomogram).

The schema is that of `CopickPicksFile` in copick (github.com/copick/copick, src/copick/models.py): locations in A,
x y z; `transformation_`, 4 x 4, turns the object into the particle and holds a shift (A), added to the location.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from voxpick.errors import VoxpickError
from voxpick.geometry import swap_axes
from voxpick.io.atomic import write_text
from voxpick.io.foreign import confidences, known_rotations, read_bytes, require_one
from voxpick.particles import Particles

IDENTITY = np.eye(4).tolist()
USER, SESSION = "voxpick", "0"
NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\s_]')
"""What copick does not allow in the name of an object."""


class _Location(BaseModel):
    model_config = ConfigDict(strict=True)
    x: FiniteFloat
    y: FiniteFloat
    z: FiniteFloat


class _Point(BaseModel):
    model_config = ConfigDict(strict=True)
    location: _Location
    transformation_: list[list[FiniteFloat]] | None = None
    instance_id: int | None = 0
    score: FiniteFloat | None = 1.0


class _Picks(BaseModel):
    model_config = ConfigDict(strict=True)
    pickable_object_name: str
    user_id: str
    session_id: str
    run_name: str | None = None
    voxel_spacing: FiniteFloat | None = None
    unit: str = "angstrom"
    points: list[_Point] | None = None
    trust_orientation: bool | None = True


def read_copick(path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None) -> Particles:
    """Read copick picks: the class is pickable_object_name, the tomogram run_name (else the file's name).

    voxel_size and shape are not needed. Centres are location plus the transformation's shift. Rotations are read unless
    trust_orientation is false or all of them are the identity, which is what copick writes where nobody determined any.
    Scores outside [0, 1] are mapped linearly onto it; instance_id is not kept.
    Raises VoxpickError for a missing file, one that does not fit the schema, another unit than angstrom, values that
    are not finite, and transformations that are no rotation with a shift.
    """
    try:
        picks = _Picks.model_validate_json(read_bytes(path, "a copick picks file (JSON)").removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        raise VoxpickError(f"{path}: not a copick picks file: {_first(error)}") from error
    if picks.unit != "angstrom":
        raise VoxpickError(f"{path}: unit is {picks.unit!r}; copick's locations are in 'angstrom'")
    points = picks.points or []
    if not points:
        return Particles(np.zeros((0, 3)))
    locations = np.array([[point.location.x, point.location.y, point.location.z] for point in points])
    transforms = np.array([_transform(point, index, path) for index, point in enumerate(points)])
    rotations = swap_axes(transforms[:, :3, :3]) if picks.trust_orientation is not False else None
    return Particles(
        (locations + transforms[:, :3, 3])[:, ::-1],
        classes=np.full(len(points), picks.pickable_object_name, dtype=object),
        scores=confidences([1.0 if point.score is None else point.score for point in points]),
        rotations=None if rotations is None else known_rotations(rotations),
        tomograms=np.full(len(points), picks.run_name or Path(path).stem, dtype=object),
    )


def file_name(name: str) -> str:
    """How copick calls the file of an object's picks by voxpick, in ExperimentRuns/RUN/Picks."""
    return f"{USER}_{SESSION}_{name}.json"


def require_object_name(name: str, path: str | Path) -> None:
    """Raise VoxpickError for a class whose name copick does not allow."""
    if NOT_IN_NAMES.search(name) or name != name.strip("-") or not name:
        raise VoxpickError(f"{path}: copick does not allow the class name {name!r}; use letters, digits, - and .")


def write_copick(
    path: str | Path, particles: Particles, *, voxel_size: float | None = None, shape: Sequence[int] | None = None,
    run: str | None = None,
) -> None:  # fmt: skip
    """Write copick picks of user voxpick, session 0 (a tool), in row order; shape is not needed.

    run: the run's name; without it the tomogram's. voxel_size (A), where given, becomes voxel_spacing. Without
    rotations the transformations are the identity and trust_orientation is false. Raises VoxpickError for several
    classes or tomograms, of which copick holds one a file, and for a class whose name copick does not allow.
    """
    name = require_one(particles.classes, path, "class", "particle")
    require_object_name(name, path)
    transforms = [IDENTITY] * len(particles)
    if particles.rotations is not None:
        matrices = np.tile(np.eye(4), (len(particles), 1, 1))
        matrices[:, :3, :3] = swap_axes(particles.rotations)
        transforms = matrices.round(9).tolist()
    assert particles.scores is not None
    columns = zip(particles.centers_zyx.round(4).tolist(), transforms, particles.scores.round(6).tolist(), strict=True)
    picks = _Picks(
        pickable_object_name=name,
        user_id=USER,
        session_id=SESSION,
        run_name=run or require_one(particles.tomograms, path, "tomogram", Path(path).stem),
        voxel_spacing=None if voxel_size is None else float(voxel_size),
        points=[
            _Point(location=_Location(x=x, y=y, z=z), transformation_=transform, score=score)
            for (z, y, x), transform, score in columns
        ],
        trust_orientation=particles.rotations is not None,
    )
    write_text(path, picks.model_dump_json(indent=1) + "\n")


def _transform(point: _Point, index: int, path: str | Path) -> np.ndarray:
    """The 4 x 4 matrix of a point, checked."""
    rows = IDENTITY if point.transformation_ is None else point.transformation_
    if [len(row) for row in rows] != [4, 4, 4, 4]:
        raise VoxpickError(f"{path}: points.{index}.transformation_ is not 4 x 4")
    matrix = np.array(rows, dtype=np.float64)
    turn = matrix[:3, :3]
    proper = np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0
    if not proper or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise VoxpickError(f"{path}: points.{index}.transformation_ is {matrix.tolist()}, no rotation with a shift")
    return matrix


def _first(error: ValidationError) -> str:
    """The first thing wrong, with its place and value."""
    found = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in found["loc"])
    value = "" if found["type"] in ("missing", "json_invalid") else f" (found {str(found['input'])[:60]!r})"
    return f"{place + ': ' if place else ''}{found['msg']}{value}"
