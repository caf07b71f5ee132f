import numpy as np
import pytest
import torch
from blobs import BlobNetwork, ball

from voxpick.detect.classify import central_component, classify, subtomogram, vote, without_vote
from voxpick.detect.segment import softmax_map
from voxpick.errors import VoxpickError

SHAPE = (28, 40, 52)
LIGHT, DARK = (14, 12, 13), (15, 28, 38)


def two_particles() -> np.ndarray:
    volume = np.zeros(SHAPE, dtype=np.float32)
    volume[ball(SHAPE, LIGHT, 4)] = -3
    volume[ball(SHAPE, DARK, 5)] = -20
    return volume


def run(volume, centers, **settings):
    network = BlobNetwork(levels=(1.5, 6.0))
    return classify(
        volume, np.array(centers, dtype=float), network, size=16, device="cpu", dtype=torch.float32, **settings
    )


@pytest.mark.parametrize("voting", ["majority", "probability"])
@pytest.mark.parametrize("batch", [1, 3])
def test_each_particle_gets_its_class(voting, batch):
    found = run(two_particles(), [LIGHT, DARK, LIGHT, DARK], voting=voting, batch=batch)
    assert found.class_index.tolist() == [1, 2, 1, 2]
    assert (found.scores > 0.5).all()
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)
    assert (found.shares[:, 0] == 0).all()


def test_contrast_and_scale_are_normalised():
    expected = run(two_particles(), [LIGHT, DARK])
    found = run(20 - 4 * two_particles(), [LIGHT, DARK], mean=20, deviation=-4)
    np.testing.assert_allclose(found.shares, expected.shares, atol=1e-6)


def test_a_pick_without_a_particle_gets_a_class_and_next_to_no_confidence():
    found = run(two_particles(), [(4, 34, 6)])
    assert found.class_index[0] in (1, 2)
    assert found.scores[0] < 0.01


def test_no_picks():
    assert run(two_particles(), np.empty((0, 3))).class_index.shape == (0,)


def test_subtomograms_keep_the_centre_and_are_filled_with_zeros_outside():
    volume = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 1
    cube = subtomogram(volume, np.array([1.2, 38.9, 25.6]), size=8, mean=2, deviation=0.5)
    assert cube[4, 4, 4] == (volume[1, 39, 26] - 2) / 0.5
    assert (cube[:3] == 0).all() and (cube[3:, :5] != 0).all() and (cube[:, 5:] == 0).all()
    assert (subtomogram(volume, np.array([-50.0, 3, 3]), size=8) == 0).all()


def probability_of(*parts: tuple[np.ndarray, int]) -> np.ndarray:
    probability = np.full((4, 16, 16, 16), 0.05)
    probability[0] = 0.85
    for mask, channel in parts:
        probability[:, mask] = 0.05
        probability[channel, mask] = 0.85
    return probability


def test_only_the_component_at_the_centre_votes():
    centre = ball((16,) * 3, (8, 8, 8), 3), 1
    neighbour = ball((16,) * 3, (8, 8, 14), 1.9), 2
    share, score = vote(probability_of(centre, neighbour), voting="majority")
    assert share.tolist() == [0, 1, 0, 0]
    assert score == pytest.approx(0.95)
    share, score = vote(probability_of(centre, neighbour))
    assert share[1] == pytest.approx(0.85 / 0.95) and score == pytest.approx(0.85)


def test_a_large_touching_neighbour_is_outvoted_within_reach():
    centre = ball((16,) * 3, (8, 8, 8), 2), 1
    neighbour = ball((16,) * 3, (8, 8, 13.5), 3.5), 3
    probability = probability_of(neighbour, centre)
    assert vote(probability)[0].argmax() == 3
    assert vote(probability, reach=3.0)[0].argmax() == 1


def test_where_there_is_no_particle_the_voxels_around_the_centre_vote_within_reach():
    distance = np.sqrt(sum((g - 8) ** 2 for g in np.indices((16,) * 3)))
    probability = np.full((3, 16, 16, 16), 0.05)
    probability[1][distance <= 1], probability[2][distance > 1] = 0.3, 0.3
    probability[0] = 1 - probability[1:].sum(axis=0)
    assert vote(probability, reach=1.0)[0].tolist() == pytest.approx([0, 6 / 7, 1 / 7])
    assert vote(probability)[0].argmax() == 2
    assert vote(probability, reach=9.0)[0].tolist() == vote(probability)[0].tolist()


def test_a_particle_s_radius_says_how_far_away_voxels_vote():
    """To 1.5 radii + 2: here 3.8 voxels, of a large dark particle around a small mark."""
    volume, center = two_particles(), np.array(DARK, dtype=float)
    volume[ball(SHAPE, DARK, 2)] = -3
    found = run(volume, [center], radii=np.array([1.2]))
    image = torch.from_numpy(subtomogram(volume, center, size=16))[None, None]
    probability = softmax_map(image, BlobNetwork(levels=(1.5, 6.0)), device=torch.device("cpu"), dtype=torch.float32)
    share, score = vote(probability[0].numpy(), reach=3.8)
    assert found.shares[0] == pytest.approx(share) and found.scores[0] == pytest.approx(score)
    assert np.abs(run(volume, [center]).shares[0] - share).max() > 0.05


def test_the_component_next_to_the_centre_is_taken_within_3_voxels():
    distance = np.sqrt(sum((g - 8) ** 2 for g in np.indices((16,) * 3)))
    near = ball((16,) * 3, (8, 8, 12), 1.5)
    far = ball((16,) * 3, (8, 2, 2), 1.5)
    np.testing.assert_array_equal(central_component(near | far, distance), near)
    assert not central_component(far, distance).any()


class WholeNetwork(torch.nn.Module):
    """(b, 3) logits of whole subtomograms: background, light (1) and dark (2) ones by the mean at the centre."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        dark = -images[:, 0, 6:11, 6:11, 6:11].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(dark), 2 * dark - 1, 4 * dark - 17], dim=1)


@pytest.mark.parametrize("settings", [{}, {"radii": np.array([4.0, 5.0]), "voting": "majority", "batch": 1}])
def test_networks_that_name_whole_subtomograms_need_no_vote(settings):
    centers = np.array([LIGHT, DARK], dtype=float)
    found = classify(
        two_particles(), centers, WholeNetwork(), size=16, device="cpu", dtype=torch.float32, **settings
    )  # fmt: skip
    cubes = [two_particles()[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3].mean() for z, y, x in (LIGHT, DARK)]
    logits = np.array([[0, -2 * m - 1, -4 * m - 17] for m in cubes])
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.class_index.tolist() == [1, 2]
    np.testing.assert_allclose(found.scores, probability.max(axis=1), rtol=1e-5)
    shares = probability[:, 1:] / probability[:, 1:].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.shares, np.column_stack([np.zeros(2), shares]), rtol=1e-5)


def test_the_confidence_of_a_whole_subtomogram():
    shares, score = without_vote(np.array([0.5, 0.1, 0.4]))
    assert shares.tolist() == pytest.approx([0, 0.2, 0.8]) and score == pytest.approx((1 - 0.5) * 0.8)
    assert without_vote(np.array([1.0, 0.0, 0.0]))[1] == 0
    with pytest.raises(VoxpickError, match="1 output"):
        without_vote(np.ones(1))


def test_bad_settings_are_refused():
    with pytest.raises(VoxpickError, match="unknown voting 'loudest'"):
        run(two_particles(), [LIGHT], voting="loudest")
    with pytest.raises(VoxpickError, match="1 output"):
        vote(np.ones((1, 8, 8, 8)))


@pytest.mark.parametrize("whole", [False, True])
def test_the_mean_over_half_turns_does_not_care_how_the_particle_is_turned(whole):
    torch.manual_seed(0)
    layers = [torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(8, 3, 3, padding=1)]
    network = torch.nn.Sequential(*layers, *[torch.nn.AdaptiveMaxPool3d(1), torch.nn.Flatten()][: 2 * whole])
    volume = np.random.default_rng(0).normal(size=(15, 15, 15)).astype(np.float32)
    for turns in (False, True):
        found = [
            classify(
                part, np.full((1, 3), 7.0), network, size=15, turns=turns, device="cpu", dtype=torch.float32
            ).shares
            for part in (volume, np.flip(volume, (0, 2)).copy(), np.flip(volume, (1, 2)).copy())
        ]
        assert (np.ptp(found, axis=0).max() < 1e-6) == turns
