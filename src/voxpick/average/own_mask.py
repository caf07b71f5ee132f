"""The correlation of half maps in a mask that follows the map, instead of a sphere.

A mask that is tight lets in less noise, and adds more of its own to the correlation, which random phases take off.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from voxpick.average.half_maps import half_map_correlation
from voxpick.average.pasted import central_part
from voxpick.average.refinement import FSC_EDGE, Refined
from voxpick.volume import Volume

EXTEND = 2.0
"""Voxels from the map's outline to where the mask begins to fall."""


def soft_outline(average: Volume, *, radius: float, extend: float = EXTEND, edge: float = FSC_EDGE) -> np.ndarray:
    """1 within `extend` voxels of the map's central part, falling to 0 over `edge` voxels as a raised cosine.

    radius: A; the part lies within it. Raises VoxpickError for a map without such a part.
    """
    part, _, _ = central_part(average, radius=radius)
    beyond = np.clip((ndimage.distance_transform_edt(~part) - extend) / edge, 0, 1)
    mask: np.ndarray = 0.5 + 0.5 * np.cos(np.pi * beyond)
    return mask


def with_own_mask(refined: Refined, *, radius: float, rng: np.random.Generator) -> Refined:
    """The same average, its half maps compared in the map's own soft outline."""
    mask = soft_outline(refined.map, radius=radius)
    halves = (half.data for half in refined.halves)
    size, registered = refined.map.voxel_size, refined.fsc.registered
    return replace(
        refined, fsc=half_map_correlation(*halves, voxel_size=size, mask=mask, rng=rng, registered=registered)
    )
