"""The branches for a GPU, run on the CPU by `fake_cuda`: tensors stay on one device, and results are the CPU's."""

import numpy as np
import pytest
import torch

import toy_balls
from fake_cuda import fake_cuda
from toy_balls import CLASSES
from voxpick.average.alignment import Alignment
from voxpick.average.mean import average
from voxpick.average.refinement import refine
from voxpick.average.subtomograms import extract
from voxpick.cli import main
from voxpick.cli.training_validation import make_validation
from voxpick.detect.activation import activations
from voxpick.detect.classify import classify
from voxpick.io.formats import read_particles
from voxpick.io.model import load_models, save_models
from voxpick.match.bank import Bank, Template
from voxpick.match.filters import Optics
from voxpick.match.rotations import rotation_grid, super_fibonacci
from voxpick.match.sampling import SAMPLINGS
from voxpick.match.search import PATHS, Wanted, find
from voxpick.match.tiles import TiledVolume
from voxpick.methods.catalogue import METHODS
from voxpick.methods.specimens import specimen_maker
from voxpick.methods.traits import finds
from voxpick.networks.model import Model
from voxpick.networks.msdnet import MSDNet
from voxpick.networks.resnet3d import ResNet3D
from voxpick.simulate.bank import load_bank
from voxpick.simulate.shrec20 import Recipe, simulate_shrec20
from voxpick.train.stream import StreamSettings

UNTRAINED = {
    "dog": {"radius": 40.0, "deviations": 2.5},
    "tm-f": {"classes": ["1s3x"], "angular_step": 120.0, "candidates": 20, "number": 5},
    "tm-t": {"classes": ["1s3x"], "angular_step": 120.0, "candidates": 20, "number": 5, "path": "exact"},
}
"""Detection settings of methods that learn nothing."""
FLOAT32, BFLOAT16 = (7, 5), (9, 0)
"""Compute capabilities of GPUs that compute in these formats."""


def toy_volume(seed, particles=5):
    return toy_balls.toy_volume((20, 28, 36), seed=seed, particles=particles)


def stage_settings(name, stage, **changes):
    method = METHODS[name]
    return method.training_settings(stage, changes={**method.TINY[stage], "steps": 3, "log_steps": 1, **changes})


def train_stages(name, volumes, *, device="cuda"):
    """The stages of a method after a few steps."""
    models = {}
    for stage in METHODS[name].STAGES:
        settings, rows = stage_settings(name, stage), []
        models[stage] = METHODS[name].create_model(settings, CLASSES, voxel_size=10.0)
        METHODS[name].train(
            volumes, models[stage], settings, classes=CLASSES, earlier=dict(models), log=rows.append,
            device=torch.device(device),
        )  # fmt: skip
        assert len(rows) == 3 and all(np.isfinite(row["loss"]) for row in rows)
        assert {weights.device.type for weights in models[stage].network.parameters()} == {device}
    return models


def test_what_cuda_refuses_is_refused():
    with fake_cuda():
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        assert (here.device.type, there.device.type) == ("cpu", "cuda")
        for mixed in (lambda: here + there, lambda: here[there.long()], lambda: torch.cat([here, there])):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        for array in (there.numpy, lambda: np.asarray(there)):
            with pytest.raises(TypeError, match="to numpy"):
                array()
        assert (there * here.to(there.device) * 2).cpu().tolist() == [2, 2, 2]
        assert there[torch.tensor([0])].device == there.new_zeros(1).device == there.device  # as CUDA allows
        assert there.cpu().numpy().sum() == 3 and not there.cpu().is_cuda
    assert here.device.type == "cpu" and not torch.cuda.is_available()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_detects(name, monkeypatch):
    for special in ("has_amx", "has_avx512_bf16"):
        monkeypatch.setattr(f"voxpick.precision.{special}", lambda: False)  # the CPU computes in float32 too
    tomogram = toy_volume(3, 4).tomogram
    with fake_cuda(capability=FLOAT32):
        models = train_stages(name, [toy_volume(1), toy_volume(2)])
        if not finds(METHODS[name]):
            models |= {"localizer": train_stages("vp-detector", [toy_volume(1)])["localizer"]}
        first = METHODS[name].detect(tomogram, models, changes=UNTRAINED.get(name), device="cuda").particles
        again = METHODS[name].detect(tomogram, models, changes=UNTRAINED.get(name), device="cpu").particles
    assert len(first) == len(again)
    assert np.allclose(first.centers_zyx, again.centers_zyx, atol=0.1)
    assert np.allclose(first.scores, again.scores, atol=1e-3)


@pytest.mark.parametrize("name", ["vp-detector", "voxpick", "yopo", "densenet"])
def test_training_is_validated_and_goes_on_from_a_checkpoint(name, tmp_path):
    stage, held_out = METHODS[name].STAGES[0], toy_volume(3, 4)
    model, saved = METHODS[name].create_model(stage_settings(name, stage), CLASSES, voxel_size=10.0), []
    with fake_cuda(capability=BFLOAT16):
        for steps in (2, 4):
            settings = stage_settings(name, stage, steps=4, average_decay=0.9, batch=4)
            judge = make_validation(
                held_out, model, settings, method=METHODS[name], earlier={}, side=0
            )  # fmt: skip
            fitted = METHODS[name].train(
                [toy_volume(1)], model, settings, classes=CLASSES, save=saved.append, validate=judge,
                stop=iter([False, False, True] if steps == 2 else [False] * 9).__next__, device=torch.device("cuda"),
                resume=torch.load(tmp_path / "state.pt", map_location="cpu") if steps == 4 else None,
            )  # fmt: skip
            assert fitted.step == steps
            torch.save(saved[-1], tmp_path / "state.pt")
        save_models(tmp_path / "model.pt", {stage: model})
    assert 0 <= fitted.best_score <= 1
    assert next(load_models(tmp_path / "model.pt")[stage].network.parameters()).device.type == "cpu"


def test_simulation_is_that_of_the_cpu():
    structures = {"4d8q": load_bank()["4d8q"]}
    recipe = Recipe(size_zyx=(28, 36, 44), particles=2, tilt_step_deg=20.0)
    plain = simulate_shrec20(structures, recipe, seed=4)
    with fake_cuda():
        found = simulate_shrec20(structures, recipe, seed=4, device="cuda")
    for name in ("grandmodel", "clean_projections", "projections", "reconstruction"):
        assert np.allclose(getattr(found, name), getattr(plain, name), rtol=1e-5, atol=1e-6)


def test_a_streams_specimens_are_those_of_the_cpu():
    structures, settings = {"4d8q": load_bank()["4d8q"]}, StreamSettings(size=(28, 36, 44))
    plain = specimen_maker(structures, settings, device="cpu")(2)
    with fake_cuda():
        found = specimen_maker(structures, settings, device="cuda")(2)
    assert np.allclose(found.tomogram.data, plain.tomogram.data, atol=0.01)
    assert np.array_equal(found.class_mask, plain.class_mask)


def test_gradients_of_the_dense_stack_are_the_cpus_however_many_images_there_are(monkeypatch):
    torch.manual_seed(0)
    network, image = MSDNet(depth=6, dilations=(1, 2, 3), classes=3), torch.randn(2, 1, 7, 8, 9)

    def gradients(device):
        network.to(device).zero_grad()
        network(image.to(device)).square().mean().backward()
        return [weights.grad.cpu() for weights in network.parameters()]

    plain = gradients("cpu")
    monkeypatch.setattr("voxpick.networks.dense_blocks.MOST_IMAGES", 5)
    with fake_cuda(capability=FLOAT32):
        found = gradients("cuda")
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, plain, strict=True))


def test_a_padded_resnet_scans_as_on_the_cpu():
    torch.manual_seed(0)
    network, image = (
        ResNet3D(box=8, widths=[4, 8], blocks=1, padded=True, classes=3).eval(),
        torch.randn(1, 1, 14, 15, 16),
    )
    with torch.no_grad():
        plain = network.scan(image, stride=1)
        assert torch.allclose(plain[0, :, 2, 3, 4], network(image[:, :, 2:10, 3:11, 4:12])[0], atol=1e-5)
        with fake_cuda(capability=FLOAT32):
            found = network.to("cuda").scan(image.to("cuda"), stride=1).cpu()
    assert plain.shape[2:] == (7, 8, 9) and torch.allclose(found, plain, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_matching_finds_what_it_finds_on_the_cpu(path):
    rng, grid = np.random.default_rng(5), np.indices((12, 12, 12)) - 6
    density = sum(np.exp(-((grid - at) ** 2).sum(axis=0) / 2.4) for at in np.eye(3).reshape(3, 3, 1, 1, 1) * 3)
    data = rng.normal(size=(17, 24, 30)).astype(np.float32)
    data[3:15, 4:16, 8:20] += 3 * density

    def search(device):
        bank = Bank(
            Template("L", density.astype(np.float32), 10.0, radius=40), super_fibonacci(9), optics=Optics(),
            tilt_range_deg=(-60, 60), device=device,
        )  # fmt: skip
        volume = TiledVolume(data, device=device)
        sampling = SAMPLINGS[0] if path == "low-rank" else None
        return find(volume, bank, Wanted(4.0, number=5), path=path, sampling=sampling).peaks

    plain = search("cpu")
    for capability in (FLOAT32, BFLOAT16):
        with fake_cuda(capability=capability):
            found = search("cuda")
        assert found.places.tolist() == plain.places.tolist() and found.rows.tolist() == plain.rows.tolist()
        assert np.allclose(found.scores, plain.scores, atol=1e-4)


def test_averages_are_those_of_the_cpu():
    volume = toy_volume(6, 6).tomogram
    picks = toy_volume(6, 6).particles
    boxes = extract(volume, picks, box=12, edges="pad")

    def refined(device):
        how = Alignment(radius=40, low_pass=60, max_shift=20, step_deg=60, finest_deg=30, device=device)
        return refine(boxes, how, iterations=2, rng=np.random.default_rng(0), rotations=rotation_grid(60))

    plain = refined("cpu")
    with fake_cuda():
        found = refined("cuda")
        alone = average(boxes, found.poses, tilt_range_deg=None, device="cuda")
    assert np.allclose(found.map.data, plain.map.data, atol=1e-3 * np.abs(plain.map.data).max())
    assert np.isfinite(alone.data).all()


def test_names_and_activation_maps():
    volume = toy_volume(3, 4)
    model = Model.create(
        "densenet", {"classes": 3, "growth": 4, "blocks": 2}, classes=["background", *CLASSES], voxel_size=10.0
    )
    network, places = model.network.eval(), volume.centers()
    plain = classify(volume.tomogram.data, places, network, size=16, turns=True, device="cpu", dtype=torch.float32)
    with fake_cuda(capability=FLOAT32):
        found = classify(volume.tomogram.data, places, network, size=16, turns=True, device="cuda")
        seen = activations(volume.tomogram.data, places, network, size=16, device="cuda")
    assert np.allclose(found.shares, plain.shares, atol=1e-5) and len(seen.maps) == len(places)


def test_commands_run_from_simulation_to_averages(tmp_path, monkeypatch):
    def voxpick(*words):
        monkeypatch.setattr("sys.argv", ["voxpick", *map(str, words), "--device", "cuda"])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, words

    small = [f"--set={key}={value}" for key, value in METHODS["voxpick"].TINY["picker"].items()]
    with fake_cuda(capability=FLOAT32):
        voxpick(
            "simulate", "shrec20", tmp_path / "data", "--models", 2, "--classes", "4d8q", "--size", "32,40,48",
            "--thickness", 36, "--particles", 3, "--snr", 0.5, "--tilt-step", 20,
        )  # fmt: skip
        folder, tomogram = tmp_path / "data/model_0", tmp_path / "data/model_0/reconstruction.mrc"
        run = ("train", folder, "--validation", tmp_path / "data/model_1", "--output", tmp_path / "m.pt", *small)
        voxpick(*run, "--steps", 2, "--no-tensorboard")
        voxpick("detect", tomogram, "--model", tmp_path / "m.pt", "--output", tmp_path / "picks")
        voxpick("match", tomogram, "-t", "4d8q", "--output", tmp_path / "matched", "--step", 60, "--number", 4)
        picks = tmp_path / "matched/reconstruction.star"
        voxpick(
            "average", picks, tomogram, "--output", tmp_path / "map", "--edges", "pad", "--iterations", 1, "--step", 90,
            "--finest", 60, "--radius", 60,
        )  # fmt: skip
    assert len(read_particles(picks, voxel_size=10.0, shape=(36, 40, 48)))
    assert (tmp_path / "map/map.mrc").is_file()
