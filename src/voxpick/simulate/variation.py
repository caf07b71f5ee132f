"""Recipes around a given one, so that what is learnt does not hang on one microscope, one ice, one dose."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from voxpick.simulate.packing import Beads
from voxpick.simulate.shrec20 import MOST_PARTICLES, Recipe, particle_number

Range = tuple[float, float]

REPLACED = ("snr", "defocus_um", "tilt_limit_deg", "tilt_step_deg", "envelope_decay")
"""Settings of a recipe that are drawn whatever the given one has."""


class Variation(BaseModel):
    """Ranges (lowest, highest) of what differs between specimens; orientations stay as the recipe has them.

    The mean density of the ice moves less than its noise: it sets the contrast of every particle at once, as particles
    displace ice, and at twice its value nothing of a small one is left.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    snr: Range = Field((0.0025, 0.016), description="the organisers' setting, uniform in its logarithm")
    defocus_um: Range = (2.2, 4.5)
    tilt_limit_deg: Range = (50.0, 70.0)
    tilt_step_deg: Range = (2.0, 3.0)
    envelope_decay: Range = (0.25, 0.55)
    crowding: Range = Field((0.4, 1.1), description="factor on the number of particles")
    ice_mean: Range = Field((0.8, 1.2), description="factor")
    ice_deviation: Range = Field((0.5, 1.5), description="factor")
    structural_noise: Range = Field((0.5, 1.5), description="factor")
    contrast: Range = Field((0.85, 1.15), description="factor on the density of each structure")

    @model_validator(mode="after")
    def _in_order(self) -> Variation:
        for name in type(self).model_fields:
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} = {low:g}, {high:g}: give the lowest value, above 0, then the highest")
        return self


def draw_recipe(
    given: Recipe, structures: Mapping[str, Beads], variation: Variation, rng: np.random.Generator
) -> Recipe:
    """A recipe around `given` for these structures; the same generator state gives the same recipe.

    Tilts stay symmetric about 0: the step is one that divides the limit, wherever its range holds such a one.
    """
    particles = given.particles or particle_number(structures, given, rng)
    limit, step = _tilts(variation, rng)
    changes = {
        "snr": math.exp(rng.uniform(*np.log(variation.snr))),
        "defocus_um": float(rng.uniform(*variation.defocus_um)),
        "tilt_limit_deg": limit,
        "tilt_step_deg": step,
        "envelope_decay": float(rng.uniform(*variation.envelope_decay)),
        "particles": min(max(1, round(particles * rng.uniform(*variation.crowding))), MOST_PARTICLES),
        "ice_mean": float(given.ice_mean * rng.uniform(*variation.ice_mean)),
        "ice_deviation": float(given.ice_deviation * rng.uniform(*variation.ice_deviation)),
        "structural_noise": float(given.structural_noise * rng.uniform(*variation.structural_noise)),
        "contrast": {
            name: given.contrast.get(name, 1.0) * float(rng.uniform(*variation.contrast)) for name in structures
        },
    }
    return Recipe.model_validate({**given.model_dump(), **changes})


def varying(seed: int) -> np.random.Generator:
    """The generator of a specimen's recipe: another one than that of its particles and noise."""
    return np.random.default_rng([seed, 1])


def _tilts(variation: Variation, rng: np.random.Generator) -> tuple[float, float]:
    """Largest tilt and step, degrees."""
    limit = float(rng.uniform(*variation.tilt_limit_deg))
    smallest, largest = variation.tilt_step_deg
    fewest, most = math.ceil(limit / largest), math.floor(limit / smallest)
    if fewest > most:
        return limit, float(rng.uniform(smallest, largest))
    return limit, limit / int(rng.integers(fewest, most + 1))
