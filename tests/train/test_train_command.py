"""voxpick train, on toy folders."""

import csv

import pytest
import torch
import typer
import yaml
from toy_models import write_toy_model
from typer.testing import CliRunner

from voxpick.cli import train as command
from voxpick.errors import VoxpickError
from voxpick.io.model import load_models
from voxpick.train.fit import fit

SMALL = ["--threads", "1", "--set", "network_settings.depth=4", "--set", "log_steps=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for k in range(3):
        write_toy_model(folder / f"model_{k}", seed=k)
    return folder


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


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
