"""The 3D ResNet as a method: the paper's numbers, and from a toy tomogram to picks."""

import numpy as np
import pytest
from test_yopo_method import CENTERS, trained

from voxpick.detect.scan_settings import ConsensusSettings
from voxpick.errors import VoxpickError
from voxpick.methods import resnet3d


def test_the_papers_numbers():
    settings = resnet3d.training_settings("classifier", "paper")
    assert (settings.patch, settings.learning_rate) == (32, 0.002)
    assert settings.options["background"] == pytest.approx(9000 / (23350 + 9000))
    assert settings.options["distance"] == 16
    model = resnet3d.create_model(settings, ["a"] * 12, voxel_size=10.0)
    assert model.network.layers == 20 and model.network.padded and model.network.classes == 13
    assert ConsensusSettings().stride == 2 and ConsensusSettings().unchecked == ["1s3x", "3qm1", "3gl1"]


def test_on_a_toy_the_loss_falls_and_it_finds_and_names_the_particles():
    options = {"background": 0.5, "distance": 7.0, "shell": 0.0, "orientations": "wedge"}
    volume, model, losses = trained(
        resnet3d, steps=120, learning_rate=0.01, jitter=0.0, average_decay=0.0, options=options
    )
    assert losses[-1] < 0.3 * losses[0]
    assert model.detection["class_ratios"] == {"dark": 0.5, "bright": 0.5}
    assert model.detection["box_sizes"] == {"dark": 60.0, "bright": 60.0}
    found = resnet3d.detect(volume.tomogram, {"classifier": model}, changes={"slab": "off"}, device="cpu").particles
    assert len(found) <= 4
    for center, name in zip(CENTERS, volume.particles.classes, strict=True):
        distance = np.linalg.norm(found.centers_zyx / 10 - center, axis=1)
        assert distance.min() < 4 and found.classes[distance.argmin()] == name


def test_unknown_names():
    with pytest.raises(VoxpickError, match="3D ResNet has one, 'classifier'"):
        resnet3d.training_settings("localizer")
    with pytest.raises(VoxpickError, match=r"options\.stride = 2: .*; known: background, distance"):
        resnet3d.training_settings("classifier", changes={"options": {"stride": 2}})


def test_the_minutes_show_what_lies_around_particles_and_the_paper_does_not():
    paper, minutes = (resnet3d.training_settings("classifier", preset) for preset in ("paper", "minutes"))
    assert "shell" not in paper.options and paper.jitter == 0
    assert (minutes.options["shell"], minutes.options["near"], minutes.jitter) == (0.6, 1.2, 2.0)
    assert ConsensusSettings().background_votes is False
