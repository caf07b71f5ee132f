"""Settings and schedules."""

import pytest

from voxpick.errors import VoxpickError
from voxpick.methods.vp_detector import CLASSIFIER, LOCALIZER, create_model, training_settings
from voxpick.train.schedules import budget, learning_rate, warmup_cosine
from voxpick.train.settings import make_settings


def test_unknown_key_is_refused_by_name():
    with pytest.raises(VoxpickError, match=r"unknown key 'learning_rat'; known are .*learning_rate"):
        make_settings({"learning_rat": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch": 2}, "patch = 2"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"batch": "many"}, "batch = 'many'"),
        ({"minutes": 3, "steps": 4}, "give one budget, not minutes and steps"),
        ({"touching": "maybe"}, "touching = 'maybe'"),
        ({"mixup": 0.5, "batch": 1}, "mixup = 0.5 .* take batch = 2 or more"),
        ({"mixup": -1}, "mixup = -1"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(VoxpickError, match=message):
        make_settings(values)


def test_warmup_then_cosine():
    rates = [warmup_cosine(p, warmup=0.1) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.5, 0.0])


def test_the_paper_divides_the_rate_by_ten_after_80_epochs_and_stops_after_500():
    settings = training_settings("localizer", "paper")
    assert budget(settings, epoch_steps=7).steps == 3500
    rates = [learning_rate(settings, step=step, progress=0.0, epoch_steps=7) for step in (0, 559, 560, 3499)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_a_budget_replaces_that_of_the_preset():
    assert training_settings("classifier", "paper", {"steps": 5}).epochs is None
    assert training_settings("localizer", "minutes").minutes == 60
    assert budget(make_settings({"minutes": 2.0}), epoch_steps=1).progress(99, 1.0) == 0.5


def test_presets_and_stages_by_name():
    with pytest.raises(VoxpickError, match="preset is 'quick'; one of paper, minutes"):
        training_settings("localizer", "quick")
    with pytest.raises(VoxpickError, match="stage is 'both'"):
        training_settings("both")


@pytest.mark.parametrize(
    ("stage", "settings", "published"), [("localizer", LOCALIZER, 132e3), ("classifier", CLASSIFIER, 551e3)]
)
def test_networks_are_those_of_the_paper(stage, settings, published):
    model = create_model(training_settings(stage), [f"class{k}" for k in range(12)], voxel_size=10.0)
    assert len(model.classes) == (13 if stage == "classifier" else 2)
    count = sum(parameter.numel() for parameter in model.network.parameters())
    assert count == pytest.approx(published, rel=0.02)
    changed = training_settings(stage, changes={"network_settings": {"depth": 3}})
    assert changed.network_settings == {**settings, "depth": 3}
