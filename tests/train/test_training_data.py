"""voxpick train from picks, from partly labelled tomograms, from given weights and on a stream."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from toy_models import write_toy_model
from train_command import run_train

from voxpick.cli.training_data import gather, read_training_volume
from voxpick.cli.training_marks import bank_mark, tomogram_mark
from voxpick.errors import VoxpickError
from voxpick.io.formats import write_particles
from voxpick.io.model import load_models
from voxpick.io.mrc import read_mrc
from voxpick.particles import Particles, joined
from voxpick.shrec_classes import SHREC20_CLASSES
from voxpick.simulate.bank import load_bank
from voxpick.train.targets import IGNORE

FAST = ["--threads", "1", "--steps", "2", "--set", "log_steps=1", "--no-tensorboard"]
MSDNET = ["--set", "network_settings.depth=4", "--set", "patch=12"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for k in range(2):
        write_toy_model(folder / f"model_{k}", seed=k)
        (folder / f"TS_{k}.mrc").symlink_to(folder / f"model_{k}" / "reconstruction.mrc")
    tables = [read_training_volume(folder / f"model_{k}").particles for k in range(2)]
    for k, table in enumerate(tables):
        named = table.with_columns(tomograms=np.full(len(table), f"TS_{k}", dtype=object))
        write_particles(folder / f"TS_{k}.csv", named)
    both = Particles(
        np.concatenate([table.centers_zyx for table in tables]),
        np.concatenate([table.classes for table in tables]),
        tomograms=np.repeat(np.array(["TS_0", "TS_1"], dtype=object), [len(table) for table in tables]),
    )
    write_particles(folder / "both.csv", both)
    return folder


def volumes_of(paths, **options):
    kept = []
    source = gather(paths, **{"picks": [], "radius": [], "partial": None, **options})
    source.run(lambda volumes, **rest: kept.extend(volumes), checkpoint_seconds=1.0)
    return source, kept


@pytest.mark.parametrize("files", [["both.csv"], ["TS_0.csv", "TS_1.csv"]])
def test_picks_become_balls(data, files):
    source, volumes = volumes_of(
        [data / "TS_0.mrc", data / "TS_1.mrc"], picks=[data / name for name in files], radius=["40", "1s3x=25"]
    )
    assert source.classes == ["3cf3", "1s3x"] and source.voxel_size == 10.0
    for k, volume in enumerate(volumes):
        true = read_training_volume(data / f"model_{k}")
        low = true.z_offset
        assert np.array_equal(volume.class_mask[low : low + 20] > 0, np.asarray(true.class_mask) > 0)
        z, y, x = volume.centers().T
        assert volume.occupancy[z, y, x].tolist() == list(range(1, len(z) + 1))
        assert set(volume.class_mask[z, y, x].tolist()) == {1, source.classes.index("1s3x") + 1}
        assert volume.known is None


@pytest.mark.parametrize(
    ("names", "given", "classes"),
    [
        (["4d8q", "4cr2"], (), ["4cr2", "4d8q"]), (["tric", "4cr2"], (), ["4cr2", "tric"]),
        (["4d8q", "4cr2"], SHREC20_CLASSES, list(SHREC20_CLASSES)), (["b"], ("c", "b", "a"), ["c", "b", "a"]),
        (["4d8q", "mine"], SHREC20_CLASSES, ["4d8q", "mine"]), (["b", "a"], ("b", "a"), ["b", "a"]),
        (["b", "a"], ("particle",), ["a", "b"]),
    ],
)  # fmt: skip
def test_picks_teach_the_classes_that_they_name(data, tmp_path, capsys, names, given, classes):
    """And a model that knows them all keeps the others, of which the command tells."""
    table = Particles(np.array([[60.0, 60, 80], [140, 180, 220]])[: len(names)], np.array(names, dtype=object))
    write_particles(tmp_path / "picks.csv", table)
    source, (volume,) = volumes_of(
        [data / "TS_0.mrc"], picks=[tmp_path / "picks.csv"], radius=["30"], given=list(given)
    )
    z, y, x = volume.centers().T
    assert source.classes == classes and [classes[k - 1] for k in volume.class_mask[z, y, x]] == names
    unseen = [name for name in classes if name not in names]
    told = f"No pick is of {', '.join(unseen)}; the model keeps these classes as it learned them\n"
    assert capsys.readouterr().out == (told if unseen else "")


def test_files_that_hold_a_class_each_are_joined(data, tmp_path):
    """copick has a file for each object and run; only as many files as tomograms were taken."""
    files, expected = [], {}
    for k in range(2):
        table = read_training_volume(data / f"model_{k}").particles
        table = table.with_columns(tomograms=np.full(len(table), f"TS_{k}", dtype=object))
        for name in ("3cf3", "1s3x"):
            files.append(tmp_path / f"{k}_{name}.json")
            write_particles(files[-1], table[table.classes == name])
        expected[k] = {tuple(center) for center in np.round(table.centers_zyx, 3)}
    tomograms = [data / "TS_0.mrc", data / "TS_1.mrc"]
    for chosen in ([0, 1], [0], [1]):
        some = [file for file in files if len(chosen) == 2 or file.name.startswith(str(chosen[0]))]
        source, volumes = volumes_of([tomograms[k] for k in chosen], picks=some, radius=["30"])
        assert source.classes == ["3cf3", "1s3x"]
        for k, volume in zip(chosen, volumes, strict=True):
            assert {tuple(center) for center in np.round(volume.particles.centers_zyx, 3)} == expected[k]
    with pytest.raises(VoxpickError, match=r"1_3cf3.json: says its picks are of 'TS_1', which is none of"):
        volumes_of(tomograms[:1], picks=files, radius=["30"])
    plain = tmp_path / "plain.csv"
    plain.write_text("class,x_angstrom,y_angstrom,z_angstrom\n3cf3,100,110,120\n")
    both = volumes_of(tomograms[:1], picks=[plain, files[1]], radius=["30"])[1][0]
    assert both.particles.classes[0] == "3cf3" and set(both.particles.tomograms) == {"TS_0"}
    with pytest.raises(VoxpickError, match=r"plain.csv: says its picks are of 'tomogram', which is none of the"):
        volumes_of(tomograms, picks=[plain, *files[:2]], radius=["30"])


@pytest.mark.parametrize("name", ["TS_0.mrc", "rec_TS_0.mrc"])
def test_tomograms_of_one_name_need_a_file_of_picks_each(data, tmp_path, name):
    """The rows of that name in one file would become labels of both."""
    (tmp_path / name).symlink_to(data / "model_1" / "reconstruction.mrc")
    both = [data / "TS_0.mrc", tmp_path / name]
    for tomograms in (both, [*both, data / "TS_1.mrc"], [both[0], both[0]]):
        with pytest.raises(VoxpickError, match="2 tomograms are called TS_0, so one file of picks cannot tell them"):
            gather(tomograms, picks=[data / "both.csv"], radius=["40"], partial=None)
    _, volumes = volumes_of(both, picks=[data / "TS_0.csv", data / "TS_1.csv"], radius=["40"])
    assert not np.array_equal(volumes[0].class_mask, volumes[1].class_mask)


def test_partly_labelled_picks_with_given_background(data, tmp_path):
    table = Particles(
        np.array([[140.0, 180.0, 220.0], [60.0, 60.0, 80.0]]), np.array(["ribosome", "background"], dtype=object)
    )
    write_particles(tmp_path / "picks.csv", table)
    source, (volume,) = volumes_of(
        [data / "TS_0.mrc"], picks=[tmp_path / "picks.csv"], radius=["ribosome=40"], partial=30.0
    )
    assert source.classes == ["ribosome"] and len(volume.particles) == 1
    grid = np.stack(np.indices(volume.tomogram.shape), -1)
    spot = ((grid - [6, 6, 8]) ** 2).sum(-1) <= 9
    assert volume.known[spot].all() and (volume.class_mask[spot] == 0).all()
    labels = volume.labels((0, 0, 0), volume.tomogram.shape)
    reach = np.sqrt(((grid - [14, 18, 22]) ** 2).sum(-1))
    assert (labels[reach <= 4] == 1).all() and (labels[(reach > 4) & (reach < 6)] == 0).all()
    assert (labels[(reach > 8) & ~spot] == IGNORE).all()


def test_a_shell_of_0_is_no_shell(data, tmp_path):
    """Its width is that of background balls as well, of which there are none here."""
    picks = {"picks": [data / "TS_0.csv"], "radius": ["40"], "partial": 0.0}
    _, (volume,) = volumes_of([data / "TS_0.mrc"], **picks)
    assert np.array_equal(volume.known, volume.class_mask > 0)
    table = Particles(np.full((2, 3), 140.0), np.array(["ribosome", "background"], dtype=object))
    write_particles(tmp_path / "picks.csv", table)
    with pytest.raises(VoxpickError, match="--radius background=A, is needed"):
        gather([data / "TS_0.mrc"], **picks | {"picks": [tmp_path / "picks.csv"]})


def test_a_folder_may_be_partly_labelled(data):
    _, (volume,) = volumes_of([data / "model_0"], partial=20.0)
    assert 0.05 < volume.known.mean() < 0.9
    assert (volume.known | (np.asarray(volume.class_mask) == 0)).all()


@pytest.mark.parametrize("method", [["vp-detector", *MSDNET], ["yopo", "--set", "batch=2"]])
def test_few_picks_train(data, tmp_path, method):
    name, *settings = method
    output = tmp_path / "few.pt"
    run_train(data / "TS_0.mrc", "--picks", data / "TS_0.csv", "--radius", 30, "--partial", 60, "--method", name,
              *settings, "--output", output, *FAST)  # fmt: skip
    made = next(iter(load_models(output).values())).provenance
    assert made["settings"]["centred_fraction"] == 1.0
    assert made["training_data"] == ["TS_0.mrc"]
    assert made["training_marks"] == [tomogram_mark(read_mrc(data / "TS_0.mrc"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no training data"),
        (["TS_0.mrc"], "a tomogram without truth; give its particles with --picks"),
        (["TS_0.mrc", "model_0", "--picks", "TS_0.csv"], "a folder with truth; --picks goes with tomograms"),
        (["TS_0.mrc", "--picks", "TS_0.csv"], "class '1s3x': picks become balls, whose --radius"),
        (["TS_0.mrc", "--picks", "TS_0.csv", "--radius", "wide"], "--radius wide: is not a number"),
        (["TS_0.mrc", "--picks", "TS_0.csv", "--radius", "8"], "--radius 8 A is less than a voxel of 10 A"),
        (["TS_0.mrc", "--picks", "TS_0.csv", "--radius", "8000"], "--radius 8000 A makes a ball wider than the tomo"),
        (["TS_0.mrc", "TS_1.mrc", "--picks", "TS_0.csv", "--radius", "30"], "holds no picks of 'TS_1', but of 'TS_0'"),
        (["TS_0.mrc", "--picks", "TS_0.csv", "--picks", "TS_1.csv", "--radius", "30"], "2 files of picks for 1 tom"),
        (["model_0", "--partial", "-1"], "--partial -1: give 0 or more, in A"),
        (["TS_0.mrc", "--picks", "TS_0.csv", "--radius", "30", "--partial", "nan"], "--partial nan: give 0 or more"),
        (["TS_0.mrc", "--picks", "TS_0.csv", "--radius", "30", "--partial", "inf"], "--partial inf: give 0 or more"),
        (["model_0", "--stream"], "--stream simulates its training data"),
        (["model_0", "--structures", "bank.npz"], "add --stream"),
        (["--stream", "--set", "stream.pool=0"], "stream.pool = 0"),
        (["--from", "shipped", "model_0", "--method", "ms-d"], "no built-in model 'ms-d'"),
        (
            ["--from", "vp-detector", "model_0", "--method", "ms-d"],
            "holds weights of vp-detector, to be trained is ms-d",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(data, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(data)
    with pytest.raises(VoxpickError, match=message.replace(".", r"\.")):
        run_train(*arguments, "--output", tmp_path / "model.pt", *FAST)
    assert not list(tmp_path.iterdir())


def test_given_weights_name_other_classes(data, tmp_path):
    network = ["--set", "network_settings={filters: [4, 6], bottom: 1}", "--set", "patch=16", "--set", "batch=1"]
    method = ["--method", "deepfinder", "--set", "average_decay=0"]
    run_train(data / "model_0", "--output", tmp_path / "a.pt", *method, *network, *FAST)
    table = read_training_volume(data / "model_1").particles
    renamed = np.where(table.classes == "3cf3", "3cf3", "mine").astype(object)
    write_particles(tmp_path / "picks.csv", table.with_columns(classes=renamed))
    still = ["--set", "learning_rate=1e-12", "--set", "patch=16", "--set", "batch=1"]
    result = run_train(
        data / "TS_1.mrc", "--picks", tmp_path / "picks.csv", "--radius", 30, "--from", tmp_path / "a.pt",
        "--output", tmp_path / "b.pt", *method, *still, *FAST,
    )  # fmt: skip
    assert "new to the network: mine; it goes on with what it knows of 3cf3\n" in result.output
    before, after = (load_models(tmp_path / name)["segmenter"] for name in ("a.pt", "b.pt"))
    assert after.classes == ["background", "3cf3", "mine"]
    assert after.settings["filters"] == [4, 6]
    old, new = before.network.state_dict(), after.network.state_dict()
    heads = [key for key in new if new[key].shape != old[key].shape]
    assert len(heads) == 2
    kernels = [key for key in new if key not in heads and new[key].ndim == 5]
    assert all(torch.allclose(new[key], old[key], atol=1e-6) for key in kernels)
    for key in heads:
        for row, name in enumerate(["background", "3cf3"]):
            assert torch.allclose(new[key][row], old[key][before.classes.index(name)], atol=1e-6)


def test_given_weights_of_another_voxel_size_are_told(data, tmp_path):
    """They know particles of another size; nothing but a spectrum that was not taken over told of it."""
    words = ["--method", "deepfinder", "--set", "patch=16", "--set", "batch=1", *FAST]
    network = ["--set", "network_settings={filters: [4, 6], bottom: 1}"]
    run_train(data / "model_0", "--output", tmp_path / "a.pt", *words, *network)
    tomogram = [data / "TS_1.mrc", "--picks", data / "TS_1.csv", "--radius", 30, "--from", tmp_path / "a.pt", *words]
    fine = run_train(*tomogram, "--voxel-size", 5, "--output", tmp_path / "fine.pt")
    assert "learned in voxels of 10 A, and these tomograms have 5 A" in fine.stderr
    assert "bin or resample the tomograms to 10 A" in fine.stderr
    assert "learned in voxels" not in run_train(*tomogram, "--output", tmp_path / "same.pt").stderr


def test_stream_trains_and_records_its_settings(data, tmp_path, monkeypatch):
    made, bank = [], load_bank(["3cf3", "1s3x"])

    def make(number):
        made.append(number)
        return read_training_volume(data / f"model_{number % 2}")

    class Maker:
        recipe = SimpleNamespace(voxel_size=10.0)

        def __call__(self, number):
            return make(number)

    monkeypatch.setattr("voxpick.cli.structures.read_bank", lambda path: bank)
    monkeypatch.setattr("voxpick.methods.specimens.background_worker", lambda device: ThreadPoolExecutor(1))
    monkeypatch.setattr("voxpick.methods.specimens.specimen_maker", lambda *given, **options: Maker())
    output = tmp_path / "s.pt"
    run_train("--stream", "--method", "vp-detector", "--set", "stream.pool=1", "--set", "stream.every=2", *MSDNET,
        "--output", output, "--threads", "1", "--steps", "5", "--no-tensorboard")  # fmt: skip
    model = load_models(output)["localizer"]
    assert made[:3] == [0, 1, 2]
    assert model.provenance["training_data"] == ["simulated on the fly"]
    assert (model.provenance["steps"], model.provenance["settings"]["stream"]["every"]) == (5, 2)
    assert model.provenance["settings"]["stream"]["size"] == [200, 256, 256]
    assert model.provenance["simulated"] is True


def test_picks_outside_the_tomogram_are_told(data, tmp_path, capsys):
    """Those within were learnt from, and nobody heard of the others."""
    table = read_training_volume(data / "model_0").particles
    one = table[:1].with_columns(centers_zyx=np.array([[60.0, 60.0, 5000.0]]))
    for name, picks, told in (("all", joined([table, one]), "1 of 11 picks lie outside"), ("in", table, "")):
        write_particles(tmp_path / f"{name}.csv", picks)
        gather([data / "TS_0.mrc"], picks=[tmp_path / f"{name}.csv"], radius=["30"], partial=None)
        warned = capsys.readouterr().err
        assert told in warned and ("picks lie outside" in warned) == bool(told)


def test_other_labels_of_the_same_particles_are_other_data(data, tmp_path):
    """Radius, known shell and background picks each change the labels, but not the tomograms and particles."""
    table = read_training_volume(data / "model_0").particles
    empty = Particles(np.concatenate([table.centers_zyx, [[60.0, 60.0, 80.0]]]), np.append(table.classes, "background"))
    write_particles(tmp_path / "more.csv", empty)
    picks, wide, far, more = (
        gather([data / "TS_0.mrc"], picks=[file], radius=[radius], partial=shell).marks
        for file, radius, shell in (
            (data / "TS_0.csv", "30", 20.0), (data / "TS_0.csv", "40", 20.0), (data / "TS_0.csv", "30", 40.0),
            (tmp_path / "more.csv", "30", 20.0),
        )
    )  # fmt: skip
    assert picks["mark"] == wide["mark"] == far["mark"] == more["mark"]
    assert len({marks["labels"] for marks in (picks, wide, far, more)}) == 4
    again = gather([data / "TS_0.mrc"], picks=[data / "TS_0.csv"], radius=["30"], partial=20.0)
    assert again.marks == picks and not again.simulated


def test_a_run_is_resumed_with_its_own_labels_alone(data, tmp_path):
    common = [data / "TS_0.mrc", "--picks", data / "TS_0.csv", "--output", tmp_path / "few.pt", *MSDNET, *FAST]
    common += ["--method", "vp-detector"]
    run_train(*common, "--radius", 30)
    with pytest.raises(VoxpickError, match="the run began with other labels of the same particles"):
        run_train(*common, "--radius", 40, "--resume")
    record = tmp_path / "few_localizer_run" / "training_data.yaml"
    earlier = {key: value for key, value in yaml.safe_load(record.read_text()).items() if key in ("mark", "names")}
    record.write_text(yaml.safe_dump(earlier))  # as earlier versions wrote it
    assert "localizer after 2 steps" in run_train(*common, "--radius", 40, "--resume").output


def test_a_stream_of_other_structures_is_other_data():
    bank = load_bank(["3cf3", "1s3x"])
    other = {**bank, "1s3x": replace(bank["1s3x"], electrons=2 * bank["1s3x"].electrons)}
    renamed = {"3cf3": bank["3cf3"], "mine": bank["1s3x"]}
    assert bank_mark(bank) == bank_mark(load_bank(["3cf3", "1s3x"]))
    assert len({bank_mark(each) for each in (bank, other, renamed, dict(reversed(bank.items())))}) == 4
