"""voxpick zoo and voxpick calibrate, on toy folders."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
import typer
import yaml
from scipy.ndimage import gaussian_filter
from toy_models import write_toy_model
from typer.testing import CliRunner

from voxpick.cli import calibrate, zoo, zoo_specimens
from voxpick.cli.simulation_notes import NOISE
from voxpick.cli.training_data import read_training_volume
from voxpick.cli.training_marks import data_mark, validation_mark
from voxpick.cli.zoo_card import card_of
from voxpick.cli.zoo_specimens import SEEDS, Specimens, make_specimens
from voxpick.cli.zoo_training import VALIDATION_SIDE, Plan, train_stages
from voxpick.errors import VoxpickError
from voxpick.io.alone import alone_in
from voxpick.io.model import builtin_models, load_models, save_models, stored_dtype
from voxpick.simulate.shrec20 import Recipe

SMALL = {
    "network_settings": {"filters": [8, 12], "bottom": 2}, "patch": 16, "batch": 4, "learning_rate": 0.02, "steps": 12,
    "log_steps": 2, "checkpoint_seconds": 0.0, "validate_steps": 6,
}  # fmt: skip
TINY = [text for key, value in SMALL.items() for text in ("--set", f"{key}={value}")]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def specimens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("specimens")
    paths = {"training": [], "validation": [], "test": []}
    for k, role in enumerate(["training", "training", "validation", "test", "test"]):
        paths[role].append(folder / role / f"model_{len(paths[role])}")
        write_toy_model(paths[role][-1], seed=k)
        (paths[role][-1] / "simulation.yaml").write_text(f"seed: {k}\n")
    return Specimens(**paths, about=["toys, seeds 0 to 4"])


def run(command, *arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def plan(**changes):
    return Plan("deepfinder", "minutes", None, 0, 2**24, False, {**SMALL, **changes})


def stopping_after(times):
    calls = iter(range(10_000))
    return lambda: next(calls) >= times


def test_a_model_from_specimens_to_card_in_two_sittings(specimens, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(zoo_specimens, "make_specimens", lambda *given, **how: asked.append(how) or specimens)
    common = ["zoo", "train", "deepfinder", "--output", tmp_path, "--device", "cpu", "--threads", 1, *TINY]
    first = run(zoo, *common, "--stop-after", 0)
    assert first.exit_code == 0 and not (tmp_path / "deepfinder.pt").exists()
    assert {key: asked[0][key] for key in ("training", "size", "device")} == {
        "training": 8, "size": (200, 128, 512), "device": "cpu",
    }  # fmt: skip
    done = run(zoo, *common, "--resume")
    assert "over 2 test specimens; card in deepfinder.md" in done.output
    ((stage, model),) = load_models(tmp_path / "deepfinder.pt").items()
    tested = model.provenance["evaluation"]
    assert (stage, model.provenance["steps"]) == ("segmenter", 12) and len(tested["tests"]) == 2
    f1 = [row["table3"]["F1"] for row in tested["tests"]]
    assert tested["summary"]["F1"]["mean"] == pytest.approx(np.mean(f1), abs=1e-4)
    assert tested["summary"]["F1"]["spread"] == pytest.approx(np.std(f1, ddof=1), abs=1e-4)
    card = (tmp_path / "deepfinder.md").read_text()
    assert "# Model card: deepfinder" in card and "- toys, seeds 0 to 4" in card and "BSD 3-Clause" in card
    assert "| steps x batch x patch | 12 x 4 x 16^3 |" in card and "| F1, published | 0.610 | 0.729 |" in card
    assert run(zoo, "zoo", "card", tmp_path / "deepfinder.pt").output == card
    assert (tmp_path / "deepfinder" / "segmenter" / "checkpoint.pt").stat().st_size < 2**24
    with pytest.raises(VoxpickError, match="exists already; go on with its run by --resume"):
        run(zoo, *common)


def test_stopped_and_resumed_gives_the_same_weights(specimens, tmp_path):
    device = torch.device("cpu")
    assert train_stages(plan(), specimens, tmp_path / "whole", resume=False, device=device, stop=lambda: False)
    stop = stopping_after(7)
    assert not train_stages(plan(), specimens, tmp_path / "parts", resume=False, device=device, stop=stop)
    assert not (tmp_path / "parts" / "model.pt").exists()
    assert train_stages(plan(), specimens, tmp_path / "parts", resume=True, device=device, stop=lambda: False)
    whole, parts = (
        load_models(tmp_path / name / "model.pt")["segmenter"].network.state_dict() for name in ("whole", "parts")
    )
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


@pytest.fixture
def simulated(specimens, tmp_path):
    """One specimen to train on and one to validate, with the notes of the simulation."""
    found = {"training": specimens.training[0], "validation": specimens.validation[0]}
    for seed, (role, path) in enumerate(found.items()):
        found[role] = Path(shutil.copytree(path, tmp_path / "data" / role / "model_0"))
        notes = {"seed": seed, "model": 0, "recipe": {"size_zyx": [30, 40, 50], "snr": 0.1}, "bank": "abc"}
        (found[role] / "simulation.yaml").write_text(yaml.safe_dump({**notes, NOISE: "cpu"}))
    return replace(specimens, training=[found["training"]], validation=[found["validation"]])


def made_elsewhere(folder):
    """As another processor rounds."""
    with mrcfile.open(folder / "reconstruction.mrc", mode="r+") as file:
        file.set_data(file.data * np.float32(1 + 1e-5))


def test_a_run_goes_on_with_specimens_that_another_machine_made_again(simulated, tmp_path):
    """It was refused, as the last bits of their intensities were not the same."""
    device, work = torch.device("cpu"), tmp_path / "work"
    assert not train_stages(plan(), simulated, work, resume=False, device=device, stop=stopping_after(3))
    for folder in (*simulated.training, *simulated.validation):
        made_elsewhere(folder)
    assert not train_stages(plan(), simulated, work, resume=True, device=device, stop=stopping_after(3))
    for role, message in (("validation", "with another validation"), ("training", "on other training data")):
        notes = getattr(simulated, role)[0] / "simulation.yaml"
        before = notes.read_text()
        notes.write_text(before.replace("seed: ", "seed: 7"))
        with pytest.raises(VoxpickError, match=message):
            train_stages(plan(), simulated, work, resume=True, device=device, stop=lambda: False)
        notes.write_text(before)
    assert train_stages(plan(), simulated, work, resume=True, device=device, stop=lambda: False)


@pytest.mark.parametrize("change", ["another", "inverted", "filtered"])
@pytest.mark.parametrize("role", ["training", "validation"])
def test_a_run_does_not_go_on_with_another_tomogram_beside_the_notes(specimens, simulated, tmp_path, role, change):
    """Only the notes were compared, so that it went on with whatever lay beside them."""
    device, work, folder = torch.device("cpu"), tmp_path / "work", getattr(simulated, role)[0]
    assert not train_stages(plan(), simulated, work, resume=False, device=device, stop=stopping_after(3))
    file, before = folder / "reconstruction.mrc", (folder / "reconstruction.mrc").read_bytes()
    if change == "another":
        shutil.copy(specimens.test[0] / "reconstruction.mrc", file)
    else:
        with mrcfile.open(file, mode="r+") as volume:
            volume.set_data(-volume.data if change == "inverted" else gaussian_filter(volume.data, 1))
    with pytest.raises(VoxpickError, match=f"in the {role} folder.* is not the one that the run began with"):
        train_stages(plan(), simulated, work, resume=True, device=device, stop=lambda: False)
    file.write_bytes(before)
    assert train_stages(plan(), simulated, work, resume=True, device=device, stop=lambda: False)


def test_a_run_whose_data_an_earlier_version_marked_by_content_goes_on(simulated, tmp_path):
    device, work = torch.device("cpu"), tmp_path / "work"
    assert not train_stages(plan(), simulated, work, resume=False, device=device, stop=stopping_after(3))
    file, volumes = work / "segmenter" / "training_data.yaml", map(read_training_volume, simulated.training)
    marks = {"mark": data_mark(list(volumes))}
    marks["validation"] = validation_mark(read_training_volume(simulated.validation[0]), side=VALIDATION_SIDE)
    written = yaml.safe_load(file.read_text())
    assert all(written[key] != mark for key, mark in marks.items())
    file.write_text(yaml.safe_dump({**written, **marks}))
    made_elsewhere(simulated.training[0])
    with pytest.raises(VoxpickError, match="on other training data"):
        train_stages(plan(), simulated, work, resume=True, device=device, stop=lambda: False)
    file.write_text(yaml.safe_dump({**written, "validation": marks["validation"]}))
    assert train_stages(plan(), simulated, work, resume=True, device=device, stop=lambda: False)


def test_a_run_that_is_late_leaves_calibration_and_tests_to_the_next(specimens, tmp_path, monkeypatch):
    """They took minutes more than --stop-after allowed, at the end of which a leased machine is gone."""
    monkeypatch.setattr(zoo_specimens, "make_specimens", lambda *given, **how: specimens)
    work, device = tmp_path / "deepfinder", torch.device("cpu")
    assert train_stages(plan(), specimens, work, resume=False, device=device, stop=lambda: False)
    common = ["zoo", "train", "deepfinder", "--output", tmp_path, "--device", "cpu", "--threads", 1, *TINY, "--resume"]
    late = run(zoo, *common, "--stop-after", 1e-9)
    assert late.exit_code == 0 and "trained; stopped before calibration and tests; go on with --resume" in late.output
    assert not (tmp_path / "deepfinder.pt").exists()
    assert "card in deepfinder.md" in run(zoo, *common).output


def test_a_run_is_resumed_on_its_own_specimens_alone(specimens, tmp_path):
    device, stop = torch.device("cpu"), stopping_after(3)
    assert not train_stages(plan(), specimens, tmp_path / "work", resume=False, device=device, stop=stop)
    fewer = replace(specimens, training=specimens.training[:1])
    with pytest.raises(VoxpickError, match="the run began on other training data"):
        train_stages(plan(), fewer, tmp_path / "work", resume=True, device=device, stop=lambda: False)
    other = replace(specimens, validation=specimens.test[:1])
    with pytest.raises(VoxpickError, match="the run began with another validation"):
        train_stages(plan(), other, tmp_path / "work", resume=True, device=device, stop=lambda: False)


def test_a_refused_run_keeps_its_settings(specimens, tmp_path):
    """They were those of the refused call, by which --config would have repeated another run."""
    device, work = torch.device("cpu"), tmp_path / "work"
    assert not train_stages(plan(), specimens, work, resume=False, device=device, stop=stopping_after(3))
    settings = work / "segmenter" / "settings.yaml"
    before = settings.read_text()
    with pytest.raises(VoxpickError, match="batch was 4, now 2"):
        train_stages(plan(batch=2), specimens, work, resume=True, device=device, stop=lambda: False)
    assert settings.read_text() == before
    assert train_stages(plan(log_steps=3), specimens, work, resume=True, device=device, stop=lambda: False)
    assert yaml.safe_load(settings.read_text())["log_steps"] == 3


def test_a_trained_stage_is_kept_under_its_own_options_alone(specimens, tmp_path):
    """It was taken for one of the present options, and the card then told these."""
    device, go_on = torch.device("cpu"), {"resume": True, "device": torch.device("cpu"), "stop": lambda: False}
    made, work = plan(steps=2, validate_steps=None), tmp_path / "work"
    assert train_stages(made, specimens, work, resume=False, device=device, stop=lambda: False)
    assert train_stages(replace(made, limit=2**20), specimens, work, **go_on)
    assert train_stages(plan(steps=2, log_steps=3), specimens, work, **go_on)
    for other, told in (
        (replace(made, seed=4), "seed = 0 (now 4)"),
        (plan(steps=3), "steps = 2 (now 3)"),
        (replace(made, minutes=5.0, changes={**SMALL, "steps": None}), "minutes = None (now 5.0), steps = 2 ("),
        (replace(made, stream=True), "stream = {} (now "),
    ):
        said = rf"model.pt: its segmenter was trained with .*{re.escape(told)}.*--output"
        with pytest.raises(VoxpickError, match=said):
            train_stages(other, specimens, work, **go_on)
    fewer = replace(specimens, training=specimens.training[:1])
    with pytest.raises(VoxpickError, match=r"with specimens = 2 \(now 1\); go on with the same options"):
        train_stages(made, fewer, work, **go_on)


def test_a_model_has_its_name_once_it_is_tested(specimens, tmp_path, monkeypatch):
    """A kill in between left one that is not calibrated."""
    monkeypatch.setattr(zoo_specimens, "make_specimens", lambda *given, **how: specimens)
    monkeypatch.setattr("voxpick.cli.zoo_scores.tested", lambda *given, **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(zoo, "zoo", "train", "deepfinder", "--output", tmp_path, "--device", "cpu", "--threads", 1, *TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["deepfinder"]


def test_specimens_are_made_by_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("voxpick.io.alone.PATIENCE_SECONDS", 0.0)
    with alone_in(tmp_path, use="trains"), pytest.raises(VoxpickError, match="another process makes specimens"):
        make_specimens(tmp_path, training=1, size=(12, 20, 28), device="cpu", stop=lambda: True)


SIMULATED = ("Trained on simulated data only", "Membranes, filaments", "Licence: BSD")


def test_a_card_says_simulated_only_where_provenance_does():
    models = load_models(builtin_models()["deepfinder"])
    (model,) = models.values()
    shipped = dict(model.provenance)
    assert all(line in card_of("x", models) for line in SIMULATED)
    for made in ({"training_data": ["TS_01.mrc"]}, {"training_data": ["TS_01.mrc"], "simulated": False}):
        model.provenance = {"method": "deepfinder", **made, "started_from": shipped}
        text = card_of("x", models)
        assert not any(line in text for line in SIMULATED) and "It knows 12 complexes" in text
    model.provenance = {"method": "deepfinder", "training_data": ["model_0"], "simulated": True}
    assert all(line in card_of("x", models) for line in SIMULATED)
    model.provenance["started_from"] = {"training_data": ["TS_01.mrc"], "simulated": False}
    assert not any(line in card_of("x", models) for line in SIMULATED)


def test_minutes_are_shared_by_the_stages():
    both = Plan("vp-detector", "minutes", 30.0, 5, 2**24, False, {})
    assert [both.settings(stage).minutes for stage in ("localizer", "classifier")] == [15.0, 15.0]
    assert both.settings("classifier").seed == 5
    assert Plan("umc", "paper", None, 0, 2**24, False, {}).settings("segmenter").epochs == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["yopo"], "no zoo model 'yopo'; one of voxpick, vp-detector, deepfinder, umc"),
        (["umc", "--set", "patches=3"], "unknown key 'patches'"),
        (["umc", "--preset", "magic"], "preset is 'magic'"),
        (["umc", "--size", "20,30"], "give three whole numbers"),
    ],
)
def test_bad_requests_come_before_any_simulation(tmp_path, arguments, message):
    with pytest.raises(VoxpickError, match=message):
        run(zoo, "zoo", "train", *arguments, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_no_run_here_made_is_kept(tmp_path):
    (tmp_path / "deepfinder.pt").write_text("mine")
    with pytest.raises(VoxpickError, match=r"deepfinder\.pt: exists already; go on with its run by --resume"):
        run(zoo, "zoo", "train", "deepfinder", "--output", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["deepfinder.pt"]


@pytest.mark.parametrize("suffix", [".pt", ".md"])
def test_resuming_no_run_replaces_nothing(tmp_path, monkeypatch, suffix):
    """With --resume whatever was called like the model was replaced, though no run had begun, or come to a model."""
    monkeypatch.setattr(zoo_specimens, "make_specimens", lambda *given, **how: None)
    (tmp_path / f"umc{suffix}").write_text("mine")
    words = ["zoo", "train", "umc", "--output", tmp_path, "--device", "cpu", "--resume"]
    with pytest.raises(VoxpickError, match=rf"umc\{suffix}: exists already; and no run in .*umc made it; move it"):
        run(zoo, *words)
    (tmp_path / "umc" / "segmenter").mkdir(parents=True)
    (tmp_path / "umc" / "segmenter" / "checkpoint.pt").touch()
    with pytest.raises(VoxpickError, match="and no run in"):
        run(zoo, *words)
    (tmp_path / "umc" / "model.pt").touch()
    assert run(zoo, *words).exit_code == 0
    assert (tmp_path / f"umc{suffix}").read_text() == "mine"


def test_specimens_are_made_once_and_not_mixed(tmp_path, monkeypatch):
    made = []

    def simulate(bank, recipe, *, seed, device, progress):
        made.append((recipe.size_zyx, seed))
        return recipe

    def write(path: Path, simulation, ids, *, provenance, overwrite):
        path.mkdir(parents=True)
        (path / "simulation.yaml").write_text(yaml.safe_dump(provenance))

    monkeypatch.setattr("voxpick.simulate.shrec20.simulate_shrec20", simulate)
    monkeypatch.setattr("voxpick.cli.simulation_folders.write_simulation", write)
    found = make_specimens(tmp_path, training=2, size=(12, 20, 28), device="cpu")
    assert [len(paths) for paths in (found.training, found.validation, found.test)] == [2, 1, 3]
    assert len(made) == 6 and len({seed for _, seed in made}) == 6 and len(set(SEEDS.values())) == 3
    expected = int(np.random.SeedSequence([SEEDS["test"], 2]).generate_state(1)[0])
    assert made[5] == ((12, 20, 28), expected)
    assert found.about[0].startswith("training: 2 simulated specimens of 28 x 20 x 12 voxels")
    again = make_specimens(tmp_path, training=1, size=(12, 20, 28), device="cuda")
    assert len(made) == 6 and again.training == found.training[:1]
    assert all(line.endswith("of `voxpick simulate shrec20`, noise drawn on cpu") for line in again.about)
    with pytest.raises(VoxpickError, match=r"model_0: is not the specimen .*remove it, or give another --data"):
        make_specimens(tmp_path, training=1, size=(12, 20, 36), device="cpu")
    assert Recipe(size_zyx=(12, 20, 28)).snr == 0.004
    assert (
        make_specimens(tmp_path / "late", training=2, size=(12, 20, 28), device="cpu", stop=stopping_after(2)) is None
    )
    assert len(made) == 8  # two more, and asked before each
    late = make_specimens(tmp_path, training=2, size=(12, 20, 28), device="cpu", stop=lambda: True)
    assert late == found  # what is there needs no time


def test_a_run_stopped_during_simulation_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo_specimens, "make_specimens", lambda *given, stop, **how: None if stop() else 1 / 0)
    result = run(zoo, "zoo", "train", "umc", "--output", tmp_path, "--device", "cpu", "--stop-after", 1e-9)
    assert result.exit_code == 0 and "stopped before all specimens were made; go on with --resume" in result.output


def test_the_package_is_listed_with_what_each_model_holds():
    output = run(zoo, "zoo", "list").output
    assert builtin_models()
    for name, path in builtin_models().items():
        row = next(line for line in output.splitlines() if line.split("│")[1:2] and f" {name} " in line)
        cells = [cell.strip() for cell in row.split("│")[1:-1]]
        models = load_models(path)
        assert cells[2] == ", ".join(models) and cells[4] == f"{next(iter(models.values())).voxel_size:g}"
        assert float(cells[5]) == pytest.approx(path.stat().st_size / 1e6, abs=0.06)


def test_a_card_can_be_written(tmp_path):
    words = ["zoo", "card", "vp-detector", "--output", tmp_path / "card.md"]
    (tmp_path / "card.md").write_text("mine")
    with pytest.raises(VoxpickError, match=r"card\.md: exists already; add --overwrite"):
        run(zoo, *words)
    assert (tmp_path / "card.md").read_text() == "mine"
    run(zoo, *words, "--overwrite")
    text = (tmp_path / "card.md").read_text()
    models = load_models(builtin_models()["vp-detector"])
    minutes = [models[stage].provenance["minutes"] for stage in ("localizer", "classifier")]
    assert f"| minutes | {minutes[0]:.5g} | {minutes[1]:.5g} |" in text and "## Limits" in text


def test_calibrate_writes_maps_into_the_model(specimens, tmp_path):
    assert train_stages(
        plan(steps=30), specimens, tmp_path / "work", resume=False, device=torch.device("cpu"), stop=lambda: False
    )
    file = tmp_path / "mine.pt"
    save_models(file, load_models(tmp_path / "work" / "model.pt"), dtype=torch.float16)
    result = run(
        calibrate, "calibrate", file, *specimens.training, "--aim", "named", "--threshold", 0.55, "--threads", 1
    )
    assert "scores are calibrated on" in result.output and "named:" in result.output
    model = load_models(file)["segmenter"]
    assert stored_dtype(file) == torch.float16 and model.detection["threshold"] == 0.55
    assert model.detection["calibration"]["kind"] == model.detection["location_calibration"]["kind"] == "platt"
    assert set(model.detection["class_thresholds"]) == {"3cf3", "1s3x"}
    told = model.provenance["calibration"]
    assert told["data"] == ["model_0", "model_1"] and told["picks"] == model.detection["calibration"]["picks"]
    said = re.search(r"localisation F1 on these tomograms: ([\d.]+) before, ([\d.]+) after", result.output)
    assert [told["f1_before"], told["f1_after"]] == pytest.approx([float(n) for n in said.groups()], abs=1e-3)
    assert told["aim"] == "named"
    with pytest.raises(VoxpickError, match="--aim is 'best'; choose one of located, named, none"):
        run(calibrate, "calibrate", file, specimens.training[0], "--aim", "best")
