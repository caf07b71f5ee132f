from dataclasses import replace

import numpy as np
import pytest
import torch
from bead_particle import angles_deg, beads

from voxpick.average.align import Poses, align
from voxpick.average.alignment import BANK_BYTES, Alignment
from voxpick.average.spectra import Spectrum, band, frequencies_of, map_spectrum
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.match.rotations import rotation_grid
from voxpick.wedge import wedge_mask

SETTINGS = Alignment(radius=100, low_pass=40, max_shift=30, step_deg=20, finest_deg=2.5)


def poses(n, seed=3):
    rng = np.random.default_rng(seed)
    return uniform_rotations_zyx(n, rng), rng.uniform(-1.5, 1.5, (n, 3))


def slow_transform(data, frequencies):
    """The transform about the box centre at any frequency, term by term."""
    axes = [np.arange(n) - n // 2 for n in data.shape]
    phases = [np.exp(-2j * np.pi * np.outer(frequencies[:, k], axis)) for k, axis in enumerate(axes)]
    return np.einsum("zyx,mz,my,mx->m", data, *phases)


@pytest.mark.parametrize("n", [16, 15])
def test_a_map_s_spectrum_is_read_between_its_samples(n):
    box = beads(n, sigma=1.2) * np.random.default_rng(0).uniform(0.5, 1, (n,) * 3)
    frequencies = np.random.default_rng(1).uniform(-0.3, 0.3, (200, 3))
    exact = slow_transform(box, frequencies)
    read = map_spectrum(torch.as_tensor(box, dtype=torch.float32))(torch.as_tensor(frequencies).float()).numpy()
    assert np.abs(read - exact).max() < 0.04 * np.abs(exact).max()
    assert np.corrcoef(read.real, exact.real)[0, 1] > 0.998


def test_at_its_own_samples_a_spectrum_is_exact():
    half = torch.fft.rfftn(torch.as_tensor(np.random.default_rng(2).normal(size=(12, 12, 12))))
    points = frequencies_of(12).double()[:6, :6]
    assert Spectrum(half)(points).numpy() == pytest.approx(half[:6, :6].numpy(), abs=1e-3)
    assert Spectrum(half)(-points[1:, 1:]).numpy() == pytest.approx(
        half[1:6, 1:6].conj().resolve_conj().numpy(), abs=1e-3
    )


@pytest.mark.parametrize("n", [12, 13])
def test_a_band_s_weights_make_the_sum_over_all_frequencies(n):
    box = np.random.default_rng(4).normal(size=(n,) * 3)
    chosen = band(n, highest=0.4, lowest=0.1, tilt_range_deg=(-50, 60))
    values = chosen.coefficients(torch.as_tensor(box, dtype=torch.float32)[None])[0]
    whole = np.abs(np.fft.fftn(box)) ** 2
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(n)] * 3, indexing="ij")))
    half = wedge_mask((n,) * 3, (-50, 60)).numpy()
    mirrored = half[(-np.arange(n)) % n][:, (-np.arange(n)) % n]
    mask = np.concatenate([half, mirrored[:, :, 1 : n - n // 2][:, :, ::-1]], axis=2)
    expected = (whole * mask)[(radius > 0.1) & (radius <= 0.4)].sum()
    assert float((chosen.weights * values.abs() ** 2).sum()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("tilts", "box"), [(None, 28), ((-60, 60), 28), ((-40, 60), 27)])
def test_known_rotations_and_shifts_are_found_to_the_finest_step(simulate, tilts, box):
    rotations, shifts = poses(8)
    subtomograms = simulate(rotations, shifts, tilts=tilts, box=box)
    settings = Alignment(**{**SETTINGS.__dict__, "tilt_range_deg": tilts})
    found = align(subtomograms, beads(box), settings, rotations=rotation_grid(20))
    assert angles_deg(found.rotations, rotations).max() < 2.5
    assert np.linalg.norm(found.shifts_zyx - shifts, axis=1).max() < 0.2
    assert found.scores.min() > 0.97


def test_noise_leaves_rotations_within_the_grid_s_step(simulate):
    rotations, shifts = poses(8, seed=5)
    subtomograms = simulate(rotations, shifts, noise=0.3)
    found = align(subtomograms, beads(28), SETTINGS, rotations=rotation_grid(20))
    assert angles_deg(found.rotations, rotations).max() < 10
    assert 0.5 < found.scores.min() < found.scores.max() < 0.9


def test_a_local_search_starts_from_given_poses(simulate):
    rotations, shifts = poses(6)
    subtomograms = simulate(rotations, shifts)
    off = uniform_rotations_zyx(1, np.random.default_rng(7))[0]
    small = torch.matrix_exp(torch.as_tensor(0.1 * (off - off.T))).numpy()
    start = Poses(rotations @ small, np.zeros((6, 3)), np.zeros(6))
    settings = Alignment(**{**SETTINGS.__dict__, "step_deg": 5.0, "finest_deg": 1.0})
    found = align(subtomograms, beads(28), settings, start=start)
    assert angles_deg(found.rotations, rotations).max() < 1.5 < angles_deg(start.rotations, rotations).min()


def test_shifts_stay_within_their_limit(simulate):
    rotations, shifts = poses(4)
    settings = Alignment(**{**SETTINGS.__dict__, "max_shift": 5.0})
    start = Poses(rotations, np.zeros((4, 3)), np.zeros(4))
    found = align(simulate(rotations, shifts), beads(28), settings, start=start)
    assert np.linalg.norm(found.shifts_zyx, axis=1).max() <= 0.5 + 1e-5
    fixed = Alignment(**{**SETTINGS.__dict__, "max_shift": 0.0})
    assert np.abs(align(simulate(rotations, shifts), beads(28), fixed, start=start).shifts_zyx).max() == 0


def test_mistakes_are_named(simulate):
    subtomograms = simulate(*poses(1), box=16)
    with pytest.raises(VoxpickError, match=r"reference has shape \(28, 28, 28\)"):
        align(subtomograms, beads(28), SETTINGS, rotations=np.eye(3)[None])
    with pytest.raises(VoxpickError, match="rotations to search"):
        align(subtomograms, beads(16), SETTINGS)
    with pytest.raises(VoxpickError, match="no detail coarser than 500 A fits"):
        coarse = Alignment(**{**SETTINGS.__dict__, "low_pass": 500.0})
        align(subtomograms, beads(16), coarse, rotations=np.eye(3)[None])
    with pytest.raises(VoxpickError, match="low_pass is -1"):
        Alignment(radius=100, low_pass=-1, max_shift=30, step_deg=20, finest_deg=2.5)
    with pytest.raises(VoxpickError, match="tilt range 60 to -60 degrees; give two limits in order"):
        Alignment(**{**SETTINGS.__dict__, "tilt_range_deg": (60.0, -60.0)})


def test_rotations_whose_bank_has_no_room_are_refused(simulate, monkeypatch):
    """`--step 1` made 15 million rotations and all their coefficients."""
    told = r"step of 1 degrees makes 14851067 rotations.*and there is room for 8.6 GB; the smallest step that fits is"
    with pytest.raises(VoxpickError, match=told + r" 1\.9 degrees"):
        Alignment(**{**SETTINGS.__dict__, "step_deg": 1.0}).require_room(14851067, box=28, voxel_size=10.0)
    subtomograms = simulate(*poses(1), box=16)
    monkeypatch.setattr("voxpick.average.alignment.BANK_BYTES", 1000)
    with pytest.raises(VoxpickError, match=r"step of 20 degrees makes 2 rotations, which with \d+ coefficients"):
        align(subtomograms, beads(16), SETTINGS, rotations=np.stack([np.eye(3)] * 2))


def test_the_room_of_a_bank_is_foreseen():
    """To a rotation: an estimate without the plane kx = 0 was a tenth short of small boxes without a wedge."""
    for tilts in ((-60.0, 60.0), None):
        there = len(band(30, highest=0.25, tilt_range_deg=tilts).where)
        how = Alignment(**{**SETTINGS.__dict__, "tilt_range_deg": tilts})
        how.require_room(BANK_BYTES // (8 * there), box=30, voxel_size=10.0)
        with pytest.raises(VoxpickError, match="room"):
            how.require_room(BANK_BYTES // (8 * there) + 1, box=30, voxel_size=10.0)


def test_the_finest_detail_that_there_is_memory_for_has_room_and_finer_has_not(monkeypatch):
    for tilts in (None, (-60.0, 60.0), (-30.0, 70.0)):
        how = replace(SETTINGS, tilt_range_deg=tilts)
        for fits in (60, 700, 3000):
            monkeypatch.setattr("voxpick.average.alignment.BANK_BYTES", 8 * 1000 * fits)
            finest = how.finest_low_pass(1000, box=28, voxel_size=10.0)
            replace(how, low_pass=finest).require_room(1000, box=28, voxel_size=10.0)
            with pytest.raises(VoxpickError, match="there is room for"):
                replace(how, low_pass=finest / 1.1).require_room(1000, box=28, voxel_size=10.0)
        monkeypatch.setattr("voxpick.average.alignment.BANK_BYTES", 1 << 30)
        assert how.finest_low_pass(1000, box=28, voxel_size=10.0) == 20


def test_shifts_in_parts_find_what_all_at_once_do(simulate, monkeypatch):
    rotations, shifts = poses(3)
    subtomograms, grid = simulate(rotations, shifts, noise=0.3), rotation_grid(60)
    whole = align(subtomograms, beads(28), SETTINGS, rotations=grid)
    monkeypatch.setattr("voxpick.average.pose_search.SCORES_AT_ONCE", 50 * len(grid))
    parts = align(subtomograms, beads(28), SETTINGS, rotations=grid)
    assert parts.rotations == pytest.approx(whole.rotations, abs=1e-6)
    assert parts.shifts_zyx == pytest.approx(whole.shifts_zyx, abs=1e-6)
