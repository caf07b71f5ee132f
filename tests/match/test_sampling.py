"""Correlations at fewer places than voxels: equal there to those at every voxel, and splines between."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from voxpick.match.background import phase_randomised
from voxpick.match.bank import Bank, Template
from voxpick.match.compress import LowRankBank, choose_sampling, compress, kept_in_band
from voxpick.match.exact import match_exact
from voxpick.match.low_rank import match_low_rank
from voxpick.match.rotations import super_fibonacci
from voxpick.match.sampling import EVERY, Sampling, multiply_between
from voxpick.match.search import Target, Wanted, find, find_all
from voxpick.match.tiles import (
    PreparedTile,
    TiledVolume,
    correlate,
    correlate_at_places,
    in_frame,
    in_frame_in_band,
    make_tiling,
)

THREE_HALVES = Sampling(3, 2)


def blurred(shape, width, seed=0):
    """Noise without frequencies above some, and as deviations of one: width of the Gaussian in voxels."""
    spectrum = np.fft.fftn(np.random.default_rng(seed).normal(size=shape))
    squares = sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
    return (np.fft.ifftn(spectrum * np.exp(-2 * np.pi**2 * width**2 * squares)).real).astype(np.float32)


@pytest.fixture(scope="module")
def smooth():
    """Two wide balls under a wide mask, in 120 orientations."""
    grid = np.indices((20,) * 3) - 10
    density = sum(
        weight * np.exp(-0.5 * sum((g - o) ** 2 for g, o in zip(grid, at, strict=True)) / 2.2**2)
        for at, weight in (((0, 0, 3), 1.0), ((0, -3, 0), 0.7))
    )
    return Bank(Template("smooth", density.astype(np.float32), 10.0, radius=70), super_fibonacci(120), edge=2.0)


@pytest.mark.parametrize("side", [12, 8])
def test_at_its_places_it_is_the_correlation(side):
    """Templates and tile are made of few low frequencies, so that the correlation is known between voxels too."""
    tiling = make_tiling((50, 60, 40), 12, largest=60, sampling=THREE_HALVES)
    voxels = blurred(tiling.sides, 2.5).astype(np.float64)
    templates = torch.from_numpy(np.random.default_rng(2).normal(size=(2, side, side, side)).astype(np.float32))
    tile = PreparedTile(torch.from_numpy(voxels), tiling)
    some = correlate_at_places(tile.in_band(), in_frame_in_band(templates, tiling), tiling)
    assert some.shape[1:] == tiling.grid
    first = tiling.template // 2 - side // 2
    spectrum, frequencies = np.fft.fftn(voxels), [np.fft.fftfreq(n) for n in tiling.sides]
    for place in ((0, 0, 0), (1, 2, 3), (5, 1, 8), (7, 11, 5)):
        at = [first + 1.5 * p for p in place]
        waves = [np.exp(2j * np.pi * f[:, None] * (a + np.arange(side))) for f, a in zip(frequencies, at, strict=True)]
        moved = np.einsum("abc,ai,bj,ck->ijk", spectrum, *waves, optimize=True).real / spectrum.size
        expected = (templates.numpy() * moved).sum(axis=(1, 2, 3))
        assert np.abs(some[(slice(None), *place)].numpy() - expected).max() < 2e-3 * float(some.abs().max())


def test_every_voxel_is_the_whole_correlation():
    tiling = make_tiling((30, 30, 30), 12, largest=48)
    tile = PreparedTile(torch.randn(tiling.sides, dtype=torch.float64), tiling)
    templates = torch.randn(3, 8, 8, 8)
    every = correlate(tile.spectrum, in_frame(templates, tiling), tiling, side=8)
    some = correlate_at_places(tile.in_band(), in_frame_in_band(templates, tiling), tiling)
    assert torch.allclose(some, every, atol=1e-4)


@pytest.mark.parametrize("shape", [(17, 24, 30), (256, 40, 31), (1, 70, 100)])
def test_tiles_reach_every_place(shape):
    tiling = make_tiling(shape, 12, largest=60, sampling=THREE_HALVES)
    assert all(core % 3 == 0 and side % 6 == 0 for core, side in zip(tiling.core, tiling.sides, strict=True))
    reached = np.zeros([THREE_HALVES.of(n) for n in shape], dtype=bool)
    for start in tiling.starts():
        first = [THREE_HALVES.exactly(s) for s in start]
        reached[tuple(slice(f, f + g) for f, g in zip(first, tiling.grid, strict=True))] = True
    assert reached.all()
    assert all((THREE_HALVES.of(n) - 1) * 1.5 >= n - 1 for n in shape)


def test_splines_between_places():
    shape = (23, 31, 18)
    places = [np.arange(THREE_HALVES.of(n)) * 1.5 for n in shape]

    def value(axes):
        z, y, x = np.meshgrid(*axes, indexing="ij")
        return (np.sin(z / 4) + np.cos(y / 5 + x / 6)).astype(np.float32)

    voxels = np.full(shape, 2.0, dtype=np.float32)
    multiply_between(value(places), voxels, THREE_HALVES)
    assert np.abs(voxels - 2 * value([np.arange(n) for n in shape])).max() < 0.01


def test_energy_within_the_band():
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(12**3, 3)))[0].T.reshape(3, 12, 12, 12)
    coefficients = rng.normal(size=(5, 3)).astype(np.float32)
    low = LowRankBank(torch.from_numpy(basis.astype(np.float32)), torch.from_numpy(coefficients), np.full(5, 0.9))
    templates = np.tensordot(coefficients, basis, axes=1)
    power = np.abs(np.fft.fftn(templates, axes=(1, 2, 3))) ** 2
    inside = np.abs(np.fft.fftfreq(12)) < 1 / 3
    share = power[:, inside][:, :, inside][..., inside].sum(axis=(1, 2, 3)) / power.sum(axis=(1, 2, 3))
    assert np.allclose(kept_in_band(low, THREE_HALVES), 0.9 * share, atol=1e-5)
    assert np.array_equal(kept_in_band(low, EVERY), low.energy)


def test_only_what_the_templates_allow(smooth, bank):
    assert choose_sampling([compress(smooth)], beyond=0.01) == THREE_HALVES
    rough = compress(Bank(Template("rough", np.random.default_rng(0).random((9, 9, 9)), 10.0), super_fibonacci(9)))
    assert choose_sampling([compress(smooth), rough], beyond=0.01) == EVERY
    assert choose_sampling([compress(smooth)], beyond=0) == EVERY


@pytest.mark.parametrize("tile", [36, 48, 160])
def test_scores_between_places_are_near_the_exact_ones(smooth, tile):
    volume = TiledVolume(np.random.default_rng(6).normal(size=(40, 45, 50)).astype(np.float32))
    exact = match_exact(volume, smooth)
    settings = {"residual": 0.005, "tile": tile, "form": "float32"}
    found = match_low_rank(volume, smooth, sampling=THREE_HALVES, **settings)
    assert found.sampling == THREE_HALVES
    difference = found.score - exact.score
    assert np.sqrt((difference**2).mean()) < 0.095 * exact.score.std()
    assert np.abs(difference).max() < 0.7 * exact.score.std()
    assert found.noise == pytest.approx(exact.noise, rel=0.05)
    whole = match_low_rank(volume, smooth, sampling=THREE_HALVES, **{**settings, "tile": 160})
    assert np.abs(found.score - whole.score).max() < 0.1 * exact.score.std()


@pytest.mark.parametrize("faint", [0.0, 0.001])
def test_emptiness_is_not_magnified(smooth, faint):
    """A template that is cut to a band sees what lies beyond its mask."""
    data = np.random.default_rng(9).normal(size=(40, 40, 80)).astype(np.float32)
    data[15:35, 8:28, 8:28] += 1.5 * smooth.normalised(slice(9, 10))[0, :20, :20, :20].numpy()
    data[:, :, 40:] *= faint
    volume, wanted = TiledVolume(data), Wanted(distance=5, number=3)
    found = match_low_rank(volume, smooth, sampling=THREE_HALVES)
    assert found.score.max() <= 1 and found.noise < 1.25 * match_exact(TiledVolume(data[:, :, :40]), smooth).noise
    exact, matched = (find(volume, smooth, wanted, path=path) for path in ("exact", "low-rank"))
    assert not matched.sampling.every and matched.peaks.places[0, 2] < 40
    assert np.array_equal(matched.peaks.places[0], exact.peaks.places[0])


def test_with_a_background_every_voxel_is_searched(smooth):
    volume = TiledVolume(np.random.default_rng(10).normal(size=(30, 30, 30)).astype(np.float32))
    other = Bank(phase_randomised(smooth.template, np.random.default_rng(0)), smooth.rotations[:20], edge=2.0)
    alone, beside = Target(smooth, Wanted(5, 3)), Target(smooth, Wanted(5, 3), background=other)
    assert not next(find_all(volume, [alone])).sampling.every
    assert next(find_all(volume, [beside])).sampling.every


def test_few_of_the_peaks_above_a_score_are_missed(smooth):
    volume = TiledVolume(np.random.default_rng(11).normal(size=(50, 60, 70)).astype(np.float32))
    lowest = 3.2 * match_exact(volume, smooth).noise
    wanted = Wanted(distance=5, number=None, minimum_score=lowest)
    exact, found = (find(volume, smooth, wanted, path=path).peaks for path in ("exact", "low-rank"))
    assert (found.scores > lowest).all() and len(exact) > 15
    distance = cKDTree(found.places).query(exact.places)[0]
    assert (distance < 2).mean() > 0.8


@pytest.mark.parametrize("shape", [(1, 40, 40), (7, 3, 60)])
def test_thin_volumes(smooth, shape):
    volume = TiledVolume(np.random.default_rng(12).normal(size=shape).astype(np.float32))
    exact, found = match_exact(volume, smooth), match_low_rank(volume, smooth, sampling=THREE_HALVES)
    assert found.score.shape == shape
    assert np.sqrt(((found.score - exact.score) ** 2).mean()) < 0.6 * exact.score.std()


def test_final_scores_are_exact_and_the_best_ones_found(smooth):
    data = np.random.default_rng(7).normal(size=(40, 45, 50)).astype(np.float32)
    for row, place in ((3, (20, 20, 20)), (70, (15, 31, 33))):
        particle = smooth.normalised(slice(row, row + 1))[0].numpy()
        low = [p - smooth.side // 2 for p in place]
        data[tuple(slice(a, a + smooth.side) for a in low)] += 1.5 * particle
    volume, wanted = TiledVolume(data), Wanted(distance=5, number=12)
    exact = match_exact(volume, smooth)
    matched = find(volume, smooth, wanted, sampling=THREE_HALVES)
    at = tuple(matched.peaks.places.T)
    assert np.abs(matched.peaks.scores - exact.score[at]).max() < 1e-5
    assert np.array_equal(matched.peaks.rows, exact.rotation[at])
    best = find(volume, smooth, wanted, path="exact").peaks.places[:2]
    assert {tuple(p) for p in matched.peaks.places[:2]} == {tuple(p) for p in best}
    assert np.abs(np.sort(best, axis=0) - [[15, 20, 20], [20, 31, 33]]).max() <= 1


def test_where_no_tile_fits_every_voxel_is_searched(smooth):
    data = np.random.default_rng(8).normal(size=(20, 20, 20)).astype(np.float32)
    wide = Bank(replace(smooth.template, radius=105), smooth.rotations[:30], edge=2.0)
    assert wide.side == 32 and not match_low_rank(TiledVolume(data), wide, tile=48, residual=0.05).sampling.every
    assert match_low_rank(TiledVolume(data), wide, tile=40, residual=0.05).sampling.every
