"""Settings of detections by networks that mark places or name boxes: how to look, and what is done with the finds."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from voxpick.detect.settings import SharedSettings
from voxpick.errors import wrong_setting
from voxpick.networks.model import Model


class PlaceSettings(SharedSettings):
    """How to look for places; lengths in A unless the name says otherwise, voxels are those of the model."""

    tile: int = Field(
        224, ge=16, description="a tile has at most tile^3 voxels, margins included; fewer if memory asks"
    )


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
        "auto",
        description="what evaluates the network; auto takes OpenVINO, if there, where that is faster",
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

    A changed threshold lowers the model's own lowest_location to it, which would leave out what it lets through.
    Raises VoxpickError for an unknown setting or a value out of range.
    """
    brought = {key: value for key, value in model.detection.items() if key in kind.model_fields}
    given = {key: value for key, value in (changes or {}).items() if value is not None}
    try:
        settings = kind(**{**brought, **given})
    except ValidationError as error:
        raise wrong_setting("detect: ", error, kind) from error
    threshold = getattr(settings, "threshold", 1.0) if "threshold" in given else 1.0
    if "lowest_location" in given or threshold >= settings.lowest_location:
        return settings
    return settings.model_copy(update={"lowest_location": threshold})
