"""Settings of template matching and of picking by size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from voxpick.errors import VoxpickError, wrong_setting
from voxpick.match.bank import Template
from voxpick.match.compress import MOST_VOLUMES, RESIDUAL, SUBSET
from voxpick.match.filters import Optics
from voxpick.match.rotations import require_room
from voxpick.match.search import Wanted
from voxpick.match.tiles import LARGEST_TILE, MOST_TILE
from voxpick.wedge import require_tilt_range

MOST_DEFOCUS = 100.0
"""um; more is another unit."""


class PickSettings(BaseModel):
    """What both ways of picking share; lengths in A."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    minimum_score: float = Field(0.0, ge=0, le=1, description="picks with a lower score are left out")
    minimum_distance: float = Field(0.0, ge=0, description="A; picks closer than this to a better one are left out")
    invert: bool = Field(False, description="protein is bright in this tomogram; it is expected dark")
    slab: str = Field("auto", description="sections with specimen: auto finds them, off takes all, or first:last+1")


class DogSettings(PickSettings):
    """Difference of Gaussians."""

    radius: float = Field(60.0, gt=0, description="A; of the particles")
    deviations: float = Field(
        4.0, gt=0, description="response from which a place is picked, in deviations of the noise"
    )
    minimum_distance: float = Field(0.0, ge=0, description="A; between picks; 0 takes the radius")
    number: int | None = Field(None, ge=1, description="picks at most, the best ones")


class MatchSettings(PickSettings):
    """Template matching."""

    classes: list[str] | None = Field(None, description="templates to look for by name; all if none is given")
    angular_step: float = Field(12.85, ge=1, le=180, description="degrees between orientations; 12.85 makes 7000")
    rotations: Literal["super-fibonacci", "euler"] = Field("super-fibonacci", description="how they are laid out")
    path: Literal["low-rank", "exact"] = Field("low-rank", description="how scores are searched; final ones are exact")
    residual: float = Field(RESIDUAL, ge=0, lt=1, description="low-rank: share of the templates' energy left out")
    volumes: int = Field(MOST_VOLUMES, ge=1, description="low-rank: basis volumes at most")
    sampling: Literal["auto", "every"] = Field(
        "auto", description="low-rank: look at every voxel, or at as few places as the templates' resolution allows"
    )
    tile: int = Field(LARGEST_TILE, ge=16, le=MOST_TILE, description="voxels; largest side of a tile")
    ctf: Literal["first-zero", "full", "off"] = Field("first-zero", description="what of the CTF acts on the templates")
    defocus: float = Field(3.0, gt=0, description="um, underfocus")
    cs: float = Field(2.7, ge=0, description="mm, spherical aberration")
    voltage: float = Field(300.0, gt=0, le=3000, description="kV")
    amplitude_contrast: float = Field(0.08, ge=0, lt=1)
    tilt_range: tuple[float, float] | Literal["off"] = Field((-60.0, 60.0), description="degrees; off: no wedge")
    mask_edge: float = Field(10.0, ge=0, description="A; width of the soft edge of the spherical mask")
    mask_radius: float | None = Field(
        None, gt=0, le=1e5, description="A; of the mask of every template; its own if not given"
    )
    outliers: float | None = Field(
        None, gt=0, description="deviations from the median beyond which a voxel is gold or a defect, and set to it"
    )
    whiten: bool = Field(False, description="the same power at all frequencies, in tomogram and templates")
    background: Literal["off", "subtract", "divide"] = Field(
        "off", description="set scores against those of the template with random phases"
    )
    candidates: int = Field(2000, ge=1, description="peaks of each template that are looked at, or `number` if more")
    number: int | None = Field(217, ge=1, description="picks of each class at most")
    overlap: bool = Field(False, description="keep picks that overlap one of a larger class, or a better one")
    false_positives: float | None = Field(None, gt=0, description="expected ones a template; sets a least score")

    @field_validator("ctf", "tilt_range", "background", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        """YAML reads off as False."""
        return "off" if value is False else value

    @field_validator("defocus")
    @classmethod
    def _in_um(cls, value: float) -> float:
        if value > MOST_DEFOCUS:
            raise ValueError(f"more than {MOST_DEFOCUS:g} um; give the defocus in um, which for 30000 A is 3")
        return value

    @field_validator("tilt_range")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        """The wedge would refuse it as well, after work on the whole volume."""
        try:
            if value != "off":
                require_tilt_range(value)
        except VoxpickError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _has_room(self) -> MatchSettings:
        try:
            volumes = min(self.volumes, SUBSET) if self.path == "low-rank" else None
            require_room(self.angular_step, self.rotations, volumes)
        except VoxpickError as error:
            raise ValueError(str(error)) from error
        return self

    def optics(self) -> Optics | None:
        """The CTF of the templates; None leaves it out."""
        if self.ctf == "off":
            return None
        return Optics(self.defocus, self.cs, self.voltage, self.amplitude_contrast, self.ctf)

    def wedge(self) -> tuple[float, float] | None:
        """The limits of the tilt series in degrees; None leaves the missing wedge out."""
        return None if self.tilt_range == "off" else self.tilt_range

    def wanted(self, template: Template, radius: float) -> Wanted:
        """Which peaks of a template to look at; radius: A, that of a ball of its volume, within which there is one."""
        number = max(self.candidates, self.number or 0)
        return Wanted(radius / template.voxel_size, number, self.minimum_score, self.false_positives)


Settings = TypeVar("Settings", bound=PickSettings)


def make_match_settings(
    kind: type[Settings], changes: dict[str, Any] | None, *, options: Mapping[str, str] | None = None, **defaults: Any
) -> Settings:
    """`defaults` of a method, then `changes`; None, too, is a change: no limit, where the setting allows it.

    options: what a person calls settings that are named in errors, such as --step for angular_step.
    Raises VoxpickError for an unknown setting or a value out of range.
    """
    values = {**defaults, **(changes or {})}
    try:
        return kind(**values)
    except ValidationError as error:
        named = str((*error.errors()[0]["loc"], "")[0])
        if named in (options or {}):
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise VoxpickError(f"{(options or {})[named]} {values[named]}: {reason}") from error
        raise wrong_setting("match: ", error, kind) from error
