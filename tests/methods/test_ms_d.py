"""3D MS-D as a method."""

import numpy as np
import pytest
from test_deepfinder import CLASSES, make_volume

from voxpick.detect import one_stage
from voxpick.errors import VoxpickError
from voxpick.methods import ms_d
from voxpick.methods.voxel_classes import class_patches
from voxpick.volume import Volume


def test_the_papers_network_and_settings():
    settings = ms_d.training_settings("segmenter", "paper")
    assert (settings.patch, settings.batch, settings.epochs, settings.learning_rate) == (64, 125, 200, 1e-4)
    model = ms_d.create_model(settings, [f"class{k}" for k in range(12)], voxel_size=10.0)
    count = sum(p.numel() for p in model.network.parameters())
    assert count == 54 * 64**2 + 128 + 13 * 129 + 13 == 223_002
    assert model.network.receptive_field == 1 + 2 * 4 * sum(range(1, 17)) == 1089


def test_patches_are_anywhere_and_name_classes():
    settings = ms_d.training_settings("segmenter", "paper", {"patch": 8})
    volume = make_volume()
    sampler, rng = class_patches([volume], settings), np.random.default_rng(0)
    assert sampler.epoch == round(volume.class_mask.size / 8**3)
    drawn = [sampler.draw(rng) for _ in range(60)]
    assert set(np.unique([labels for _, labels in drawn])) == {0, 1, 2}
    share = np.mean([(labels > 0).mean() for _, labels in drawn])
    assert share == pytest.approx((volume.class_mask > 0).mean(), abs=0.03)
    image, labels = drawn[int(np.argmax([(labels > 0).sum() for _, labels in drawn]))]
    assert image[labels > 0].mean() < image[labels == 0].mean() - 1


def test_the_papers_detection_makes_picks():
    volume = make_volume()
    settings = ms_d.training_settings("segmenter", changes={**ms_d.TINY["segmenter"], "steps": 60, "batch": 4})
    model = ms_d.create_model(settings, CLASSES, voxel_size=10.0)
    ms_d.train([volume], model, settings, classes=CLASSES)
    changes = {**ms_d.PAPER_DETECTION, "bandwidth": 50}
    detection = ms_d.detect(volume.tomogram, {"segmenter": model}, changes=changes, device="cpu")
    distance = np.linalg.norm(detection.particles.centers_zyx[:, None] - volume.particles.centers_zyx, axis=2)
    assert distance.min(axis=0).max() < 25
    assert (detection.settings["split"], detection.settings["voting"]) == ("mean-shift", "majority")


def test_other_stages_are_refused():
    with pytest.raises(VoxpickError, match="3D MS-D has one"):
        ms_d.training_settings("localizer")


def test_the_papers_detection_takes_cubes_of_64_that_do_not_overlap(monkeypatch):
    settings = ms_d.training_settings("segmenter", changes=ms_d.TINY["segmenter"])
    model = ms_d.create_model(settings, CLASSES, voxel_size=10.0)
    seen, whole = [], one_stage.class_voxels
    monkeypatch.setattr(one_stage, "class_voxels", lambda *given, **named: seen.append(named) or whole(*given, **named))
    noise = np.random.default_rng(0).standard_normal((32, 120, 140), dtype=np.float32)
    changes = {**ms_d.PAPER_DETECTION, "threshold": 0.99, "slab": "off"}
    ms_d.detect(Volume(noise, 10.0), {"segmenter": model}, changes=changes, device="cpu")
    ((tile, halo),) = [(named["tile"], named["halo"]) for named in seen]
    assert 0.5 * 64**3 < np.prod(tile) <= 64**3 and halo == 0
