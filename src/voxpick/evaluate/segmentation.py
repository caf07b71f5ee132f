"""Voxel accuracy of a segmentation: VA, MVA and MIoU of VP-Detector (section 3.3.1 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxpick.errors import VoxpickError


@dataclass(frozen=True)
class SegmentationScore:
    """confusion: voxels p[i, j] of class i that are predicted as class j; row 0 is background.

    The paper averages over all M classes, counted from 0: background is one of them. A class without a voxel in truth
    and prediction has no value here and is left out of the mean, as is a class without a true voxel from MVA.
    """

    confusion: np.ndarray
    labels: tuple[str, ...]

    @property
    def voxel_accuracy(self) -> float:
        """VA = sum_i p_ii / sum_ij p_ij."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def class_voxel_accuracy(self) -> np.ndarray:
        """p_ii / sum_j p_ij of every class; NaN for a class without true voxels."""
        return _divide(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def class_iou(self) -> np.ndarray:
        """p_ii / (sum_j p_ij + sum_j p_ji - p_ii) of every class; NaN for a class without any voxel."""
        right = np.diag(self.confusion)
        return _divide(right, self.confusion.sum(axis=1) + self.confusion.sum(axis=0) - right)

    @property
    def mean_voxel_accuracy(self) -> float:
        """MVA, the mean of class_voxel_accuracy."""
        return float(np.nanmean(self.class_voxel_accuracy))

    @property
    def mean_iou(self) -> float:
        """MIoU, the mean of class_iou."""
        return float(np.nanmean(self.class_iou))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; None for a class without a value."""
        accuracy, iou = (
            {name: None if np.isnan(v) else float(v) for name, v in zip(self.labels, values, strict=True)}
            for values in (self.class_voxel_accuracy, self.class_iou)
        )
        return {
            "VA": self.voxel_accuracy,
            "MVA": self.mean_voxel_accuracy,
            "MIoU": self.mean_iou,
            "class_voxel_accuracy": accuracy,
            "class_IoU": iou,
        }


def score_segmentation(
    predicted: np.ndarray,
    truth: np.ndarray,
    *,
    labels: tuple[str, ...],
    progress: Callable[[int, int], None] | None = None,
) -> SegmentationScore:
    """Compare class ids [z, y, x] voxel by voxel, one z-slice at a time; labels[i] names id i (0: background).

    A prediction thicker than the truth (a whole tomogram against its specimen) is compared in its central slices, from
    surplus // 2 on.
    Raises VoxpickError when the shapes do not fit or an id has no label.
    """
    nz, surplus = truth.shape[0], predicted.shape[0] - truth.shape[0]
    if predicted.shape[1:] != truth.shape[1:] or surplus < 0:
        raise VoxpickError(
            f"the segmentation has shape {predicted.shape} (z, y, x) but the class mask has {truth.shape}; "
            "segment the tomogram that belongs to this truth, unbinned"
        )
    m = len(labels)
    confusion = np.zeros(m * m, dtype=np.int64)
    for z in range(nz):
        given = _ids(predicted[z + surplus // 2], m, "segmentation", z)
        right = _ids(truth[z], m, "class mask", z)
        confusion += np.bincount((right * m + given).ravel(), minlength=m * m)
        if progress:
            progress(z + 1, nz)
    return SegmentationScore(confusion.reshape(m, m), labels)


def _ids(section: np.ndarray, m: int, what: str, z: int) -> np.ndarray:
    ids = np.asarray(section)
    if (ids < 0).any() or (ids >= m).any() or (ids != np.floor(ids)).any():  # the last one holds for NaN as well
        raise VoxpickError(
            f"the {what} holds values from {ids.min():g} to {ids.max():g} in slice {z}; class ids are whole numbers "
            f"from 0 to {m - 1}"
        )
    return ids.astype(np.int64)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
