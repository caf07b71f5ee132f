"""What every method in the catalogue has to do; a new one is covered by its line there."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
import yaml
from torch.nn.modules.module import register_module_forward_hook

import toy_balls
from toy_balls import CLASSES
from voxpick.cli import training_validation
from voxpick.cli.training_model import describe
from voxpick.cli.training_validation import make_validation
from voxpick.detect import one_stage
from voxpick.detect.remembered import Remembered
from voxpick.errors import TooMuchForeground, VoxpickError
from voxpick.io.model import load_models, save_models
from voxpick.methods.catalogue import METHODS, find_method, method_of
from voxpick.methods.naming import detect_and_name
from voxpick.methods.traits import finds, segments
from voxpick.networks.zoo import NETWORKS
from voxpick.volume import Volume

STEPS, ENDS = 24, 6
EAGER = {"threshold": 0.03, "minimum_size": 5, "unchecked": CLASSES}
"""Detection settings, for methods that know them, by which even barely trained networks pick something."""
TEMPLATES = {"classes": ["1s3x", "3qm1"], "angular_step": 90.0, "candidates": 20, "number": 5, "path": "exact"}
UNTRAINED = {"dog": {"radius": 40.0, "deviations": 2.5}, "tm-f": TEMPLATES, "tm-t": TEMPLATES}
"""Detection settings of methods that learn nothing: quick, and such that they pick something; they name by their own
classes."""
NAMERS = [name for name, method in METHODS.items() if "classifier" in method.STAGES]
STAGES = [(name, stage) for name, method in METHODS.items() for stage in method.STAGES]


def toy_volume(shape=(24, 36, 44), *, seed=0, particles=8):
    return toy_balls.toy_volume(shape, seed=seed, particles=particles, densities=(1.0, 2.0), background=50.0)


def tiny_settings(name, stage, **changes):
    method = METHODS[name]
    return method.training_settings(stage, changes={**method.TINY[stage], "steps": STEPS, "log_steps": 1, **changes})


def train_stage(name, stage, volumes, earlier):
    """A trained stage and the loss of each step."""
    method, settings, rows = METHODS[name], tiny_settings(name, stage), []
    model = method.create_model(settings, CLASSES, voxel_size=10.0)
    fitted = method.train(volumes, model, settings, classes=CLASSES, earlier=earlier, log=rows.append)
    describe(model, settings, "minutes", [], None, fitted, "cpu", None)
    return model, [row["loss"] for row in rows]


@pytest.fixture(scope="module")
def trained():
    """Stages and losses of each method, trained when they are first asked for."""
    done, volumes = {}, [toy_volume(seed=1), toy_volume((20, 40, 32), seed=2, particles=5)]

    def ask(name):
        if name not in done:
            models, losses = {}, {}
            for stage in METHODS[name].STAGES:
                models[stage], losses[stage] = train_stage(name, stage, volumes, dict(models))
            done[name] = models, losses
        return done[name]

    return ask


@pytest.mark.parametrize("name", METHODS)
def test_it_says_what_it_is(name):
    method = METHODS[name]
    assert find_method(name) is method
    for line in (method.TITLE, method.PAPER):
        assert 10 < len(line) < 100 and "\n" not in line
    assert len(set(method.STAGES)) == len(method.STAGES)
    assert {"paper", "minutes"} <= set(method.PRESETS)
    assert set(method.TINY) == set(method.STAGES)


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_presets_are_valid(name, stage):
    method = METHODS[name]
    for preset in method.PRESETS:
        settings = method.training_settings(stage, preset)
        assert (settings.method, settings.stage) == (name, stage)
        assert settings.network in NETWORKS
        assert [settings.minutes, settings.steps, settings.epochs].count(None) == 2
        assert method.training_settings(stage, preset, settings.model_dump()) == settings
    changed = method.training_settings(stage, "paper", {"steps": 3, "seed": 7})
    assert (changed.steps, changed.epochs, changed.minutes, changed.seed) == (3, None, None, 7)
    assert tiny_settings(name, stage).steps == STEPS


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_unknown_names_are_refused(name, stage):
    method = METHODS[name]
    for arguments in ((stage, "magic"), ("magic", "minutes"), (stage, "minutes", {"magic": 1})):
        with pytest.raises(VoxpickError, match="magic"):
            method.training_settings(*arguments)
    with pytest.raises(VoxpickError):
        method.create_model(tiny_settings(name, stage, network_settings={"magic": 1}), CLASSES, voxel_size=10.0)


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_an_untrained_model_is_drawn_from_the_seed(name, stage):
    first, again, other = (
        METHODS[name].create_model(tiny_settings(name, stage, seed=seed), CLASSES, voxel_size=13.7)
        for seed in (5, 5, 6)
    )
    weights = [model.network.state_dict() for model in (first, again, other)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    assert any(not torch.equal(value, weights[2][key]) for key, value in weights[0].items())
    assert first.voxel_size == 13.7 and first.classes[0] == "background"


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_training_lowers_the_loss(name, stage, trained):
    losses = trained(name)[1][stage]
    assert len(losses) == STEPS
    assert np.mean(losses[-ENDS:]) < np.mean(losses[:ENDS])


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.STAGES])
def test_a_model_file_gives_back_every_bit(name, trained, tmp_path):
    models = trained(name)[0]
    save_models(tmp_path / "model.pt", models)
    loaded = load_models(tmp_path / "model.pt")
    assert method_of(loaded) == name and list(loaded) == list(METHODS[name].STAGES)
    for stage, model in models.items():
        before, after = model.network.state_dict(), loaded[stage].network.state_dict()
        assert before.keys() == after.keys()
        assert all(value.dtype == after[key].dtype and torch.equal(value, after[key]) for key, value in before.items())
        for field in ("name", "settings", "classes", "voxel_size", "detection", "provenance"):
            assert getattr(loaded[stage], field) == getattr(model, field)


def detecting_models(name, trained):
    """The stages of a method; one that only names what others find is given a localizer."""
    models = dict(trained(name)[0])
    if not finds(METHODS[name]):
        models["localizer"] = trained("vp-detector")[0]["localizer"]
    return models


@pytest.mark.parametrize("name", METHODS)
def test_detection_gives_valid_picks(name, trained):
    volume, models, steps = toy_volume((20, 28, 36), seed=3, particles=4).tomogram, detecting_models(name, trained), []
    report = lambda *step: steps.append(step)  # noqa: E731
    quick = UNTRAINED.get(name, {})
    first = METHODS[name].detect(volume, models, changes=quick or None, device="cpu", progress=report)
    eager = {key: value for key, value in EAGER.items() if key in first.settings and key not in quick}
    detection = METHODS[name].detect(volume, models, changes={"slab": "2:19", **quick, **eager}, device="cpu")
    classes = CLASSES if METHODS[name].STAGES else quick.get("classes", ["particle"])
    for found in (first, detection):
        picks = found.particles
        assert np.isfinite(picks.centers_zyx).all()
        assert (picks.centers_zyx >= 0).all() and (picks.centers_zyx <= (np.array(volume.shape) - 1) * 10.0).all()
        assert set(picks.classes) <= set(found.classes[1:]) == set(classes)
        assert (picks.scores >= 0).all() and (picks.scores <= 1).all() and (np.diff(picks.scores) <= 0).all()
        assert set(picks.tomograms) <= {volume.name}
    assert len(detection.particles) > 0
    z = detection.particles.centers_zyx[:, 0]
    assert z.min() >= 20 and z.max() <= 180
    assert yaml.safe_load(yaml.safe_dump(detection.settings))["slab"] == "2:19"
    assert steps and all(0 < done <= total for _, done, total in steps)
    assert segments(METHODS[name]) == bool(len(detection.located.voxels)) or not METHODS[name].STAGES
    if len(detection.located.voxels):
        painted = detection.segmentation
        assert painted.shape == volume.shape and 0 < painted.data.max() < len(detection.classes)
    else:
        with pytest.raises(VoxpickError, match="no segmentation"):
            _ = detection.segmentation


@pytest.mark.parametrize("name", METHODS)
def test_any_classifier_names_the_picks_of_any_method(name, trained):
    volume, models = toy_volume((20, 28, 36), seed=3, particles=4).tomogram, detecting_models(name, trained)
    if "localizer" in models and name != "vp-detector":
        pytest.skip("it finds by another method's localizer")
    quick = UNTRAINED.get(name, {})
    settings = METHODS[name].detect(volume, models, changes=quick or None, device="cpu").settings
    changes = {**{key: value for key, value in EAGER.items() if key in settings}, **quick}
    for other in NAMERS:
        classifier = trained(other)[0]["classifier"]
        found = detect_and_name(volume, METHODS[name], models, classifier, changes=changes, device="cpu")
        picks = found.particles
        assert len(picks) > 0 and set(picks.classes) <= set(CLASSES)
        assert np.allclose(picks.scores, picks.location_scores * picks.class_scores)
        assert (np.diff(picks.scores) <= 0).all()
        assert found.settings["subtomogram"] == METHODS[other].TINY["classifier"]["patch"]


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_stage_that_finds_or_names_is_validated(name, stage, trained):
    models = trained(name)[0]
    earlier = {part: model for part, model in models.items() if part != stage}
    held_out, settings = toy_volume((20, 28, 36), seed=3, particles=4), tiny_settings(name, stage)
    validate = make_validation(held_out, models[stage], settings, method=METHODS[name], earlier=earlier, side=0)
    if stage == "denoiser":
        assert validate is None
        return
    numbers = validate(models[stage].network, no_loss)
    assert all(np.isfinite(value) for key, value in numbers.items() if key != "distance")
    assert 0 <= numbers["score"] <= 1
    if len(METHODS[name].STAGES) == 1 and finds(METHODS[name]):
        assert "class_f1" in numbers  # judged by its picks
    if "class_f1" in numbers:
        assert numbers["score"] == pytest.approx((numbers["f1"] + numbers["class_f1"]) / 2)


def no_loss(logits, labels):
    """In place of that of a training."""
    return torch.zeros(())


@contextlib.contextmanager
def counted():
    """A list of one number: how many modules were evaluated inside the block."""
    number = [0]

    def count(*_):
        number[0] += 1

    handle = register_module_forward_hook(count)
    yield number
    handle.remove()


def tried_at(name, stage, trained, thresholds, monkeypatch):
    """What the validation of a stage gives when it tries these thresholds, and how many modules it evaluated."""
    models = trained(name)[0]
    earlier = {part: model for part, model in models.items() if part != stage}
    monkeypatch.setattr(training_validation, "DETECTION_THRESHOLDS", thresholds)
    if hasattr(METHODS[name], "VALIDATION_THRESHOLDS"):
        monkeypatch.setattr(METHODS[name], "VALIDATION_THRESHOLDS", thresholds)
    held_out, settings = toy_volume((20, 28, 36), seed=3, particles=4), tiny_settings(name, stage)
    validate = make_validation(held_out, models[stage], settings, method=METHODS[name], earlier=earlier, side=0)
    with counted() as number:
        return validate(models[stage].network, no_loss), number[0]


SEVERAL = [
    (name, method.STAGES[-1]) for name, method in METHODS.items()
    if method.STAGES and finds(method) and method.STAGES[-1] not in ("localizer", "classifier")
]  # fmt: skip
"""Methods that are validated by their detection, at several thresholds."""


@pytest.mark.parametrize(("name", "stage"), SEVERAL)
def test_validation_asks_the_network_once_for_all_thresholds(name, stage, trained, monkeypatch):
    thresholds = (0.3, 0.1, 0.05, 0.5, 0.35, 0.9)
    alone = [tried_at(name, stage, trained, (threshold,), monkeypatch) for threshold in thresholds]
    together, number = tried_at(name, stage, trained, thresholds, monkeypatch)
    assert together == max((numbers for numbers, _ in alone), key=lambda numbers: numbers["score"])
    assert 0 < number == alone[thresholds.index(0.05)][1]
    assert len({numbers["picks"] for numbers, _ in alone}) > 1


@pytest.mark.parametrize(("name", "stage"), SEVERAL)
def test_what_is_remembered_gives_the_very_same_picks(name, stage, trained):
    volume, models, remembered = toy_volume((20, 28, 36), seed=3).tomogram, trained(name)[0], Remembered()
    for threshold in (0.04, 0.3, 0.52, 0.03, 0.2):
        plain, again = (
            METHODS[name].detect(volume, models, changes={"threshold": threshold}, device="cpu", **options)
            for options in ({}, {"remembered": remembered})
        )
        for key, value in vars(plain.particles).items():
            assert np.array_equal(getattr(again.particles, key), value), key
        for key, value in vars(plain.located).items():
            assert np.array_equal(getattr(again.located, key), value), key
        assert np.array_equal(again.labels, plain.labels) and again.settings == plain.settings
        assert again.volume is plain.volume and again.slab == plain.slab


def test_thresholds_at_which_a_method_gives_up_do_not_keep_others_from_finding(trained, monkeypatch):
    asked = []

    def gives_up_below(half, *_, threshold, **__):
        asked.append(threshold)
        if threshold < 0.3:
            raise TooMuchForeground("nearly all of it")

    monkeypatch.setattr(one_stage, "check_foreground", gives_up_below)
    found, _ = tried_at("deepfinder", "segmenter", trained, (0.4, 0.1, 0.2), monkeypatch)
    assert sorted(set(asked)) == [0.1, 0.2, 0.4] and found["threshold"] == 0.4
    monkeypatch.undo()
    assert found == tried_at("deepfinder", "segmenter", trained, (0.4,), monkeypatch)[0]


@pytest.mark.parametrize("name", METHODS)
def test_detection_without_a_model_is_refused(name):
    if not METHODS[name].STAGES:
        pytest.skip("needs no model")
    with pytest.raises(VoxpickError, match=r"needs|holds"):
        METHODS[name].detect(toy_volume((12, 20, 28), particles=1).tomogram, {})


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.STAGES])
def test_a_method_that_learns_nothing_says_so(name):
    method, settings = METHODS[name], METHODS["vp-detector"].training_settings("localizer")
    model = METHODS["vp-detector"].create_model(settings, CLASSES, voxel_size=10.0)
    for attempt in (
        lambda: method.training_settings("localizer"),
        lambda: method.create_model(settings, CLASSES, voxel_size=10.0),
        lambda: method.train([], model, settings, classes=CLASSES),
    ):
        with pytest.raises(VoxpickError, match="learns nothing"):
            attempt()


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_tomograms_of_another_voxel_size_are_refused_in_training(name, stage, trained):
    volume = toy_volume(seed=1)
    coarse = dataclasses.replace(volume, tomogram=Volume(volume.tomogram.data, 13.0, "coarse"))
    settings, earlier = tiny_settings(name, stage), {k: v for k, v in trained(name)[0].items() if k != stage}
    model = METHODS[name].create_model(settings, CLASSES, voxel_size=10.0)
    with pytest.raises(VoxpickError, match=r"coarse: voxels of 13 A, but the model is made for 10 A"):
        METHODS[name].train([coarse], model, settings, classes=CLASSES, earlier=earlier)
