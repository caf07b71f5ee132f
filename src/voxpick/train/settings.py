"""The settings of a training run: one flat pydantic model, unknown keys refused."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from voxpick.errors import VoxpickError
from voxpick.train.seeds import MOST_SEED


class TrainSettings(BaseModel):
    """What to train, on which patches, by which loss and for how long. Lengths in voxels, time in minutes.

    Exactly one of minutes, steps and epochs is the budget. Minutes count all time spent inside the loop, validation
    included, and go on counting after a resume; a run of so many minutes cannot be repeated bit by bit, one of so many
    steps or epochs can, unless it chooses among weights that it validates by the clock (validate_minutes).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: str = Field("vp-detector", description="a name in methods.catalogue.METHODS")
    stage: str = Field("localizer", description="the part of the method's model that is trained")
    network: str = "msdnet"
    network_settings: dict[str, Any] = Field(default_factory=dict)

    patch: int = Field(64, ge=4, description="side of a training patch")
    batch: int = Field(1, ge=1, description="patches per step")
    centred_fraction: float = Field(
        0.5,
        ge=0,
        le=1,
        description="networks that label voxels or centres, but UMC: share of patches around a particle",
    )
    jitter: float = Field(2.0, ge=0, description="classifier: largest shift of a subtomogram from the true centre")
    balanced: bool = Field(True, description="classifier: draw each class equally often")
    touching: Literal["keep", "ignore", "background"] = Field(
        "keep", description="voxels where two particles touch: part of them, left out of the loss, or background"
    )

    turns: bool = Field(True, description="180-degree turns about x, y and z; the missing wedge stays")
    mirrors: bool = Field(False, description="mirror images as well; they change the handedness of particles")
    intensity_scale: float = Field(0.1, ge=0, lt=1, description="contrast is multiplied by 1 +- this")
    intensity_shift: float = Field(0.1, ge=0, description="brightness is shifted by +- this, in standard deviations")
    keep_spectrum: bool = Field(
        False, description="leave tomograms of another amplitude spectrum as they are; detection then does so, too"
    )
    noise: float = Field(0.0, ge=0, description="standard deviation of added white noise")
    spectrum: float = Field(
        0.0, ge=0, description="strength of random changes of a patch's amplitude spectrum (train.spectrum)"
    )
    low_pass: float = Field(0.0, ge=0, le=1, description="share of patches whose high frequencies are cut off")
    mixup: float = Field(
        0.0, ge=0, description="learn sums of two patches of a batch, shares drawn from Beta(mixup, mixup); 0: none"
    )

    loss: Literal["focal", "cross_entropy", "dice", "generalised_dice", "tversky", "squared_error"] = "focal"
    gamma: float = Field(2.0, ge=0, description="focusing parameter of the focal loss")
    background_weight: float = Field(1.0, gt=0, description="weight of background voxels; particle classes average 1")
    class_weights: list[float] | None = Field(
        None, description="weights of all classes, background first; otherwise from effective radii"
    )

    options: dict[str, Any] = Field(default_factory=dict, description="settings that this method alone knows")

    stream: dict[str, Any] = Field(
        default_factory=dict,
        description="settings of an endless stream of simulated specimens; none: train on given data",
    )

    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["step", "staircase", "cosine"] = "cosine"
    decay_epoch: int = Field(
        80, ge=1, description="step: the rate is divided by 10 after this epoch; staircase: each time so many are over"
    )
    warmup: float = Field(0.02, ge=0, lt=1, description="cosine, staircase: share of the budget with a rising rate")
    gradient_clip: float = Field(1.0, ge=0, description="largest norm of the gradient; 0 does not clip")
    average_decay: float = Field(0.0, ge=0, lt=1, description="decay of the moving average of weights; 0 keeps none")

    settle_batches: int = Field(
        0, ge=0, description="batches that batch normalisation of the averaged weights is measured anew on"
    )

    minutes: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    epochs: int | None = Field(None, ge=1)
    log_steps: int = Field(10, ge=1, description="steps between lines of the log")
    validate_minutes: float | None = Field(None, gt=0)
    validate_steps: int | None = Field(None, ge=1)
    checkpoint_seconds: float = Field(60.0, ge=0)
    seed: int = Field(0, ge=0, le=MOST_SEED)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _one_budget(self) -> TrainSettings:
        given = [name for name in ("minutes", "steps", "epochs") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one budget, not {' and '.join(given)}")
        return self

    @model_validator(mode="after")
    def _enough_to_mix(self) -> TrainSettings:
        if self.mixup and self.batch < 2:
            raise ValueError(f"mixup = {self.mixup:g} mixes the patches of a batch; take batch = 2 or more, not 1")
        return self


def make_settings(values: dict[str, Any]) -> TrainSettings:
    """Checked settings. Raises VoxpickError naming the key, the value and the reason."""
    try:
        return TrainSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "budget"
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(TrainSettings.model_fields))
            raise VoxpickError(f"training settings: unknown key {key!r}; known are {known}") from error
        given = "" if key == "budget" else f" = {first['input']!r}"
        raise VoxpickError(f"training settings: {key}{given}: {first['msg'].removeprefix('Value error, ')}") from error


def output_weights(settings: TrainSettings, outputs: int) -> list[float]:
    """Weights in the loss: `class_weights`, or `background_weight` for the first output and 1 for the others.

    Raises VoxpickError for another number of weights than `outputs`, and for one that is not above 0.
    """
    weights = settings.class_weights
    if weights is None:
        weights = [settings.background_weight] + [1.0] * (outputs - 1)
    if len(weights) != outputs:
        raise VoxpickError(f"class_weights has {len(weights)} values; the network has {outputs} outputs")
    if min(weights) <= 0:
        raise VoxpickError(f"class_weights is {weights}; weights are above 0")
    return weights
