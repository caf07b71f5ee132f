"""The rule of hybrid dilated convolutions: which dilations may follow each other, and how far a stack of them sees.

Wang et al. (2018), Understanding convolution for semantic segmentation, section 3.2; Hao et al. (VP-Detector), 2.2.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from voxpick.errors import VoxpickError

KERNEL = 3
"""Taps along each side of the networks' kernels."""


def maximum_gaps(dilations: Sequence[int]) -> list[int]:
    """M_1 .. M_n: the largest distance between two taps that layers i..n together leave, in voxels.

    M_n = s_n and M_i = max[M_{i+1} - 2 s_i, M_{i+1} - 2 (M_{i+1} - s_i), s_i] for i = n-1 .. 1.
    Raises VoxpickError for an empty list or a dilation below 1.
    """
    if len(dilations) == 0:
        raise VoxpickError("dilations: the list is empty; give for instance 1 2 3")
    for dilation in dilations:
        if isinstance(dilation, bool) or int(dilation) != dilation or dilation < 1:
            raise VoxpickError(f"dilations: {dilation} is no dilation; each must be a whole number from 1 on")
    gaps = [int(dilations[-1])]
    for s in reversed(dilations[:-1]):
        following = gaps[0]
        gaps.insert(0, int(max(following - 2 * s, following - 2 * (following - s), s)))
    return gaps


def missing_offsets(dilations: Sequence[int]) -> list[int]:
    """Offsets from 1 to the sum of the dilations that one pass through them cannot see along an axis, in order."""
    seen = {0}
    for s in dilations:
        seen = {offset + step for offset in seen for step in (-int(s), 0, int(s))}
    return [offset for offset in range(1, sum(int(s) for s in dilations) + 1) if offset not in seen]


def check_dilations(dilations: Sequence[int]) -> None:
    """Refuse with VoxpickError a cycle of dilations that leaves holes.

    The rule of the papers, M_2 at most the kernel's width, supposes that the first dilation is 1: it lets 2 2 pass,
    which sees every second voxel. So every offset within reach has to be seen as well.
    """
    gaps = maximum_gaps(dilations)
    listed = " ".join(str(s) for s in dilations)
    advice = f"use steps without large jumps, such as {' '.join(map(str, range(1, max(dilations) + 1)))}"
    if len(gaps) > 1 and gaps[1] > KERNEL:
        raise VoxpickError(
            f"dilations {listed}: they leave holes, since M_2 = {gaps[1]} exceeds the kernel width {KERNEL}; {advice}"
        )
    if missing := missing_offsets(dilations):
        raise VoxpickError(f"dilations {listed}: they leave holes, the first {missing[0]} voxels away; {advice}")


def receptive_field(depth: int, dilations: Sequence[int]) -> int:
    """Side in voxels of the cube of input that one output voxel depends on, after `depth` layers cycling `dilations`.

    Each layer adds (KERNEL - 1) times its dilation. Raises VoxpickError for a negative depth and no dilations.
    """
    if depth < 0:
        raise VoxpickError(f"depth is {depth}; it must be 0 or more")
    maximum_gaps(dilations)
    return 1 + (KERNEL - 1) * sum(int(dilations[i % len(dilations)]) for i in range(depth))
