import tracemalloc

import numpy as np
import pytest

from voxpick.average.subtomograms import centred_within, extract, join, shifted
from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.volume import Volume

SHAPE = (20, 24, 36)


def tomogram(seed=0):
    return Volume(np.random.default_rng(seed).normal(3, 2, SHAPE).astype(np.float32), 10.0, name="tomo")


def standard(cube):
    return (cube - cube.mean()) / cube.std()


def test_boxes_are_the_voxels_around_the_centres():
    volume = tomogram()
    particles = Particles(np.array([[100, 120, 200], [60, 50, 300]]), ["a", "b"])
    for box in (8, 7):
        cut = extract(volume, particles, box=box)
        expected = volume.data[10 - box // 2 :, 12 - box // 2 :, 20 - box // 2 :][:box, :box, :box]
        assert cut.data[0] == pytest.approx(standard(expected), abs=1e-5)
        assert (cut.box, len(cut), cut.dropped, cut.padded) == (box, 2, 0, 0)
    assert extract(volume, particles, box=8, dark=True).data[1] == pytest.approx(
        -extract(volume, particles, box=8).data[1]
    )


def test_a_sub_voxel_shift_puts_the_particle_on_the_box_centre():
    axes = np.meshgrid(*(np.arange(n, dtype=float) for n in SHAPE), indexing="ij")
    center = np.array([10.3, 11.6, 18.45])
    blob = np.exp(-sum((a - c) ** 2 for a, c in zip(axes, center, strict=True)) / (2 * 1.5**2))
    volume, particles = Volume(blob.astype(np.float32), 8.0), Particles(center[None] * 8.0)
    cut = extract(volume, particles, box=16)
    grid = np.arange(16) - 8
    expected = np.exp(-(grid[:, None, None] ** 2 + grid[:, None] ** 2 + grid**2) / (2 * 1.5**2))
    assert cut.data[0] == pytest.approx(standard(expected), abs=2e-3)
    assert cut.offsets_zyx.tolist() == [[0, 0, 0]]
    whole = extract(volume, particles, box=16, subvoxel=False)
    assert whole.offsets_zyx[0] == pytest.approx([0.3, -0.4, 0.45])
    assert np.unravel_index(whole.data[0].argmax(), (16,) * 3) == (8, 8, 8)


def test_without_a_sub_voxel_shift_boxes_are_the_voxels_as_they_are():
    volume = tomogram()
    cut = extract(volume, Particles(np.array([[103.0, 118, 204]])), box=8, subvoxel=False)
    assert cut.data[0] == pytest.approx(standard(volume.data[6:14, 8:16, 16:24]), abs=1e-5)
    assert cut.offsets_zyx[0] == pytest.approx([0.3, -0.2, 0.4])


@pytest.mark.filterwarnings("error")
def test_a_box_without_contrast_is_0():
    volume = tomogram()
    volume.data[:] = 7.0
    assert not extract(volume, Particles(np.array([[103.0, 118, 204]])), box=8).data.any()


def test_the_smallest_box_has_4_voxels():
    picks = Particles(np.array([[100.0, 120, 200]]))
    assert extract(tomogram(), picks, box=4).box == 4
    with pytest.raises(VoxpickError, match=r"box of 3 voxels does not fit .* take 4 to 20"):
        extract(tomogram(), picks, box=3)


@pytest.mark.parametrize("box", [12, 17])
def test_a_sub_voxel_shift_brings_nothing_from_the_other_face(box):
    """The box itself was shifted around, and the step between two faces rang through it."""
    rng = np.random.default_rng(0)
    waves, phases = rng.normal(size=(40, 3)), rng.uniform(0, 2 * np.pi, 40)
    waves *= rng.uniform(0.02, 0.3, (40, 1)) / np.linalg.norm(waves, axis=1)[:, None]

    def field(grid):
        return np.cos(2 * np.pi * np.tensordot(waves, grid, 1) + phases[:, None, None, None]).sum(axis=0)

    volume = Volume(field(np.indices((44, 44, 44))).astype(np.float32), 10.0)
    center = np.array([22.5, 21.7, 22.25])
    cut = extract(volume, Particles(center[None] * 10), box=box).data[0]
    exact = standard(field(np.indices((box,) * 3) - box // 2 + center[:, None, None, None]))
    assert np.abs(cut - exact).max() < 0.02


def test_whole_voxel_shifts_are_rolls():
    data = np.random.default_rng(1).normal(size=(1, 6, 7, 8)).astype(np.float32)
    assert shifted(data, np.array([[1, -2, 3]]))[0] == pytest.approx(np.roll(data[0], (1, -2, 3), (0, 1, 2)), abs=1e-5)


def test_boxes_over_an_edge_are_dropped_or_padded_with_their_mean():
    volume = tomogram()
    particles = Particles(np.array([[100, 120, 200], [0, 120, 200], [100, 120, 900]]), ["a", "b", "c"])
    kept = extract(volume, particles, box=8)
    assert (len(kept), kept.dropped, kept.padded, kept.particles.classes.tolist()) == (1, 2, 0, ["a"])
    padded = extract(volume, particles, box=8, edges="pad")
    assert (len(padded), padded.dropped, padded.padded, padded.particles.classes.tolist()) == (2, 1, 1, ["a", "b"])
    assert np.ptp(padded.data[1, :4]) < 1e-6
    assert extract(volume, particles[[1, 0, 1]], box=8, edges="pad").padded == 2
    assert padded.data[1, 4:].ravel() == pytest.approx(standard(volume.data[0:4, 8:16, 16:24]).ravel(), abs=1e-4)


def test_what_lies_inside_weighs_as_much_in_a_padded_box_as_in_a_whole_one():
    """Half a box of noise was made 1.4 times as strong, as its fill counted for its deviation."""
    centers = np.array([[100, 120, 200], [2, 123, 204], [100, 120, 352.0]])
    cut = extract(tomogram(), Particles(centers), box=8, edges="pad")
    inside = [cut.data[0], cut.data[1, 4:], cut.data[2, :, :, :5]]
    assert [part.std() for part in inside] == pytest.approx([1, 1, 1], abs=1e-4)
    assert not cut.data[1, :4].any() and not cut.data[2, :, :, 5:].any()


def test_cutting_takes_little_more_memory_than_the_boxes():
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(size=(40, 60, 70)).astype(np.float32), 10.0)
    particles = Particles(rng.uniform(130, 270, (200, 3)))
    tracemalloc.start()
    cut = extract(volume, particles, box=24)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(cut) == 200 and peak < 1.3 * cut.data.nbytes


def test_two_tomograms_join_when_their_voxels_agree():
    particles = Particles(np.array([[100, 120, 200.0]]), ["a"])
    parts = [extract(tomogram(seed), particles, box=8) for seed in (0, 1)]
    both = join(parts)
    assert len(both) == 2 and both.data[1] == pytest.approx(parts[1].data[0])
    known = particles.with_columns(location_scores=np.array([0.3]), class_scores=np.array([0.4]))
    both = join([extract(tomogram(seed), known, box=8) for seed in (0, 1)]).particles
    assert (both.location_scores.tolist(), both.class_scores.tolist()) == ([0.3, 0.3], [0.4, 0.4])
    other = extract(Volume(tomogram().data, 5.0), Particles(np.array([[50, 60, 100.0]])), box=8)
    with pytest.raises(VoxpickError, match="10 A and 5 A"):
        join([parts[0], other])


@pytest.mark.parametrize(
    ("centers", "box", "message"),
    [
        (np.empty((0, 3)), 8, "no picks"),
        ([[100, 120, 200]], 21, "box of 21 voxels does not fit"),
        ([[0, 0, 0], [190, 230, 350]], 8, "all 2 boxes of 8 voxels .* take a smaller --box, or --edges pad"),
        ([[1000, 1200, 2000], [100, 120, 200], [1500, 0, 0]], 8, "2 of 3 picks lie outside .* check the voxel size"),
    ],
)
def test_mistakes_are_named(centers, box, message):
    with pytest.raises(VoxpickError, match=message):
        extract(tomogram(), Particles(np.array(centers, dtype=float).reshape(-1, 3)), box=box)


def test_a_brighter_tomogram_gives_the_same_boxes_also_at_an_edge():
    """What lies outside mirrors what lies inside before the box is shifted, so no edge rings into it."""
    volume, particles = tomogram(), Particles(np.array([[2.0, 123, 204], [100, 124, 203]]))
    plain, bright = (extract(v, particles, box=8, edges="pad") for v in (volume, volume.with_data(volume.data + 300)))
    np.testing.assert_allclose(bright.data, plain.data, atol=2e-3)


def test_centres_within_half_a_voxel_of_the_faces_lie_in_the_volume():
    at = np.array([-0.6, -0.4, 19.4, 19.6])
    voxels = np.stack([at, np.full(4, 5.0), np.full(4, 5.0)], axis=1)
    assert centred_within(tomogram(), Particles(voxels * 10)).tolist() == [False, True, True, False]


def test_boxes_of_two_sizes_do_not_join():
    parts = [extract(tomogram(), Particles(np.array([[100, 120, 200.0]])), box=box) for box in (8, 6)]
    with pytest.raises(VoxpickError, match="cannot be averaged together"):
        join(parts)
