import numpy as np
import pytest
from bead_particle import beads

from voxpick.average.alignment import Alignment
from voxpick.average.parts import Averaging, average_part, average_picks, has_box, random_positions, require_inside
from voxpick.average.subtomograms import extract
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.match.rotations import rotation_grid
from voxpick.particles import Particles
from voxpick.volume import Volume

SHAPE, BOX = (30, 96, 124), 22
HOW = Averaging(
    Alignment(radius=90, low_pass=50, max_shift=10, step_deg=40, finest_deg=10), BOX, 1, rotation_grid(40), edges="pad"
)


def seeded():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def world():
    """A tomogram with twelve dark particles in its left three quarters; the last six picks lie on noise."""
    rng = np.random.default_rng(1)
    data = rng.normal(0, 0.12, SHAPE).astype(np.float32)
    real = np.array([[15, y, x] for y in (14, 40, 66) for x in (14, 40, 66, 92)])
    for center, rotation in zip(real, uniform_rotations_zyx(len(real), rng), strict=True):
        window = tuple(slice(c - 11, c + 11) for c in center)
        data[window] -= beads(BOX, rotation)
    false = np.array([[15, y, x] for y in (85, 27) for x in (14, 60, 110)])
    return Volume(data, 10.0, name="tomo"), Particles(real * 10.0), Particles(false * 10.0)


def test_a_part_of_true_particles_agrees_with_the_sure_ones_and_not_with_chance(world):
    volume, real, false = world
    everything = Particles(np.concatenate([real.centers_zyx, false.centers_zyx]))
    found = average_part([volume], real[6:], real[:6], everything, HOW, reference=beads(BOX), rng=seeded())
    assert found.count == 6 and len(found.sure.particles) == len(found.chance.particles) == 6
    fit = {name: getattr(found, name).poses.scores.mean() for name in ("part", "sure", "chance")}
    assert fit["part"] == pytest.approx(fit["sure"], abs=0.1)
    assert fit["chance"] < 0.5 * fit["part"]
    assert found.part.fsc.correlation[1:5].mean() > found.chance.fsc.correlation[1:5].mean() + 0.2


def test_the_three_averages_of_a_part_are_of_equally_many_boxes(world):
    """Numbers were counted before picks at edges were dropped, and a large part was held against fewer sure picks."""
    volume, real, false = world
    whole = Averaging(HOW.alignment, BOX, 1, HOW.rotations, edges="drop")
    everything = Particles(np.concatenate([real.centers_zyx, false.centers_zyx]))
    at_edges = np.array([[150, 5, 300], [150, 950, 500], [5, 400, 400.0]])
    part = Particles(np.concatenate([real.centers_zyx[6:11], at_edges]))

    def counts(part, sure, how):
        found = average_part([volume], part, sure, everything, how, reference=beads(BOX), rng=seeded())
        return found.count, *(each and len(each.particles) for each in (found.part, found.sure, found.chance))

    assert counts(part, real[:6], whole) == (5, 5, 5, 5)
    few = Particles(np.concatenate([real.centers_zyx[:3], at_edges]))
    assert counts(part, few, whole) == (3, 3, 3, 3)
    assert counts(part, few, HOW) == (6, 6, 6, 6)
    assert counts(part, few[2:], whole) == (5, 5, None, 5)
    assert counts(Particles(at_edges), few, whole) == (0, None, None, None)


def test_which_picks_leave_a_box_is_what_extract_keeps(world):
    volume, _, _ = world
    whole = Averaging(HOW.alignment, BOX, 1, HOW.rotations, edges="drop")
    rng = np.random.default_rng(4)
    picks = Particles(rng.uniform(-30, np.array(SHAPE) * 10 + 30.0, (300, 3)), tomograms=np.full(300, "tomo"))
    twin = Volume(volume.data, 10.0, name="twin")
    for how in (HOW, whole):
        kept = extract(volume, picks, box=BOX, edges=how.edges).particles.centers_zyx
        assert np.array_equal(picks.centers_zyx[has_box([volume], picks, how)], kept)
        names = np.array(["tomo", "twin", "other"], dtype=object)[rng.integers(0, 3, 300)]
        found = has_box([volume, twin], picks.with_columns(tomograms=names), how)
        assert np.array_equal(found, has_box([volume], picks, how) & (names != "other"))


def test_random_positions_keep_away_from_picks_and_faces(world):
    volume, real, _ = world
    places = random_positions(volume, real, 40, HOW, rng=seeded())
    distance = np.linalg.norm(places.centers_zyx[:, None] - real.centers_zyx, axis=2).min(axis=1)
    assert len(places) == 40 and distance.min() >= 90
    voxels = places.voxels(10.0)
    assert (voxels >= BOX // 2).all() and (voxels <= np.array(SHAPE) - 1 - BOX // 2).all()
    crowd = Particles(np.stack(np.meshgrid([150], range(0, 960, 50), range(0, 1240, 50)), -1).reshape(-1, 3) * 1.0)
    assert len(random_positions(volume, crowd, 7, HOW, rng=seeded())) == 7


def test_picks_of_several_tomograms_are_cut_from_their_own(world):
    volume, real, _ = world
    twin = Volume(volume.data[:, :, ::-1].copy(), 10.0, name="twin")
    mirrored = real.centers_zyx * [1, 1, -1] + [0, 0, 10.0 * (SHAPE[2] - 1)]
    names = np.array(["tomo"] * 3 + ["twin"] * 3, dtype=object)
    picks = Particles(np.concatenate([real.centers_zyx[:3], mirrored[6:9]]), tomograms=names)
    found = average_picks([volume, twin], picks, HOW, reference=beads(BOX), rng=seeded())
    assert found.particles.tomograms.tolist() == names.tolist()
    alone = average_picks([volume], picks[:3], HOW, reference=beads(BOX), rng=seeded())
    assert found.poses.scores[:3] == pytest.approx(alone.poses.scores, abs=1e-5)
    three = average_part([volume, twin], picks, picks, picks, HOW, reference=beads(BOX), rng=seeded())
    assert sorted(three.chance.particles.tomograms) == sorted(names)


def test_too_few_boxes_give_no_average(world):
    volume, real, _ = world
    whole = Averaging(HOW.alignment, BOX, 1, HOW.rotations, edges="drop")
    assert average_picks([volume], real[:1], HOW, reference=None, rng=seeded()) is None
    at_the_edge = Particles(np.array([[0.0, 0, 0], [290, 950, 1230]]))
    assert average_picks([volume], at_the_edge, whole, reference=None, rng=seeded()) is None
    none = average_part([volume], real[:0], real, real, HOW, reference=beads(BOX), rng=seeded())
    assert (none.count, none.part, none.sure, none.chance) == (0, None, None, None)


def test_a_stray_pick_is_left_out_and_a_picking_of_another_frame_is_refused(world):
    """One pick outside stopped everything where it was the only one of its part and tomogram."""
    volume, real, _ = world
    twin = Volume(volume.data, 10.0, name="twin")
    names = np.array(["tomo"] * 3 + ["twin"], dtype=object)
    picks = Particles(np.concatenate([real.centers_zyx[:3], [[9e4, 0, 0]]]), tomograms=names)
    found = average_picks([volume, twin], picks, HOW, reference=beads(BOX), rng=seeded())
    assert len(found.particles) == 3
    require_inside([volume, twin], picks, "picks.csv")
    assert average_picks([volume], Particles(np.full((3, 3), 9e4)), HOW, reference=None, rng=seeded()) is None
    with pytest.raises(VoxpickError, match=r"picks\.csv: 4 of 4 picks lie outside tomo .* check the voxel size"):
        require_inside([volume], Particles(picks.centers_zyx * 30), "picks.csv")
