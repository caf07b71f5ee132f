import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import typer
import yaml

from voxpick.benchmark.abilities import abilities
from voxpick.benchmark.plan import check, described, stage_minutes, stages_to_train
from voxpick.benchmark.settings import load_settings, model_file
from voxpick.cli import build_app
from voxpick.errors import VoxpickError
from voxpick.io.model import builtin_models, load_models, save_models
from voxpick.io.mrc import write_mrc

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "shrec20"
VP = {"vp": {"method": "vp-detector"}}


SEEDS = {"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"seed": 3}}


@pytest.mark.parametrize("sets, complaint", [
    ({"training": {"seed": 1, "sed": 2}}, "unknown key 'data.training.sed'"),
    ({"test": {"seed": 1}}, "seed 1 is in training and in test"),
    ({"validation": {"seed": 1}}, "seed 1 is in training and in validation"),
    ({"training": {"folders": ["a/b"]}, "test": {"folders": ["c", "a//b"]}}, "a//b is in training and in test"),
    ({"training": {"seed": 1, "recipe": {"snrr": 1}}}, "snrr"),
    ({"training": {"seed": 1, "folders": ["a"]}}, "either folders or a seed"),
    ({"validation": {"seed": 2, "models": 2}}, "exactly one tomogram"),
])  # fmt: skip
def test_refused_data(bench, sets, complaint):
    bench.settings(VP, data={**SEEDS, **sets})
    with pytest.raises(VoxpickError, match=complaint):
        load_settings(bench.root / "settings")


@pytest.mark.parametrize("changes, complaint", [
    ({"minute": 3}, "unknown key 'minute'"),
    ({"sweep": {"seed": 3, "snr": [0.1]}}, "seed 3 is in test as well"),
    ({"sweep": {"seed": 4, "snr": [0.1, 0.1]}}, "differ from each other"),
    ({"sweep": {"seed": 4, "tilt_limit": [50, 95]}}, "sweep: recipe: tilt_limit = 95.0: Input should be less than 90"),
    ({"seeds": [1, 1]}, "each once"),
    ({"order": ["x"]}, "no entry 'x'"),
])  # fmt: skip
def test_refused_benchmarks(bench, changes, complaint):
    bench.settings(VP, **changes)
    with pytest.raises(VoxpickError, match=complaint) as caught:
        load_settings(bench.root / "settings")
    assert "benchmark.yaml" in str(caught.value)


@pytest.mark.parametrize("entry, complaint", [
    ({"method": "umc", "colour": 1}, "unknown key 'colour'"),
    ({"method": "umc", "training": [3]}, "numbered from 1 to 2"),
    ({"method": "umc", "localizer": "zz"}, "needs the entry 'zz'"),
    ({"method": "umc", "model": "a.pt", "model_of": "vp"}, "one of model, model_of and localizer"),
    ({"method": "umc", "model_of": "vp", "changes": {"segmenter": {}}}, "takes no changes"),
    ({"method": "umc", "title": "vp"}, "is that of"),
])  # fmt: skip
def test_refused_entries(bench, entry, complaint):
    bench.settings({**VP, "one": entry})
    with pytest.raises(VoxpickError, match=complaint):
        load_settings(bench.root / "settings")


@pytest.mark.parametrize("entries, complaint", [
    ({"one": {"method": "bogus"}}, r"one\.yaml: unknown method 'bogus'"),
    ({"one": {"method": "umc", "changes": {"localizer": {}}}}, "no stage 'localizer'"),
    ({"one": {"method": "densenet"}}, "only names particles"),
    ({"one": {"method": "densenet", "classifier": "vp"}, **VP}, "nothing to train here"),
    ({"one": {"method": "template", "changes": {"localizer": {}}}}, "no stage 'localizer' to train"),
    ({"one": {"method": "template", "model": "a.pt"}}, "template learns nothing"),
    ({"one": {"method": "template", "localizer": "vp"}, **VP}, "template learns nothing"),
    ({"one": {"method": "umc", "model_of": "tm"}, "tm": {"method": "template"}}, "'tm' finds without a model"),
    ({"one": {"method": "umc", "localizer": "vp"}, **VP}, "umc has no classifier to train"),
    ({"one": {"method": "umc", "classifier": "tm"}, "tm": {"method": "template"}}, "'tm' has no classifier"),
    ({"one": {"method": "umc", "classifier": "two"}, "two": {"method": "bogus"}}, r"two\.yaml: unknown method 'bogus'"),
    ({"one": {"method": "densenet", "localizer": "two"}, "two": {"method": "yopo"}}, "trained for all 10 minutes"),
    ({"one": {"method": "umc", "detection": {"tresh": 0.5}}}, r"one\.yaml: detection: tresh: unknown"),
    ({"one": {"method": "umc", "detection": {"subtomogram": 8}}}, "subtomogram: unknown"),
    ({"one": {"method": "umc", "paper_detection": True}}, "umc has no steps beside its usual ones"),
    ({"one": {"method": "vp-detector", "split": {"localizer": 1}}}, "give a share to each"),
    ({"one": {"method": "umc", "changes": {"segmenter": {"seed": 7}}}}, "seed is no change .* names the seeds"),
    ({"one": {"method": "umc", "changes": {"segmenter": {"stream": {"pool": 2}}}}}, "stream is no change"),
    ({"one": {"method": "umc", "changes": {"segmenter": {"stage": "x"}}}}, "stage is no change"),
    ({"one": {"method": "umc", "classifier": "two"}, "two": {"method": "umc", "classifier": "one"}}, "need each other"),
    ({"one": {"method": "umc", "classifier": "two"}, "two": {"method": "umc"}}, "'two' has no classifier"),
])  # fmt: skip
def test_refused_before_anything_runs(bench, entries, complaint):
    bench.settings(entries)
    with pytest.raises(VoxpickError, match=complaint):
        bench.run()
    assert bench.calls() == []


def model_folder(path, *, voxel_size, fill=0):
    """A folder that is taken for a tomogram with truth; a voxel size of 0 is one that the header does not tell."""
    path.mkdir(parents=True)
    (path / "particle_locations.txt").write_text(f"particles {fill}")
    write_mrc(path / "occupancy_mask.mrc", np.full((2, 3, 4), fill, dtype=np.int8), voxel_size=1)  # unset
    write_mrc(path / "reconstruction.mrc", np.full((2, 3, 4), fill, dtype=np.float32), voxel_size=10)
    with mrcfile.open(path / "reconstruction.mrc", mode="r+") as file:
        file.voxel_size = voxel_size


def test_given_folders_are_detected_at_the_voxel_size_they_are_scored_at(bench):
    """SHREC'20 as published says 0 or 1 A and means 10; equal names of folders are numbered."""
    for k, (path, voxel_size) in enumerate((("a/test/model_0", 1), ("b/test/model_0", 0), ("c/test/model_0", 14))):
        model_folder(bench.root / path, voxel_size=voxel_size, fill=k)
    folders = [f"../{name}/test/model_0" for name in "abc"]
    data = {"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"folders": folders}}
    bench.settings({"umc": {"method": "umc"}, "dog": {"method": "blobs"}}, data=data)
    results = bench.run()
    names = ["test_test_model_0", "test_test_model_0_2", "test_test_model_0_3"]
    assert [test["tomogram"] for test in results["umc"]["tests"]] == names
    calls = [call for call in bench.calls() if call[0] in ("detect", "match")]
    assert [call[call.index("--voxel-size") + 1] for call in calls] == ["10", "10", "14"] * 2
    assert [Path(call[call.index("--output") + 1]).name for call in calls] == names * 2
    parsed(calls[0])
    parsed(calls[-1])


def test_missing_folders_are_refused_before_anything_runs(bench):
    bench.settings(VP, data={"training": {"seed": 1}, "validation": {"seed": 2}, "test": {"folders": ["../gone"]}})
    with pytest.raises(VoxpickError, match=r"gone: holds no particle_locations\.txt; test takes model folders"):
        bench.run()
    assert bench.calls() == []


def test_a_model_is_found_from_the_settings_folder(bench):
    (bench.root / "settings").mkdir()
    shutil.copy(builtin_models()["deepfinder"], bench.root / "settings" / "mine.pt")
    given = {"file": {"method": "deepfinder", "model": "mine.pt"}, "zoo": {"method": "umc", "model": "deepfinder"}}
    bench.settings({"file": given["file"]})
    check(load_settings(bench.root / "settings"), abilities(), bench.root / "settings")
    for entry, complaint in (
        (given["zoo"], r"zoo\.yaml: model .*deepfinder.*: is of deepfinder, not of umc"),
        ({"method": "umc", "model": "gone.pt"}, r"zoo\.yaml: model gone\.pt: no such file"),
    ):
        bench.settings({"zoo": entry})
        with pytest.raises(VoxpickError, match=complaint):
            check(load_settings(bench.root / "settings"), abilities(), bench.root / "settings")


def test_a_given_model_lends_its_classifier_where_it_has_one(bench):
    """It was refused, as its entry trains none."""
    (bench.root / "settings").mkdir()
    parts = load_models(builtin_models()["vp-detector"])
    save_models(bench.root / "settings" / "finds.pt", {"localizer": parts["localizer"]})
    entries = {"shipped": {"method": "vp-detector", "model": "vp-detector"}}
    entries["umc"] = {"method": "umc", "model": "umc", "classifier": "shipped"}
    entries["tm"] = {"method": "tm-f", "classifier": "shipped", "detection": {"angular_step": 30, "subtomogram": 16}}
    bench.settings(entries)
    check(load_settings(bench.root / "settings"), abilities(), bench.root / "settings")
    bench.settings({**entries, "shipped": {"method": "vp-detector", "model": "finds.pt"}})
    with pytest.raises(VoxpickError, match=r"\.yaml: model .*finds\.pt: holds no classifier \(it has: localizer\)"):
        check(load_settings(bench.root / "settings"), abilities(), bench.root / "settings")


def test_what_a_finder_was_given_by_its_changes_counts(bench):
    """A stage called 'classifier' finds where it is the only one: its minutes were not counted, nor any of changes."""
    finder = {"method": "yopo", "changes": {"classifier": {"minutes": 4}}}
    bench.settings({"yopo": finder, "named": {"method": "densenet", "localizer": "yopo"}})
    settings = load_settings(bench.root / "settings")
    check(settings, bench.methods, bench.root / "settings")
    assert stage_minutes("named", settings, bench.methods) == {"classifier": 6}


def test_borrowed_minutes_are_found_through_other_entries(bench):
    entries = {**VP, "again": {"method": "vp-detector", "model_of": "vp"}}
    entries["one"] = {"method": "densenet", "localizer": "again"}
    entries["two"] = {"method": "densenet", "localizer": "one"}
    entries["lent"] = {"method": "umc", "classifier": "again"}
    bench.settings(entries)
    settings = load_settings(bench.root / "settings")
    check(settings, bench.methods, bench.root / "settings")
    minutes = {name: stage_minutes(name, settings, bench.methods) for name in ("one", "two", "lent")}
    assert minutes == {"one": {"classifier": 5}, "two": {"classifier": 5}, "lent": {"segmenter": 5}}


def test_folders_of_one_specimen_are_refused(bench):
    for name in ("a", "b", "c"):
        folder = bench.root / name
        folder.mkdir()
        (folder / "particle_locations.txt").write_text(f"particles {name}")
        write_mrc(folder / "occupancy_mask.mrc", np.full((2, 3, 4), ord(name), dtype=np.int8), voxel_size=10)
        write_mrc(folder / "reconstruction.mrc", np.full((2, 3, 4), ord(name), dtype=np.float32), voxel_size=10)
        seed = {"a": 1, "b": 2, "c": 1}[name]
        (folder / "simulation.yaml").write_text(f"seed: {seed}\nmodel: 0\nrecipe: {{size_zyx: [12, 20, 28]}}\n")
    sets = {"training": "a", "validation": "b", "test": "c"}
    bench.settings(VP, data={name: {"folders": [f"../{folder}"]} for name, folder in sets.items()})
    with pytest.raises(VoxpickError, match="hold the same specimen"):
        bench.run()


@pytest.mark.parametrize(
    "name, entries",
    [
        ("replica", 19),
        ("zoo", 7),
        ("ablations", 10),
        ("robustness", 3),
        ("claims", 5),
        ("losses", 3),
        ("resnet3d", 4),
        ("augmentation", 5),
    ],
)
def test_the_committed_settings(name, entries):
    settings = load_settings(COMMITTED / name)
    assert len(settings.entries) == entries
    assert list(settings.entries) == settings.benchmark.order
    check(settings, abilities(), COMMITTED / name)


def parsed(words):
    """Whether the command line is one that voxpick knows; typer says what is wrong with it."""
    command = typer.main.get_command(build_app()).commands[words[0]]
    group = words[0] == "simulate"
    if group:
        command = command.commands[words[1]]
    return command.make_context(words[0], list(words[1 + group :]))


@pytest.mark.parametrize(
    "name", ["replica", "ablations", "robustness", "claims", "losses", "resnet3d", "zoo", "augmentation"]
)
def test_every_command_of_the_committed_settings_parses(bench, name):
    bench.copy_settings(COMMITTED / name)
    methods = abilities()
    results = bench.run(methods)
    settings = bench.runner(methods).settings
    assert {result["status"] for result in results.values()} == {"done"} and set(results) == set(settings.entries)
    calls = bench.calls()
    for call in {
        (call[0], call[call.index("--method") + 1] if "--method" in call else ""): call for call in calls
    }.values():
        parsed(call)
    trained = [(stage, call) for call in calls if call[0] == "train" for stage in [call[call.index("--stage") + 1]]]
    wanted = [
        stage
        for entry, seed in bench.runner(methods).runs()
        for stage in stages_to_train(settings.entries[entry], methods)
    ]
    assert sorted(stage for stage, _ in trained) == sorted(wanted)
    swept = settings.benchmark.sweep
    points = len(swept.points()) if swept else 0
    found = [call for call in calls if call[0] in ("detect", "match")]
    assert len(found) == len(bench.runner(methods).runs()) * (settings.benchmark.data.test.count + points)


def test_the_ablations_train_what_the_paper_varied(bench):
    bench.copy_settings(COMMITTED / "ablations")
    bench.run(abilities())
    calls = [call for call in bench.calls() if call[0] == "train"]
    folders = {Path(call[call.index("--output") + 1]).parent.parent.name: call for call in calls}
    assert len([word for word in folders["focal-100"] if "data/training" in word]) == 7
    few = [Path(word).name for word in folders["focal-100-two-tomograms"] if "data/training" in word]
    assert few == ["model_0", "model_1"]
    for layers in (40, 60, 80, 100):
        config = folders[f"cross-entropy-{layers}"]
        changes = yaml.safe_load(Path(config[config.index("--config") + 1]).read_text())
        weights = [0.3] + [1] * 12  # without the effective radii, which belong to the focal loss
        settings = {"depth": layers}
        assert changes == {
            "steps": 700, "loss": "cross_entropy", "class_weights": weights, "network_settings": settings
        }  # fmt: skip
    assert not any(name.startswith("split-") for name in folders)


def test_the_robustness_study_varies_noise_and_tilts(bench):
    bench.copy_settings(COMMITTED / "robustness")
    results = bench.run(abilities())
    varied = {(test["varied"], test["value"]) for test in results["deepfinder"]["sweep"]}
    assert {value for what, value in varied if what == "snr"} == {0.002, 0.004, 0.01, 0.02}
    assert {value for what, value in varied if what == "tilt_limit"} == {50, 60, 70}
    simulated = [call for call in bench.calls() if call[0] == "simulate" and "sweep" in call[2]]
    limits = sorted(float(call[call.index("--tilt-limit") + 1]) for call in simulated)
    assert limits == [50, 60, 60, 60, 60, 60, 70]


def test_the_replica_compares_every_method_on_equal_terms():
    settings, methods = load_settings(COMMITTED / "replica"), abilities()
    assert {entry.method for entry in settings.entries.values()} == set(methods)
    for name, entry in settings.entries.items():
        minutes = sum(value or 0 for value in stage_minutes(name, settings, methods).values())
        borrowed = stage_minutes(entry.localizer, settings, methods)["localizer"] if entry.localizer else 0
        untrained = entry.model_of or not methods[entry.method].stages
        assert minutes + borrowed == (0 if untrained else 60), name


def test_what_a_benchmark_would_run_is_said_without_running_it(bench):
    bench.settings({
        **VP, "named": {"method": "densenet", "localizer": "vp", "changes": {"classifier": {"steps": 3}}},
        "tm": {"method": "template", "detection": {"threshold": 0.5}},
    }, seeds=[0, 3])  # fmt: skip
    lines = described(load_settings(bench.root / "settings"), bench.methods, [])
    assert lines == [
        "tm (template), seeds 0: no training; detection: threshold=0.5",
        "vp (vp-detector), seeds 0, 3: localizer 5 min, classifier 5 min",
        "named (densenet), seeds 0, 3: classifier its own budget, localizer of vp",
        "3 entries, 20 minutes of training in all",
    ]


def test_a_trained_model_is_a_file_or_a_name_of_the_zoo(tmp_path):
    assert model_file(tmp_path, "voxpick") == builtin_models()["voxpick"]
    (tmp_path / "voxpick").write_bytes(b"")
    assert model_file(tmp_path, "voxpick") == tmp_path / "voxpick"
    assert model_file(tmp_path, "../mine.pt") == tmp_path / "../mine.pt"


@pytest.mark.parametrize(("published", "complaint"), [
    ({"published_with": 1}, "both of published_with and published_without"),
    ({"published_measure": "accuracy"}, "published_measure: there is no published_with"),
])  # fmt: skip
def test_published_numbers_of_a_claim_come_in_pairs(bench, published, complaint):
    claim = {"says": "C", "with": "a", "without": "b", "measure": "F1", **published}
    bench.settings({"a": {"method": "umc"}, "b": {"method": "umc"}}, claims=[claim])
    with pytest.raises(VoxpickError, match=complaint):
        load_settings(bench.root / "settings")
