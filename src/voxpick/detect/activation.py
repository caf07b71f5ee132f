"""Class activation maps: which parts of a subtomogram speak for a class.

Gao et al. (2020), section 2.3, eq. 1, after Zhou et al. (2016), Learning deep features for discriminative localization.
CAM_c = sum over k of w_ck f_k, with the last maps f_k of a network that averages them over all positions and gives them
to one linear layer. So the mean of CAM_c over its positions, plus the layer's bias, is the score of class c before the
softmax. (The paper calls the average F_k a sum.)
Here the maps are those after the last normalisation and ReLU, which the linear layer sees; the class is the most
probable one of the particles, background left out, as the paper's networks have no output for it; maps are made as
large as the input by trilinear interpolation, and the truth beside them is the specimen less its ice, noise included,
where the paper shows a density in an empty volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch

from voxpick.detect.classify import subtomogram
from voxpick.errors import VoxpickError
from voxpick.precision import choose_device


@runtime_checkable
class Averaging(Protocol):
    """A network whose class scores are `linear` of the means of `features` over all positions."""

    linear: torch.nn.Linear

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (b, channels, z', y', x') of images (b, 1, z, y, x)."""
        ...


@dataclass(frozen=True)
class Activation:
    """For n particles: what a network saw, and what speaks for the class it gave them.

    images, maps: float32 (n, z, y, x), the map of class `class_index` (n,), from 1 on, on the grid of the image.
    probabilities: (n, classes), background first.
    """

    images: np.ndarray
    maps: np.ndarray
    class_index: np.ndarray
    probabilities: np.ndarray


def class_maps(network: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (b, classes, z', y', x') of all classes on the network's own last grid, and its logits (b, classes).

    images: (b, 1, z, y, x). Raises VoxpickError for a network that does not end in an average and a linear layer.
    """
    averaging = _require_averaging(network)
    features = averaging.features(images).float()
    weight, bias = averaging.linear.weight, averaging.linear.bias
    maps = torch.einsum("bkzyx,ck->bczyx", features, weight)
    return maps, maps.mean(dim=(2, 3, 4)) + bias


def upsampled(maps: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Maps (b, c, z', y', x') on a grid of `shape` voxels (z, y, x) over the same space, trilinear."""
    return torch.nn.functional.interpolate(maps, size=shape, mode="trilinear", align_corners=False)


@torch.inference_mode()
def activations(
    volume: np.ndarray,
    centers: np.ndarray,
    network: torch.nn.Module,
    *,
    size: int = 32,
    mean: float = 0.0,
    deviation: float = 1.0,
    batch: int = 4,
    device: str | torch.device = "auto",
) -> Activation:
    """The map of the most probable class, background aside, at each of `centers` (n, 3), voxels z, y, x.

    volume, mean, deviation, size: as in `classify`; the network computes in float32.
    Raises VoxpickError for a network without such maps, or no centres.
    """
    _require_averaging(network)
    if not len(centers):
        raise VoxpickError("class activation maps: no particles were given")
    where = torch.device(device) if isinstance(device, torch.device) else choose_device(device)
    with torch.inference_mode(False):  # or it could not be trained any more where it is moved to
        network = network.to(where).eval()
    cubes = np.stack([subtomogram(volume, center, size=size, mean=mean, deviation=deviation) for center in centers])
    chosen, shown, shares = [], [], []
    for first in range(0, len(cubes), batch):
        images = torch.from_numpy(cubes[first : first + batch, None]).to(where)
        maps, logits = class_maps(network, images)
        if logits.shape[1] < 2:
            raise VoxpickError("class activation maps: the network has one output; it needs a background and a class")
        best = 1 + logits[:, 1:].argmax(dim=1)
        winning = maps[torch.arange(len(maps), device=where), best][:, None]
        shown.append(upsampled(winning, images.shape[2:])[:, 0].cpu().numpy())
        chosen.append(best.cpu().numpy())
        shares.append(torch.softmax(logits, dim=1).cpu().numpy())
    return Activation(cubes, np.concatenate(shown), np.concatenate(chosen), np.concatenate(shares))


def _require_averaging(network: torch.nn.Module) -> Averaging:
    if not isinstance(network, Averaging) or not isinstance(network.linear, torch.nn.Linear):
        raise VoxpickError(
            f"class activation maps need a classifier that averages its last maps and has one linear layer, such as "
            f"densenet or dilated-densenet; this one is a {type(network).__name__}"
        )
    return cast(Averaging, network)
