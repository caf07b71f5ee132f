"""The settings of a benchmark's tomograms: where they lie, or how they are simulated; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

SETS = ("training", "validation", "test")


class Strict(BaseModel):
    """Unknown keys, infinities and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Recipe(Strict):
    """How tomograms are simulated: options of `voxpick simulate shrec20`. size: (z, y, x) voxels; angles in degrees."""

    size: tuple[int, int, int] = (200, 128, 512)
    thickness: int | None = Field(256, ge=1)
    particles: int | None = Field(None, ge=1)
    classes: str | None = None
    snr: float = Field(0.004, gt=0)
    tilt_limit: float = Field(60.0, gt=0, lt=90)
    tilt_step: float = Field(3.0, gt=0)
    orientations: str = "uniform"

    def tilt_range(self) -> tuple[float, float]:
        """Lowest and highest tilt in degrees; the highest is below the limit where steps do not end on it."""
        from voxpick.simulate.reconstruction import tilt_angles

        angles = tilt_angles(limit_deg=self.tilt_limit, step_deg=self.tilt_step)
        return min(angles), max(angles)


class DataSet(Strict):
    """Model folders that exist, or so many to simulate from a seed; recipe: what differs from data.recipe."""

    folders: list[str] | None = Field(None, min_length=1)
    models: int = Field(1, ge=1)
    seed: int | None = Field(None, ge=0)
    recipe: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> DataSet:
        if (self.folders is None) == (self.seed is None):
            raise ValueError("give either folders or a seed to simulate from")
        if self.folders is not None and (self.recipe or "models" in self.model_fields_set):
            raise ValueError("folders exist already; models and recipe go with a seed")
        return self

    @property
    def count(self) -> int:
        """Number of tomograms."""
        return len(self.folders) if self.folders else self.models


class Data(Strict):
    """What to train on, to choose networks by, and to score on."""

    recipe: Recipe = Recipe()
    training: DataSet
    validation: DataSet
    test: DataSet

    def recipe_of(self, part: DataSet, **changes: Any) -> Recipe:
        """The recipe of a set: data.recipe, then the set's own, then changes. Raises ValueError where it is none."""
        try:
            return Recipe(**{**self.recipe.model_dump(), **part.recipe, **changes})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            known = f"; known: {', '.join(Recipe.model_fields)}" if first["type"] == "extra_forbidden" else ""
            raise ValueError(f"recipe: {name} = {first['input']!r}: {first['msg']}{known}") from error

    @model_validator(mode="after")
    def _apart(self) -> Data:
        if self.validation.count != 1:
            raise ValueError("validation takes exactly one tomogram")
        places: dict[str, str] = {}
        for name in SETS:
            part: DataSet = getattr(self, name)
            self.recipe_of(part)
            for source in part.folders or [f"seed {part.seed}"]:
                if places.setdefault(_same(source), name) != name:
                    raise ValueError(f"{source} is in {places[_same(source)]} and in {name}; keep them apart")
        return self


class Sweep(Strict):
    """Test tomograms simulated per value, all from one seed, on which the trained models are tried again."""

    snr: list[float] = Field(default_factory=list)
    tilt_limit: list[float] = Field(default_factory=list)
    seed: int = Field(ge=0)
    models: int = Field(1, ge=1)

    @field_validator("snr", "tilt_limit")
    @classmethod
    def _distinct(cls, values: list[float]) -> list[float]:
        if any(value <= 0 for value in values) or len(set(values)) < len(values):
            raise ValueError("values are above 0 and differ from each other")
        return values

    def points(self) -> list[tuple[str, float]]:
        """(what is varied, its value) of every simulated set."""
        return [("snr", value) for value in self.snr] + [("tilt_limit", value) for value in self.tilt_limit]


def _same(source: str) -> str:
    return source if source.startswith("seed ") else str(Path(source))
