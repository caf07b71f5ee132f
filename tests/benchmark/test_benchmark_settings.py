from pathlib import Path

import pytest

from voxpick.benchmark.plan import check, stage_minutes
from voxpick.benchmark.settings import load_settings
from voxpick.errors import VoxpickError
from voxpick.methods.catalogue import METHODS

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
    ({"one": {"method": "bogus"}}, "one: unknown method 'bogus'"),
    ({"one": {"method": "umc", "changes": {"localizer": {}}}}, "no stage 'localizer'"),
    ({"one": {"method": "densenet"}}, "only names particles"),
    ({"one": {"method": "template"}}, "nothing to train"),
    ({"one": {"method": "vp-detector", "split": {"localizer": 1}}}, "give a share to each"),
    ({"one": {"method": "umc", "classifier": "two"}, "two": {"method": "umc", "classifier": "one"}}, "need each other"),
    ({"one": {"method": "umc", "classifier": "two"}, "two": {"method": "umc"}}, "'two' trains no classifier"),
])  # fmt: skip
def test_refused_before_anything_runs(bench, entries, complaint):
    bench.settings(entries)
    with pytest.raises(VoxpickError, match=complaint):
        bench.run()
    assert bench.calls() == []


def test_folders_of_one_specimen_are_refused(bench):
    for name in ("a", "b", "c"):
        folder = bench.root / name
        folder.mkdir()
        for file in ("particle_locations.txt", "reconstruction.mrc", "occupancy_mask.mrc"):
            (folder / file).write_text(f"{file} {name}")
        seed = {"a": 1, "b": 2, "c": 1}[name]
        (folder / "simulation.yaml").write_text(f"seed: {seed}\nmodel: 0\nrecipe: {{size_zyx: [12, 20, 28]}}\n")
    sets = {"training": "a", "validation": "b", "test": "c"}
    bench.settings(VP, data={name: {"folders": [f"../{folder}"]} for name, folder in sets.items()})
    with pytest.raises(VoxpickError, match="hold the same specimen"):
        bench.run()


@pytest.mark.parametrize("name, entries", [("replica", 10), ("ablations", 9), ("robustness", 3)])
def test_the_committed_settings(name, entries):
    settings = load_settings(COMMITTED / name)
    assert len(settings.entries) == entries
    assert list(settings.entries) == settings.benchmark.order
    check(settings, {method: found.STAGES for method, found in METHODS.items()})
    for entry in settings.entries.values():
        for stage, changes in entry.changes.items():
            METHODS[entry.method].training_settings(stage, entry.preset, changes)


def test_the_replica_compares_every_method_on_equal_terms():
    settings = load_settings(COMMITTED / "replica")
    stages = {method: found.STAGES for method, found in METHODS.items()}
    learning = {method for method, parts in stages.items() if parts}
    assert {entry.method for entry in settings.entries.values()} == learning
    for name, entry in settings.entries.items():
        minutes = sum(value or 0 for value in stage_minutes(name, settings, stages).values())
        borrowed = stage_minutes(entry.localizer, settings, stages)["localizer"] if entry.localizer else 0
        assert minutes + borrowed == (0 if entry.model_of else 60), name
