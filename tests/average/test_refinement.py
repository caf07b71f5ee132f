from dataclasses import replace

import numpy as np
import pytest
from bead_particle import angles_deg, beads, observed

from voxpick.average.align import Poses
from voxpick.average.alignment import Alignment
from voxpick.average.fsc import shell_correlation, soft_sphere
from voxpick.average.mean import average
from voxpick.average.own_mask import with_own_mask
from voxpick.average.refinement import in_turned_frame, recentred, refine, register
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.match.rotations import rotation_grid
from voxpick.particles import Particles

SETTINGS = Alignment(radius=100, low_pass=60, max_shift=30, step_deg=24, finest_deg=3)
GRID = rotation_grid(24)


def truth(n, seed=3):
    rng = np.random.default_rng(seed)
    return uniform_rotations_zyx(n, rng), rng.uniform(-1.5, 1.5, (n, 3))


def seeded(seed=0):
    return np.random.default_rng(seed)


def structure_found(subtomograms, refined):
    """The pose of the refined map against the structure, the poses in the structure's frame, and their FSC."""
    turn = register(refined.map.data, beads(28), SETTINGS, voxel_size=10.0, rotations=GRID)
    poses = in_turned_frame(refined.poses, turn)
    mask = soft_sphere((28,) * 3, radius=9, edge=3)
    again = average(subtomograms, poses).data
    return poses, shell_correlation(again, beads(28), voxel_size=10, mask=mask)


def test_poses_and_structure_are_found_from_nothing(simulate):
    rotations, shifts = truth(16)
    subtomograms = simulate(rotations, shifts, noise=0.15)
    refined = refine(subtomograms, SETTINGS, iterations=4, rng=seeded(), rotations=GRID)
    poses, fsc = structure_found(subtomograms, refined)
    assert np.median(angles_deg(poses.rotations, rotations)) < 8
    assert fsc.resolution(0.5) < 40 and refined.fsc.resolution(0.143) < 40
    assert refined.low_passes[0] == 60 > refined.low_passes[-1]


def test_with_a_reference_the_map_stays_in_its_frame_and_centres_move(simulate):
    rotations, shifts = truth(12)
    subtomograms = simulate(rotations, shifts, noise=0.1)
    refined = refine(subtomograms, SETTINGS, iterations=3, rng=seeded(), rotations=GRID, reference=beads(28))
    assert np.median(angles_deg(refined.particles.rotations, rotations)) < 5
    moved = refined.particles.centers_zyx - 500
    assert np.median(np.linalg.norm(moved - 10 * shifts, axis=1)) < 4
    assert refined.poses.scores.min() > 0.5


def test_halves_share_no_particle_and_the_map_is_that_of_all(simulate):
    rotations, shifts = truth(9)
    subtomograms = simulate(rotations, shifts)
    given = type(subtomograms)(
        subtomograms.data, subtomograms.particles.with_columns(rotations=rotations), 10.0, shifts
    )
    still = refine(given, SETTINGS, iterations=0, rng=seeded())
    assert sorted(np.bincount(still.half_set)) == [4, 5]
    assert still.poses.rotations == pytest.approx(rotations)
    assert still.particles.centers_zyx == pytest.approx(np.full((9, 3), 500.0))
    assert still.map.data == pytest.approx(average(given, still.poses).data, abs=1e-6)
    rows = np.flatnonzero(still.half_set == 1)
    mine = type(given)(given.data[rows], given.particles[rows], 10.0, shifts[rows])
    assert still.halves[1].data == pytest.approx(average(mine, still.poses[rows]).data, abs=1e-6)
    assert np.abs(still.halves[0].data - still.halves[1].data).max() > 1e-3


def test_a_half_does_not_see_the_other(simulate):
    """Other particles in half 2 change nothing in half 1, in an iteration at a fixed low-pass."""
    rotations, shifts = truth(8)
    a = simulate(rotations, shifts, noise=0.2)
    first = refine(a, SETTINGS, iterations=1, rng=seeded(), rotations=GRID, reference=beads(28))
    data = a.data.copy()
    data[first.half_set == 1] = simulate(rotations, shifts, noise=1.0, seed=5, empty=True).data[first.half_set == 1]
    b = type(a)(data, a.particles, 10.0, a.offsets_zyx)
    second = refine(b, SETTINGS, iterations=1, rng=seeded(), rotations=GRID, reference=beads(28))
    assert np.array_equal(first.half_set, second.half_set)
    assert second.halves[0].data == pytest.approx(first.halves[0].data, abs=1e-6)
    assert np.abs(second.halves[1].data - first.halves[1].data).max() > 1e-2


def test_from_nothing_a_half_gives_the_other_its_place_and_nothing_else(simulate):
    """Half 2 is laid onto half 1 as a rigid body: with other particles in half 1, half 2 turns and moves as one."""
    rotations, shifts = truth(8)
    a = simulate(rotations, shifts, noise=0.2)
    first = refine(a, SETTINGS, iterations=1, rng=seeded(), rotations=GRID)
    replaced = simulate(*truth(8, seed=11), noise=0.2, seed=5).data
    for changed in (0, 1):
        data = a.data.copy()
        data[first.half_set == changed] = replaced[first.half_set == changed]
        second = refine(type(a)(data, a.particles, 10.0, a.offsets_zyx), SETTINGS, iterations=1, rng=seeded(),
                        rotations=GRID)  # fmt: skip
        kept = first.half_set != changed
        before, after = first.poses[kept], second.poses[kept]
        turn = before.rotations.transpose(0, 2, 1) @ after.rotations
        move = np.einsum("nji,nj->ni", before.rotations, after.shifts_zyx - before.shifts_zyx)
        assert turn == pytest.approx(np.broadcast_to(turn[0], turn.shape), abs=1e-5)
        assert move == pytest.approx(np.broadcast_to(move[0], move.shape), abs=1e-4)
        assert after.scores == pytest.approx(before.scores, abs=1e-6)
        if changed == 1:
            assert turn[0] == pytest.approx(np.eye(3), abs=1e-6) and np.abs(move).max() < 1e-6
            assert second.halves[0].data == pytest.approx(first.halves[0].data, abs=1e-6)
        else:
            assert angles_deg(turn[:1], np.eye(3)[None])[0] > 1


def test_random_positions_agree_only_where_the_reference_was_read(simulate):
    """Noise turned to fit a reference looks like it up to the first low-pass (60 A), and not beyond.

    Nor does what it agrees on allow finer detail in the next iterations, which would make noise agree on that as well.
    """
    rotations, shifts = truth(24)
    noise = simulate(rotations, shifts, noise=1.0, empty=True)
    refined = refine(noise, SETTINGS, iterations=4, rng=seeded(), rotations=GRID, reference=beads(28))
    assert len(refined.low_passes) == 4 and min(refined.low_passes) > 45
    beyond = refined.fsc.frequencies > 1.3 / 60
    assert np.abs(refined.fsc.correlation[beyond]).mean() < 0.15
    assert refined.fsc.resolution(0.143) > 45
    assert refined.fsc.resolution(0.5) > 55 or np.isnan(refined.fsc.resolution(0.5))


def test_a_map_off_its_centre_is_brought_back_by_the_picks():
    rng, drift = np.random.default_rng(2), np.array([2.0, -1.0, 0.5])
    rotations, offsets = uniform_rotations_zyx(400, rng), rng.uniform(-0.5, 0.5, (400, 3))
    error = rng.normal(0, 0.5, (400, 3))
    poses = Poses(rotations, offsets + error + rotations @ drift, np.ones(400))
    back = recentred(poses, offsets)
    assert back.shifts_zyx - offsets == pytest.approx(error, abs=0.15)
    assert recentred(back, offsets).shifts_zyx == pytest.approx(back.shifts_zyx, abs=1e-9)


def test_too_few_particles_and_no_rotations_are_refused(simulate):
    with pytest.raises(VoxpickError, match="1 particle makes no two half-sets"):
        refine(simulate(*truth(1)), SETTINGS, iterations=1, rng=seeded(), rotations=GRID)
    with pytest.raises(VoxpickError, match="have no orientations"):
        refine(simulate(*truth(3)), SETTINGS, iterations=1, rng=seeded())


def test_later_iterations_stay_within_the_memory_of_the_search(simulate, monkeypatch):
    """The resolution reached made the bank of a later iteration too large, and the work of the first was lost."""
    rotations, shifts = truth(12)
    subtomograms = simulate(rotations, shifts, noise=0.1)
    how = {"iterations": 4, "rotations": GRID, "reference": beads(28)}
    free = refine(subtomograms, SETTINGS, rng=seeded(), **how).low_passes
    monkeypatch.setattr("voxpick.average.alignment.BANK_BYTES", 8 * len(GRID) * 600)
    finest = SETTINGS.finest_low_pass(len(GRID), box=28, voxel_size=10.0)
    assert free[1] < finest < SETTINGS.low_pass
    narrow = refine(subtomograms, SETTINGS, rng=seeded(), **how).low_passes
    assert narrow[0] == SETTINGS.low_pass and narrow[1] == pytest.approx(finest) and narrow[2] < finest
    with pytest.raises(VoxpickError, match="there is room for"):
        monkeypatch.setattr("voxpick.average.alignment.BANK_BYTES", 8 * len(GRID) * 60)
        refine(subtomograms, SETTINGS, rng=seeded(), **how)


@pytest.mark.parametrize("tilts", [None, (-60, 60)])
def test_noise_from_nothing_has_no_resolution(tilts):
    """The second half map was laid onto the first on all detail, which made maps of noise agree on it, down to 30 A."""
    settings = Alignment(60, low_pass=30, max_shift=15, step_deg=30, finest_deg=6, tilt_range_deg=tilts or (-60, 60))
    for seed in range(2):
        rng = seeded(seed)
        data = np.stack([observed(np.zeros((18,) * 3), tilts=tilts, noise=1.0, rng=rng) for _ in range(24)])
        noise = Subtomograms(data.astype(np.float32), Particles(np.zeros((24, 3))), 10.0, np.zeros((24, 3)))
        refined = refine(noise, settings, iterations=2, rng=seeded(seed), rotations=rotation_grid(30))
        assert np.isnan(refined.fsc.resolution(0.143)) and refined.low_passes == (30, 30)
        assert 1.5 * refined.fsc.conclusive < 60 and refined.fsc.inconclusive()
        between = (refined.fsc.frequencies > 1 / 60) & (refined.fsc.frequencies < 1 / 28)
        assert refined.fsc.correlation[between].mean() < 0.13
        own = with_own_mask(refined, radius=60, rng=seeded(seed)).fsc
        assert own.registered == 60 and np.isnan(own.resolution(0.143))


def test_from_nothing_later_iterations_stay_within_the_memory_of_the_search(simulate, monkeypatch):
    """Laying one half map onto the other searched all rotations at the detail of the local search, and ended there."""
    subtomograms = simulate(*truth(12), noise=0.1)
    monkeypatch.setattr("voxpick.average.alignment.BANK_BYTES", 8 * len(GRID) * 900)
    refined = refine(subtomograms, SETTINGS, iterations=3, rng=seeded(), rotations=GRID)
    assert refined.low_passes[2] < SETTINGS.finest_low_pass(len(GRID), box=28, voxel_size=10.0) < 40
    assert refined.fsc.registered == 100
    coarse = replace(SETTINGS, low_pass=150)
    monkeypatch.setattr("voxpick.average.alignment.BANK_BYTES", 8 * len(GRID) * 30)
    assert 100 < refine(subtomograms, coarse, iterations=1, rng=seeded(), rotations=GRID).fsc.registered < 150
