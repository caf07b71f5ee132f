import numpy as np
import pytest
from bead_particle import beads
from scipy import ndimage

from voxpick.average.own_mask import soft_outline
from voxpick.average.pasted import POINT, ball, central_part, level_of_volume, otsu, outline_of_map, paste
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.particles import Particles
from voxpick.volume import Volume

SHAPE = (32, 36, 44)


def test_a_map_is_pasted_in_position_and_orientation():
    rotation = uniform_rotations_zyx(1, np.random.default_rng(1))[0]
    outline = outline_of_map(Volume(beads(28).astype(np.float32), 10.0), radius=110, threshold=0.15, extend=0)
    particles = Particles(np.array([[160.0, 180, 220]]), ["a"], rotations=rotation[None])
    made = paste(particles, {"a": outline}, {"a": 3}, shape=SHAPE, voxel_size=10.0)
    expected = np.zeros(SHAPE, dtype=bool)
    expected[2:30, 4:32, 8:36] = beads(28, rotation) > 0.15
    found = made.class_mask == 3
    overlap = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    assert overlap > 0.9
    unturned = np.zeros(SHAPE, dtype=bool)
    unturned[2:30, 4:32, 8:36] = beads(28) > 0.15
    assert 2 * (found & unturned).sum() / (found.sum() + unturned.sum()) < 0.7
    assert np.array_equal(made.occupancy == 1, found) and set(np.unique(made.class_mask)) == {0, 3}


def test_balls_and_points_by_hand_and_the_earlier_row_keeps_its_voxels():
    centers = np.array([[100, 100, 100], [100, 100, 130], [0, 0, 0], [900, 0, 0]], dtype=float)
    particles = Particles(centers, ["a", "b", "b", "b"])
    outlines = {"a": ball(20, voxel_size=10), "b": ball(20, voxel_size=10)}
    made = paste(particles, outlines, {"a": 1, "b": 2}, shape=SHAPE, voxel_size=10)
    assert (made.occupancy == 1).sum() == 33
    assert made.occupancy[10, 10, 11:16].tolist() == [1, 1, 2, 2, 2]
    assert made.occupancy[0, 0, :4].tolist() == [3, 3, 3, 0]
    assert made.hidden.tolist() == [3]
    twice = Particles(np.array([[100, 100, 100], [104, 100, 100], [100, 100, 130]]), ["a", "b", "a"])
    small = outlines | {"b": ball(5, voxel_size=10)}
    assert paste(twice, small, {"a": 1, "b": 2}, shape=SHAPE, voxel_size=10).hidden.tolist() == [1]
    points = paste(particles, {"a": POINT, "b": POINT}, {"a": 1, "b": 2}, shape=SHAPE, voxel_size=10)
    assert np.argwhere(points.class_mask).tolist() == [[0, 0, 0], [10, 10, 10], [10, 10, 13]]
    half = Particles(np.array([[104.9, 95.1, 105.1]]), ["a"])
    assert np.argwhere(paste(half, {"a": POINT}, {"a": 1}, shape=SHAPE, voxel_size=10).occupancy).tolist() == [
        [10, 10, 11]
    ]


def test_otsu_parts_two_groups():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.1, 900), rng.normal(2, 0.1, 100)])
    assert 0.4 < otsu(values) < 1.7


@pytest.mark.parametrize("seed", range(4))
def test_otsu_leaves_the_least_variance_inside_the_groups(seed):
    """Of all the ways to part values between two bins of the histogram, by trying them."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 0.6, 900), rng.normal(2, 0.3, 60 + 80 * seed)])
    counts, edges = np.histogram(values, bins=256)
    middles = np.repeat((edges[:-1] + edges[1:]) / 2, counts)

    def inside(threshold):
        low, high = middles[middles < threshold], middles[middles >= threshold]
        return low.size * low.var() + high.size * high.var()

    best = min(inside(edge) for edge in edges[1:-1] if (middles < edge).any() and (middles >= edge).any())
    assert inside(otsu(values)) == pytest.approx(best, rel=1e-9)


def test_only_the_part_around_the_centre_is_kept():
    data = np.zeros((20, 20, 20), dtype=np.float32)
    data[8:13, 8:13, 8:13] = 1
    data[2:4, 2:4, 2:4] = 1
    assert pasted(data, extend=0).sum() == 125


def hollow(noise=0.0, seed=0):
    """A shell of radii 9 to 14 voxels in a box of 40, smooth, and smooth noise; and the shell."""
    shape = (40, 40, 40)
    distance = np.linalg.norm(np.indices(shape) - 20, axis=0)
    shell = (distance >= 9) & (distance <= 14)
    speckle = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.0)
    data = ndimage.gaussian_filter(shell.astype(float), 1.0) + noise * speckle / speckle.std()
    return data.astype(np.float32), shell


@pytest.mark.parametrize("seed", range(4))
def test_noise_inside_a_hollow_particle_is_not_taken_for_it(seed):
    """The piece nearest the centre was taken, of one to five voxels, and everything else was left out."""
    data, shell = hollow(0.25, seed)
    part, _, _ = central_part(Volume(data, 10.0), radius=170)
    assert 0.9 < part.sum() / shell.sum() < 1.1 and part[shell].mean() > 0.85
    assert soft_outline(Volume(data, 10.0), radius=170)[shell].mean() > 0.99


def test_a_threshold_that_breaks_a_particle_up_does_not_leave_a_speck_of_it():
    """Bisection for a volume jumped to what is nearest the centre once a weak bridge to it broke, and stayed there."""
    data, _ = hollow()
    z, y, x = np.indices(data.shape) - 20
    weak = ((np.hypot(y, x) <= 2) & (np.abs(z) < 11)) | (np.linalg.norm([z, y, x], axis=0) <= 3)
    volume = Volume(np.maximum(data, ndimage.gaussian_filter(weak * 0.8, 0.8)).astype(np.float32), 10.0)
    whole = central_part(volume, radius=170)[0].sum()
    for share in (0.95, 0.8, 0.6):
        level = level_of_volume(volume, share * whole * 1000, radius=170)
        assert share - 0.05 < central_part(volume, radius=170, threshold=level)[0].sum() / whole <= share


def test_above_otsu_s_threshold_the_particle_stays_the_one_it_was():
    data = np.zeros((30, 30, 30), dtype=np.float32)
    data[12:19, 12:19, 9:16] = np.linspace(0.9, 0.6, 7)
    data[12:19, 12:19, 19:26] = 1.2
    volume = Volume(data, 10.0)
    assert central_part(volume, radius=140)[0][12:19, 12:19, 9:16].all()
    level = level_of_volume(volume, 100 * 1000, radius=140)
    part, _, _ = central_part(volume, radius=140, threshold=level)
    assert part.sum() == 98 and part[12:19, 12:19, 9:11].all()


def pasted(data, *, radius=150, **how):
    """The outline of a map as it is: bool of the map's shape, about the same centre."""
    outline = outline_of_map(Volume(data, 10.0), radius=radius, **how)
    center = Particles(np.array([[n // 2 * 10.0 for n in data.shape]]), ["a"], rotations=np.eye(3)[None])
    return paste(center, {"a": outline}, {"a": 1}, shape=data.shape, voxel_size=10).class_mask > 0


def test_an_outline_is_moved_out_by_voxels_and_not_past_the_radius():
    shape = (34, 36, 38)
    distance = np.sqrt(sum((np.arange(n) - n // 2).reshape(-1, *[1] * (2 - k)) ** 2.0 for k, n in enumerate(shape)))
    data = (distance <= 8).astype(np.float32)
    for extend in (0, 1, 2.5):
        found = pasted(data, extend=extend)
        assert found[distance <= 7.5 + extend].all() and not found[distance > 8.8 + extend].any()
    assert np.array_equal(pasted(data), pasted(data, extend=1))
    assert distance[pasted(data, radius=100, extend=4)].max() <= 10


def test_what_a_shell_holds_belongs_to_the_particle():
    """Where coarse contrast is missing, the outline of a large particle at Otsu's threshold is a shell with slits."""
    shape = (40, 40, 40)
    distance = np.linalg.norm(np.indices(shape) - 20, axis=0)
    data = ((distance <= 12) & (distance >= 8)).astype(np.float32)
    assert pasted(data, extend=0)[distance <= 12].all()
    data[:, 19:21, 20:] = 0
    assert not pasted(data, extend=0)[20, 20, 20] and pasted(data)[distance <= 12].all()
    data[:, 18:22, 20:] = 0
    assert not pasted(data)[20, 20, 20], "what a wide slit leads to is outside"


def test_mistakes_are_named():
    dark = Volume(-np.ones((8, 8, 8), dtype=np.float32), 10.0, name="average")
    with pytest.raises(VoxpickError, match=r"no voxel within 30 A of the centre is above 0\.5"):
        outline_of_map(dark, radius=30, threshold=0.5)
    settings = {"shape": SHAPE, "voxel_size": 10.0}
    with pytest.raises(VoxpickError, match="no picks"):
        paste(Particles(np.empty((0, 3))), {}, {}, **settings)
    with pytest.raises(VoxpickError, match="class 'b' has no shape"):
        paste(Particles(np.zeros((1, 3)), ["b"]), {"a": POINT}, {"a": 1}, **settings)
    outline = outline_of_map(Volume(beads(16).astype(np.float32), 10.0), radius=70)
    with pytest.raises(VoxpickError, match="needs the orientation of every pick"):
        paste(Particles(np.zeros((1, 3)), ["a"]), {"a": outline}, {"a": 1}, **settings)
