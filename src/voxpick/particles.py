"""Particles: a table with one row per particle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from voxpick.errors import VoxpickError


@dataclass(frozen=True)
class Particles:
    """Centres, classes and confidences of n particles.

    centers_zyx: (n, 3) in A; the centre of voxel i lies at i * voxel size (docs/geometry.md).
    classes: n class names. scores: n confidences in [0, 1]; absent means 1.
    location_scores, class_scores: the two parts of the confidence, in [0, 1], where known.
    rotations: (n, 3, 3) matrices that turn the reference structure into the particle, acting on (z, y, x) vectors.
    tomograms: n tomogram names.
    Raises VoxpickError when lengths or shapes differ, a centre is not finite or a score lies outside [0, 1].
    """

    centers_zyx: np.ndarray
    classes: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=object))
    scores: np.ndarray | None = None
    location_scores: np.ndarray | None = None
    class_scores: np.ndarray | None = None
    rotations: np.ndarray | None = None
    tomograms: np.ndarray | None = None

    def __post_init__(self) -> None:
        centers = np.asarray(self.centers_zyx, dtype=np.float64)
        if centers.size == 0 or centers.shape == (3,):
            centers = centers.reshape(-1, 3)
        if centers.ndim != 2 or centers.shape[1] != 3:
            raise VoxpickError(f"particles: centers_zyx has shape {centers.shape}; give (n, 3), that is z, y, x in A")
        n = len(centers)
        given_classes = np.asarray(self.classes, dtype=object)
        values: dict[str, np.ndarray | None] = {
            "centers_zyx": centers,
            "classes": given_classes if len(given_classes) else np.full(n, "particle", dtype=object),
            "scores": np.ones(n) if self.scores is None else np.asarray(self.scores, dtype=np.float64),
            "tomograms": np.full(n, "tomogram", dtype=object)
            if self.tomograms is None
            else np.asarray(self.tomograms, dtype=object),
        }
        for name in ("location_scores", "class_scores", "rotations"):
            column = getattr(self, name)
            values[name] = None if column is None else np.asarray(column, dtype=np.float64)
        for name, column in values.items():
            if column is not None and len(column) != n:
                raise VoxpickError(f"particles: {name} has {len(column)} rows but there are {n} centres")
            object.__setattr__(self, name, column)
        if self.rotations is not None and self.rotations.shape != (n, 3, 3):
            raise VoxpickError(f"particles: rotations has shape {self.rotations.shape}; give matrices, ({n}, 3, 3)")
        if not np.isfinite(centers).all():
            row = int(np.flatnonzero(~np.isfinite(centers).all(axis=1))[0])
            raise VoxpickError(f"particles: the centre in row {row} is {centers[row].tolist()}; centres are finite")
        for name in ("scores", "location_scores", "class_scores"):
            column = getattr(self, name)
            if column is not None and n and not ((column >= 0) & (column <= 1)).all():
                row = int(np.flatnonzero(~((column >= 0) & (column <= 1)))[0])
                raise VoxpickError(f"particles: {name} in row {row} is {column[row]}; confidences lie in [0, 1]")

    def __len__(self) -> int:
        return len(self.centers_zyx)

    def __getitem__(self, rows: np.ndarray | slice | Sequence[int]) -> Particles:
        """The particles of the given rows (slice, boolean mask, indices or one index), in that order, as a table."""
        if not isinstance(rows, slice):
            rows = np.atleast_1d(np.asarray(rows))
            if rows.size == 0:
                rows = rows.astype(np.int64)
        columns: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[rows]
            for name in self.__dataclass_fields__
        }
        return Particles(**columns)

    def with_columns(self, **columns: np.ndarray | None) -> Particles:
        """A copy with some columns replaced."""
        return replace(self, **columns)  # type: ignore[arg-type]

    def sorted_by_score(self) -> Particles:
        """Most confident first; equal scores keep their order."""
        assert self.scores is not None
        return self[np.argsort(-self.scores, kind="stable")]

    def voxels(self, voxel_size: float) -> np.ndarray:
        """Centres in voxels (z, y, x), not rounded: (n, 3)."""
        return self.centers_zyx / voxel_size

    def to_frame(self) -> pd.DataFrame:
        """Columns z, y, x (A), class, score, tomogram, and location_score, class_score, r00..r22 where known."""
        frame = pd.DataFrame(self.centers_zyx, columns=["z", "y", "x"])
        frame["class"] = self.classes
        frame["score"] = self.scores
        frame["tomogram"] = self.tomograms
        for name, column in (("location_score", self.location_scores), ("class_score", self.class_scores)):
            if column is not None:
                frame[name] = column
        if self.rotations is not None:
            flat = self.rotations.reshape(-1, 9)
            for k in range(9):
                frame[f"r{k // 3}{k % 3}"] = flat[:, k]
        return frame

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Particles:
        """The inverse of `to_frame`; only z, y, x are required. Raises VoxpickError when one is missing."""
        missing = [name for name in ("z", "y", "x") if name not in frame]
        if missing:
            raise VoxpickError(f"particles: column {missing[0]!r} is missing; found {list(frame.columns)}")

        def column(name: str) -> np.ndarray | None:
            return frame[name].to_numpy() if name in frame else None

        matrix = [f"r{i}{j}" for i in range(3) for j in range(3)]
        rotations = frame[matrix].to_numpy().reshape(-1, 3, 3) if all(name in frame for name in matrix) else None
        return cls(
            centers_zyx=frame[["z", "y", "x"]].to_numpy(dtype=np.float64),
            classes=frame["class"].to_numpy(dtype=object) if "class" in frame else np.empty(0, dtype=object),
            scores=column("score"),
            location_scores=column("location_score"),
            class_scores=column("class_score"),
            rotations=rotations,
            tomograms=frame["tomogram"].to_numpy(dtype=object) if "tomogram" in frame else None,
        )


def joined(tables: Sequence[Particles]) -> Particles:
    """Several tables, one after another, with the columns that all have. Raises VoxpickError for no table."""
    if not tables:
        raise VoxpickError("particles: no tables to join")
    columns: dict[str, Any] = {}
    for name in Particles.__dataclass_fields__:
        parts = [getattr(table, name) for table in tables]
        columns[name] = None if any(part is None for part in parts) else np.concatenate(parts)
    return Particles(**columns)
