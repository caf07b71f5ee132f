"""Rotations. Matrices act on column vectors; R_zyx acts on (z, y, x), R_xyz on (x, y, z)."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.spatial.transform import Rotation

HALF_TURNS: tuple[tuple[int, ...], ...] = ((), (0, 1), (0, 2), (1, 2))
"""Axes (of z, y, x) to flip: no turn, and the half turns about x, y and z, which keep the wedge of a tilt about y."""

_REVERSE = np.eye(3)[::-1]


def swap_axes(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotation matrices between the (x, y, z) and the (z, y, x) frame; its own inverse."""
    return _REVERSE @ np.asarray(matrices, dtype=np.float64) @ _REVERSE


def zxz_to_matrix_xyz(angles_deg: np.ndarray) -> np.ndarray:
    """Rz(c1) Rx(c2) Rz(c3) for rows (c1, c2, c3) in degrees, active, on (x, y, z) vectors: (n, 3, 3).

    The convention of the SHREC'20 particle_locations.txt.
    """
    angles = np.asarray(angles_deg, dtype=np.float64).reshape(-1, 3)
    return Rotation.from_euler("ZXZ", angles, degrees=True).as_matrix()


def matrix_to_zxz_deg(matrices_xyz: np.ndarray) -> np.ndarray:
    """The inverse of `zxz_to_matrix_xyz`: (n, 3) degrees; where c2 is 0 or 180, c3 could be anything and is 0."""
    matrices = np.asarray(matrices_xyz, dtype=np.float64).reshape(-1, 3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock, as documented
        return Rotation.from_matrix(matrices).as_euler("ZXZ", degrees=True)


def uniform_rotations_zyx(n: int, rng: np.random.Generator) -> np.ndarray:
    """n rotation matrices uniform on SO(3): (n, 3, 3)."""
    return Rotation.random(n, random_state=rng).as_matrix().reshape(n, 3, 3)
