"""Checkpoints of bounded size."""

import io

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.train.checkpoint import Progress, Trainee, capture, restore
from voxpick.train.compact import LIMIT, compact, expand
from voxpick.train.fit import averaged


def trained(width=24, *, steps=4, average=True, seed=0):
    """A small network after some steps, all that belongs to its training, and its checkpoint."""
    torch.manual_seed(seed)
    layers = [torch.nn.Conv3d(1, width, 3), torch.nn.BatchNorm3d(width), torch.nn.ReLU(), torch.nn.Conv3d(width, 3, 3)]
    network = torch.nn.Sequential(*layers)
    optimiser, mean = torch.optim.Adam(network.parameters(), lr=0.01), averaged(network, 0.9) if average else None
    trainee, state = Trainee(network, mean, optimiser, np.random.default_rng(seed)), Progress()
    for _ in range(steps):
        step(trainee)
        if mean is not None:
            mean.update_parameters(network)
        state.step += 1
    state.best_score, state.best_step, state.best_validation = 0.5, 2, {"score": 0.5}
    state.best_weights = {key: value.clone() for key, value in network.state_dict().items()}
    return trainee, capture(trainee, state, fingerprint="x")


def step(trainee):
    trainee.optimiser.zero_grad()
    image = torch.from_numpy(trainee.rng.normal(size=(2, 1, 6, 7, 8)).astype(np.float32))
    trainee.network(image).square().mean().backward()
    trainee.optimiser.step()


def size(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer().nbytes


def limit_of_level(state, level):
    """Bytes that let `level` fit and no level before it."""
    low, high = 8200, LIMIT
    while high - low > 64:
        middle = (low + high) // 2
        try:
            reached = compact(state, limit=middle)["level"]
        except VoxpickError:
            reached = 9
        low, high = (middle, high) if reached > level else (low, middle)
    return high


def test_a_small_network_goes_on_bit_for_bit():
    whole, state = trained()
    small = compact(state)
    assert (small["level"], small["progress"]["step"]) == (0, 4) and size(small) < size(state)
    step(whole)
    other, _ = trained(steps=1, seed=1)
    found = restore(expand(small), other, fingerprint="x")
    step(other)
    assert found.best_score == 0.5 and found.step == 4
    weights = other.network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in whole.network.state_dict().items())


@pytest.mark.parametrize("level", [1, 2, 3])
def test_each_level_fits_and_goes_on_nearly_as_the_whole(level):
    whole, state = trained(width=48)
    small = compact(state, limit=limit_of_level(state, level))
    assert small["level"] == level
    other, _ = trained(width=48, steps=1, seed=1)
    found = restore(expand(small), other, fingerprint="x")
    given = whole.average.module if level == 3 else whole.network
    for key, value in given.state_dict().items():
        assert torch.allclose(other.network.state_dict()[key].float(), value.float(), rtol=2**-8, atol=1e-6)
    for key, value in whole.average.module.state_dict().items():
        assert torch.allclose(other.average.module.state_dict()[key].float(), value.float(), rtol=2**-8, atol=1e-6)
    assert int(other.average.n_averaged) == 4 and found.step == 4
    assert (found.best_weights is None) == (level > 1) and (found.best_score == 0.5) == (level == 1)
    before = {key: value.clone() for key, value in other.network.state_dict().items()}
    step(other)
    moved = max((other.network.state_dict()[key] - before[key]).abs().max() for key in ("0.weight", "3.weight"))
    assert 0 < moved < 0.03


def test_second_moments_keep_the_mean_of_their_channel():
    whole, state = trained(width=48)
    back = expand(compact(state, limit=limit_of_level(state, 2)))["optimiser"]["state"]
    for key, moments in whole.optimiser.state_dict()["state"].items():
        second = moments["exp_avg_sq"]
        expected = second.reshape(len(second), -1).mean(1)
        assert torch.allclose(back[key]["exp_avg_sq"].reshape(len(second), -1)[:, -1], expected)
        assert back[key]["exp_avg_sq"].shape == second.shape and not back[key]["exp_avg"].any()


def test_without_a_moving_average_the_weights_stay():
    whole, state = trained(average=False)
    back = expand(compact(state, limit=limit_of_level(state, 2)))
    assert back["average"] is None
    assert torch.allclose(back["network"]["0.weight"], whole.network.state_dict()["0.weight"], rtol=2**-8)


def test_what_fits_nowhere_is_refused_and_other_states_pass():
    state = trained()[-1]
    with pytest.raises(VoxpickError, match=r"weights does not fit into 0\.0086"):
        compact(state, limit=9100)
    assert expand(state) is state
    small = compact(state)
    with pytest.raises(VoxpickError, match="damaged"):
        expand({**small, "blob": small["blob"][:-40]})


def test_nine_million_weights_fit_into_sixteen_mebibytes():
    weights = {"w": torch.randn(8820, 1000) * 0.03}
    optimiser = {"state": {0: {"step": torch.tensor(9.0), "exp_avg": weights["w"], "exp_avg_sq": weights["w"] ** 2}}}
    state = {
        "network": weights, "optimiser": optimiser, "progress": {"step": 9, "best_weights": None},
        "average": {"n_averaged": torch.tensor(9), "module.w": weights["w"]},
    }  # fmt: skip
    small = compact(state)
    assert small["level"] == 3 and size(small) <= LIMIT


def test_where_the_best_weights_are_left_out_the_last_step_is_validated_again():
    trainee, state = trained()
    state["progress"] |= {"validated_step": state["progress"]["step"]}
    whole, lean = (expand(compact(state, limit=limit_of_level(state, level))) for level in (0, 2))
    assert restore(whole, trainee, fingerprint="x").validated_step == state["progress"]["step"]
    progress = restore(lean, trainee, fingerprint="x")
    assert (progress.validated_step, progress.best_step, progress.best_weights) == (-1, 0, None)
