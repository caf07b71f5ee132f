"""The exact search against the definition of the score."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.match import exact
from voxpick.match.bank import Bank, Template
from voxpick.match.exact import match_exact
from voxpick.match.passes import passes, share_of
from voxpick.match.tiles import TiledVolume, make_tiling, transform_sides


@pytest.mark.parametrize(("tile", "batch", "memory"), [(24, 1, 1), (30, 4, 1 << 30), (108, 2, 1 << 18)])
def test_scores_are_those_of_the_definition(bank, noisy, slow, tile, batch, memory, monkeypatch):
    monkeypatch.setattr(exact, "BYTES", memory)
    steps = []
    found = match_exact(TiledVolume(noisy[0]), bank, tile=tile, batch=batch, progress=lambda *s: steps.append(s))
    assert np.abs(found.score - slow.max(axis=0)).max() < 1e-5
    taken = np.take_along_axis(slow, found.rotation[None], axis=0)[0]
    assert np.abs(taken - slow.max(axis=0)).max() < 1e-5
    assert found.noise == pytest.approx(np.sqrt((slow**2).mean()), rel=1e-4)
    assert steps[-1][0] == steps[-1][1] and (found.energy == 1).all()


def test_dark_particles_are_found_by_the_other_sign(bank, noisy, slow):
    found = match_exact(TiledVolume(-noisy[0], sign=-1.0), bank, tile=30)
    assert np.abs(found.score - slow.max(axis=0)).max() < 1e-5


def test_the_particles_score_best_at_their_own_orientation(bank, noisy):
    found = match_exact(TiledVolume(noisy[0]), bank, tile=30)
    for place, row in noisy[1].items():
        assert found.rotation[place] == row and found.score[place] > 0.6
    high = np.argwhere(found.score > 0.6)
    assert all(min(np.linalg.norm(place - np.array(at)) for at in noisy[1]) < 2 for place in high)
    assert found.score.max() <= 1


def test_a_particle_without_noise_scores_one():
    template = Template("ball", np.exp(-((np.indices((11,) * 3) - 5) ** 2).sum(axis=0) / 9.0), 10.0, radius=40)
    bank = Bank(template, np.eye(3)[None])
    data = np.zeros((40, 24, 28))
    data[6:17, 5:16, 9:20] = template.density
    found = match_exact(TiledVolume(data), bank, tile=36)
    assert np.unravel_index(found.score.argmax(), data.shape) == (11, 10, 14)
    assert found.score.max() == pytest.approx(1, abs=1e-4)
    assert found.score[30, 12, 14] == 0  # nothing varies there


def test_tiles_cover_every_place_once():
    tiling = make_tiling((30, 70, 101), 16, largest=60)
    counts = np.zeros(tiling.shape, int)
    for whole, part in tiling.windows():
        counts[whole] += 1
        assert [w.stop - w.start for w in whole] == [p.stop for p in part]
    assert (counts == 1).all() and len(tiling.starts()) == len(list(tiling.windows()))
    assert all(side <= 60 and side in transform_sides(60) for side in tiling.sides)
    assert make_tiling((8, 8, 8), 16).sides == (24, 24, 24)
    assert transform_sides(20) == [2, 4, 6, 8, 10, 12, 16, 18, 20]


def test_a_template_larger_than_the_tile_is_refused():
    with pytest.raises(VoxpickError, match=r"template of 154 voxels.*tiles of 160"):
        make_tiling((50, 50, 50), 154)
    make_tiling((50, 50, 50), 153)


def test_large_templates_get_large_tiles_and_small_ones_small():
    assert make_tiling((200, 512, 512), 32).sides == make_tiling((200, 512, 512), 32, largest=96).sides
    large = make_tiling((200, 512, 512), 58)
    assert max(large.sides) > 130 and large.starts()[-1] < (200, 512, 512)


def test_templates_of_similar_size_share_a_pass():
    sides = {"a": 24, "b": 40, "c": 20, "d": 50, "e": 90}
    banks = [SimpleNamespace(side=side) for side in sides.values()]
    assert passes(banks) == [[2, 0], [1, 3], [4]]
    steps = []
    share_of(lambda *s: steps.append(s), [1, 3], 2, 5)(1, 4)
    assert steps == [(2500, 5000)]
    assert share_of(None, [1], 0, 3) is None


def test_bad_volumes_are_refused():
    with pytest.raises(VoxpickError, match="NaN"):
        TiledVolume(np.full((12, 20, 28), np.nan, np.float32))
    with pytest.raises(VoxpickError, match="constant"):
        TiledVolume(np.full((12, 20, 28), 3, np.float32))
    with pytest.raises(VoxpickError, match="constant"):
        TiledVolume(1e6 + 1e-4 * np.random.default_rng(0).normal(size=(12, 20, 28)))
    box = TiledVolume(np.arange(24.0).reshape(2, 3, 4)).box((-5, 0, 0), (3, 3, 4))
    assert box.dtype == torch.float64 and (box == 0).all()


@pytest.mark.parametrize("scale", [1e-5, 3.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_boxes_have_mean_0_and_deviation_1_over_the_volume_and_are_0_beyond(scale, sign):
    data = scale * (np.random.default_rng(0).normal(size=(5, 6, 7)) + 70)
    box = TiledVolume(data, sign=sign).box((-2, 0, 3), (9, 6, 8)).numpy()
    expected = np.zeros((9, 6, 8))
    expected[2:7, :, :4] = sign * (data - data.mean())[:, :, 3:] / data.std()
    assert box == pytest.approx(expected, abs=1e-9)
