import numpy as np
import pytest
import torch
from bead_particle import beads, observed

from voxpick.average.align import Poses
from voxpick.average.fsc import frequency_grid, shell_correlation, soft_sphere
from voxpick.average.mean import average, finer
from voxpick.average.subtomograms import Subtomograms
from voxpick.errors import VoxpickError
from voxpick.geometry import uniform_rotations_zyx
from voxpick.particles import Particles


def poses(n, seed=3):
    rng = np.random.default_rng(seed)
    return Poses(uniform_rotations_zyx(n, rng), rng.uniform(-1.5, 1.5, (n, 3)), np.zeros(n))


def correlation(a, b, radius=9):
    mask = soft_sphere(a.shape, radius=radius, edge=3)
    return shell_correlation(a, b, voxel_size=10, mask=mask).correlation[1:]


@pytest.mark.parametrize("n", [8, 9])
def test_a_finer_box_keeps_the_voxels(n):
    box = beads(n, sigma=1.3)
    spectrum = np.fft.rfftn(box)
    weights = np.ones((n, n, n // 2 + 1), dtype=np.float32)
    if n % 2 == 0:
        weights[n // 2], weights[:, n // 2], weights[:, :, n // 2] = 0, 0, 0
    kept = np.fft.irfftn(spectrum * weights, s=(n,) * 3, axes=(0, 1, 2))
    fine = finer(torch.as_tensor(box, dtype=torch.float32)[None], torch.as_tensor(weights))[0].numpy()
    assert fine[::2, ::2, ::2] == pytest.approx(kept, abs=1e-5)


@pytest.mark.parametrize("box", [28, 27])
@pytest.mark.parametrize("tilts", [None, (-60, 60)])
def test_the_average_at_known_poses_is_the_structure(simulate, tilts, box):
    known = poses(12)
    mean = average(simulate(known.rotations, known.shifts_zyx, tilts=tilts, box=box), known, tilt_range_deg=tilts)
    fsc = correlation(mean.data, beads(box))
    assert fsc[:10].min() > 0.98 and fsc[:7].min() > 0.995
    assert (mean.voxel_size, mean.shape) == (10.0, (box,) * 3)


@pytest.mark.parametrize("tilts", [None, (-60, 60)])
def test_the_average_has_the_structure_s_size_at_all_frequencies(tilts):
    """The correlation of shells cannot tell: linear interpolation takes a fifth of the finest details' size."""
    known, truth = poses(40), beads(28, sigma=0.9)
    data = [
        observed(beads(28, r, s, sigma=0.9), tilts=tilts, noise=0, rng=np.random.default_rng(0))
        for r, s in zip(known.rotations, known.shifts_zyx, strict=True)
    ]
    measured = Subtomograms(np.stack(data), Particles(np.zeros((40, 3))), 10.0, np.zeros((40, 3)))
    mean = average(measured, known, tilt_range_deg=tilts).data
    ours, theirs = (np.fft.rfftn(data * soft_sphere((28,) * 3, radius=9, edge=3)) for data in (mean, truth))
    at = frequency_grid((28,) * 3)
    for low, high in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4)):
        inside = (at > low) & (at < high)
        gain = (ours * theirs.conj()).real[inside].sum() / (np.abs(theirs[inside]) ** 2).sum()
        assert gain == pytest.approx(1, abs=0.03)


def test_wedge_weights_fill_what_single_particles_lack(simulate):
    """Without the weights, directions that few particles measured come out too weak."""
    known = poses(6)
    known = Poses(np.repeat(known.rotations[:2], 3, axis=0), known.shifts_zyx, known.scores)
    subtomograms = simulate(known.rotations, known.shifts_zyx)
    truth = beads(28)
    weighted = correlation(average(subtomograms, known).data, truth)[:9]
    plain = correlation(average(subtomograms, known, tilt_range_deg=None).data, truth)[:9]
    assert weighted.mean() > plain.mean() + 0.01


def test_noise_averages_away(simulate):
    known = poses(64, seed=8)
    subtomograms = simulate(known.rotations, known.shifts_zyx, noise=0.5)
    rows = np.arange(4)
    few = Subtomograms(subtomograms.data[rows], subtomograms.particles[rows], 10.0, subtomograms.offsets_zyx[rows])
    of_few = correlation(average(few, known[rows]).data, beads(28))[:8].mean()
    of_all = correlation(average(subtomograms, known).data, beads(28))[:8].mean()
    assert of_all > 0.9 > of_few + 0.1


def test_noise_at_known_poses_and_particles_at_wrong_ones_give_no_structure(simulate):
    known = poses(48, seed=9)
    noise = simulate(known.rotations, known.shifts_zyx, noise=1.0, empty=True)
    assert np.abs(correlation(average(noise, known).data, beads(28))[2:9]).mean() < 0.2
    unturned = simulate(known.rotations, known.shifts_zyx)
    wrong = average(unturned, poses(48, seed=10)).data
    right = average(unturned, known).data
    assert np.abs(correlation(wrong, beads(28))[4:9]).mean() < 0.5 < 0.98 < correlation(right, beads(28))[4:9].mean()


def test_no_subtomograms_are_refused():
    nothing = Subtomograms(
        np.empty((0, 8, 8, 8), dtype=np.float32), Particles(np.empty((0, 3))), 10.0, np.empty((0, 3))
    )
    with pytest.raises(VoxpickError, match="no subtomograms"):
        average(nothing, poses(0))
