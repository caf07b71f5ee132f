"""VP-Detector as a method: weights of the loss, class names, and both stages by one call."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.methods import recipe, vp_detector
from voxpick.particles import Particles
from voxpick.shrec_classes import SHREC20_CLASSES, SHREC20_TABLE1
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume

SHAPE = (20, 28, 36)


def make_volume(names=("3cf3", "1s3x"), *, voxel_size=10.0):
    rng = np.random.default_rng(2)
    mask = np.zeros(SHAPE, np.int8)
    centers = np.array([[10, 9, 9], [10, 19, 27]])
    for k, (z, y, x) in enumerate(centers):
        side = (4, 2)[k]
        mask[z - side : z + side, y - side : y + side, x - side : x + side] = k + 1
    data = (rng.standard_normal(SHAPE) - 4 * (mask > 0)).astype(np.float32)
    particles = Particles(centers * voxel_size, classes=np.array(names, dtype=object))
    return TrainingVolume(Volume(data, voxel_size, "toy"), mask, particles, mask.astype(np.int16))


def test_alpha_falls_with_the_effective_radius_of_table_4():
    settings = vp_detector.training_settings("classifier", "paper")
    alpha = vp_detector.class_weights(settings, [], list(SHREC20_CLASSES)).tolist()
    assert alpha[0] == 1 and np.mean(alpha[1:]) == pytest.approx(1)
    by_name = dict(zip(SHREC20_CLASSES, alpha[1:], strict=True))
    ratio = SHREC20_TABLE1["4d8q"].effective_radius_nm / SHREC20_TABLE1["1s3x"].effective_radius_nm
    assert by_name["1s3x"] / by_name["4d8q"] == pytest.approx(ratio, rel=1e-5)


def test_other_classes_get_the_radius_of_a_ball_of_their_volume():
    radii = vp_detector.effective_radii_nm([make_volume(("big", "little"))], ["big", "little"])
    assert radii == pytest.approx([(3 * n / (4 * np.pi)) ** (1 / 3) for n in (512, 64)])


def test_class_names():
    assert recipe.class_names([make_volume()]) == list(SHREC20_CLASSES)
    assert recipe.class_names([make_volume(("big", "little"))]) == ["big", "little"]


def test_weights_given_by_hand_must_fit():
    settings = vp_detector.training_settings("localizer", changes={"class_weights": [1.0, 2.0, 3.0]})
    with pytest.raises(VoxpickError, match="class_weights has 3 values; the network has 2 outputs"):
        vp_detector.class_weights(settings, [], ["big"])


def test_gamma_0_and_cross_entropy_agree():
    logits, labels = torch.randn(1, 2, 3, 4, 5), torch.randint(0, 2, (1, 3, 4, 5))
    weights = torch.tensor([0.5, 1.5])
    losses = [
        vp_detector.make_loss(vp_detector.training_settings("localizer", changes=changes), weights)(logits, labels)
        for changes in ({"gamma": 0.0}, {"loss": "cross_entropy"})
    ]
    nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = (weights[labels] * nll).mean().item()
    assert [loss.item() for loss in losses] == pytest.approx([expected, expected], rel=1e-6)


def test_voxel_sizes_must_agree():
    settings = vp_detector.training_settings("localizer", changes={"network_settings": {"depth": 2}, "steps": 1})
    model = vp_detector.create_model(settings, ["big"], voxel_size=10.0)
    with pytest.raises(VoxpickError, match=r"voxels of 13\.7 A, but the model is made for 10 A"):
        vp_detector.train([make_volume(voxel_size=13.7)], model, settings, classes=["3cf3"])


def test_trained_on_a_toy_it_finds_and_names_both_particles():
    volume, models = make_volume(("big", "little")), {}
    common = {"network_settings": {"depth": 5}, "learning_rate": 0.02, "average_decay": 0.0}
    torch.set_num_threads(1)
    for stage, changes in (("localizer", {"patch": 20, "steps": 150}), ("classifier", {"patch": 16, "steps": 120})):
        settings = vp_detector.training_settings(stage, changes={**common, "batch": 2, **changes})
        models[stage] = vp_detector.create_model(settings, ["big", "little"], voxel_size=10.0)
        vp_detector.train([volume], models[stage], settings, classes=["big", "little"])
    models["classifier"].detection["subtomogram"] = 16
    picks = vp_detector.detect(volume.tomogram, models, device="cpu").particles
    order = np.argsort(picks.centers_zyx[:, 1])
    assert len(picks) == 2
    assert picks.centers_zyx[order] == pytest.approx(np.array([[95, 85, 85], [95, 185, 265]]), abs=10)
    assert picks.classes[order].tolist() == ["big", "little"]


def test_detection_needs_a_localizer():
    with pytest.raises(VoxpickError, match="needs a 'localizer'"):
        vp_detector.detect(make_volume().tomogram, {})


def test_a_class_without_particles_gets_the_mean_radius():
    radii = vp_detector.effective_radii_nm([make_volume(("big", "little"))], ["big", "little", "absent"])
    assert radii[2] == pytest.approx(np.mean(radii[:2]))
    with pytest.raises(VoxpickError, match="no particle of the classes absent"):
        vp_detector.effective_radii_nm([make_volume(("big", "little"))], ["absent"])


def test_cross_entropy_weighs_all_particles_alike():
    papers = vp_detector.training_settings("classifier", "paper", {"loss": "cross_entropy"})
    assert vp_detector.class_weights(papers, [], list(SHREC20_CLASSES)).tolist() == [1] * 13
    quick = vp_detector.training_settings("classifier", "minutes", {"loss": "cross_entropy"})
    assert vp_detector.class_weights(quick, [], ["a", "b"]).tolist() == pytest.approx([quick.background_weight, 1, 1])
