"""UMC as a method: the two losses, the presets, and a toy it learns."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.methods import umc
from voxpick.networks.model import Model
from voxpick.particles import Particles
from voxpick.train.targets import IGNORE, TrainingVolume
from voxpick.volume import Volume, intensity_statistics

SHAPE = (20, 28, 36)
CENTERS = np.array([[10, 9, 9], [10, 19, 27]])


def make_volume():
    """A large cube, dark in the tomogram, and a small one, bright."""
    rng = np.random.default_rng(2)
    mask = np.zeros(SHAPE, np.int8)
    for k, (z, y, x) in enumerate(CENTERS):
        side = (5, 4)[k]
        mask[z - side : z + side, y - side : y + side, x - side : x + side] = k + 1
    density = np.array([0, 1, -1], np.float32)[mask]
    data = (rng.standard_normal(SHAPE) - 4 * density).astype(np.float32)
    particles = Particles(CENTERS * 10.0, classes=np.array(["large", "small"], dtype=object))
    volume = Volume(data, 10.0, "toy")
    return TrainingVolume(
        volume, mask, particles, mask.astype(np.int16), intensity=intensity_statistics(volume), density=density
    )


def case():
    generator = torch.Generator().manual_seed(0)
    specimen = torch.randn(2, 1, 3, 4, 5, generator=generator)
    logits = torch.randn(2, 4, 3, 4, 5, generator=generator)
    labels = torch.randint(0, 4, (2, 3, 4, 5), generator=generator).float()
    density = torch.randn(2, 3, 4, 5, generator=generator)
    return specimen, logits, labels, density


def test_the_paper_adds_squared_error_and_tversky_with_false_positives_at_07():
    specimen, logits, labels, density = case()
    loss = umc.make_loss(umc.training_settings("segmenter", "paper"))
    p = logits.double().softmax(1)
    scores = []
    for k in range(4):
        true = (labels == k).double()
        hit, wrong, missed = (p[:, k] * true).sum(), (p[:, k] * (1 - true)).sum(), ((1 - p[:, k]) * true).sum()
        scores.append(hit / (hit + 0.7 * wrong + 0.3 * missed))
    expected = (specimen[:, 0] - density).square().mean() + 1 - sum(scores) / 4
    assert loss((specimen, logits), torch.stack([labels, density], 1)).item() == pytest.approx(
        expected.item(), abs=1e-5
    )


def test_unknown_density_and_ignored_labels_do_not_count():
    specimen, logits, labels, density = case()
    loss = umc.make_loss(umc.training_settings("segmenter", "minutes"))
    expected = loss((specimen[:, :, :2], logits[:, :, :2]), torch.stack([labels, density], 1)[:, :, :2])
    density[:, 2:] = torch.nan
    labels[:, 2:] = IGNORE
    specimen.requires_grad_()
    found = loss((specimen, logits), torch.stack([labels, density], 1))
    found.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    assert torch.isfinite(specimen.grad).all()
    assert specimen.grad[:, :, 2:].abs().max() == 0


def test_no_known_density_at_all_leaves_the_segmentation():
    specimen, logits, labels, density = case()
    loss = umc.make_loss(umc.training_settings("segmenter", "paper"))
    density[:] = torch.nan
    value = loss((specimen, logits), torch.stack([labels, density], 1))
    assert 0 < value.item() < 1


def test_the_preset_of_the_paper():
    settings = umc.training_settings("segmenter", "paper")
    assert (settings.patch, settings.batch, settings.epochs, settings.learning_rate) == (64, 24, 25, 1e-3)
    assert settings.options["overlap"] == 0.75
    assert settings.options["flips"] is True
    assert settings.average_decay == settings.gradient_clip == 0
    network = umc.create_model(settings, [str(k) for k in range(12)], voxel_size=10.0).network
    assert sum(p.numel() for p in network.parameters()) == 8_822_334


def test_minutes_adds_the_cross_entropy_with_the_weight_of_background():
    specimen, logits, labels, density = case()
    targets = torch.stack([labels, density], 1)
    values = [
        umc.make_loss(umc.training_settings("segmenter", "minutes", changes))((specimen, logits), targets).item()
        for changes in ({"options": {"cross_entropy_weight": 0.0}}, {}, {"background_weight": 0.25})
    ]
    nll = torch.nn.functional.cross_entropy(logits, labels.long(), reduction="none")
    assert values[1] - values[0] == pytest.approx(nll.mean().item(), abs=1e-5)
    factor = torch.where(labels == 0, 0.25, 1.0)
    assert values[2] - values[0] == pytest.approx((factor * nll).mean().item(), abs=1e-5)


def test_where_training_starts():
    names = [str(k) for k in range(12)]
    for preset, expected in (("minutes", 0.9), ("paper", None)):
        settings = umc.training_settings("segmenter", preset)
        assert settings.network_settings.get("background") == expected
        bias = umc.create_model(settings, names, voxel_size=10.0).network.class_head.bias
        assert (abs(bias.softmax(0)[0].item() - 0.9) < 1e-6) == (preset == "minutes")


def test_unknown_names_are_refused():
    with pytest.raises(VoxpickError, match="loss is 'dice'; UMC has tversky"):
        umc.make_loss(umc.training_settings("segmenter", changes={"loss": "dice"}))
    with pytest.raises(VoxpickError, match="UMC has one, 'segmenter'"):
        umc.training_settings("localizer")
    with pytest.raises(VoxpickError, match="unknown option 'gama' of the segmenter; known: alpha, beta"):
        umc.training_settings("segmenter", changes={"options": {"gama": 1}})
    with pytest.raises(VoxpickError, match="needs a 'segmenter'"):
        umc.detect(make_volume().tomogram, {})


@pytest.mark.parametrize(
    ("preset", "changes", "words"),
    [
        ("paper", {"options": {"alpha": "x"}}, "options.alpha is 'x'; give a number from 0 on, such as 0.7"),
        ("paper", {"options": {"denoising_weight": -1}}, "options.denoising_weight is -1"),
        ("paper", {"options": {"beta": float("nan")}}, "options.beta is nan"),
        ("paper", {"options": {"flips": "no"}}, "options.flips is 'no'; give true or false"),
        ("paper", {"options": {"overlap": 1}}, "options.overlap is 1; it is a share of a patch's side, below 1"),
        ("paper", {"options": {"alpha": 0, "beta": 0.0}}, "are both 0"),
        ("paper", {"background_weight": 0.1}, "background_weight = 0.1: tversky takes none"),
        ("paper", {"class_weights": [1.0, 2.0]}, "tversky takes none"),
        ("minutes", {"gamma": 1.0}, "gamma = 1.0: umc has no focal loss"),
    ],
)
def test_options_out_of_range_and_settings_that_would_change_nothing_are_refused(preset, changes, words):
    with pytest.raises(VoxpickError, match=words):
        umc.training_settings("segmenter", preset, changes)


def test_weights_of_classes_must_fit():
    specimen, logits, labels, density = case()
    for weights, words in (([1.0, 2.0], "the network has 4 outputs"), ([], "0 values"), ([1, 0, 1, 1], "above 0")):
        loss = umc.make_loss(umc.training_settings("segmenter", changes={"class_weights": weights}))
        with pytest.raises(VoxpickError, match=words):
            loss((specimen, logits), torch.stack([labels, density], 1))


def test_trained_on_a_toy_it_finds_and_names_both_particles():
    volume, rows = make_volume(), []
    torch.set_num_threads(1)
    network = {"filters": [6, 12], "batch_norm": False}
    changes = {**umc.TINY["segmenter"], "network_settings": network, "learning_rate": 0.005, "steps": 150}
    changes |= {"log_steps": 30, "average_decay": 0.9, "dtype": "float32", "seed": 1}
    settings = umc.training_settings("segmenter", changes=changes)
    model = umc.create_model(settings, ["large", "small"], voxel_size=10.0)
    umc.train([volume], model, settings, classes=["large", "small"], log=rows.append)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    picks = umc.detect(volume.tomogram, {"segmenter": model}, device="cpu", changes={"slab": "off"}).particles
    order = np.argsort(picks.centers_zyx[:, 1])
    assert picks.centers_zyx[order] == pytest.approx(CENTERS * 10.0 - 5, abs=10)
    assert picks.classes[order].tolist() == ["large", "small"]


def test_particles_of_two_classes_that_touch_are_told_apart_where_asked():
    """A network that calls one half of a block 'large' and the other 'small'."""
    scores = torch.full((1, 3, *SHAPE), -9.0)
    scores[:, 0] = 9.0
    scores[0, :, 6:14, 8:16, 8:28] = -9.0
    scores[0, 1, 6:14, 8:16, 8:18] = scores[0, 2, 6:14, 8:16, 18:28] = 9.0

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return scores

    model = Model("umc", {}, Fixed(), ["background", "large", "small"], 10.0)
    changes, volume = {"slab": "off", "match_spectrum": "off", "engine": "torch"}, make_volume().tomogram
    joined = umc.detect(volume, {"segmenter": model}, changes=changes, device="cpu").particles
    apart = umc.detect(volume, {"segmenter": model}, changes={**changes, "per_class": True}, device="cpu").particles
    assert len(joined) == 1 and sorted(apart.classes) == ["large", "small"]


def test_the_papers_patches_lie_on_a_grid_and_those_of_a_budget_anywhere(monkeypatch):
    asked, sampler = [], umc.SpecimenPatches
    monkeypatch.setattr(umc, "SpecimenPatches", lambda *given, **named: asked.append(named) or sampler(*given, **named))
    for preset in ("paper", "minutes"):
        changes = {**umc.TINY["segmenter"], "steps": 1}
        settings = umc.training_settings("segmenter", preset, changes)
        model = umc.create_model(settings, ["large", "small"], voxel_size=10.0)
        umc.train([make_volume()], model, settings, classes=["large", "small"])
    assert [named["grid"] for named in asked] == [True, False]
    assert "grid" not in umc.training_settings("segmenter").options, "runs begun earlier would not go on"
    with pytest.raises(VoxpickError, match=r"options\.grid is 16"):
        umc.training_settings("segmenter", changes={"options": {"grid": 16}})


def test_the_papers_detection_drops_both_of_two_that_are_too_close():
    assert umc.PAPER_DETECTION == {**umc.DETECTION, "too_close": "none"}
