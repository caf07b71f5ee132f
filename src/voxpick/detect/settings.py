"""Settings of a detection: defaults, what a model brings along, and changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from voxpick.detect.calibration import ConfidenceSettings
from voxpick.detect.memory import parse_memory
from voxpick.errors import wrong_setting
from voxpick.networks.model import Model

LOCATE_SETTINGS = ("threshold", "split", "seeds", "cluster_centers", "minimum_size", "opening", "neck", "smoothing")


class SharedSettings(ConfidenceSettings):
    """What every detection has: how the tomogram is prepared, and which picks stay. Lengths in A."""

    minimum_score: float = Field(0.0, ge=0, le=1, description="picks with a lower confidence are left out")
    minimum_distance: float = Field(0.0, ge=0, description="A; picks closer than this to a better one are left out")
    keep_apart: bool = Field(True, description="leave out picks that are too close; calibrate has to see all of them")
    invert: bool = Field(False, description="protein is bright in this tomogram; the models expect it dark")
    match_spectrum: Literal["auto", "off"] = Field(
        "auto", description="give a tomogram the amplitude spectrum of the model's training, where it has another"
    )
    slab: str = Field("auto", description="sections with specimen: auto finds them, off takes all, or first:last+1")
    max_memory: str = Field("6G", description="main memory that may be taken, such as 4G or 800M")

    @field_validator("match_spectrum", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        """YAML reads off as False."""
        return "off" if value is False else value

    @field_validator("max_memory")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        parse_memory(value)
        return value


class DetectSettings(SharedSettings):
    """How to detect; lengths in A unless the name says otherwise, voxels are those of the model."""

    tile: int = Field(176, ge=16, description="a tile has at most tile^3 voxels, halo included; fewer if memory asks")
    halo: int = Field(16, ge=0, description="voxels at each inner side of a tile that are computed and not kept")
    merge: Literal["crop", "border"] = Field("crop", description="how tiles are merged; 'border' is the paper's")
    threshold: float = Field(0.5, gt=0, lt=1, description="a voxel above this probability belongs to a particle")
    opening: int = Field(0, ge=0, description="iterations of the morphological opening of the segmentation")
    split: Literal["watershed", "mean-shift", "components"] = Field(
        "watershed", description="how touching particles are told apart; 'mean-shift' is the paper's"
    )
    seeds: Literal["bins", "centroids"] = Field(
        "bins",
        description="mean-shift: 'centroids' of components, which are the paper's, split none; 'bins' adds others",
    )
    cluster_centers: Literal["modes", "means"] = Field(
        "modes", description="mean-shift: a centre is where it ended, or the plain mean of its cluster's voxels"
    )
    bandwidth: float = Field(
        60.0, gt=0, description="A; radius of the mean-shift kernel and of the core that is scored"
    )
    minimum_size: int = Field(30, ge=1, description="voxels; smaller clusters are dropped")
    neck: float = Field(0.6, gt=0, le=1, description="watershed: a pass below this part of the lower maximum splits")
    smoothing: float = Field(0.5, ge=0, description="watershed: voxels; Gaussian over the distances")
    subtomogram: int = Field(32, ge=8, le=256, description="side in voxels of what the classifier sees")
    too_close: Literal["better", "none"] = Field(
        "better", description="of picks closer than minimum_distance the better one stays, or none does"
    )
    voting: Literal["probability", "majority"] = Field("probability", description="'majority' is the paper's")
    per_class: bool = Field(False, description="one-stage methods: tell particles apart among voxels of one class")
    batch: int = Field(4, ge=1, description="subtomograms at a time")
    name_turns: bool = Field(
        False, description="naming: mean over the four half turns that keep the wedge; four times the time"
    )
    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="what evaluates U-Nets and the like; auto takes OpenVINO, if there, where that is faster",
    )


def make_settings(
    models: Iterable[Model | None],
    changes: dict[str, Any] | None = None,
    *,
    defaults: dict[str, Any] | None = None,
) -> DetectSettings:
    """A method's `defaults`, then each model's own `detection` settings (the last wins), then `changes` but None.

    Raises VoxpickError for an unknown setting or a value out of range.
    """
    values: dict[str, Any] = dict(defaults or {})
    for model in models:
        values.update(model.detection if model else {})
    values.update({key: value for key, value in (changes or {}).items() if value is not None})
    try:
        return DetectSettings(**values)
    except ValidationError as error:
        raise wrong_setting("detect: ", error, DetectSettings) from error
