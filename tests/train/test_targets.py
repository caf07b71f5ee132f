"""Truth, patch by patch, in the frame of the tomogram."""

import numpy as np
import pytest

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.train.targets import (
    IGNORE,
    TrainingVolume,
    binary_target,
    classes_by_number,
    covering,
    equivalent_radii,
    touching_voxels,
    voxel_shares,
)
from voxpick.volume import Volume

SPECIMEN, OFFSET = (12, 20, 28), 4
TOMOGRAM = (SPECIMEN[0] + 2 * OFFSET, *SPECIMEN[1:])


def make_volume(**changes):
    """One particle of class 2 at specimen voxels z 5..6, y 7..9, x 10..13 and one of class 1 right of it."""
    mask, ids = np.zeros(SPECIMEN, np.int8), np.zeros(SPECIMEN, np.int16)
    mask[5:7, 7:10, 10:14], ids[5:7, 7:10, 10:14] = 2, 1
    mask[5:7, 7:10, 14:16], ids[5:7, 7:10, 14:16] = 1, 2
    data = np.arange(np.prod(TOMOGRAM), dtype=np.float32).reshape(TOMOGRAM)
    centers = np.array([[6, 8, 12], [6, 8, 15]]) + [OFFSET, 0, 0]
    particles = Particles(centers * 10.0, classes=np.array(["large", "small"], dtype=object))
    given = {"occupancy": ids, "z_offset": OFFSET, **changes}
    return TrainingVolume(Volume(data, 10.0), mask, particles, **given)


def test_labels_are_in_the_frame_of_the_tomogram():
    labels = make_volume().labels((OFFSET + 4, 6, 9), (4, 5, 6))
    expected = np.zeros((4, 5, 6))
    expected[1:3, 1:4, 1:5] = 2
    expected[1:3, 1:4, 5:6] = 1
    assert np.array_equal(labels, expected)


def test_outside_the_tomogram_is_ignored_and_above_the_specimen_is_background():
    volume = make_volume()
    labels = volume.labels((-2, 16, 24), (8, 8, 8))
    assert (labels[:2] == IGNORE).all() and (labels[:, 4:] == IGNORE).all() and (labels[..., 4:] == IGNORE).all()
    assert (labels[2:, :4, :4] == 0).all()
    image = volume.image((-2, 16, 24), (8, 8, 8))
    assert (image[:2] == 0).all()
    assert np.array_equal(image[2:, :4, :4], volume.tomogram.data[:6, 16:, 24:])


def test_a_window_wholly_outside_is_empty():
    assert (make_volume().labels((-9, 0, 0), (5, 5, 5)) == IGNORE).all()
    assert (make_volume().image((0, 0, 40), (5, 5, 5)) == 0).all()


def test_patches_are_normalised_as_they_are_read():
    volume = make_volume(intensity=(10.0, 4.0))
    patch = volume.image((1, 2, 3), (4, 5, 6))
    assert patch.dtype == np.float32
    assert np.array_equal(patch, (volume.tomogram.data[1:5, 2:7, 3:9] - 10) / 4)


@pytest.mark.parametrize(("touching", "label"), [("ignore", IGNORE), ("background", 0)])
def test_touching_particles_are_separated(touching, label):
    labels = make_volume().labels((OFFSET, 0, 0), SPECIMEN, touching=touching)
    changed = labels != make_volume().class_mask
    expected = np.zeros(SPECIMEN, dtype=bool)
    expected[5:7, 7:10, 13:15] = True
    assert np.array_equal(changed, expected)
    assert (labels[expected] == label).all()


def test_touching_does_not_depend_on_where_the_patch_begins():
    volume = make_volume()
    whole = volume.labels((OFFSET, 0, 0), SPECIMEN, touching="ignore")
    part = volume.labels((OFFSET + 5, 7, 14), (2, 3, 4), touching="ignore")
    assert np.array_equal(part, whole[5:7, 7:10, 14:18])


def test_touching_needs_an_occupancy_mask():
    with pytest.raises(VoxpickError, match="needs an occupancy mask"):
        make_volume(occupancy=None).labels((0, 0, 0), (4, 4, 4), touching="ignore")


def test_a_particle_alone_touches_nothing():
    ids = np.zeros((6, 7, 8), np.int32)
    ids[2:4, 2:4, 2:4] = 3
    assert not touching_voxels(ids).any()


def test_binary_target():
    assert binary_target(np.array([[[0, 3, IGNORE, 1]]])).tolist() == [[[0, 1, IGNORE, 1]]]


@pytest.mark.parametrize("occupancy", [True, False])
def test_class_numbers_come_from_the_masks(occupancy):
    volume = make_volume() if occupancy else make_volume(occupancy=None)
    assert classes_by_number([volume]) == {2: "large", 1: "small"}


def test_classes_numbered_otherwise_are_refused():
    other = make_volume()
    swapped = Particles(other.particles.centers_zyx, classes=np.array(["small", "large"], dtype=object))
    other = TrainingVolume(other.tomogram, other.class_mask, swapped, other.occupancy, OFFSET)
    with pytest.raises(VoxpickError, match="class number"):
        classes_by_number([make_volume(), other])


def test_the_number_that_most_particles_of_a_class_bear_is_its_number():
    mask = np.zeros(SPECIMEN, np.int8)
    centers = np.array([[3, 4, 5], [6, 8, 12], [9, 15, 20]])
    mask[tuple(centers.T)] = [1, 3, 1]
    particles = Particles((centers + [OFFSET, 0, 0]) * 10.0, classes=np.array(["a"] * 3, dtype=object))
    volume = TrainingVolume(Volume(np.zeros(TOMOGRAM, np.float32), 10.0), mask, particles, z_offset=OFFSET)
    assert classes_by_number([volume]) == {1: "a"}
    mask = np.where(mask, 2, 0)
    with pytest.raises(VoxpickError, match="number their classes differently"):
        classes_by_number([volume, TrainingVolume(volume.tomogram, mask, particles, z_offset=OFFSET)])


def test_cubes_anywhere_lie_a_quarter_beyond_the_mask_at_most():
    rng = np.random.default_rng(0)
    starts = np.array([make_volume().anywhere(8, rng) for _ in range(600)])
    assert starts.min(axis=0).tolist() == [OFFSET - 2, -2, -2]
    assert starts.max(axis=0).tolist() == [OFFSET + 12 - 6, 20 - 6, 28 - 6]


def test_an_epoch_has_as_many_voxels_as_the_masks():
    assert covering([make_volume(), make_volume()], voxels=1000) == 13
    assert covering([make_volume()], voxels=10**6) == 1


def test_volumes_are_drawn_by_their_size():
    large, small = make_volume(), make_volume()
    part = TrainingVolume(Volume(small.tomogram.data[:8], 10.0), small.class_mask[:4], small.particles)
    assert voxel_shares([large, part]).tolist() == [0.75, 0.25]


def test_equivalent_radii_are_those_of_balls_of_the_mean_volume():
    radii = equivalent_radii([make_volume(), make_volume()], ["small", "large"])
    assert radii == pytest.approx([10 * (3 * n / (4 * np.pi)) ** (1 / 3) for n in (12, 24)])
    some = equivalent_radii([make_volume()], ["small", "large", "absent"])
    assert some[:2] == pytest.approx(radii) and np.isnan(some[2])


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(VoxpickError, match=r"z offset 9 does not fit"):
        make_volume(z_offset=9)
