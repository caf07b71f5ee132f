"""VP-Detector's second stage (Hao et al. 2022, section 2.1.2): name the particle at each centre.

Subtomogram, multi-class segmentation, the component at its centre, vote. Where the network sees no particle at a
centre, the class comes from the probabilities around it, so every pick has a class, with a low confidence.

A network that names whole subtomograms, as the classifiers of other papers do, takes the same place without a vote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from voxpick.detect.components import labelled
from voxpick.detect.segment import softmax_map
from voxpick.errors import VoxpickError
from voxpick.geometry import HALF_TURNS
from voxpick.precision import choose_device

VOTINGS = ("probability", "majority")
NEAR = 3.0


@dataclass(frozen=True)
class Classified:
    """For n picks: class_index (n,) in 1..classes-1, scores (n,) in [0, 1], and the summed share of every class.

    shares: (n, classes) parts of the vote, rows sum to 1, column 0 (background) is 0.
    """

    class_index: np.ndarray
    scores: np.ndarray
    shares: np.ndarray


def subtomogram(
    volume: np.ndarray, center: np.ndarray, *, size: int, mean: float = 0.0, deviation: float = 1.0
) -> np.ndarray:
    """Float32 cube [z, y, x] of side `size` with voxel round(center) at index size // 2, as (value - mean) / deviation.

    Outside the volume it is 0, which is the mean of a normalised volume. center: voxels (z, y, x).
    """
    corner = np.rint(center).astype(int) - size // 2
    inside = tuple(slice(max(c, 0), max(min(c + size, n), 0)) for c, n in zip(corner, volume.shape, strict=True))
    within = tuple(slice(s.start - c, s.stop - c) for s, c in zip(inside, corner, strict=True))
    cube = np.zeros((size, size, size), dtype=np.float32)
    if all(s.stop > s.start for s in inside):
        cube[within] = (np.asarray(volume[inside], dtype=np.float32) - np.float32(mean)) / np.float32(deviation)
    return cube


def classify(
    volume: np.ndarray,
    centers: np.ndarray,
    network: torch.nn.Module,
    *,
    size: int = 32,
    radii: np.ndarray | None = None,
    voting: str = "probability",
    turns: bool = False,
    mean: float = 0.0,
    deviation: float = 1.0,
    batch: int = 4,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    progress: Callable[[int, int], None] | None = None,
    seen: Callable[[range, torch.Tensor], None] | None = None,
) -> Classified:
    """Class and confidence of the particles at `centers` (n, 3), voxels z, y, x.

    volume, mean, deviation: as in segment.probabilities. network: maps (b, 1, z, y, x) to logits (b, c, z, y, x), or
    (b, c) for whole subtomograms, with the background in channel 0. size: side of the subtomograms. radii: (n,)
    expected particle radius in voxels; voxels beyond 1.5 radii + 2 have no vote, which keeps touching neighbours out.
    voting: 'majority' counts the most probable class of each voxel (the paper's), 'probability' adds up the
    probabilities. turns: takes the mean of the probabilities over the half turns that keep the missing wedge.
    seen: is shown which of the centres a batch holds, and its probabilities (b, c, z, y, x) or (b, c).
    The confidence is the winner's share of the vote times the mean probability of 'no background' of the voters; for
    whole subtomograms that is the winner's probability, and radii and voting have no part in it.
    Raises VoxpickError for an unknown voting or a network with fewer than two outputs.
    """
    if voting not in VOTINGS:
        raise VoxpickError(f"detect: unknown voting {voting!r}; one of {', '.join(VOTINGS)}")
    where = torch.device(device) if isinstance(device, torch.device) else choose_device(device)
    network = network.to(where)
    n = len(centers)
    table: np.ndarray | None = None
    scores = np.zeros(n)
    for first in range(0, n, batch):
        chosen = range(first, min(first + batch, n))
        cubes = [subtomogram(volume, centers[k], size=size, mean=mean, deviation=deviation) for k in chosen]
        images = torch.from_numpy(np.stack(cubes)[:, None])
        found = _probabilities(images, network, turns=turns, device=where, dtype=dtype)
        if seen:
            seen(chosen, found)
        for k, probability in zip(chosen, found, strict=True):
            reach = None if radii is None else 1.5 * float(radii[k]) + 2
            values = probability.cpu().numpy()
            share, score = without_vote(values) if values.ndim == 1 else vote(values, reach=reach, voting=voting)
            if table is None:  # one block: small arrays kept between the network's large ones would scatter the heap
                table = np.zeros((n, len(share)))
            table[k], scores[k] = share, score
        if progress:
            progress(chosen.stop, n)
    if table is None:
        return Classified(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, 2)))
    return Classified(1 + table[:, 1:].argmax(axis=1), np.clip(scores, 0, 1), table)


def _probabilities(
    images: torch.Tensor, network: torch.nn.Module, *, turns: bool, device: torch.device, dtype: torch.dtype | None
) -> torch.Tensor:
    """`softmax_map`, or its mean over half turns, each turned back."""
    total: torch.Tensor | None = None
    chosen = HALF_TURNS if turns else HALF_TURNS[:1]
    for axes in chosen:
        dims = tuple(axis + 2 for axis in axes)
        found = softmax_map(images.flip(dims), network, device=device, dtype=dtype)
        found = found.flip(dims) if found.ndim > 2 else found
        total = found if total is None else total + found
    assert total is not None
    return total / len(chosen)


def vote(
    probability: np.ndarray, *, reach: float | None = None, voting: str = "probability"
) -> tuple[np.ndarray, float]:
    """Share of every class (classes,) and the confidence from the class probabilities [c, z, y, x] of a subtomogram."""
    classes = _outputs(probability)
    particle = 1 - probability[0]
    distance = _distance_from_centre(probability.shape[1:])
    mask = central_component(particle > 0.5, distance)
    if reach is not None:
        mask &= distance <= reach
    if not mask.any():
        mask = distance <= (NEAR if reach is None else min(reach, NEAR))
    voters = probability[:, mask]
    if voting == "majority":
        shares = np.bincount(1 + voters[1:].argmax(axis=0), minlength=classes).astype(np.float64)
    else:
        shares = voters.sum(axis=1, dtype=np.float64)
    shares[0] = 0
    shares /= max(shares.sum(), 1e-300)
    return shares, float(shares.max() * particle[mask].mean())


def without_vote(probability: np.ndarray) -> tuple[np.ndarray, float]:
    """Share of every class (classes,) and the confidence from the class probabilities (classes,) of a subtomogram.

    Shares leave the background out; the confidence is the winner's share times 1 - P(background), its probability.
    """
    _outputs(probability)
    shares = probability.astype(np.float64)
    shares[0] = 0
    score = float(shares.max())
    return shares / max(shares.sum(), 1e-300), score


def _outputs(probability: np.ndarray) -> int:
    classes = len(probability)
    if classes < 2:
        raise VoxpickError(f"detect: the classifier has {classes} output; it needs a background and a class at least")
    return classes


def central_component(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The component of a mask [z, y, x] at the centre, or the nearest within 3 voxels of it; else nothing.

    distance: of every voxel from the centre, in voxels.
    """
    labels = labelled(mask)
    near = np.where(mask, distance, np.inf)
    closest = int(near.argmin())
    if not near.flat[closest] <= NEAR:
        return np.zeros_like(mask)
    return labels == labels.flat[closest]


def _distance_from_centre(shape: tuple[int, ...]) -> np.ndarray:
    squares = [np.square(np.arange(n) - n // 2) for n in shape]
    return np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
