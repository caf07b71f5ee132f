"""The loop: it learns, and an interruption leaves no trace."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.particles import Particles
from voxpick.train.fit import fit, loss_of
from voxpick.train.patches import make_sampler
from voxpick.train.settings import make_settings
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

SHAPE = (20, 28, 36)
CENTERS = np.array([[6, 7, 8], [12, 20, 25], [10, 8, 28], [13, 20, 9]])


@pytest.fixture
def volume():
    """Dark balls of two sizes in noise; the classes are 'small' and 'large'."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.indices(SHAPE), axis=-1)
    mask = np.zeros(SHAPE, dtype=np.int8)
    for k, center in enumerate(CENTERS):
        radius = (2.5, 4.5)[k % 2]
        mask[((grid - center) ** 2).sum(axis=-1) <= radius**2] = 1 + k % 2
    data = rng.standard_normal(SHAPE).astype(np.float32) * 0.5 - 2 * (mask > 0)
    particles = Particles(CENTERS * 10.0, classes=np.array(["small", "large"] * 2, dtype=object))
    return TrainingVolume(Volume(data.astype(np.float32), 10.0, "toy"), mask, particles)


def toy_network(classes=2):
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 6, 3, padding=1), torch.nn.LeakyReLU(0.01), torch.nn.Conv3d(6, classes, 3, padding=1)
    )


def cross_entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100)


def train(volume, *, steps, rows=None, classes=2, values=None, **options):
    settings = make_settings(
        {"patch": 12, "batch": 2, "steps": steps, "learning_rate": 0.02, "log_steps": 5, **(values or {})}
    )
    network = toy_network(classes)
    log = None if rows is None else rows.append
    return network, fit(network, make_sampler([volume], settings), cross_entropy, settings, log=log, **options)


@pytest.mark.parametrize(("stage", "classes", "goal"), [("localizer", 2, 0.12), ("classifier", 3, 0.3)])
def test_loss_falls(volume, one_thread, stage, classes, goal):
    rows = []
    _, fitted = train(volume, steps=60, rows=rows, classes=classes, values={"stage": stage})
    assert fitted.step == 60
    assert rows[-1]["loss"] < goal < rows[0]["loss"]


@pytest.mark.parametrize(("schedule", "mixup"), [("cosine", 0.0), ("step", 0.0), ("cosine", 0.5)])
def test_interrupted_and_resumed_equals_uninterrupted(volume, one_thread, schedule, mixup):
    values = {"average_decay": 0.9, "validate_steps": 7, "schedule": schedule, "decay_epoch": 2, "mixup": mixup}

    def validate(network, loss):
        return {"score": float(next(network.parameters()).detach().abs().sum())}

    rows = []
    whole, ended = train(volume, steps=20, rows=rows, values=values, validate=validate)

    checks, states, first_rows, second_rows = iter(range(100)), [], [], []
    _, half = train(
        volume, steps=20, rows=first_rows, values=values, validate=validate, save=states.append,
        stop=lambda: next(checks) == 9,
    )  # fmt: skip
    assert half.interrupted and half.step == 9
    torch.manual_seed(99)
    resumed, done = train(volume, steps=20, rows=second_rows, values=values, validate=validate, resume=states[-1])
    assert done.step == 20 and not done.interrupted
    assert (done.best_score, done.best_step) == (ended.best_score, ended.best_step)
    for expected, found in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, found)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses == [row["loss"] for row in first_rows + second_rows if "loss" in row]


def test_mixing_learns_sums_of_neighbours_by_the_labels_of_both():
    torch.manual_seed(2)
    network, images = toy_network(), torch.randn(3, 1, 5, 6, 7)
    labels = torch.randint(2, (3, 5, 6, 7))
    share = np.random.default_rng(8).beta(0.4, 0.4)
    mixed = torch.stack([share * images[k] + (1 - share) * images[(k - 1) % 3] for k in range(3)])
    others = torch.stack([labels[(k - 1) % 3] for k in range(3)])
    expected = share * cross_entropy(network(mixed), labels) + (1 - share) * cross_entropy(network(mixed), others)
    found = loss_of(network, images, labels, cross_entropy, np.random.default_rng(8), 0.4)
    torch.testing.assert_close(found, expected)
    assert torch.equal(
        loss_of(network, images, labels, cross_entropy, np.random.default_rng(8), 0.0),
        cross_entropy(network(images), labels),
    )


def test_checkpoint_survives_the_disk(volume, one_thread, tmp_path):
    states, calls = [], []
    values = {"average_decay": 0.9}
    train(volume, steps=4, values=values, save=states.append, stop=lambda: calls.append(0) or len(calls) > 2)
    torch.save(states[-1], tmp_path / "checkpoint.pt")
    read = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert read["progress"]["step"] == 2
    resumed, fitted = train(volume, steps=4, values=values, resume=read)
    whole, _ = train(volume, steps=4, values=values)
    again, _ = train(volume, steps=4, values=values, resume=read)
    assert fitted.step == 4
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]) and torch.equal(value, again.state_dict()[key])


def test_a_negative_seed_is_refused():
    with pytest.raises(VoxpickError, match="seed"):
        make_settings({"steps": 1, "seed": -1})


def test_checkpoint_of_other_settings_is_refused(volume, one_thread):
    states = []
    train(volume, steps=2, save=states.append)
    with pytest.raises(VoxpickError, match=r"learning_rate was 0\.02, now 0\.01"):
        train(volume, steps=2, values={"learning_rate": 0.01}, resume=states[-1])


def test_best_weights_are_kept(volume, one_thread):
    scores, kept = iter([0.2, 0.9, 0.4]), []

    def validate(network, loss):
        kept.append({key: value.clone() for key, value in network.state_dict().items()})
        return {"score": next(scores)}

    network, fitted = train(volume, steps=6, values={"validate_steps": 2}, validate=validate)
    assert (fitted.best_score, fitted.best_step) == (0.9, 4)
    for key, value in network.state_dict().items():
        assert torch.equal(value, kept[1][key])


def test_minutes_are_a_budget(volume, one_thread):
    network = toy_network()
    settings = make_settings({"patch": 8, "minutes": 0.01})
    fitted = fit(network, make_sampler([volume], settings), cross_entropy, settings)
    assert fitted.step > 0
    assert 0.01 <= fitted.minutes < 0.05


def test_loss_that_is_not_finite_is_refused(volume, one_thread):
    settings = make_settings({"patch": 8, "steps": 3})
    with pytest.raises(VoxpickError, match="the loss is nan at step 0"):
        fit(toy_network(), make_sampler([volume], settings), lambda a, b: a.sum() * float("nan"), settings)


def normalised_network():
    torch.manual_seed(1)
    layers = [torch.nn.Conv3d(1, 6, 3, padding=1), torch.nn.BatchNorm3d(6), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Conv3d(6, 2, 3, padding=1))


def settled(volume, batches, *, steps, **options):
    """A network with batch normalisation after training, and the sampler it was trained by."""
    values = {"patch": 12, "batch": 2, "steps": steps, "learning_rate": 0.02, "average_decay": 0.9}
    settings = make_settings({**values, "settle_batches": batches, "validate_steps": 3})
    network, sampler = normalised_network(), make_sampler([volume], settings)
    fit(network, sampler, cross_entropy, settings, **options)
    return network, sampler


def test_averaged_weights_get_normalisation_of_their_own(volume, one_thread):
    """The mean and variance that stay are those the averaged network sees, not those of the last batches."""
    network, sampler = settled(volume, 40, steps=6)
    rng = np.random.default_rng(7)
    images = torch.from_numpy(np.stack([sampler.draw(rng)[0] for _ in range(200)]))[:, None]
    with torch.no_grad():
        maps = network[0](images).transpose(0, 1).flatten(1)
    torch.testing.assert_close(network[1].running_mean, maps.mean(1), rtol=0.02, atol=0.02)
    torch.testing.assert_close(network[1].running_var, maps.var(1), rtol=0.15, atol=0.01)
    assert network[1].momentum == 0.1


def test_settling_in_between_leaves_training_as_it_was(volume, one_thread):
    """Random numbers and weights of later steps do not depend on it."""
    scores = {}
    for batches in (0, 3):
        last = iter(range(100))
        network, _ = settled(volume, batches, steps=8, validate=lambda _, loss, last=last: {"score": float(next(last))})
        scores[batches] = network
    assert not torch.equal(scores[0][1].running_mean, scores[3][1].running_mean)
    for expected, found in zip(scores[0].parameters(), scores[3].parameters(), strict=True):
        assert torch.equal(expected, found)


def test_resumed_without_validation_the_last_weights_are_kept(volume, one_thread):
    """Those that an earlier validation thought best belong to it."""
    states, scores = [], iter([0.9, 0.1])
    values = {"validate_steps": 3}
    validate = lambda network, loss: {"score": next(scores)}  # noqa: E731
    asked = iter(range(100))
    train(volume, steps=12, values=values, validate=validate, save=states.append, stop=lambda: next(asked) == 7)
    assert states[-1]["progress"]["best_step"] == 3
    resumed, fitted = train(volume, steps=12, values=values, resume=states[-1])
    whole, _ = train(volume, steps=12, values=values)
    assert (fitted.step, fitted.best_step, fitted.best_validation) == (12, 0, {})
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])


def test_a_checkpoint_of_other_classes_is_not_called_damaged(volume, one_thread):
    states = []
    train(volume, steps=2, save=states.append)
    with pytest.raises(VoxpickError, match=r"is of another network, or of data with other classes .*size mismatch"):
        train(volume, steps=2, classes=3, resume=states[-1])
