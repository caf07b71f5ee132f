"""Binary masks: opening and connected components."""

from __future__ import annotations

import cc3d
import numpy as np


def labelled(mask: np.ndarray, *, connectivity: int = 6) -> np.ndarray:
    """Component of every voxel of a boolean mask [z, y, x]: 0 background, 1..n."""
    return np.asarray(cc3d.connected_components(np.asarray(mask, dtype=bool), connectivity=connectivity))  # type: ignore[call-overload]


def opened(mask: np.ndarray, *, iterations: int = 1) -> np.ndarray:
    """Morphological opening of a boolean mask [z, y, x] with the 3-D cross: erode n times, then dilate n times.

    Outside the volume counts as foreground for the erosion, so a particle cut by the volume's face keeps its face.
    """
    result = np.asarray(mask, dtype=bool)
    for _ in range(iterations):
        result = _eroded(result)
    for _ in range(iterations):
        result = _dilated(result)
    return result


def _eroded(mask: np.ndarray) -> np.ndarray:
    result = mask.copy()
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(result, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
    return result


def _dilated(mask: np.ndarray) -> np.ndarray:
    result = mask.copy()
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(result, axis, 0)
        target[1:] |= source[:-1]
        target[:-1] |= source[1:]
    return result
