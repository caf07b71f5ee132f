"""Dn3DUnet as a method: denoising by slices, the order of its stages, and a toy both learn."""

import time

import numpy as np
import pytest
import torch

from voxpick.detect.budget import SPARE_BYTES
from voxpick.detect.memory import bytes_per_voxel, settled_bytes
from voxpick.detect.slab import Slab
from voxpick.errors import VoxpickError
from voxpick.io.mrc import read_mrc, write_mrc
from voxpick.losses import cross_entropy, generalised_dice
from voxpick.methods import denoised, dn3dunet
from voxpick.methods.denoised import denoise, denoised_volume
from voxpick.particles import Particles
from voxpick.train.denoising import specimen
from voxpick.train.targets import TrainingVolume
from voxpick.volume import Volume, intensity_statistics, release

SHAPE = (20, 28, 36)
CENTERS = np.array([[10, 9, 9], [10, 19, 27]])
CLASSES = ["large", "small"]


def make_volume():
    """A large cube, dark in the tomogram, and a small one, bright."""
    rng = np.random.default_rng(2)
    mask = np.zeros(SHAPE, np.int8)
    for k, (z, y, x) in enumerate(CENTERS):
        side = (5, 3)[k]
        mask[z - side : z + side, y - side : y + side, x - side : x + side] = k + 1
    density = np.array([0, 1, -1], np.float32)[mask]
    data = (30 + rng.standard_normal(SHAPE) - 3 * density).astype(np.float32)
    particles = Particles(CENTERS * 10.0, classes=np.array(CLASSES, dtype=object))
    volume = Volume(data, 10.0, "toy")
    return TrainingVolume(
        volume, mask, particles, mask.astype(np.int16), intensity=intensity_statistics(volume), density=density
    )


def untrained(stage, **changes):
    settings = dn3dunet.training_settings(stage, changes={**dn3dunet.TINY[stage], "steps": 100, **changes})
    return settings, dn3dunet.create_model(settings, CLASSES, voxel_size=10.0)


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    volume, models, losses = make_volume(), {}, {}
    for stage in dn3dunet.STAGES:
        rows = []
        settings, models[stage] = untrained(stage, log_steps=10, average_decay=0.9, dtype="float32")
        dn3dunet.train([volume], models[stage], settings, classes=CLASSES, earlier=models, log=rows.append)
        losses[stage] = [row["loss"] for row in rows]
    return volume, models, losses


@pytest.mark.parametrize("stage", dn3dunet.STAGES)
def test_the_loss_falls(trained, stage):
    _, _, losses = trained
    assert losses[stage][-1] < 0.6 * losses[stage][0]


def test_denoised_is_nearer_to_the_specimen(trained):
    volume, models, _ = trained
    clean = specimen(volume).image((0, 0, 0), SHAPE)
    noisy = volume.image((0, 0, 0), SHAPE)
    mean, deviation = volume.intensity
    cpu = torch.device("cpu")
    found = denoise(volume.tomogram.data, models["denoiser"], mean=mean, deviation=deviation, device=cpu)
    assert found.dtype == np.float16
    assert np.square(found - clean).mean() < 0.3 * np.square(noisy - clean).mean()
    again = denoised_volume(volume, models["denoiser"], device=cpu)
    mean, deviation = again.intensity
    assert np.allclose(again.image((4, 5, 6), (3, 4, 5)) * deviation + mean, found[4:7, 5:9, 6:11], atol=2e-3)


def test_both_stages_find_and_name_the_particles(trained):
    volume, models, _ = trained
    found = dn3dunet.detect(volume.tomogram, models, device="cpu", changes={"slab": "off"})
    order = np.argsort(found.particles.centers_zyx[:, 1])
    assert found.particles.centers_zyx[order] == pytest.approx(CENTERS * 10.0 - 5, abs=10)
    assert found.particles.classes[order].tolist() == CLASSES
    assert found.volume is volume.tomogram


def test_sections_and_inverted_contrast(trained):
    volume, models, _ = trained
    plain = dn3dunet.detect(volume.tomogram, models, device="cpu", changes={"slab": "3:18"})
    bright = Volume(60 - volume.tomogram.data, 10.0, "bright")
    turned = dn3dunet.detect(bright, models, device="cpu", changes={"slab": "3:18", "invert": True})
    assert (plain.slab.start, plain.slab.stop) == (3, 18)
    assert plain.settings["slab"] == "3:18"
    assert turned.settings["invert"] is True
    assert len(plain.particles) == 2
    assert turned.particles.centers_zyx == pytest.approx(plain.particles.centers_zyx, abs=2)


def test_particles_are_told_apart_class_by_class_where_asked(trained, monkeypatch):
    volume, models, _ = trained
    asked, real = [], dn3dunet.detect_in_one_stage
    monkeypatch.setattr(dn3dunet, "detect_in_one_stage", lambda *a, **k: asked.append(k["per_class"]) or real(*a, **k))
    for value in (False, True):
        dn3dunet.detect(volume.tomogram, models, device="cpu", changes={"slab": "off", "per_class": value})
    assert asked == [False, True]


def test_a_few_sections_are_normalised_as_in_training(trained, monkeypatch):
    """Sections outside of the middle half alone would leave zeros to normalise by."""
    volume, models, _ = trained
    seen, real = [], dn3dunet.detect_in_one_stage
    monkeypatch.setattr(dn3dunet, "detect_in_one_stage", lambda v, *a, **k: seen.append(v) or real(v, *a, **k))
    found = dn3dunet.detect(volume.tomogram, models, device="cpu", changes={"slab": "0:5"})
    assert (found.slab.start, found.slab.stop) == (0, 5)
    again = denoised_volume(volume, models["denoiser"], device=torch.device("cpu"))
    assert intensity_statistics(seen[0]) == pytest.approx(again.intensity, rel=0.02)
    assert np.abs(seen[0].data[:15]).max(axis=(1, 2)).min() > 0 and np.abs(seen[0].data[15:]).max() == 0


def test_denoising_in_parts_equals_the_whole_and_leaves_other_sections(trained, monkeypatch):
    volume, models, _ = trained
    mean, deviation = volume.intensity
    options = {"mean": mean, "deviation": deviation, "device": torch.device("cpu")}
    whole = denoise(volume.tomogram.data, models["denoiser"], **options)
    monkeypatch.setattr("voxpick.methods.denoised.PIXELS", 3 * 28 * 36)
    steps = []
    part = denoise(
        volume.tomogram.data, models["denoiser"], sections=slice(5, 12), progress=lambda *s: steps.append(s), **options
    )
    assert np.allclose(part[5:12], whole[5:12], atol=0.05)
    assert np.abs(part[:5]).max() == np.abs(part[12:]).max() == 0
    assert steps == [("denoising", 3, 7), ("denoising", 6, 7), ("denoising", 7, 7)]


def test_denoising_keeps_little_of_a_volume_in_memory(trained, tmp_path, monkeypatch):
    """It kept the whole mapped tomogram, and a copy of all sections beside it."""
    (_, models, _), shape = trained, (100, 400, 500)
    write_mrc(tmp_path / "volume.mrc", np.random.default_rng(0).normal(size=shape).astype(np.float32), voxel_size=10.0)
    options = {"mean": 0.5, "deviation": 2.0, "device": torch.device("cpu"), "sections": slice(10, 90)}
    mapped = read_mrc(tmp_path / "volume.mrc").data
    plain = denoise(np.array(mapped), models["denoiser"], **options)
    release(mapped)
    before = settled_bytes()
    monkeypatch.setattr(denoised, "IN_MEMORY", plain.nbytes - 1)
    found = denoise(mapped, models["denoiser"], **options)
    assert settled_bytes() - before < plain.nbytes / 2
    assert isinstance(found, np.memmap) and found.dtype == np.float16
    np.testing.assert_array_equal(found, plain)
    assert not found[:10].any() and not found[90:].any() and found[10].any()


def test_denoising_takes_fewer_slices_where_memory_is_short(trained, monkeypatch):
    volume, models, _ = trained
    data, sizes, real = volume.tomogram.data, [], denoised.folded

    def folded(network):
        network = real(network)
        network.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[2]))
        return network

    monkeypatch.setattr(denoised, "folded", folded)
    monkeypatch.setattr(denoised, "settled_bytes", lambda: 2**30)
    monkeypatch.setattr(denoised, "choose_dtype", lambda device: torch.float32)
    options = {"mean": 0.0, "deviation": 1.0, "device": torch.device("cpu")}
    least = 2**30 + SPARE_BYTES + 2 * data.size
    denoise(data, models["denoiser"], max_memory=2**40, **options)
    assert sizes.pop() == len(data)
    plain = real(models["denoiser"].network)
    with torch.inference_mode():
        each = 28 * 36 * bytes_per_voxel(plain)
    sizes.clear()
    denoise(data, models["denoiser"], max_memory=int(least + 2.5 * each), **options)
    assert sizes[1:] == [2] * 10, "after the one that measures"
    with pytest.raises(VoxpickError, match=r"1\.\dG are taken before the first slice .* allow at least 1\.\dG"):
        denoise(data, models["denoiser"], max_memory=int(least + 0.5 * each), **options)
    with pytest.raises(VoxpickError, match="are taken before the first slice"):
        dn3dunet.detect(volume.tomogram, models, changes={"max_memory": "1G"}, device="cpu")


def test_the_segmenter_needs_the_denoiser():
    settings, model = untrained("segmenter")
    with pytest.raises(VoxpickError, match="train the stage 'denoiser' first"):
        dn3dunet.train([make_volume()], model, settings, classes=CLASSES)
    with pytest.raises(VoxpickError, match="Dn3DUnet needs a 'denoiser'"):
        dn3dunet.detect(make_volume().tomogram, {"segmenter": model})


def test_denoising_is_part_of_the_minutes_of_the_segmenter(trained, monkeypatch):
    """It came before the clock, so that the method had more time than others."""
    volume, models, _ = trained
    real = dn3dunet.denoised_volume

    def slow(*given, **options):
        time.sleep(0.6)
        return real(*given, **options)

    monkeypatch.setattr(dn3dunet, "denoised_volume", slow)
    settings, model = untrained("segmenter", steps=2)
    fitted = dn3dunet.train([volume], model, settings, classes=CLASSES, earlier=models)
    assert fitted.minutes >= 0.01
    settings, model = untrained("segmenter", steps=None, minutes=0.005)
    with pytest.raises(VoxpickError, match=r"work before the first step took all of minutes = 0\.005; give more"):
        dn3dunet.train([volume], model, settings, classes=CLASSES, earlier=models)


def test_losses():
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    dice = generalised_dice(logits, labels).item()
    paper = dn3dunet.segmentation_loss(dn3dunet.training_settings("segmenter", "paper"))
    minutes = dn3dunet.segmentation_loss(dn3dunet.training_settings("segmenter", "minutes"))
    assert paper(logits, labels).item() == pytest.approx(dice)
    assert minutes(logits, labels).item() == pytest.approx(dice + cross_entropy(logits, labels).item())


def test_presets_of_the_paper_and_unknown_names():
    denoiser = dn3dunet.training_settings("denoiser", "paper")
    segmenter = dn3dunet.training_settings("segmenter", "paper")
    assert (denoiser.learning_rate, denoiser.network_settings["depth"]) == (2.5e-3, 20)
    assert (segmenter.learning_rate, segmenter.patch) == (1e-3, 104)
    assert dn3dunet.create_model(denoiser, CLASSES, voxel_size=10.0).classes == ["background"]
    assert segmenter.network_settings == {"width": 32}
    minutes = dn3dunet.training_settings("segmenter")
    bias = dn3dunet.create_model(minutes, CLASSES, voxel_size=10.0).network.head.bias
    assert bias.softmax(0).tolist() == pytest.approx([0.9, 0.05, 0.05])
    assert {denoiser.loss, dn3dunet.training_settings("denoiser").loss} == {"squared_error"}
    with pytest.raises(VoxpickError, match="loss is 'focal'; Dn3DUnet's denoiser has squared_error"):
        dn3dunet.denoising_loss(dn3dunet.training_settings("denoiser", changes={"loss": "focal"}))
    with pytest.raises(VoxpickError, match="loss is 'dice'; Dn3DUnet has generalised_dice"):
        dn3dunet.segmentation_loss(dn3dunet.training_settings("segmenter", changes={"loss": "dice"}))
    with pytest.raises(VoxpickError, match="Dn3DUnet has denoiser and segmenter"):
        dn3dunet.training_settings("classifier")
    with pytest.raises(VoxpickError, match="unknown option 'alpha' of the denoiser; known: none"):
        dn3dunet.training_settings("denoiser", changes={"options": {"alpha": 1}})
    with pytest.raises(VoxpickError, match="cross_entropy_weight is -1; give a number from 0 on"):
        dn3dunet.training_settings("segmenter", changes={"options": {"cross_entropy_weight": -1}})


@pytest.mark.parametrize(
    ("stage", "preset", "changes"),
    [
        ("denoiser", "minutes", {"background_weight": 0.1}),
        ("segmenter", "paper", {"class_weights": [1.0, 2.0, 3.0]}),
        ("segmenter", "minutes", {"gamma": 1.0}),
    ],
)
def test_settings_that_would_change_nothing_are_refused(stage, preset, changes):
    with pytest.raises(VoxpickError, match=f"{next(iter(changes))} = .*: "):
        dn3dunet.training_settings(stage, preset, changes)
    assert dn3dunet.training_settings("segmenter", changes={"background_weight": 0.1}).background_weight == 0.1


def test_picks_outside_the_ice_are_dropped_as_by_other_methods(trained, monkeypatch):
    volume, models, _ = trained
    monkeypatch.setattr("voxpick.detect.prepare.choose_slab", lambda *_, **__: Slab(0, 20, "test", ice=(0, 20)))
    assert len(dn3dunet.detect(volume.tomogram, models, device="cpu").particles) == 2
    monkeypatch.setattr("voxpick.detect.prepare.choose_slab", lambda *_, **__: Slab(0, 20, "test", ice=(14, 20)))
    assert len(dn3dunet.detect(volume.tomogram, models, device="cpu").particles) == 0


def test_the_papers_patches_do_not_overlap():
    assert dn3dunet.PAPER_DETECTION == {**dn3dunet.DETECTION, "tile": 104, "halo": 0}
