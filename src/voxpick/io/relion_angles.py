"""RELION's Euler angles (rot, tilt, psi), and voxpick's rotations from them.

RELION turns the axes by rot about z, by tilt about the new y and by psi about the new z (Heymann, Chagoyen and Belnap,
J. Struct. Biol. 151 (2005) 196-207). Its matrix of these angles takes coordinates of the reference to those of the
tomogram (RELION 5, ParticleSet::getMatrix4x4), as voxpick's rotations do. Turning axes one way is turning what they
measure the other way, so R_xyz = Rz(-psi) Ry(-tilt) Rz(-rot), active, on (x, y, z) column vectors: rot spins a particle
about its own z axis, and tilt and psi alone say where that axis points. See docs/geometry.md.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.spatial.transform import Rotation

from voxpick.geometry import swap_axes


def relion_to_rotations(angles_deg: np.ndarray) -> np.ndarray:
    """(n, 3) rows (rot, tilt, psi) in degrees -> (n, 3, 3) matrices on (z, y, x) that turn reference into particle."""
    angles = np.asarray(angles_deg, dtype=np.float64).reshape(-1, 3)
    return swap_axes(Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix())


def rotations_to_relion(rotations: np.ndarray) -> np.ndarray:
    """The inverse of `relion_to_rotations`: rot and psi in [-180, 180], tilt in [0, 180] degrees.

    At tilt 0 and 180 only rot + psi or rot - psi is defined; psi is 0 there.
    """
    matrices = swap_axes(np.asarray(rotations).reshape(-1, 3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock, as documented
        return Rotation.from_matrix(matrices).inv().as_euler("ZYZ", degrees=True)
