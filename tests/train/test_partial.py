"""Partly labelled tomograms: what is not known is left out."""

from dataclasses import replace

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.train.augment import Augmentation
from voxpick.train.centre_targets import CentrePatches
from voxpick.train.centred import CentredBoxes
from voxpick.train.partial import SECTIONS, empty_places, partly_labelled
from voxpick.train.patches import make_sampler
from voxpick.train.settings import make_settings
from voxpick.train.subtomograms import LabelledSubtomograms
from voxpick.train.targets import IGNORE, TrainingVolume
from voxpick.volume import Volume

SHAPE = (90, 24, 28)
CENTERS = np.array([[10, 8, 9], [62, 14, 17], [80, 8, 20]])
RADIUS, OFFSET = 3.0, 4


def distance_to(center, shape=SHAPE):
    return np.sqrt(((np.stack(np.indices(shape), -1) - center) ** 2).sum(-1))


@pytest.fixture
def volume():
    ids = np.zeros(SHAPE, dtype=np.int16)
    for row, center in enumerate(CENTERS):
        ids[distance_to(center) <= RADIUS] = row + 1
    mask = np.array([0, 1, 2, 1], dtype=np.int8)[ids]
    particles = Particles((CENTERS + [OFFSET, 0, 0]) * 10.0, classes=np.array(["a", "b", "a"], dtype=object))
    data = np.random.default_rng(1).standard_normal((100, 24, 28)).astype(np.float32)
    return TrainingVolume(Volume(data, 10.0, "toy"), mask, particles, ids, z_offset=OFFSET)


def test_a_shell_around_each_particle_is_known(volume):
    known = partly_labelled(volume, shell=25.0).known
    nearest = np.full(SHAPE, np.inf)
    for voxel in np.argwhere(volume.class_mask > 0):
        near = tuple(slice(max(c - 4, 0), c + 5) for c in voxel)
        window = np.stack(np.indices(SHAPE), -1)[near]
        nearest[near] = np.minimum(nearest[near], np.sqrt(((window - voxel) ** 2).sum(-1)))
    assert CENTERS[1, 0] + RADIUS + 2.5 > SECTIONS
    assert np.array_equal(known, nearest <= 2.5)


def test_labels_are_ignored_elsewhere_and_beyond_the_mask(volume):
    part = partly_labelled(volume, shell=20.0)
    labels = part.labels((0, 0, 0), (100, 24, 28))
    assert (labels[:OFFSET] == IGNORE).all() and (labels[-6:] == IGNORE).all()
    inner = labels[OFFSET:-6]
    assert np.array_equal(inner == IGNORE, ~part.known)
    assert np.array_equal(inner[part.known], volume.class_mask[part.known])
    assert np.array_equal(inner > 0, volume.class_mask > 0)
    whole = volume.labels((0, 0, 0), (100, 24, 28))
    assert (whole[:OFFSET] == 0).all() and (whole[OFFSET:-6] == volume.class_mask).all()


def test_given_background_is_known(volume):
    spot = np.array([40, 12, 14])
    part = partly_labelled(volume, shell=0.0, background=(spot[None] + [OFFSET, 0, 0]) * 10.0, radius=35.0)
    assert np.array_equal(part.known, (volume.class_mask > 0) | (distance_to(spot) <= 3.5))


PLAIN = Augmentation(turns=False, scale=0.0, shift=0.0)


def test_background_boxes_lie_where_background_is_known(volume):
    part = partly_labelled(volume, shell=40.0)
    boxes = CentredBoxes(
        [part], ["a", "b"], size=8, background=0.5, distance=6.0, jitter=0.0, balanced=True, augmentation=PLAIN
    )
    rng = np.random.default_rng(0)
    for _ in range(40):
        place = boxes.background_place(0, rng) - [OFFSET, 0, 0]
        assert part.known[tuple(place)] and part.class_mask[tuple(place)] == 0
        assert min(np.linalg.norm(place - center) for center in CENTERS) >= 6.0
    with pytest.raises(VoxpickError, match="no voxel is known to be background"):
        CentredBoxes([partly_labelled(volume, shell=0.0)], ["a", "b"], size=8, background=0.5, distance=6.0,
                     jitter=0.0, balanced=True, augmentation=PLAIN)  # fmt: skip


def test_empty_subtomograms_lie_where_background_is_known(volume):
    part = partly_labelled(volume, shell=60.0)
    drawn = LabelledSubtomograms(
        [part], classes=["a", "b"], size=8, jitter=0.0, balanced=True, background=1.0, augmentation=PLAIN
    )
    rng = np.random.default_rng(0)
    for _ in range(40):
        _, place = drawn._empty_place(rng)
        assert part.known[tuple(place - [OFFSET, 0, 0])]


def test_wrong_shells_and_masks_are_refused(volume):
    with pytest.raises(VoxpickError, match=r"shell around labelled particles is -1\.0 A"):
        partly_labelled(volume, shell=-1.0)
    with pytest.raises(VoxpickError, match="mask of known voxels has shape"):
        replace(volume, known=np.ones((3, 24, 28), dtype=bool))


@pytest.mark.parametrize("centres", [False, True])
def test_far_background_picks_are_shown(volume, centres):
    """A patch of 12 around a particle does not reach the empty ball 26 sections away; some are drawn around it."""
    spot, size = np.array([36, 12, 14]), 12
    part = partly_labelled(volume, shell=20.0, background=(spot + [OFFSET, 0, 0])[None] * 10.0, radius=20.0)
    assert len(empty_places(volume, reach=6)) == 0
    places = empty_places(part, reach=6)
    assert len(places) == 33 and (np.linalg.norm(places - spot - [OFFSET, 0, 0], axis=1) <= 2).all()
    settings = make_settings({"patch": size, "centred_fraction": 1.0, "turns": False})
    rng, shown = np.random.default_rng(3), 0
    if centres:
        sampler = CentrePatches([part], ["a", "b"], settings, spread=2.0, reach=3.0)
    else:
        sampler = make_sampler([part], settings)
    for _ in range(200):
        labels = sampler.draw(rng)[1]
        labels = labels[5] if centres else labels
        shown += bool((labels == 0).any() and not (labels > 0).any())
    assert 30 < shown < 70  # a quarter
    assert len(empty_places(partly_labelled(volume, shell=20.0), reach=6)) == 0


@pytest.mark.parametrize("reach", [3, 6, 12])
def test_empty_places_are_those_of_a_slow_search(volume, reach):
    """Also where a particle's surroundings reach over a face of the mask."""
    part = partly_labelled(volume, shell=60.0)
    voxels = np.argwhere(part.known & (part.class_mask == 0))
    far = (np.abs(voxels[:, None] - CENTERS).max(axis=2) > reach).all(axis=1)
    assert np.array_equal(empty_places(part, reach=reach), voxels[far] + [OFFSET, 0, 0])
    assert far.any() == (reach < 12)
