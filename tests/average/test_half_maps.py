import numpy as np
import pytest
from bead_particle import beads
from scipy import ndimage

from voxpick.average.fsc import frequency_grid, shell_correlation, soft_sphere
from voxpick.average.half_maps import half_map_correlation, random_phases
from voxpick.average.own_mask import soft_outline
from voxpick.average.pasted import central_part
from voxpick.volume import Volume

BOX = 32


def halves(noise, *, seed=0, signal=None):
    rng = np.random.default_rng(seed)
    signal = beads(BOX) if signal is None else signal
    return [signal + noise * rng.normal(size=signal.shape) for _ in range(2)]


def coarse_pair(keep=3):
    """Two maps that agree in the first `keep` shells and in nothing else."""
    shared, rng = np.fft.rfftn(np.random.default_rng(4).normal(size=(BOX,) * 3)), np.random.default_rng(5)
    fine = frequency_grid((BOX,) * 3) * BOX > keep
    pair = []
    for _ in range(2):
        own = 0.1 * np.fft.rfftn(rng.normal(size=(BOX,) * 3))
        pair.append(np.fft.irfftn(np.where(fine, own, shared), s=(BOX,) * 3, axes=(0, 1, 2)))
    return pair


def test_random_phases_keep_the_power_of_every_shell_and_the_coarse_map():
    data = beads(28)[4:24, :, 2:]
    changed = random_phases(data, beyond=0.2, rng=np.random.default_rng(1))
    before, after, at = np.fft.rfftn(data), np.fft.rfftn(changed), frequency_grid(data.shape)
    assert np.abs(after) == pytest.approx(np.abs(before), abs=1e-9 * np.abs(before).max())
    assert after[at < 0.2] == pytest.approx(before[at < 0.2])
    assert shell_correlation(data, changed, voxel_size=1).correlation[6:].max() < 0.6


def test_a_tight_mask_that_carries_coarse_agreement_outwards_is_found_out():
    a, b = coarse_pair()
    mask = soft_sphere((BOX,) * 3, radius=5, edge=1)
    found = half_map_correlation(a, b, voxel_size=10, mask=mask, rng=np.random.default_rng(0))
    assert np.abs(found.unmasked[6:]).max() < 0.1
    assert found.masked[6:8].min() > 0.5 and found.correlation[6:8].max() < 0
    assert found.correlation[:6] == pytest.approx(found.masked[:6])
    assert found.randomised[6:8].min() > 0.4, "what disagrees, over what disagrees with random phases"
    assert 1 - found.correlation[6:8] == pytest.approx((1 - found.masked[6:8]) / (1 - found.randomised[6:8]))
    assert found.beyond == pytest.approx(4 / (BOX * 10))


def test_what_agrees_at_every_frequency_stays():
    mask = soft_sphere((BOX,) * 3, radius=9, edge=4)
    a, b = halves(0.02)
    found = half_map_correlation(a, b, voxel_size=10, mask=mask, rng=np.random.default_rng(0))
    plain = shell_correlation(a, b, voxel_size=10, mask=mask)
    assert found.masked == pytest.approx(plain.correlation)
    assert found.resolution(0.5) == pytest.approx(plain.resolution(0.5), rel=0.05)
    same = half_map_correlation(a, a, voxel_size=10, mask=mask, rng=np.random.default_rng(0))
    assert same.correlation[1:] == pytest.approx(np.ones(BOX // 2)) and same.beyond == np.inf


def test_the_table_holds_all_four_curves():
    mask = soft_sphere((BOX,) * 3, radius=9, edge=4)
    found = half_map_correlation(*halves(0.3), voxel_size=10, mask=mask, rng=np.random.default_rng(0))
    frame = found.to_frame()
    assert list(frame) == ["frequency", "resolution", "correlation", "masked", "unmasked", "randomised"]
    k = 12
    assert found.begins == shell_correlation(*halves(0.3), voxel_size=10, mask=mask).begins == 3
    small = soft_sphere((BOX,) * 3, radius=4, edge=2)
    assert half_map_correlation(*halves(0.3), voxel_size=10, mask=small, rng=np.random.default_rng(0)).begins == 6
    expected = (found.masked[k] - max(found.randomised[k], 0)) / (1 - max(found.randomised[k], 0))
    assert frame["correlation"][k] == pytest.approx(expected)


def test_maps_that_agree_only_on_what_was_made_to_agree_have_no_resolution():
    """Of those that agree on finer detail all resolutions are given, that at 0.5 where it is coarser too."""
    mask = soft_sphere((BOX,) * 3, radius=9, edge=4)
    of_maps = {"voxel_size": 10, "mask": mask, "rng": np.random.default_rng(0)}
    coarse, fine = coarse_pair(), halves(0.25)
    for pair, inconclusive in ((coarse, True), (fine, False)):
        free, laid = (half_map_correlation(*pair, **of_maps, registered=a) for a in (np.inf, 100.0))
        assert free.conclusive == np.inf and not free.inconclusive()
        assert 40 < laid.conclusive < 60 and laid.inconclusive() == inconclusive
        for threshold in (0.143, 0.5):
            expected = np.nan if inconclusive else free.resolution(threshold)
            assert laid.resolution(threshold) == pytest.approx(expected, rel=0.05, nan_ok=True)
    assert laid.resolution(0.143) < laid.conclusive < laid.resolution(0.5)


def test_a_map_s_own_mask_follows_it_and_falls_off_softly():
    lopsided = Volume(np.pad(beads(24), ((4, 4), (2, 6), (4, 4))), 10.0)
    part, level, _ = central_part(lopsided, radius=140)
    mask = soft_outline(lopsided, radius=140, extend=2, edge=4)
    assert mask[part].min() == 1 and level > 0
    outside = ndimage.distance_transform_edt(~part)
    assert mask[outside <= 2].min() == 1 and mask[outside >= 6].max() == 0
    assert mask[outside == 4] == pytest.approx(0.5)
