"""What validations measure: with which detection, and by which loss."""

import csv

import numpy as np
import pytest
import torch
from toy_models import write_toy_model
from train_command import run_train

from voxpick.cli import training_validation
from voxpick.cli.training_data import read_training_volume
from voxpick.cli.training_validation import classifier_validation, localizer_validation, make_validation
from voxpick.methods import vp_detector
from voxpick.methods.catalogue import METHODS

CLASSES = ["3cf3", "1s3x"]
SMALL = ["--method", "vp-detector", "--set", "network_settings={depth: 4}", "--set", "log_steps=2", "--threads", 1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for k in range(2):
        write_toy_model(folder / f"model_{k}", seed=k)
    return folder


def stage(name, changes):
    settings = METHODS[name].training_settings(*changes)
    return settings, METHODS[name].create_model(settings, CLASSES, voxel_size=10.0)


def test_the_localizer_is_judged_by_the_methods_own_detection(data, monkeypatch):
    settings, model = stage("vp-detector", ("localizer", "minutes", {"network_settings": {"depth": 2}}))
    asked, whole = [], training_validation.probabilities
    monkeypatch.setattr(
        training_validation, "probabilities", lambda *given, **named: asked.append(named) or whole(*given, **named)
    )
    held_out = read_training_volume(data / "model_0")
    judge = make_validation(held_out, model, settings, method=METHODS["vp-detector"], earlier={}, side=0)
    judge(model.network, lambda logits, labels: torch.zeros(()))
    assert [named["halo"] for named in asked] == [vp_detector.DETECTION["halo"]] == [8]


def test_the_loss_of_a_localizer_is_that_of_all_its_voxels(data, monkeypatch):
    monkeypatch.setattr(training_validation, "SECTIONS", 7)
    settings, model = stage("vp-detector", ("localizer", "minutes", {"network_settings": {"depth": 3}}))
    held_out = read_training_volume(data / "model_0")
    loss = vp_detector.make_loss(settings, torch.tensor([0.3, 1.0]))
    for side, y, x in ((0, slice(None), slice(None)), (32, slice(2, 34), slice(6, 38))):
        found = localizer_validation(held_out, model, side=side, defaults={"tile": 200})(model.network, loss)
        mean, deviation = held_out.intensity
        first, last = held_out.z_offset, held_out.z_offset + len(held_out.class_mask)
        image = (held_out.tomogram.data[first:last, y, x] - np.float32(mean)) / np.float32(deviation)
        labels = torch.from_numpy((np.asarray(held_out.class_mask)[:, y, x] > 0).astype(np.int64))
        with torch.no_grad():
            expected = float(loss(model.network(torch.from_numpy(image)[None, None]), labels[None]))
        assert found["loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["vp-detector", "densenet"])
def test_the_loss_of_a_classifier_is_that_of_its_subtomograms(data, name):
    tiny = METHODS[name].TINY["classifier"]["network_settings"]
    settings, model = stage(name, ("classifier", "minutes", {"network_settings": tiny, "patch": 16}))
    held_out = read_training_volume(data / "model_0")
    loss = (
        vp_detector.make_loss(settings, torch.ones(3)) if name == "vp-detector" else torch.nn.functional.cross_entropy
    )
    found = classifier_validation(held_out, model.classes, size=16)(model.network.eval(), loss)
    losses = []
    for center, kind in zip(held_out.centers(), held_out.particles.classes, strict=True):
        start = (center - 8).tolist()
        labels = torch.from_numpy(held_out.labels(start, (16,) * 3))
        if name == "densenet":
            labels = torch.tensor(model.classes.index(kind))
        with torch.no_grad():
            logits = model.network(torch.from_numpy(held_out.image(start, (16,) * 3))[None, None])
        losses.append(float(loss(logits, labels[None])))
    assert found["loss"] == pytest.approx(np.mean(losses), rel=0.02)  # voxels outside count in no batch
    assert {"score", "loss", "accuracy_3cf3", "accuracy_1s3x"} <= set(found)


def test_voxels_of_a_class_that_the_network_lacks_have_no_part_in_the_loss(data):
    _, model = stage("vp-detector", ("classifier", "minutes", {"network_settings": {"depth": 2}, "patch": 12}))
    held_out, seen = read_training_volume(data / "model_0"), []

    def loss(logits, labels):
        seen.append(labels)
        return torch.zeros(())

    classifier_validation(held_out, ["background", "1s3x"], size=12)(model.network, loss)
    assert set(torch.cat([labels.ravel() for labels in seen]).tolist()) == {0, 1, training_validation.IGNORE}


def test_the_log_holds_the_loss_and_a_run_without_it_goes_on(data, tmp_path):
    words = [
        data / "model_0", "--stage", "classifier", "--output", tmp_path / "model.pt", "--set", "patch=12", "--set",
        "batch=2", "--set", "validate_steps=8", "--validation", data / "model_1", *SMALL,
    ]  # fmt: skip
    run_train(*words, "--minutes", 0.02)
    log = tmp_path / "model_classifier_run" / "log.csv"
    before = list(csv.DictReader(log.read_text().splitlines()))
    assert [bool(row["validation_loss"]) for row in before] == [bool(row["validation_score"]) for row in before]
    assert all(float(row["validation_loss"]) > 0 for row in before if row["validation_score"])
    columns = [name for name in before[0] if name != "validation_loss"]
    with log.open("w", newline="") as file:  # as versions before wrote it
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(before)
    run_train(*words, "--minutes", 0.1, "--resume")
    after = list(csv.DictReader(log.read_text().splitlines()))
    assert len(after) > len(before) and float(after[-1]["validation_loss"]) > 0
    for now, then in zip(after, before, strict=False):
        assert now["validation_loss"] == "" and float(now["step"]) == float(then["step"])
        assert now["validation_score"] == then["validation_score"]
