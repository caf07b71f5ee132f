"""voxpick train, on toy folders."""

import csv
import shutil
from contextlib import contextmanager

import mrcfile
import numpy as np
import pytest
import torch
import yaml
from toy_models import write_toy_model
from train_command import run_train

from voxpick.cli.training_data import gather, read_training_volume
from voxpick.errors import TooMuchForeground, VoxpickError
from voxpick.io import alone
from voxpick.io.formats import write_particles
from voxpick.io.model import load_models, save_models
from voxpick.io.run_directory import MADE_BY
from voxpick.particles import Particles
from voxpick.train.fit import fit

SMALL = ["--threads", "1", "--set", "network_settings.depth=4", "--set", "log_steps=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for k in range(3):
        write_toy_model(folder / f"model_{k}", seed=k)
    return folder


def run(*arguments):
    """VP-Detector, where the arguments do not say what to train."""
    if not {"--method", "--config"} & {str(argument) for argument in arguments}:
        arguments = (*arguments, "--method", "vp-detector")
    return run_train(*arguments)


def test_both_stages_end_in_one_file(data, tmp_path):
    output, held_out = tmp_path / "model.pt", ["--validation", data / "model_2", "--set", "validate_steps=4"]
    localizer = ["--steps", 8, "--set", "patch=16", "--validation-side", 32]
    run(data / "model_0", data / "model_1", "--output", output, *held_out, *localizer, *SMALL)
    classifier = ["--stage", "classifier", "--steps", 4, "--set", "patch=12", "--set", "batch=2"]
    result = run(data / "model_0", "--output", output, *held_out, *classifier, *SMALL)
    assert "classifier after 4 steps" in result.output
    models = load_models(output)
    assert models["localizer"].classes == ["background", "particle"]
    assert len(models["classifier"].classes) == 13 and models["classifier"].classes[1] == "3cf3"
    assert models["classifier"].detection == {"subtomogram": 12}
    made = models["localizer"].provenance
    assert (made["steps"], made["training_data"], made["validation_data"]) == (8, ["model_0", "model_1"], "model_2")
    assert made["settings"]["network_settings"]["depth"] == 4
    with (tmp_path / "model_localizer_run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "4", "6", "8", "8"]
    assert float(rows[-1]["validation_score"]) <= float(rows[-1]["best_score"])
    written = yaml.safe_load((tmp_path / "model_localizer_run" / "settings.yaml").read_text())
    assert written["patch"] == 16 and written["preset"] == "minutes"


def test_a_second_training_into_the_same_run_is_refused(data, tmp_path, monkeypatch):
    """It would replace the first one's checkpoints and model by its own."""
    monkeypatch.setattr(alone, "PATIENCE_SECONDS", 0.0)
    words = [data / "model_0", "--output", tmp_path / "model.pt", "--steps", 1, "--set", "patch=16", *SMALL]
    with (
        alone.alone_in(tmp_path / "model_localizer_run", use="trains"),
        pytest.raises(VoxpickError, match="model_localizer_run: another process trains there"),
    ):
        run(*words)
    assert not list(tmp_path.glob("*/*")) and not (tmp_path / "model.pt").exists()


def test_a_run_folder_keeps_the_files_of_others(data, tmp_path):
    words = [data / "model_0", "--output", tmp_path / "model.pt", "--run-dir", tmp_path, *SMALL, "--set", "patch=16"]
    config = tmp_path / "settings.yaml"
    for name in ("settings.yaml", "training_data.yaml", "log.csv"):
        (tmp_path / name).write_text("steps: 1\n")
        with pytest.raises(VoxpickError, match=f"{name}: exists already; add --overwrite to replace it, or give anoth"):
            run(*words, "--steps", 1)
        if name == config.name:
            config.write_text(f"{MADE_BY}\nsteps: 1\n# mine\n")  # a run's, changed by hand
            with pytest.raises(VoxpickError, match=r"settings\.yaml: is read by this command .* another --run-dir"):
                run(*words, "--config", config, "--method", "vp-detector")
        (tmp_path / name).unlink()
    assert not list(tmp_path.iterdir())
    config.write_text("steps: 1\n")
    run(*words, "--config", config, "--method", "vp-detector", "--overwrite")
    (tmp_path / "checkpoint.pt").unlink()
    (tmp_path / "model.pt").unlink()
    assert "patch: 16" in config.read_text()
    run(*words, "--steps", 1)  # as after a stop before the first checkpoint
    run(*words, "--steps", 1, "--resume")


def test_settings_file_of_a_run_repeats_it(data, tmp_path):
    first = tmp_path / "first.pt"
    run(data / "model_0", "--output", first, "--steps", 4, "--set", "patch=12", *SMALL)
    settings = tmp_path / "first_localizer_run" / "settings.yaml"
    run(data / "model_0", "--output", tmp_path / "again.pt", "--config", settings, "--threads", 1)
    weights = [load_models(tmp_path / name)["localizer"].network.state_dict() for name in ("first.pt", "again.pt")]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_training_from_given_weights_begins_there_and_says_so(data, tmp_path):
    first, second = tmp_path / "first.pt", tmp_path / "second.pt"
    run(data / "model_0", "--output", first, "--steps", 3, "--set", "patch=12", *SMALL)
    still = ("--set", "patch=12", "--set", "learning_rate=1e-12", "--set", "average_decay=0")
    run(data / "model_0", "--output", second, "--start-from", first, "--steps", 1, *still, *SMALL)
    before, after = (load_models(path)["localizer"] for path in (first, second))
    for key, value in before.network.state_dict().items():
        assert torch.allclose(value, after.network.state_dict()[key], atol=1e-9)
    assert after.provenance["started_from"] == before.provenance


def test_a_run_goes_on_with_the_weights_it_began_with_alone(data, tmp_path):
    """The model would tell of weights that it never began with."""
    small = ("--set", "patch=12", *SMALL)
    starts = [tmp_path / name for name in ("a.pt", "b.pt")]
    for seed, path in enumerate(starts):
        run(data / "model_0", "--output", path, "--steps", 1, "--seed", seed, *small)
    words = [data / "model_0", "--output", tmp_path / "c.pt", "--steps", 2, *small]
    run(*words, "--from", starts[0])
    for other in (["--from", starts[1]], []):
        with pytest.raises(VoxpickError, match="the run began with other weights than these of --from, or with none"):
            run(*words, *other, "--resume")
    run(*words, "--from", starts[0], "--resume")
    record = tmp_path / "c_localizer_run" / "training_data.yaml"
    marks = yaml.safe_load(record.read_text())
    assert marks.pop("start") != "none"
    record.write_text(yaml.safe_dump(marks))  # as earlier versions wrote it
    run(*words, "--resume")


def test_a_run_that_begins_anew_drops_tensorboards_events(data, tmp_path):
    words = [data / "model_0", "--output", tmp_path / "a.pt", "--steps", 2, "--set", "patch=12", *SMALL]
    run(*words)
    (first,) = (tmp_path / "a_localizer_run").glob("events.out.tfevents.*")
    earlier = first.rename(first.with_name("events.out.tfevents.1.of_the_first"))
    run(*words, "--overwrite")
    assert not earlier.exists() and len(list((tmp_path / "a_localizer_run").glob("events.out.tfevents.*"))) == 1


def test_a_model_keeps_the_spectrum_of_its_tomograms_and_that_of_weights_it_began_with(tmp_path):
    write_toy_model(tmp_path / "model_0", seed=0, shape=(48, 56, 60), thickness=52)
    small = ("--steps", 1, "--set", "patch=12", *SMALL)
    first, second, third = (tmp_path / name for name in ("first.pt", "second.pt", "third.pt"))
    run(tmp_path / "model_0", "--output", first, *small)
    model = load_models(first)["localizer"]
    assert len(model.spectrum) == 24 and min(model.spectrum) > 0
    checkpoint = torch.load(tmp_path / "first_localizer_run" / "checkpoint.pt", weights_only=False)
    assert checkpoint["spectrum"] == model.spectrum
    model.spectrum = [2 * value for value in model.spectrum]
    save_models(first, {"localizer": model})
    run(tmp_path / "model_0", "--output", second, "--from", first, *small)
    assert load_models(second)["localizer"].spectrum == model.spectrum
    run(tmp_path / "model_0", "--output", third, "--set", "keep_spectrum=true", *small)
    assert load_models(third)["localizer"].spectrum is None


def test_a_run_of_an_earlier_version_goes_on_without_a_spectrum(tmp_path):
    write_toy_model(tmp_path / "model_0", seed=0, shape=(48, 56, 60), thickness=52)
    arguments = [tmp_path / "model_0", "--output", tmp_path / "a.pt", "--steps", 2, "--set", "patch=12", *SMALL]
    run(*arguments)
    checkpoint = tmp_path / "a_localizer_run" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=False)
    del state["spectrum"]
    torch.save(state, checkpoint)
    run(*arguments, "--resume")
    assert load_models(tmp_path / "a.pt")["localizer"].spectrum is None


def test_stopped_and_resumed_equals_uninterrupted(data, tmp_path, monkeypatch):
    arguments = [data / "model_0", "--steps", 6, "--set", "patch=12", *SMALL]
    run(*arguments, "--output", tmp_path / "whole.pt")

    def stopped(*given, **options):
        calls = iter(range(100))
        return fit(*given, **{**options, "stop": lambda: next(calls) == 3})

    with monkeypatch.context() as patch:
        patch.setattr("voxpick.methods.vp_detector.fit", stopped)
        result = run(*arguments, "--output", tmp_path / "halves.pt")
    assert result.exit_code == 130 and "--resume" in result.output
    assert not (tmp_path / "halves.pt").exists()
    run(*arguments, "--output", tmp_path / "halves.pt", "--resume")
    weights = [load_models(tmp_path / f"{name}.pt")["localizer"].network.state_dict() for name in ("whole", "halves")]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    logs = [(tmp_path / f"{name}_localizer_run" / "log.csv").read_text().splitlines() for name in ("whole", "halves")]
    losses = [[row["loss"] for row in csv.DictReader(log)] for log in logs]
    assert losses[0] == losses[1] and len(losses[0]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "patches=3"], "unknown key 'patches'"),
        (["--set", "patch"], "expected key=value"),
        (["--stage", "magic"], "stage is 'magic'; vp-detector has localizer and classifier"),
        (["--method", "umc", "--stage", "localizer"], "stage is 'localizer'; umc has segmenter"),
        (["--method", "magic"], "unknown method 'magic'; one of .*vp-detector"),
        (["--preset", "magic"], "preset is 'magic'"),
        (["--resume"], "no checkpoint to resume from"),
        (["--start-from", "nowhere.pt"], "no such model file"),
    ],
)
def test_bad_requests_are_one_line(data, tmp_path, arguments, message):
    with pytest.raises(VoxpickError, match=message):
        run(data / "model_0", "--output", tmp_path / "model.pt", "--steps", 1, *arguments, *SMALL)
    assert not (tmp_path / "model.pt").exists()


def test_validation_data_must_be_kept_out(data, tmp_path):
    with pytest.raises(VoxpickError, match="kept out of training"):
        run(data / "model_0", "--validation", data / "model_0", "--output", tmp_path / "model.pt")


UMC = ["--method", "umc", "--set", "network_settings.filters=[4, 8]", "--set", "patch=16", "--set", "log_steps=2"]


def test_a_method_of_one_stage_is_validated_by_what_it_detects(data, tmp_path):
    output = tmp_path / "umc.pt"
    result = run(
        data / "model_0", "--output", output, *UMC, "--validation", data / "model_2", "--validation-side", 32,
        "--set", "validate_steps=3", "--set", "options.alpha=0.4", "--steps", 6, "--threads", 1,
    )  # fmt: skip
    assert "segmenter after 6 steps" in result.output
    ((stage, model),) = load_models(output).items()
    assert (stage, model.provenance["method"], len(model.classes)) == ("segmenter", "umc", 13)
    assert model.provenance["settings"]["options"]["alpha"] == 0.4
    with (tmp_path / "umc_segmenter_run" / "log.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["validation_score"]]
    assert [row["step"] for row in rows] == ["3", "6"]
    for row in rows:
        mean = (float(row["validation_f1"]) + float(row["validation_class_f1"])) / 2
        assert float(row["validation_score"]) == pytest.approx(mean)


def test_a_later_stage_is_given_the_earlier_one(data, tmp_path):
    output = tmp_path / "dn.pt"
    common = [data / "model_0", "--method", "dn3dunet", "--output", output, "--steps", 2, "--threads", 1]
    segmenter = ["--stage", "segmenter", "--set", "patch=16", "--set", "network_settings={width: 4, levels: 2}"]
    with pytest.raises(VoxpickError, match="train the stage 'denoiser' first"):
        run(*common, *segmenter)
    denoiser = ["--set", "network_settings={depth: 3, width: 4}", "--set", "patch=16", "--validation", data / "model_2"]
    result = run(*common, *denoiser)
    assert "the denoiser finds no particles by itself, so it is not validated" in result.output
    before = load_models(output)["denoiser"].network.state_dict()
    run(*common, *segmenter, "--run-dir", tmp_path / "again")
    models = load_models(output)
    assert list(models) == ["denoiser", "segmenter"]
    assert all(torch.equal(value, before[key]) for key, value in models["denoiser"].network.state_dict().items())
    with pytest.raises(VoxpickError, match=r"dn\.pt: holds a model of dn3dunet; write that of vp-detector to another"):
        run(data / "model_0", "--output", output, "--steps", 1)


def test_settings_of_a_run_bring_their_method_along(data, tmp_path):
    run(data / "model_0", "--output", tmp_path / "a.pt", *UMC, "--steps", 2, "--threads", 1)
    settings = tmp_path / "a_segmenter_run" / "settings.yaml"
    run(data / "model_0", "--output", tmp_path / "b.pt", "--config", settings, "--threads", 1)
    weights = [load_models(tmp_path / name)["segmenter"].network.state_dict() for name in ("a.pt", "b.pt")]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_run_is_resumed_by_its_own_method_alone(data, tmp_path):
    densenet = ["--stage", "classifier", "--steps", 2, "--set", "patch=16", "--set", "batch=2", "--threads", 1]
    network = ["--set", "network_settings={growth: 2, blocks: 1, stem: 2}", "--run-dir", tmp_path / "run"]
    first = [data / "model_0", "--output", tmp_path / "a.pt", *densenet, *network]
    run(*first, "--method", "densenet")
    result = run(*first, "--method", "densenet", "--resume")
    assert "classifier after 2 steps" in result.output
    with pytest.raises(VoxpickError, match="method was 'densenet', now 'dilated-densenet'"):
        run(*first, "--method", "dilated-densenet", "--output", tmp_path / "b.pt", "--resume")


def test_training_data_bring_the_density_where_there_is_one(data, tmp_path):
    volume = read_training_volume(data / "model_0")
    assert volume.density.shape == volume.class_mask.shape
    assert np.array_equal(np.asarray(volume.density), np.asarray(volume.class_mask))
    shutil.copytree(data / "model_0", tmp_path / "model_0")
    (tmp_path / "model_0" / "grandmodel.mrc").unlink()
    assert read_training_volume(tmp_path / "model_0").density is None


def test_a_run_goes_on_with_its_own_data_alone(data, tmp_path):
    """Another tomogram is refused and nothing of the run's record changes; so are other settings."""
    output, common = tmp_path / "model.pt", ["--set", "patch=16", *SMALL]
    run(data / "model_0", "--output", output, "--steps", 2, *common)
    folder, kept = tmp_path / "model_localizer_run", ("settings.yaml", "training_data.yaml", "checkpoint.pt")
    before = [(folder / name).read_bytes() for name in kept]
    with pytest.raises(VoxpickError, match="began on other training data"):
        run(data / "model_1", "--output", output, "--steps", 2, "--resume", *common)
    with pytest.raises(VoxpickError, match="seed was 0, now 4"):
        run(data / "model_0", "--output", output, "--steps", 2, "--seed", 4, "--resume", *common)
    assert [(folder / name).read_bytes() for name in kept] == before
    assert yaml.safe_load((folder / "training_data.yaml").read_text())["names"] == ["model_0"]


def test_a_run_goes_on_with_its_own_validation_alone(data, tmp_path):
    output, common = tmp_path / "model.pt", ["--steps", 4, "--set", "patch=16", "--validation-side", 32, *SMALL]
    held_out = ["--validation", data / "model_2"]
    run(data / "model_0", "--output", output, *held_out, *common)
    before = output.read_bytes()
    for other in ([], ["--validation", data / "model_1"], [*held_out, "--validation-side", 30]):
        with pytest.raises(VoxpickError, match="the run began with another validation, or none"):
            run(data / "model_0", "--output", output, *common, *other, "--resume")
    assert output.read_bytes() == before
    run(data / "model_0", "--output", output, *held_out, *common, "--resume")
    record = tmp_path / "model_localizer_run" / "training_data.yaml"
    earlier = {key: value for key, value in yaml.safe_load(record.read_text()).items() if key in ("mark", "names")}
    record.write_text(yaml.safe_dump(earlier))  # as earlier versions wrote it
    result = run(data / "model_0", "--output", output, *common, "--resume")
    assert "the run's best score so far is dropped" in result.output
    assert load_models(output)["localizer"].provenance["best_step"] == 0


def test_a_tomogram_that_is_trained_on_cannot_be_validated_on(data, tmp_path):
    """Neither the folder of a given tomogram, nor a copy of a training folder, nor one of other voxels."""
    picks = ["--picks", tmp_path / "picks.csv", "--radius", 30]
    write_particles(tmp_path / "picks.csv", read_training_volume(data / "model_0").particles)
    common = ["--steps", 1, "--output", tmp_path / "model.pt", "--set", "patch=16", *SMALL]
    with pytest.raises(VoxpickError, match="is also training data; validate on a tomogram kept out"):
        run(data / "model_0" / "reconstruction.mrc", *picks, "--validation", data / "model_0", *common)
    shutil.copytree(data / "model_0", tmp_path / "copy")
    with pytest.raises(VoxpickError, match=r"copy: holds the same tomogram as .*model_0, which is training data"):
        run(data / "model_1", data / "model_0", "--validation", tmp_path / "copy", *common)
    shutil.copytree(data / "model_2", tmp_path / "coarse")
    for name in ("reconstruction", "occupancy_mask"):
        with mrcfile.open(tmp_path / "coarse" / f"{name}.mrc", mode="r+") as file:
            file.voxel_size = 14.0
    with pytest.raises(VoxpickError, match=r"coarse: voxels of 14 A, .* for 10 A; validate on a tomogram of the same"):
        run(data / "model_0", "--validation", tmp_path / "coarse", *common)
    assert not (tmp_path / "model.pt").exists()


def test_one_setting_keeps_the_others_of_a_settings_file(data, tmp_path):
    config = tmp_path / "settings.yaml"
    config.write_text(
        "method: umc\nsteps: 50\nminutes: null\nnetwork_settings: {filters: [4, 8]}\n"
        "options: {alpha: 0.4, beta: 0.6}\npatch: 16\n"
    )
    output = tmp_path / "umc.pt"
    run(data / "model_0", "--config", config, "--set", "options.alpha=0.3", "--set", "steps=2", "--output", output,
        "--threads", 1)  # fmt: skip
    settings = load_models(output)["segmenter"].provenance["settings"]
    assert (settings["options"]["alpha"], settings["options"]["beta"]) == (0.3, 0.6)
    assert settings["network_settings"]["filters"] == [4, 8] and (settings["steps"], settings["minutes"]) == (2, None)
    run(data / "model_0", "--config", config, "--minutes", 0.01, "--output", tmp_path / "timed.pt", "--threads", 1)
    settings = load_models(tmp_path / "timed.pt")["segmenter"].provenance["settings"]
    assert (settings["steps"], settings["minutes"]) == (None, 0.01)
    with pytest.raises(VoxpickError, match="give one budget, not minutes and steps"):
        run(data / "model_0", "--config", config, "--minutes", 1, "--set", "steps=2", "--output", output, "--overwrite")


def test_a_trained_stage_is_replaced_only_when_that_is_asked_for(data, tmp_path):
    output, common = tmp_path / "model.pt", ["--set", "patch=12", *SMALL]
    run(data / "model_0", "--output", output, "--steps", 2, *common)
    before = output.read_bytes()
    again = [data / "model_1", "--output", output, "--steps", 1, "--run-dir", tmp_path / "r2", *common]
    with pytest.raises(VoxpickError, match=r"model\.pt: holds a trained localizer already; give another --output"):
        run(*again)
    assert output.read_bytes() == before and not (tmp_path / "r2").exists()
    run(*again, "--overwrite")
    assert load_models(output)["localizer"].provenance["training_data"] == ["model_1"]


def test_structures_may_be_part_of_a_bank(data, tmp_path):
    """Numbers that a bank gives to structures that are not simulated are closed up; unnamed ones are refused."""
    shutil.copytree(data / "model_0", tmp_path / "model_0")
    mask = tmp_path / "model_0" / "class_mask.mrc"
    table = tmp_path / "model_0" / "particle_locations.txt"
    text = table.read_text().replace("3cf3", "mine").replace("1s3x", "yours")
    table.write_text(text)
    with mrcfile.open(mask, mode="r+") as file:
        before = file.data.copy()
        file.data[...] = np.array([0, 2, 5])[before]
    source = gather([tmp_path / "model_0"], picks=[], radius=[], partial=None)
    kept = []
    source.run(lambda volumes: kept.extend(volumes), checkpoint_seconds=1.0)
    assert source.classes == ["mine", "yours"] and np.array_equal(kept[0].class_mask, before)
    with mrcfile.open(mask, mode="r+") as file:
        file.data[0, 0, 0] = 3
    with pytest.raises(VoxpickError, match="no particle has class number 1"):
        gather([tmp_path / "model_0"], picks=[], radius=[], partial=None)


def test_a_detection_that_fails_ends_the_training(data, tmp_path, monkeypatch):
    """Too much foreground counts as nothing found; lack of memory, or NaN, is no score."""
    common = [data / "model_0", *UMC, "--validation", data / "model_2", "--validation-side", 32, "--steps", 1]
    common += ["--threads", 1]

    def raising(error):
        def detect(*given, **options):
            raise error

        monkeypatch.setattr("voxpick.methods.umc.detect", detect)

    raising(TooMuchForeground("detect: 99% of the volume"))
    run(*common, "--output", tmp_path / "a.pt")
    assert load_models(tmp_path / "a.pt")["segmenter"].provenance["best_validation_score"] == 0
    raising(VoxpickError("the network's output is not finite"))
    with pytest.raises(VoxpickError, match="the network's output is not finite"):
        run(*common, "--output", tmp_path / "b.pt")


def test_picks_without_names_can_be_validated(data, tmp_path):
    """Their class is called 'particle', as what VP-Detector's localizer finds is."""
    truth = read_training_volume(data / "model_0").particles
    write_particles(tmp_path / "picks.csv", Particles(truth.centers_zyx))
    shutil.copytree(data / "model_2", tmp_path / "held_out")
    network = ["--set", "network_settings={stem: 4, widths: [8, 12], blocks: [1, 1]}", "--set", "patch=16"]
    run_train(
        data / "model_0" / "reconstruction.mrc", "--picks", tmp_path / "picks.csv", "--radius", 30,
        "--validation", tmp_path / "held_out", "--validation-side", 32, "--steps", 2, "--threads", 1,
        "--output", tmp_path / "mine.pt", *network,
    )  # fmt: skip
    assert load_models(tmp_path / "mine.pt")["picker"].classes == ["background", "particle"]
    with (tmp_path / "mine_picker_run" / "log.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["validation_score"]][-1]
    assert last["validation_score"] == last["validation_f1"], "there are no names to be right about"


def test_two_trainings_with_one_output_lose_nothing(data, tmp_path, monkeypatch):
    """What the second to end finds there, of another method or the same stage, stays; its own goes beside it."""
    output = tmp_path / "m.pt"
    common = [data / "model_0", "--output", output, "--steps", 1, "--set", "patch=16", *SMALL]

    def fit_as_before(*arguments, **options):
        monkeypatch.setattr("voxpick.methods.vp_detector.fit", fit)
        return fit(*arguments, **options)

    def fit_while_another_ends(*arguments, **options):
        fitted = fit_as_before(*arguments, **options)
        run(*common, "--run-dir", tmp_path / "other", "--seed", 1)
        return fitted

    monkeypatch.setattr("voxpick.methods.vp_detector.fit", fit_while_another_ends)
    result = run(*common)
    first, beside = load_models(output)["localizer"], load_models(tmp_path / "m_vp-detector_localizer.pt")["localizer"]
    assert (first.provenance["settings"]["seed"], beside.provenance["settings"]["seed"]) == (1, 0)
    assert "m_vp-detector_localizer.pt instead" in result.output


def test_a_stage_does_not_go_on_where_the_one_before_it_has_changed(data, tmp_path):
    output = tmp_path / "dn.pt"
    common = [data / "model_0", "--method", "dn3dunet", "--output", output, "--threads", 1]
    denoiser = ["--set", "network_settings={depth: 3, width: 4}", "--set", "patch=16"]
    segmenter = ["--stage", "segmenter", "--set", "patch=16", "--set", "network_settings={width: 4, levels: 2}"]
    run(*common, *denoiser, "--steps", 1)
    run(*common, *segmenter, "--steps", 2)
    run(*common, *segmenter, "--steps", 2, "--resume")
    run(*common, *denoiser, "--steps", 2, "--overwrite", "--run-dir", tmp_path / "again")
    with pytest.raises(VoxpickError, match="an earlier stage, which was trained anew since"):
        run(*common, *segmenter, "--steps", 2, "--resume")


def test_a_stage_can_be_trained_anew_in_the_same_place(data, tmp_path):
    common = [data / "model_0", "--output", tmp_path / "model.pt", "--set", "patch=16", *SMALL]
    assert "scores go to" in run(*common, "--steps", 2).output
    with pytest.raises(VoxpickError, match="holds a trained localizer already"):
        run(*common, "--steps", 1, "--seed", 1)
    assert "scores go to" not in run(*common, "--steps", 1, "--seed", 1, "--overwrite").output
    assert load_models(tmp_path / "model.pt")["localizer"].provenance["steps"] == 1
    assert not (tmp_path / "model_localizer_run" / "log.csv").exists(), "one step is not logged, two had been"
    (tmp_path / "model.pt").unlink()
    with pytest.raises(VoxpickError, match="go on from it with --resume, drop it by --overwrite"):
        run(*common, "--steps", 1)


def test_radii_for_all_classes_are_not_of_background_picks(data, tmp_path):
    """These are as wide as --partial, or as their own --radius says."""
    centers = np.array([[60.0, 60, 60], [200, 280, 360]])
    write_particles(tmp_path / "p.csv", Particles(centers, np.array(["a", "background"], dtype=object)))
    tomogram = data / "model_0" / "reconstruction.mrc"
    known = {}
    for radius in ([], ["background=30"], ["background=60"]):
        source = gather([tomogram], picks=[tmp_path / "p.csv"], radius=["50", *radius], partial=30.0)
        known[tuple(radius)] = source.marks["labels"]
    assert known[()] == known[("background=30",)] != known[("background=60",)]


def test_a_trained_stage_is_written_even_where_another_process_holds_the_folder(data, tmp_path, monkeypatch):
    free = alone.alone_in

    @contextmanager
    def held(folder, *, use, patience=None):
        if use == "writes":
            raise VoxpickError(f"{folder}: another process detects there")
        with free(folder, use=use, patience=patience):
            yield

    monkeypatch.setattr(alone, "alone_in", held)
    result = run(data / "model_0", "--output", tmp_path / "m.pt", "--steps", 1, "--set", "patch=16", *SMALL)
    assert "another process detects there; written to" in result.output and not (tmp_path / "m.pt").exists()
    assert list(load_models(tmp_path / "m_vp-detector_localizer.pt")) == ["localizer"]
