"""The low-rank search against the exact one."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.match import low_rank
from voxpick.match.bank import Bank, Template
from voxpick.match.compress import compress
from voxpick.match.exact import Scores, match_exact
from voxpick.match.low_rank import match_low_rank, match_low_rank_together
from voxpick.match.rotations import super_fibonacci
from voxpick.match.sampling import EVERY
from voxpick.match.search import Wanted, find
from voxpick.match.tiles import TiledVolume


@pytest.fixture(scope="module")
def many(bank):
    return Bank(bank.template, super_fibonacci(150), edge=1.0, tilt_range_deg=(-60, 60))


def test_of_a_bank_that_is_not_kept_rows_beside_the_subset_are_made_once(many, monkeypatch):
    many.forget()
    kept, made = compress(many, subset=40, batch=16), []
    assert many.kept()
    many.forget()

    def counted(rows, make=many.normalised):
        found = make(rows)
        made.append(len(found))
        return found

    monkeypatch.setattr(many, "normalised", counted)
    monkeypatch.setattr("voxpick.match.bank.KEPT_BYTES", 0)
    made_anew = compress(many, subset=40, batch=16)
    assert not many.kept() and sum(made) == 40 + 150
    first, second = (low.coefficients @ low.volumes.flatten(1) for low in (kept, made_anew))
    assert torch.allclose(first, second, atol=1e-4) and np.allclose(made_anew.energy, kept.energy, atol=1e-5)


def test_with_all_volumes_nothing_is_lost(bank, noisy, slow):
    found = match_low_rank(TiledVolume(noisy[0]), bank, residual=0, tile=30, form="float32")
    assert found.sampling.every
    assert np.abs(found.score - slow.max(axis=0)).max() < 1e-5
    assert np.allclose(found.energy, 1, atol=1e-5) and found.rotation is None
    assert found.noise == pytest.approx(np.sqrt((slow**2).mean()), rel=2e-4)


@pytest.mark.parametrize("subset", [2000, 60])
def test_the_fewest_volumes_that_keep_the_energy(many, subset):
    low = compress(many, residual=0.05, subset=subset, batch=32)
    number = len(low.volumes)
    templates = torch.cat([t for _, t in many.batches(50)]).flatten(1).double()
    values = torch.linalg.svdvals(templates).square()
    if subset > 150:
        kept = values.cumsum(0) / values.sum()
        assert number == int((kept < 0.95).sum()) + 1
        assert low.energy.mean() >= 0.949
    rebuilt = (low.coefficients @ low.volumes.flatten(1)).double()
    lost = (templates - rebuilt).square().sum(dim=1) / templates.square().sum(dim=1)
    assert np.allclose(1 - lost.numpy(), low.energy, atol=1e-4)
    basis = low.volumes.flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(number), atol=1e-4)
    assert len(compress(many, residual=0, largest=7).volumes) == 7


@pytest.mark.parametrize("form", ["int8", "bfloat16", "float32"])
def test_scores_are_near_the_exact_ones(many, noisy, form):
    volume = TiledVolume(noisy[0])
    exact = match_exact(volume, many, tile=30)
    found = match_low_rank(volume, many, residual=0.02, sampling=EVERY, tile=30, form=form)
    difference = found.score - exact.score
    assert np.abs(difference).max() < 0.08 and np.sqrt((difference**2).mean()) < 0.02
    assert found.noise == pytest.approx(exact.noise, rel=0.03)


def test_final_scores_and_orientations_are_exact(many, noisy):
    volume, wanted = TiledVolume(noisy[0]), Wanted(distance=4, number=20)
    exact = match_exact(volume, many, tile=30)
    matched = find(volume, many, wanted, residual=0.05, sampling=EVERY, tile=30)
    at = tuple(matched.peaks.places.T)
    assert len(matched.peaks) == 20 and (np.diff(matched.peaks.scores) <= 0).all()
    assert np.abs(matched.peaks.scores - exact.score[at]).max() < 1e-5
    assert np.array_equal(matched.peaks.rows, exact.rotation[at])
    assert 0.94 < matched.energy[0] <= 1 and matched.energy[1] <= matched.energy[0]
    other = find(volume, many, wanted, path="exact", tile=30)
    common = {tuple(p) for p in other.peaks.places[:10]} & {tuple(p) for p in matched.peaks.places}
    assert len(common) >= 8 and other.energy == (1, 1)
    assert np.array_equal(other.peaks.places[:3], matched.peaks.places[:3])


def test_only_scores_above_chance_are_kept(bank, noisy):
    volume = TiledVolume(noisy[0])
    for path in ("low-rank", "exact"):
        wanted = Wanted(distance=4, number=None, false_positives=0.01)
        matched = find(volume, bank, wanted, path=path, tile=30)
        assert {tuple(p) for p in matched.peaks.places} == set(noisy[1])
        assert matched.peaks.scores.min() > matched.lowest > 4 * matched.noise
    with pytest.raises(VoxpickError, match="fast"):
        find(volume, bank, Wanted(distance=4), path="fast")


def test_chance_counts_with_the_noise_of_exact_scores(many):
    """White noise: low-rank scores lack energy, the threshold for exact ones does not."""
    rng = np.random.default_rng(2)
    volume, wanted = TiledVolume(rng.normal(size=(30, 32, 34))), Wanted(distance=4, number=None, false_positives=0.01)
    exact = match_exact(volume, many, tile=30)
    rough = match_low_rank(volume, many, residual=0.3, sampling=EVERY, tile=30)
    assert rough.energy.mean() < 0.9 and rough.noise < 0.96 * exact.noise
    assert wanted.lowest(rough, len(many)) == pytest.approx(wanted.lowest(exact, len(many)), rel=0.02)


def test_noise_is_that_of_places_where_something_varies(bank):
    rng, wanted = np.random.default_rng(2), Wanted(distance=4, number=None, false_positives=0.01)
    data = rng.normal(size=(24, 28, 60))
    half = np.where(np.arange(60) < 30, data, 0.0)
    for match in (match_exact, match_low_rank):
        whole, part = match(TiledVolume(data), bank, tile=30), match(TiledVolume(half), bank, tile=30)
        assert part.noise == pytest.approx(whole.noise, rel=0.06)
        assert wanted.lowest(part, len(bank)) == pytest.approx(wanted.lowest(whole, len(bank)), rel=0.06)


@pytest.mark.parametrize("match", [match_exact, match_low_rank])
def test_noise_is_that_of_most_places_whatever_makes_the_tomogram_s_variance(bank, match):
    """One hot voxel, or padding far from the mean, left only places around it: no noise, and a threshold of 0."""
    data = np.random.default_rng(2).normal(size=(36, 40, 60))
    plain = match(TiledVolume(data), bank, tile=40).noise
    hot, padded = data.copy(), data + 100
    hot[10, 12, 14], padded[:, :, :20] = 3000, 0
    assert match(TiledVolume(hot), bank, tile=40).noise == pytest.approx(plain, rel=0.1)
    assert match(TiledVolume(padded), bank, tile=40).noise == pytest.approx(plain, rel=0.5)


def test_noise_is_sampled_in_every_column(many, monkeypatch):
    """The step through a core of 36 x 36 x 36 places was 36: only those at x = 0, where there may be no noise."""
    data, noise = np.random.default_rng(2).normal(size=(36, 36, 36)), []
    data[:, :, :12] = 0
    for sampled in (36 * 36, 36**3):
        monkeypatch.setattr(low_rank, "SAMPLED", sampled)
        noise.append(match_low_rank(TiledVolume(data), many, sampling=EVERY, tile=64).noise)
    assert noise[0] == pytest.approx(noise[1], rel=0.03) and noise[1] > 0.03


def test_without_noise_there_is_no_threshold_instead_of_one_of_0():
    scores = Scores(np.zeros((3, 4, 5), dtype=np.float32), None, 0.0, np.ones(2))
    assert Wanted(distance=4, minimum_score=0.2).lowest(scores, 2) == 0.2
    with pytest.raises(VoxpickError, match=r"false_positives sets no score: .* or give minimum_score instead"):
        Wanted(distance=4, false_positives=1).lowest(scores, 2)


def test_several_banks_in_one_pass_are_as_each_alone(bank, many, noisy, monkeypatch):
    volume = TiledVolume(noisy[0])
    small = Bank(Template("small", bank.template.density, 10.0, radius=25), super_fibonacci(20), edge=1.0)
    assert small.side < many.side
    alone = [match_low_rank(volume, one, sampling=EVERY, tile=30, form="float32") for one in (many, small)]
    steps = []
    monkeypatch.setattr(low_rank, "STAGED_BYTES", 1 << 18)
    settings = {"sampling": EVERY, "tile": 30, "form": "float32", "progress": lambda *s: steps.append(s)}
    together = match_low_rank_together(volume, [many, small], **settings)
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.score - other.score).max() < 1e-5 and np.array_equal(one.energy, other.energy)
        assert other.noise == pytest.approx(one.noise, rel=0.01)
    assert steps[-1][0] == steps[-1][1] and len(steps) > 2
