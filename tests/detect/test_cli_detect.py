import numpy as np
import pandas as pd
import pytest
import starfile
import yaml
from blobs import BlobNetwork, model, scattered, tomogram

from voxpick.cli.detect import detect_command, register
from voxpick.errors import VoxpickError
from voxpick.io.formats import read_particles
from voxpick.io.model import save_models
from voxpick.io.mrc import read_labels, write_mrc
from voxpick.networks import zoo
from voxpick.volume import intensity_statistics

SHAPE = (44, 60, 76)


@pytest.fixture
def case(tmp_path, monkeypatch):
    monkeypatch.setitem(zoo.NETWORKS, "blob", BlobNetwork)
    rng = np.random.default_rng(0)
    labels, centers = scattered(SHAPE, 10, (4, 6), rng, gap=3)
    volume = tomogram(labels, np.where(np.arange(10) % 2 == 0, 8.0, 40.0), rng)
    _, deviation = intensity_statistics(volume)
    levels = (4.0 / deviation, 12.0 / deviation)
    parts = {"localizer": model(levels[:1], ["particle"]), "classifier": model(levels, ["small", "large"])}
    save_models(tmp_path / "blobs.pt", parts)
    write_mrc(tmp_path / "first.mrc", volume)
    return tmp_path, volume, centers * 10


def command(folder, *volumes, **options):
    settings = {
        "model": str(folder / "blobs.pt"), "format": "star,csv,shrec", "voxel_size": None, "invert": False,
        "threshold": None,
        "min_score": None, "no_classes": False, "segmentation": False, "device": "cpu", "threads": None, "set_": None,
    }  # fmt: skip
    detect_command([folder / name for name in volumes], folder / "out", **(settings | options))


def distances(found, centers):
    return np.linalg.norm(found.centers_zyx[:, None] - centers, axis=2).min(axis=1)


def test_picks_are_written_in_every_format(case, capsys):
    folder, volume, centers = case
    write_mrc(folder / "second.mrc", volume)
    command(folder, "first.mrc", "second.mrc", segmentation=True)
    for name in ("first", "second"):
        for suffix, tolerance in ((".star", 5), (".csv", 5), (".txt", 12)):
            found = read_particles(folder / "out" / f"{name}{suffix}", voxel_size=10.0, shape=SHAPE)
            assert len(found) == 10 and distances(found, centers).max() < tolerance
            assert sorted(found.classes) == ["large"] * 5 + ["small"] * 5
    frame = pd.read_csv(folder / "out" / "first.csv", comment="#")
    assert frame["score"].is_monotonic_decreasing
    assert sorted(np.unique(read_labels(folder / "out" / "first_segmentation.mrc"))) == [0, 1, 2]
    listed = starfile.read(folder / "out" / "relion_import.star")
    assert listed["rlnTomoName"].tolist() == ["first", "second"]
    assert listed["rlnTomoImportParticleFile"].tolist() == [
        str(folder / "out" / f"{n}.star") for n in ("first", "second")
    ]
    written = yaml.safe_load((folder / "out" / "detect.yaml").read_text())
    assert written["settings"]["threshold"] == 0.5 and written["device"] == "cpu"
    table = capsys.readouterr().out
    assert "first" in table and "second" in table and "small" in table


def test_finding_nothing_is_told_with_the_way_out(case, capsys):
    """A table said 0, and nothing why."""
    folder, _, _ = case
    command(folder, "first.mrc")
    assert "no picks" not in capsys.readouterr().err
    command(folder, "first.mrc", min_score=1.0)
    told = capsys.readouterr().err
    assert "first: no picks at threshold 0.5 and minimum score 1; lower limits (--threshold, --min-score)" in told


def test_links_to_files_of_one_name_are_imported_by_their_own_names(case):
    """The list named each by what its link points to, so RELION knew neither and got the last one alone."""
    folder, volume, _ = case
    for name in ("TS_01.5", "rec_TS_02"):
        (folder / name).mkdir()
        write_mrc(folder / name / "reconstruction.mrc", volume)
        (folder / f"{name}.mrc").symlink_to(folder / name / "reconstruction.mrc")
    command(folder, "TS_01.5.mrc", "rec_TS_02.mrc", format="star")
    listed = starfile.read(folder / "out" / "relion_import.star")
    assert listed["rlnTomoName"].tolist() == ["TS_01.5", "TS_02"]
    for name, path in zip(listed["rlnTomoName"], listed["rlnTomoImportParticleFile"], strict=True):
        assert set(starfile.read(path)["particles"]["rlnTomoName"]) == {name}


def test_picks_are_written_for_other_programs(case):
    folder, _, centers = case
    command(folder, "first.mrc", format="dynamo,cbox,imod,deepfinder")
    classes = {".tbl": {"1", "2"}, ".cbox": {"large", "small"}, ".mod": {"large", "small"}, ".xml": {"large", "small"}}
    for suffix, names in classes.items():
        found = read_particles(folder / "out" / f"first{suffix}", voxel_size=10.0, shape=SHAPE)
        assert len(found) == 10 and distances(found, centers).max() < 5 and set(found.classes) == names


def test_copick_gets_one_file_a_class_found(case):
    folder, _, centers = case
    command(folder, "first.mrc", format="copick")
    picks = folder / "out" / "copick" / "ExperimentRuns" / "first" / "Picks"
    assert sorted(path.name for path in picks.iterdir()) == ["voxpick_0_large.json", "voxpick_0_small.json"]
    for name in ("large", "small"):
        found = read_particles(picks / f"voxpick_0_{name}.json")
        assert len(found) == 5 and distances(found, centers).max() < 5
        assert set(found.classes) == {name} and set(found.tomograms) == {"first"}
    (picks / "somebody_1_large.json").write_text("theirs")
    command(folder, "first.mrc", format="copick", no_classes=True)  # again, now without classes
    assert sorted(path.name for path in picks.iterdir()) == ["somebody_1_large.json", "voxpick_0_particle.json"]
    (folder / "out" / "detect.yaml").unlink()
    with pytest.raises(VoxpickError, match="ExperimentRuns/first: was not made by this command"):
        command(folder, "first.mrc", format="copick")


def test_options_reach_the_pipeline(case):
    folder, _, _ = case
    command(folder, "first.mrc", format="csv", no_classes=True, set_=["split=components", "tile=40", "halo=8"])
    assert set(read_particles(folder / "out" / "first.csv").classes) == {"particle"}
    assert not (folder / "out" / "first.star").exists()
    written = yaml.safe_load((folder / "out" / "detect.yaml").read_text())["settings"]
    assert (written["split"], written["tile"]) == ("components", 40)


def test_a_rescaled_tomogram_warns_on_one_line(case, capsys):
    folder, _, _ = case
    command(folder, "first.mrc", voxel_size=12.0)
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warned == ["voxpick: warning: first: 12 A voxels are rescaled to the model's 10 A"]


@pytest.mark.parametrize(
    ("volumes", "options", "words"),
    [
        (["missing.mrc"], {}, "missing.mrc: no such file"),
        (["first.mrc", "first.mrc"], {}, "2 tomograms are called first"),
        (["first.mrc"], {"format": "star,xml"}, "unknown format 'xml'"),
        (["first.mrc"], {"model": "none.pt"}, "none.pt: no such model file"),
        (["first.mrc"], {"model": "no-such"}, "no-such"),
        (["first.mrc"], {"device": "abacus"}, "--device abacus"),
        (["first.mrc"], {"set_": ["tile"]}, "expected key=value"),
        (["first.mrc"], {"set_": ["tiles=3"]}, "tiles"),
        (["first.mrc"], {"threshold": 1.5}, "--threshold 1.5: is that of a probability"),
        (["first.mrc"], {"voxel_size": 0.0}, "voxel size"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(case, volumes, options, words):
    folder, _, _ = case
    with pytest.raises(VoxpickError, match=words) as caught:
        command(folder, *volumes, **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()


def test_a_model_without_a_localizer_is_refused(case):
    folder, _, _ = case
    save_models(folder / "half.pt", {"classifier": model((1.0,), ["small"])})
    with pytest.raises(VoxpickError, match=r"half\.pt: holds no localizer"):
        command(folder, "first.mrc", model=str(folder / "half.pt"))


def with_classifier(folder, *levels):
    """Another model file: a classifier of another method, with other names and its own side of subtomograms."""
    other = model(levels, ["tiny", "huge"], subtomogram=24)
    other.provenance["method"] = "densenet"
    save_models(folder / "other.pt", {"classifier": other})
    return str(folder / "other.pt")


def test_the_classifier_of_another_model_names_the_picks(case):
    folder, volume, _ = case
    _, deviation = intensity_statistics(volume)
    other = with_classifier(folder, 4.0 / deviation, 12.0 / deviation)
    command(folder, "first.mrc", classifier=other, segmentation=True, set_=["batch=2"])
    named = read_particles(folder / "out" / "first.csv")
    assert sorted(named.classes) == ["huge"] * 5 + ["tiny"] * 5
    written = yaml.safe_load((folder / "out" / "detect.yaml").read_text())
    assert (written["method"], written["classifier"]) == ("vp-detector", other)
    assert (written["settings"]["subtomogram"], written["settings"]["batch"]) == (24, 2)
    assert sorted(np.unique(read_labels(folder / "out" / "first_segmentation.mrc"))) == [0, 1, 2]
    frame = pd.read_csv(folder / "out" / "first.csv", comment="#")
    assert frame["score"].is_monotonic_decreasing

    command(folder, "first.mrc", classifier=other, min_score=float(frame["score"].median()))
    kept = pd.read_csv(folder / "out" / "first.csv", comment="#")
    assert 0 < len(kept) < 10 and kept["score"].min() >= frame["score"].median() - 1e-6


def test_a_classifier_of_the_same_model_changes_nothing(case):
    folder, _, _ = case
    command(folder, "first.mrc", format="csv")
    alone = (folder / "out" / "first.csv").read_text()
    command(folder, "first.mrc", format="csv", classifier=str(folder / "blobs.pt"))
    assert (folder / "out" / "first.csv").read_text() == alone


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("blobs.pt", {"classifier": "half.pt"}, r"half\.pt: holds no classifier \(it has: localizer\)"),
        ("blobs.pt", {"classifier": "none.pt"}, r"none\.pt: no such model file"),
        ("blobs.pt", {"classifier": "coarse.pt"}, "classifier is made for 20 A"),
        ("blobs.pt", {"classifier": "blobs.pt", "no_classes": True}, "give one of them"),
        ("other.pt", {}, r"names particles and does not find them.*--classifier FILE"),
        ("mixed.pt", {}, r"several methods \(localizer of vp-detector, classifier of densenet\)"),
        ("yopo.pt", {"paper": True}, "--paper: yopo"),
        ("umc.pt", {"no_classes": True}, "--no-classes: umc has no network that only finds"),
        ("yopo.pt", {"segmentation": True}, "--segmentation: yopo finds centres without giving voxels"),
        ("umc.pt", {}, r"umc\.pt: holds no segmenter"),
        ("magic.pt", {}, "magic.pt: its localizer was trained by the method 'magic'"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(case, name, options, words):
    folder, _, _ = case
    with_classifier(folder, 1.0)
    half, foreign, odd, coarse = (model((1.0,), ["small"]) for _ in range(4))
    half.provenance, foreign.provenance, odd.provenance = {}, {"method": "umc"}, {"method": "magic"}
    coarse.voxel_size = 20.0
    save_models(folder / "half.pt", {"localizer": half})
    save_models(folder / "umc.pt", {"other": foreign})
    whole = model((1.0,), ["small"])
    whole.provenance = {"method": "yopo"}
    save_models(folder / "yopo.pt", {"classifier": whole})
    save_models(folder / "magic.pt", {"localizer": odd})
    save_models(folder / "coarse.pt", {"classifier": coarse})
    densenet = model((1.0,), ["small"])
    densenet.provenance = {"method": "densenet"}
    save_models(folder / "mixed.pt", {"localizer": half, "classifier": densenet})
    if "classifier" in options:
        options = {**options, "classifier": str(folder / options["classifier"])}
    with pytest.raises(VoxpickError, match=words):
        command(folder, "first.mrc", model=str(folder / name), **options)
    assert not (folder / "out").exists()


def test_the_command_line_itself(case):
    import typer
    from typer.testing import CliRunner

    folder, _, _ = case
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    line = (
        f"detect {folder}/first.mrc --model {folder}/blobs.pt -o {folder}/out --format csv --device cpu --min-score 0.2"
    )
    result = CliRunner().invoke(app, [*line.split(), "--set", "split=mean-shift", "--invert"])
    assert result.exit_code == 0, result.output
    written = yaml.safe_load((folder / "out" / "detect.yaml").read_text())["settings"]
    assert (written["split"], written["invert"], written["minimum_score"]) == ("mean-shift", True, 0.2)
    assert "first" in result.output
