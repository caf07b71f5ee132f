"""The two DenseNets as methods: what differs, what training teaches, and detection with a localizer."""

import numpy as np
import pytest
import torch

from voxpick.detect.classify import classify
from voxpick.errors import VoxpickError
from voxpick.methods import densenet, dilated_densenet
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume, intensity_statistics

SHAPE, CENTERS, NAMES = (20, 28, 36), np.array([[10, 9, 9], [10, 19, 27]]), ["big", "little"]
BOTH = [densenet, dilated_densenet]


def make_volume() -> TrainingVolume:
    rng = np.random.default_rng(2)
    mask = np.zeros(SHAPE, np.int8)
    for k, (z, y, x) in enumerate(CENTERS):
        side = (4, 2)[k]
        mask[z - side : z + side, y - side : y + side, x - side : x + side] = k + 1
    data = (rng.standard_normal(SHAPE) - 4 * (mask > 0)).astype(np.float32)
    particles = Particles(CENTERS * 10.0, classes=np.array(NAMES, dtype=object))
    tomogram = Volume(data, 10.0, "toy")
    return TrainingVolume(tomogram, mask, particles, mask.astype(np.int16), intensity=intensity_statistics(tomogram))


class Threshold(torch.nn.Module):
    """A localizer: a voxel belongs to a particle where a 3 x 3 x 3 mean is below -2."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dark = -torch.nn.functional.avg_pool3d(x, 3, stride=1, padding=1)
        return torch.cat([torch.zeros_like(dark), 20 * (dark - 0.8)], dim=1)


def trained(method, **changes) -> Model:
    torch.set_num_threads(1)
    changes = {**method.TINY["classifier"], "steps": 40, "seed": 3, "dtype": "float32", **changes}
    settings = method.training_settings("classifier", changes=changes)
    model = method.create_model(settings, NAMES, voxel_size=10.0)
    method.train([make_volume()], model, settings, classes=NAMES)
    return model


def test_the_methods_differ_in_their_dilations_alone():
    plain, dilated = (method.training_settings("classifier", "paper", {"seed": 1}).model_dump() for method in BOTH)
    differing = {key for key in plain if plain[key] != dilated[key]}
    assert differing == {"method", "network_settings"}
    assert plain["network_settings"].pop("dilations") == [1, 1, 1, 1]
    assert dilated["network_settings"].pop("dilations") == [1, 2, 3, 1]
    assert plain["network_settings"] == dilated["network_settings"]


def test_the_papers_training():
    settings = dilated_densenet.training_settings("classifier", "paper")
    assert (settings.method, settings.network, settings.patch) == ("dilated-densenet", "densenet", 32)
    assert (settings.epochs, settings.batch, settings.learning_rate, settings.decay_epoch) == (30, 64, 0.1, 10)
    assert settings.warmup * settings.epochs == 5 and settings.options == {"background": 0.0}
    assert not settings.turns and settings.jitter == settings.intensity_scale == settings.intensity_shift == 0


@pytest.mark.parametrize("method", BOTH)
def test_trained_on_a_toy_it_names_what_a_localizer_finds(method):
    model = trained(method)
    assert model.classes == ["background", *NAMES] and model.detection == {"subtomogram": 16}
    localizer = Model("threshold", {}, Threshold(), ["background", "particle"], 10.0)
    toy = make_volume()
    detection = method.detect(toy.tomogram, {"localizer": localizer, "classifier": model}, device="cpu")
    order = np.argsort(detection.particles.centers_zyx[:, 1])
    found = detection.particles[order]
    assert found.classes.tolist() == NAMES
    assert found.centers_zyx == pytest.approx(CENTERS * 10.0 - 5.0, abs=10)
    mean, deviation = toy.intensity
    alone = classify(
        toy.tomogram.data, found.centers_zyx / 10, model.network, size=16, mean=mean, deviation=deviation,
        device="cpu",
    )  # fmt: skip
    np.testing.assert_allclose(found.class_scores, alone.scores, atol=0.02)
    np.testing.assert_allclose(found.scores, found.location_scores * found.class_scores)


@pytest.mark.parametrize(("preset", "share"), [("paper", 0.0), ("minutes", 1 / 13)])
def test_the_presets_draw_background_as_they_say(monkeypatch, preset, share):
    """And hand the loop everything else: labels drawn from the sampler that training gets."""
    given = {}
    monkeypatch.setattr(densenet, "fit", lambda network, sampler, loss, settings, **options: given.update(s=sampler))
    settings = densenet.training_settings("classifier", preset, {"patch": 8, "seed": 1})
    model = densenet.create_model(settings, NAMES, voxel_size=10.0)
    densenet.train([make_volume()], model, settings, classes=NAMES)
    rng = np.random.default_rng(0)
    labels = np.array([given["s"].draw(rng)[1] for _ in range(1500)])
    assert np.mean(labels == 0) == pytest.approx(share, abs=0.03 if share else 0)
    assert np.mean(labels == 1) == pytest.approx((1 - share) / 2, abs=0.05)


def test_a_classifier_alone_asks_for_a_localizer():
    model = Model("densenet", {}, torch.nn.Identity(), ["background", *NAMES], 10.0)
    with pytest.raises(VoxpickError, match="voxpick detect --model vp-detector --classifier FILE"):
        dilated_densenet.detect(make_volume().tomogram, {"classifier": model})
    with pytest.raises(VoxpickError, match="holds nothing"):
        densenet.detect(make_volume().tomogram, {})


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        ("localizer", {}, "stage is 'localizer'; dilated-densenet has classifier alone"),
        ("classifier", {"options": {"contrast": 1}}, "unknown option 'contrast'"),
        ("classifier", {"options": {"background": 1.5}}, r"options.background is 1.5"),
        ("classifier", {"network_settings": {"growth": 0}}, "growth is 0"),
        ("classifier", {"loss": "focal"}, "trains with cross_entropy"),
        ("classifier", {"class_weights": [1.0]}, "class_weights has 1 values; the network has 3 outputs"),
        ("classifier", {"class_weights": [1.0, -1.0, 1.0]}, "weights are above 0"),
        ("classifier", {"gamma": 1.0}, "gamma = 1.0: dilated-densenet trains with cross_entropy"),
    ],
)
def test_settings_that_do_not_fit_are_refused(stage, changes, message):
    with pytest.raises(VoxpickError, match=message):
        settings = dilated_densenet.training_settings(stage, changes={"steps": 1, **changes})
        model = dilated_densenet.create_model(settings, NAMES, voxel_size=10.0)
        dilated_densenet.train([make_volume()], model, settings, classes=NAMES)


def test_class_weights_enter_the_loss():
    settings = densenet.training_settings("classifier", changes={"class_weights": [0.5, 1.0, 3.0]})
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    alpha = torch.tensor([0.5, 1.0, 3.0])[labels]
    nll = -torch.log_softmax(logits, 1)[torch.arange(6), labels]
    expected = (alpha * nll).sum() / alpha.sum()
    torch.testing.assert_close(densenet.make_loss(settings, 3)(logits, labels), expected)


def test_the_weight_of_background_enters_the_loss():
    settings = densenet.training_settings("classifier", changes={"background_weight": 0.25})
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor([0.25, 1.0, 1.0]))
    torch.testing.assert_close(densenet.make_loss(settings, 3)(logits, labels), expected)
    plain = densenet.make_loss(densenet.training_settings("classifier"), 3)(logits, labels)
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(logits, labels))
