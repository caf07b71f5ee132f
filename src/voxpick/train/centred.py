"""Labelled boxes: subtomograms centred on particles, each with its class, and background away from all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree

from voxpick.errors import VoxpickError, wrong_setting
from voxpick.losses import weighted_focal
from voxpick.train.augment import Augmentation
from voxpick.train.particle_draws import ParticleDraws
from voxpick.train.settings import TrainSettings, output_weights
from voxpick.train.targets import TrainingVolume, equivalent_radii, voxel_shares

TRIES = 1000
LEAST_REACH = 6.0
"""Voxels around the centre of a small particle that are not shown as background."""


class BoxOptions(BaseModel):
    """What the `options` of a training on boxes may hold. Lengths in voxels."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    background: float = Field(0.5, ge=0, lt=1, description="share of background among the boxes")
    distance: float = Field(16.0, ge=0, description="background lies at least so far from the centre of any particle")
    shell: float = Field(
        0.0, ge=0, le=1, description="share of the background that lies around a particle, nearer than `distance`"
    )
    near: float = Field(
        1.0,
        gt=0,
        description="shell: it begins at so many times half the side of the particle's box, or 6 voxels off",
    )
    orientations: Literal["wedge", "cube"] = Field(
        "wedge", description="'cube': all quarter turns and mirrors; 'wedge': turns and mirrors that keep the wedge"
    )


def box_options(settings: TrainSettings) -> BoxOptions:
    """The checked options of a run. Raises VoxpickError naming the option."""
    try:
        return BoxOptions(**settings.options)
    except ValidationError as error:
        raise wrong_setting("training settings: options.", error, BoxOptions) from error


class CentredBoxes:
    """Boxes of side^3 voxels around particles, voxel side // 2 in the middle, and around places of the background.

    classes: particle names in the order of their labels, from 1 on; particles of other classes are not drawn, but
    background keeps away from them. background: share of the draws, at random places at least `distance` voxels from
    the centre of every particle, in the sections of the class mask and up to `size` voxels of vacuum above and below.
    shell: share of this background that lies around a particle instead, nearer than `distance` and beyond the reach of
    every particle; reach: by class, voxels from its centre (see `reaches`).
    jitter: largest shift from the true centre in voxels. balanced: every class equally often; else every particle.
    cube: permute the axes at random, besides what the augmentation does. Only positions and classes are used.
    An epoch shows as many boxes with particles as there are particles, and background beside them.
    Raises VoxpickError without particles.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], classes: Sequence[str], *, size: int, background: float,
        distance: float, jitter: float, balanced: bool, augmentation: Augmentation, cube: bool = False,
        shell: float = 0.0, reach: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.volumes, self.size, self.background, self.distance = volumes, size, background, distance
        self.augmentation, self.cube, self.shell = augmentation, cube, shell
        own = reach or {}
        self.reach = [np.array([own.get(name, 0.0) for name in volume.particles.classes]) for volume in volumes]
        numbers = {name: label for label, name in enumerate(classes, start=1)}
        self.particles = ParticleDraws(volumes, numbers, balanced=balanced, jitter=jitter)
        if not len(self.particles):
            raise VoxpickError(f"the training data hold no particle of the classes {', '.join(classes)}")
        self.trees = [cKDTree(volume.centers()) if len(volume.particles) else None for volume in volumes]
        self.known = [volume.known_background() for volume in volumes]
        self.by_voxels = voxel_shares(volumes)
        self.epoch = max(1, round(len(self.particles) / (1 - background)))
        if background > 0 and any(known is not None and len(known) == 0 for known in self.known):
            raise VoxpickError("no voxel is known to be background; widen the shell around labelled particles")

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One augmented box [z, y, x] and its label, an array without axes."""
        if rng.random() < self.background:
            index = int(rng.choice(len(self.volumes), p=self.by_voxels))
            near = self.shell > 0 and rng.random() < self.shell
            place = self.shell_place(index, rng) if near else None
            center, label = self.background_place(index, rng) if place is None else place, 0
        else:
            index, center, label = self.particles.draw(rng)
        whole = self.size | 1  # an odd side, as turning an even one would move voxel side // 2
        image = self.volumes[index].image((center - self.size // 2).tolist(), (whole,) * 3)
        if self.cube:
            image = np.transpose(image, rng.permutation(3))
        image = self.augmentation(image, image, rng)[0][: self.size, : self.size, : self.size]
        return np.ascontiguousarray(image), np.array(label, dtype=np.int64)

    def background_place(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """A voxel (z, y, x) of the specimen far enough from all particles, else the farthest of many tried ones."""
        volume, tree, known = self.volumes[index], self.trees[index], self.known[index]
        first, last = volume.z_offset, volume.z_offset + volume.class_mask.shape[0]
        low = np.array([max(first - self.size, 0), 0, 0])
        high = np.array([min(last + self.size, volume.tomogram.shape[0]), *volume.class_mask.shape[1:]])
        best, reach = low, -1.0
        for _ in range(TRIES):
            place = rng.integers(low, high) if known is None else known[rng.integers(len(known))]
            found = np.inf if tree is None else float(tree.query(place)[0])
            if found >= self.distance:
                return place
            if found > reach:
                best, reach = place, found
        return best

    def shell_place(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """A voxel (z, y, x) of the specimen beyond the reach of all particles and nearer than `distance` to one.

        None where many tries find none, and where labels are not known everywhere.
        """
        volume, tree, reach = self.volumes[index], self.trees[index], self.reach[index]
        if tree is None or self.known[index] is not None:
            return None
        low = np.array([volume.z_offset, 0, 0])
        centers = tree.data
        for _ in range(TRIES):
            row = rng.integers(len(centers))
            way = rng.normal(size=3)
            length = rng.uniform(min(reach[row], self.distance), self.distance)
            place = np.rint(centers[row] + length * way / np.linalg.norm(way)).astype(np.int64)
            if (place < low).any() or (place >= low + volume.class_mask.shape).any():
                continue
            others = tree.query_ball_point(place, max(self.distance, reach.max()))
            if (np.linalg.norm(centers[others] - place, axis=1) >= reach[others]).all():
                return place
        return None


def reaches(volumes: Sequence[TrainingVolume], classes: Sequence[str], *, near: float) -> dict[str, float]:
    """Voxels, by class: `near` times half the mean side of a particle's box, LEAST_REACH at least."""
    voxel_size = volumes[0].tomogram.voxel_size
    sides = _box_sizes(volumes, classes)
    return {name: max(near * side / voxel_size / 2, LEAST_REACH) for name, side in sides.items()}


def make_box_sampler(
    volumes: Sequence[TrainingVolume], settings: TrainSettings, classes: Sequence[str]
) -> CentredBoxes:
    """The sampler that a run's settings and options ask for."""
    chosen = box_options(settings)
    return CentredBoxes(
        volumes, classes, size=settings.patch, background=chosen.background, distance=chosen.distance,
        jitter=settings.jitter, balanced=settings.balanced, augmentation=Augmentation.of(settings),
        cube=chosen.orientations == "cube", shell=chosen.shell,
        reach=reaches(volumes, classes, near=chosen.near) if chosen.shell else None,
    )  # fmt: skip


def particle_statistics(volumes: Sequence[TrainingVolume], classes: Sequence[str]) -> dict[str, Any]:
    """What detection may know of the training data: sizes of particles, and how many there are of each class.

    box_sizes: A, by class, mean side of the boxes that hold one particle's voxels; of a cube of the mean volume where a
    volume has no occupancy mask; classes without particles are left out. class_ratios: share of each class, sum 1.
    density: particles per A^2 of the tomograms' plane. thickness: A, mean height of the specimen.
    """
    voxel_size = volumes[0].tomogram.voxel_size
    names = np.concatenate([volume.particles.classes for volume in volumes])
    counts = np.array([(names == name).sum() for name in classes], dtype=np.float64)
    area = sum(volume.class_mask.shape[1] * volume.class_mask.shape[2] for volume in volumes) * voxel_size**2
    return {
        "box_sizes": _box_sizes(volumes, classes),
        "class_ratios": {name: float(n / counts.sum()) for name, n in zip(classes, counts, strict=True)},
        "density": float(counts.sum() / area),
        "thickness": float(np.mean([volume.class_mask.shape[0] for volume in volumes]) * voxel_size),
    }


def _box_sizes(volumes: Sequence[TrainingVolume], classes: Sequence[str]) -> dict[str, float]:
    if any(volume.occupancy is None for volume in volumes):
        sides = 2 * (np.pi / 6) ** (1 / 3) * equivalent_radii(volumes, classes)
        return {name: float(side) for name, side in zip(classes, sides, strict=True) if np.isfinite(side)}
    found: dict[str, list[float]] = {name: [] for name in classes}
    for volume in volumes:
        assert volume.occupancy is not None
        for box, name in zip(_extents(volume.occupancy, len(volume.particles)), volume.particles.classes, strict=True):
            if name in found and box.min() > 0:
                found[name].append(float(box.mean()) * volume.tomogram.voxel_size)
    return {name: float(np.mean(sides)) for name, sides in found.items() if sides}


def _extents(occupancy: np.ndarray, particles: int) -> np.ndarray:
    """Sides (particles, 3) of the boxes that hold each particle's voxels; 0 for one without voxels."""
    found = find_objects(np.asarray(occupancy, dtype=np.int32), max_label=particles)
    return np.array([[0] * 3 if box is None else [part.stop - part.start for part in box] for box in found])


def box_loss(settings: TrainSettings, classes: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Cross-entropy, or the focal loss, of logits (b, classes) and labels (b,), weighted by class.

    Weights are `class_weights`, or `background_weight` for class 0 and 1 for the others.
    Raises VoxpickError for another loss and for weights that do not fit.
    """
    if settings.loss not in ("cross_entropy", "focal"):
        raise VoxpickError(f"loss is {settings.loss}; a network that names boxes takes cross_entropy or focal")
    weights = output_weights(settings, classes)
    gamma = settings.gamma if settings.loss == "focal" else 0.0

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return weighted_focal(logits, labels, class_weights=torch.tensor(weights, device=logits.device), gamma=gamma)

    return loss
