"""An endless stream of specimens: which ones a step sees, and that an interruption leaves no trace."""

import subprocess
import sys
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.methods.specimens import ATTEMPTS, SpecimenMaker, specimen_maker
from voxpick.particles import Particles
from voxpick.simulate.bank import load_bank
from voxpick.simulate.shrec20 import Recipe
from voxpick.simulate.variation import Variation
from voxpick.train.fit import fit
from voxpick.train.patches import make_sampler
from voxpick.train.settings import make_settings
from voxpick.train.stream import SpecimenStream, StreamSettings, stream_settings, train_on_stream
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume


class Now:
    """An executor that works at once."""

    def submit(self, make, number):
        future = Future()
        future.set_result(make(number))
        return future


def toy_specimen(number):
    rng = np.random.default_rng(number)
    mask = (rng.random((14, 18, 22)) < 0.2).astype(np.int8)
    data = rng.standard_normal(mask.shape).astype(np.float16) - mask
    particles = Particles(np.array([[60.0, 80.0, 90.0]]), classes=np.array(["ball"], dtype=object))
    return TrainingVolume(Volume(data.astype(np.float16), 10.0, f"specimen {number}"), mask, particles)


def test_the_pool_is_a_function_of_the_step():
    made = []

    def make(number):
        made.append(number)
        return toy_specimen(number)

    stream = SpecimenStream(make, Now(), pool=3, every=10)
    names = {step: [volume.tomogram.name[9:] for volume in stream.volumes(step)] for step in (0, 9, 10, 25, 100)}
    assert names == {
        0: ["0", "1", "2"], 9: ["0", "1", "2"], 10: ["1", "2", "3"], 25: ["2", "3", "4"], 100: ["10", "11", "12"],
    }  # fmt: skip
    assert made == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13]
    assert [stream.changes_at(step) for step in (0, 9, 10)] == [10, 10, 20]


def train_toy(*, steps, stop_at=None, resume=None, rows=None, values=None):
    settings = make_settings(
        {"patch": 8, "batch": 2, "steps": steps, "learning_rate": 0.02, "log_steps": 1, "average_decay": 0.9,
         "validate_steps": 5, "stream": {"pool": 2, "every": 4}, **(values or {})}
    )  # fmt: skip
    torch.manual_seed(3)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)

    def train(volumes, **options):
        loss = torch.nn.functional.cross_entropy
        validate = lambda net, loss: {"score": float(net.weight.detach().sum())}  # noqa: E731
        return fit(network, make_sampler(volumes, settings), loss, settings, validate=validate, **options)

    asked, states = iter(range(100)), []
    with ThreadPoolExecutor(1) as worker:
        fitted = train_on_stream(
            train, SpecimenStream(toy_specimen, worker, pool=2, every=4), checkpoint_seconds=0.0, resume=resume,
            save=states.append, stop=lambda: next(asked) == stop_at, log=None if rows is None else rows.append,
        )  # fmt: skip
    return network, fitted, states[-1]


@pytest.mark.parametrize("stop_at", [3, 7, 9])
def test_interrupted_and_resumed_equals_uninterrupted(one_thread, stop_at):
    rows, first, second = [], [], []
    whole, ended, _ = train_toy(steps=14, rows=rows)
    _, half, state = train_toy(steps=14, stop_at=stop_at, rows=first)
    assert half.interrupted and 0 < half.step < 14
    resumed, done, _ = train_toy(steps=14, resume=state, rows=second)
    assert (done.step, done.interrupted) == (14, False)
    assert (done.best_score, done.best_step) == (ended.best_score, ended.best_step)
    assert torch.equal(whole.weight, resumed.weight)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses == [row["loss"] for row in first + second if "loss" in row]
    assert len(losses) == 14


class Lost(Now):
    """An executor whose process is gone when the fourth specimen is asked for."""

    def submit(self, make, number):
        if number < 3:
            return super().submit(make, number)
        future = Future()
        future.set_exception(BrokenExecutor("gone"))
        return future


@pytest.mark.parametrize("asked", [False, True])
def test_a_lost_worker_leaves_a_checkpoint(one_thread, asked):
    """Pools begin at steps 0, 4, 8: the third is never there."""
    settings = make_settings({"patch": 8, "batch": 2, "steps": 14, "checkpoint_seconds": 1000.0})
    network, states = torch.nn.Conv3d(1, 2, 3, padding=1), []

    def train(volumes, **options):
        loss = torch.nn.functional.cross_entropy
        return fit(network, make_sampler(volumes, settings), loss, settings, **options)

    def run():
        return train_on_stream(
            train, SpecimenStream(toy_specimen, Lost(), pool=2, every=4), checkpoint_seconds=1000.0,
            save=states.append, stop=lambda: asked and bool(states),
        )  # fmt: skip

    if asked:
        assert run().step == 8
    else:
        with pytest.raises(VoxpickError, match="go on with --resume"):
            run()
    assert [state["progress"]["step"] for state in states] == [8]


class Endless(Now):
    """An executor that makes some specimens at once and others never."""

    def __init__(self, whole):
        self.whole, self.asked = whole, 0

    def submit(self, make, number):
        self.asked += 1
        return super().submit(make, number) if number < self.whole else Future()


@pytest.mark.parametrize(("whole", "steps"), [(0, []), (2, [4])])
def test_a_run_that_waits_for_specimens_can_be_stopped(one_thread, whole, steps):
    """Pools of 2 change every 4 steps: with 2 specimens it waits after the first pool, with none at once."""
    settings = make_settings({"patch": 8, "batch": 2, "steps": 14, "checkpoint_seconds": 1000.0})
    network, states = torch.nn.Conv3d(1, 2, 3, padding=1), []

    def train(volumes, **options):
        loss = torch.nn.functional.cross_entropy
        return fit(network, make_sampler(volumes, settings), loss, settings, **options)

    worker = Endless(whole)
    fitted = train_on_stream(
        train, SpecimenStream(toy_specimen, worker, pool=2, every=4), checkpoint_seconds=1000.0,
        save=states.append, stop=lambda: worker.asked >= whole + 2,
    )  # fmt: skip
    assert [state["progress"]["step"] for state in states] == steps
    assert (fitted.step, fitted.interrupted) == (2 * whole, True)


SLOW = """
import time
from voxpick.methods.specimens import background_worker
if __name__ == "__main__":
    with background_worker("cpu") as worker:
        for _ in range(3):
            worker.submit(time.sleep, 600).cancel()
        worker.submit(time.sleep, 600)
        time.sleep(1)
    print("left")
"""


def test_a_specimen_that_is_being_made_does_not_hold_up_the_end(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    ended = subprocess.run([sys.executable, tmp_path / "slow.py"], timeout=100, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "left\n", "")


def test_another_stream_is_another_run(one_thread):
    _, _, state = train_toy(steps=14, stop_at=5)
    with pytest.raises(VoxpickError, match=r"stream was \{'every': 4, 'pool': 2\}, now \{'every': 5, 'pool': 2\}"):
        train_toy(steps=14, resume=state, values={"stream": {"pool": 2, "every": 5}})


def test_a_run_without_a_stream_keeps_its_fingerprint(one_thread):
    settings, states = make_settings({"patch": 8, "steps": 1}), []
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    fit(network, make_sampler([toy_specimen(0)], settings), torch.nn.functional.cross_entropy, settings,
        save=states.append)  # fmt: skip
    assert "stream" not in states[-1]["fingerprint"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stream": {"pools": 2}}, r"stream\.pools = 2.*known: pool, every, size, vary, seed"),
        ({"stream": {"every": 0}}, r"stream\.every = 0"),
        ({"stream": {}, "epochs": 3}, "epochs is 3, but an endless stream"),
    ],
)
def test_wrong_streams_are_refused(values, message):
    with pytest.raises(VoxpickError, match=message):
        stream_settings(make_settings(values))


SMALL = Recipe(size_zyx=(60, 40, 48), particles=4, thickness=76, tilt_step_deg=20.0)


def test_specimens_are_simulated_the_same_each_time():
    variation = Variation(tilt_step_deg=(15.0, 20.0))
    make = SpecimenMaker(load_bank(["3cf3", "1bxn"]), SMALL, variation, seed=2)
    first, again, other = make(5), make(5), make(6)
    assert np.array_equal(first.tomogram.data, again.tomogram.data)
    assert not np.array_equal(first.tomogram.data, other.tomogram.data)
    assert (first.tomogram.data.dtype, first.tomogram.shape, first.class_mask.shape) == (
        np.float16, (76, 40, 48), (60, 40, 48),
    )  # fmt: skip
    assert first.z_offset == 8 and first.density.shape == first.class_mask.shape
    centre = first.tomogram.data[19:57, 10:30, 12:36].astype(np.float64)
    assert (centre.mean(), centre.std()) == pytest.approx((0, 1), abs=0.01)
    z, y, x = (first.centers() - [8, 0, 0]).T
    numbers = {"3cf3": 1, "1bxn": 2}
    assert first.class_mask[z, y, x].tolist() == [numbers[name] for name in first.particles.classes]
    assert first.occupancy[z, y, x].tolist() == list(range(1, len(z) + 1))


def test_a_specimen_without_room_is_drawn_again_then_refused(monkeypatch):
    seeds = []

    def full(structures, recipe, *, seed, device):
        seeds.append(seed)
        raise VoxpickError("no room for particle 3 of 4")

    monkeypatch.setattr("voxpick.methods.specimens.simulate_shrec20", full)
    with pytest.raises(VoxpickError, match="no room"):
        SpecimenMaker(load_bank(["3cf3"]), SMALL, None, seed=2)(0)
    assert len(set(seeds)) == ATTEMPTS


def test_settings_reach_the_recipe():
    make = specimen_maker({}, StreamSettings(size=(50, 60, 70), vary=False, seed=9), device="cpu")
    assert (make.recipe.size_zyx, make.recipe.thickness, make.variation, make.seed) == ((50, 60, 70), 82, None, 9)
