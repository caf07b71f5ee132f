"""Settings of detections by networks that mark places or name boxes: how to look, and what is done with the finds."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError, field_validator

from voxpick.detect.calibration import CONFIDENCE_SETTINGS, ConfidenceSettings
from voxpick.detect.memory import parse_memory
from voxpick.detect.settings import DetectSettings
from voxpick.errors import VoxpickError
from voxpick.networks.model import Model


class PlaceSettings(ConfidenceSettings):
    """How to look for places; lengths in A unless the name says otherwise, voxels are those of the model."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    tile: int = Field(
        224, ge=16, description="a tile has at most tile^3 voxels, margins included; fewer if memory asks"
    )
    minimum_score: float = Field(0.0, ge=0, le=1, description="picks with a lower confidence are left out")
    minimum_distance: float = Field(0.0, ge=0, description="A; picks closer than this to a better one are left out")
    invert: bool = Field(False, description="protein is bright in this tomogram; the models expect it dark")
    match_spectrum: Literal["auto", "off"] = Field(
        "auto", description="give a tomogram the amplitude spectrum of the model's training, where it has another"
    )
    slab: str = Field("auto", description="sections with specimen: auto finds them, off takes all, or first:last+1")
    max_memory: str = Field("6G", description="main memory that may be taken, such as 4G or 800M")

    @field_validator("max_memory")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        parse_memory(value)
        return value

    def shared(self) -> DetectSettings:
        """The settings that every detection has, in the form that preparing and selecting take."""
        names = (
            "minimum_score",
            "minimum_distance",
            "invert",
            "match_spectrum",
            "slab",
            "max_memory",
            *CONFIDENCE_SETTINGS,
        )
        return DetectSettings(**{name: getattr(self, name) for name in names})


class ScanSettings(PlaceSettings):
    """How to scan with a network that names one box."""

    stride: int = Field(1, ge=1, le=64, description="voxels between the places where the network is asked")


class CentreSettings(PlaceSettings):
    """voxpick: peaks of a heat map of centres."""

    tile: int = Field(144, ge=32, description="a tile has at most tile^3 voxels, halo included; fewer if memory asks")
    halo: int = Field(16, ge=0, multiple_of=2, description="voxels at inner sides of a tile that are not kept")
    threshold: float = Field(0.3, gt=0, lt=1, description="a peak counts as a centre above this height")
    minimum_distance: float = Field(80.0, ge=0, description="A; picks closer than this to a better one are left out")
    turns: bool = Field(False, description="mean over the four half turns that keep the wedge; four times the time")
    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="what evaluates the network; auto takes OpenVINO, if installed, for large volumes"
    )


class PeakSettings(ScanSettings):
    """YOPO: confident places that keep a distance."""

    minimum_distance: float = Field(140.0, ge=0, description="A; picks closer than this to a better one are left out")
    threshold: float = Field(0.99, gt=0, lt=1, description="a place is kept above this probability of any particle")


class ConsensusSettings(ScanSettings):
    """3D ResNet: labels that agree with those around them, clustered and counted."""

    stride: int = Field(2, ge=1, le=64, description="voxels between the places where the network is asked")
    unchecked: list[str] = Field(["1s3x", "3qm1", "3gl1"], description="small classes: no consensus check")
    background_votes: bool = Field(False, description="background may be the most frequent label of a box")
    box_sizes: dict[str, float] = Field(default_factory=dict, description="A; side of each class's box")
    class_ratios: dict[str, float] = Field(default_factory=dict, description="share of each class among the picks")
    density: float = Field(0.0, ge=0, description="particles per A^2 of the tomogram's plane in the training data")
    thickness: float = Field(0.0, ge=0, description="A; height of the specimen in the training data")
    number: int | None = Field(None, ge=1, description="picks altogether; otherwise as many as the density says")


Settings = TypeVar("Settings", bound=PlaceSettings)


def make_scan_settings(kind: type[Settings], model: Model, changes: dict[str, Any] | None = None) -> Settings:
    """Defaults of `kind`, then the model's own `detection` settings of this kind, then `changes` that are not None.

    Raises VoxpickError for an unknown setting or a value out of range.
    """
    brought = {key: value for key, value in model.detection.items() if key in kind.model_fields}
    values = {**brought, **{key: value for key, value in (changes or {}).items() if value is not None}}
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = f"; known: {', '.join(kind.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise VoxpickError(f"detect: {name} = {first['input']!r}: {first['msg']}{known}") from error
