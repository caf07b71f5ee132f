"""No command writes over what it reads, or over files of another origin that it was not told to replace."""

import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch
import yaml
from bad_files import refused, run

from voxpick.average.pasted import paste
from voxpick.cli import average, demo, detect_output, targets
from voxpick.cli.agreement_averages import AveragePlan
from voxpick.cli.calibrate import calibrate_command
from voxpick.cli.simulation_folders import model_seed
from voxpick.cli.tomograms import Failures, check_tomograms
from voxpick.errors import VoxpickError
from voxpick.io import atomic, formats, mrc, star
from voxpick.io.alone import alone_in
from voxpick.io.formats import read_particles
from voxpick.io.model import load_models, save_models
from voxpick.io.mrc import read_mrc
from voxpick.simulate.shrec20 import simulate_shrec20


@pytest.fixture
def copy(place, tmp_path):
    """A folder of its own with the good files."""
    for name in ("good.mrc", "good.csv", "model.pt"):
        shutil.copy(place / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("report good.mrc good.csv -o good.mrc", "good.mrc"),
        ("report good.mrc good.csv -o good.csv", "good.csv"),
        ("report good.mrc good.csv -o model.pt", "model.pt: a page is written"),
        ("cam good.mrc good.csv --model model.pt -o notes.star", "notes.star: a page is written"),
        ("evaluate good.csv good.csv --radius 50 --json good.csv", "good.csv"),
        ("evaluate good.csv good.csv --radius 50 --json .", "is a folder"),
        ("evaluate good.csv good.csv --radius 50 --json /dev/full", "/dev/full: is a device or a pipe"),
        ("zoo card model.pt -o model.pt", "model.pt"),
        ("average good.csv good.mrc --seed -1", "--seed"),
        ("calibrate model.pt nowhere --aim foo -o new.pt", "--aim is 'foo'"),
        ("calibrate model.pt nowhere -o .", "is a folder"),
        ("calibrate voxpick nowhere -o model.pt", "model.pt: exists already; add --overwrite"),
        ("calibrate voxpick nowhere -o model.pt --overwrite", "nowhere: no such folder"),
        ("calibrate model.pt nowhere -o ./model.pt", "nowhere: no such folder"),
    ],
)
def test_inputs_are_kept(monkeypatch, capsys, copy, words, lost):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    refused(monkeypatch, capsys, copy, words.split(), lost)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_a_page_replaces_a_page_and_nothing_else(monkeypatch, capsys, copy):
    (copy / "notes.html").write_text("<p>mine</p>")
    words = ["report", "good.mrc", "good.csv", "-o", "notes.html"]
    refused(monkeypatch, capsys, copy, words, "notes.html: was not made by voxpick; add --overwrite")
    cam = ["cam", "good.mrc", "good.csv", "--model", "model.pt", "-o", "notes.html"]
    refused(monkeypatch, capsys, copy, cam, "notes.html: was not made by voxpick; add --overwrite")
    assert (copy / "notes.html").read_text() == "<p>mine</p>"
    assert run(monkeypatch, capsys, copy, *words, "--overwrite")[0] == 0 == run(monkeypatch, capsys, copy, *words)[0]


def test_an_average_does_not_replace_its_picks(monkeypatch, capsys, copy):
    run(monkeypatch, capsys, copy, *["agreement", "good.csv", "good.csv", "--radius", "50", "-o", "parts"])
    (copy / "average").mkdir()
    shutil.copy(copy / "good.csv", copy / "average" / "picks.star")
    words = "average average/picks.star good.mrc --iterations 0 -o average"
    refused(monkeypatch, capsys, copy, words.split(), "average/picks.star", "would be overwritten")


def test_a_comparison_does_not_replace_what_it_compares(monkeypatch, capsys, copy):
    words = ["agreement", "good.csv", "good.csv", "--radius", "50", "-o", "parts"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    words[1] = "parts/both.csv"
    refused(monkeypatch, capsys, copy, words, "parts/both.csv: is read by this command")


def test_a_comparison_is_replaced_when_told_to(monkeypatch, capsys, copy):
    words = ["agreement", "good.csv", "good.csv", "--radius", "50", "-o", "parts"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    (copy / "parts" / "averages").mkdir()
    for stale in ("fsc.csv", "averages/both.mrc"):
        (copy / "parts" / stale).write_text("of an earlier comparison")
    (copy / "parts" / "notes.txt").write_text("mine")
    refused(monkeypatch, capsys, copy, words, "parts/both.csv: exists already; add --overwrite")
    assert run(monkeypatch, capsys, copy, *words, "--overwrite")[0] == 0
    left = {"agreement.json", "both.csv", "notes.txt", "only_other.csv", "only_picks.csv", "report.html"}
    assert {path.name for path in (copy / "parts").iterdir()} == left
    (copy / "parts" / "averages").mkdir()
    shutil.copy(copy / "good.mrc", copy / "parts" / "averages" / "both.mrc")
    averaged = ["--tomogram", "good.mrc", "--reference", "parts/averages/both.mrc", "--overwrite"]
    refused(monkeypatch, capsys, copy, [*words, *averaged], "averages/both.mrc: is read by this command")
    assert (copy / "parts" / "both.csv").exists()


def test_a_comparison_stays_until_the_new_one_is_there(monkeypatch, capsys, copy):
    words = ["agreement", "good.csv", "good.csv", "--radius", "50", "-o", "parts"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    before = {path.name: path.read_bytes() for path in (copy / "parts").iterdir()}

    def stopped(plan, parts):
        raise VoxpickError("stopped while averaging")

    monkeypatch.setattr(AveragePlan, "average", stopped)
    averaged = ["--tomogram", "good.mrc", "--particle-radius", "40", "--overwrite"]
    refused(monkeypatch, capsys, copy, [*words, *averaged], "stopped while averaging")
    assert {path.name: path.read_bytes() for path in (copy / "parts").iterdir()} == before


@pytest.mark.parametrize("command", ["agreement", "evaluate"])
def test_a_comparison_is_replaced_as_a_whole(monkeypatch, capsys, copy, command):
    """The earlier one was removed before the new one was written, and lost where the disk was full."""
    folder = {"agreement": ["--overwrite", "-o"], "evaluate": ["--agreement"]}[command]
    words = [command, "good.csv", "good.csv", "--radius", "50", *folder, "parts"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    before = {path.name: path.read_bytes() for path in (copy / "parts").iterdir()}
    write = atomic.write_text

    def fail_at_the_page(path, text):
        if text.startswith("<!"):
            raise VoxpickError(f"{path}: cannot be written (No space left on device)")
        write(path, text)

    (copy / "good.csv").write_text((copy / "good.csv").read_text() + "3cf3,70,60,150\n")
    with monkeypatch.context() as patched:
        patched.setattr(atomic, "write_text", fail_at_the_page)
        refused(patched, capsys, copy, words, "parts/report.html: cannot be written (No space")
    assert {path.name: path.read_bytes() for path in (copy / "parts").iterdir()} == before
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    assert (copy / "parts" / "both.csv").read_bytes() != before["both.csv"]


def test_evaluate_replaces_no_folder_but_an_earlier_comparison(monkeypatch, capsys, copy):
    words = ["evaluate", "good.csv", "good.csv", "--radius", "50", "--agreement", "parts"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0 == run(monkeypatch, capsys, copy, *words)[0]
    (copy / "parts" / "agreement.json").unlink()
    refused(monkeypatch, capsys, copy, words, "parts/both.csv: exists already; only the folder of an earlier")


def test_an_average_is_replaced_when_told_to(monkeypatch, capsys, copy):
    (copy / "average").mkdir()
    (copy / "average" / "map.mrc").write_text("hours of work")
    words = ["average", "good.csv", "good.mrc", "--iterations", "0", "-o", "average"]
    refused(monkeypatch, capsys, copy, words, "average/map.mrc: exists already; add --overwrite")
    (copy / "average" / "map.mrc").rename(copy / "average" / "picks.star")
    refused(monkeypatch, capsys, copy, words, "average/picks.star: exists already; add --overwrite")


def test_an_average_is_replaced_as_a_whole(monkeypatch, capsys, copy):
    """A kill while it was written left the new map beside the picks of the old one."""
    rows = "".join(f"3cf3,{x},{y},100,0,0,0\n" for x in (110, 140, 170) for y in (110, 130))
    (copy / "some.csv").write_text("class,x_angstrom,y_angstrom,z_angstrom,rot_deg,tilt_deg,psi_deg\n" + rows)
    words = ["average", "some.csv", "good.mrc", "--iterations", "0", "--radius", "40", "--box", "12", "-o", "average"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    before = {path.name: path.read_bytes() for path in (copy / "average").iterdir()}
    assert set(before) == set(average.WRITTEN)

    def full(path, *arguments, **options):
        raise VoxpickError(f"{path}: cannot be written (No space left on device)")

    again = [*words, "--seed", "1", "--overwrite"]
    with monkeypatch.context() as patched:
        patched.setattr(star, "write_star", full)
        code, lines, _ = run(patched, capsys, copy, *again)
    assert code == 2 and "average/picks.star: cannot be written (No space" in lines[-1]
    assert {path.name: path.read_bytes() for path in (copy / "average").iterdir()} == before
    assert run(monkeypatch, capsys, copy, *again)[0] == 0
    assert (copy / "average" / "half1.mrc").read_bytes() != before["half1.mrc"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("average good.csv good.mrc --iterations 0 -o out", "out: another process averages there"),
        ("agreement good.csv good.csv --radius 50 -o out", "out: another process compares pickings there"),
        ("evaluate good.csv good.csv --radius 50 --agreement out", "out: another process compares pickings there"),
    ],
)
def test_one_process_at_a_time_averages_or_compares_in_a_folder(monkeypatch, capsys, copy, words, told):
    """Two found the folder empty, and each replaced what the other wrote."""
    monkeypatch.setattr("voxpick.io.alone.PATIENCE_SECONDS", 0.0)
    with alone_in(copy / "out", use="averages"):
        refused(monkeypatch, capsys, copy, words.split(), told)


def test_a_link_stays_a_link(monkeypatch, capsys, copy):
    (copy / "kept.json").write_text("{}")
    (copy / "link.json").symlink_to("kept.json")
    words = ["evaluate", "good.csv", "good.csv", "--radius", "50", "--json", "link.json"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    assert (copy / "link.json").is_symlink() and "f1" in (copy / "kept.json").read_text().lower()


@pytest.mark.parametrize("content", ["notes\n", '{"pickable_object_name": "a"}', "[1]", "[" * 5000])
def test_numbers_replace_numbers_alone(monkeypatch, capsys, copy, content):
    """Any file of the name was replaced: picks of copick, notes."""
    words = ["evaluate", "good.csv", "good.csv", "--radius", "50", "--json", "out.json"]
    (copy / "out.json").write_text(content)
    refused(monkeypatch, capsys, copy, words, "--json out.json: was not made by this command")
    assert (copy / "out.json").read_text() == content
    (copy / "out.json").unlink()
    for _ in range(2):
        assert run(monkeypatch, capsys, copy, *words)[0] == 0


def test_masks_are_not_written_for_a_name_that_their_list_cannot_hold(monkeypatch, capsys, copy):
    text = (copy / "good.csv").read_text()
    name = read_particles(copy / "good.csv").classes[0]
    (copy / "named.csv").write_text(text.replace(str(name), "my ribosome"))
    words = ["targets", "good.mrc", "named.csv", "--radius", "30", "-o", "masks"]
    refused(monkeypatch, capsys, copy, words, "cannot hold the class name 'my ribosome'")
    assert not (copy / "masks").exists()


def test_a_damaged_model_is_noticed(monkeypatch, capsys, copy):
    data = bytearray((copy / "model.pt").read_bytes())
    with zipfile.ZipFile(copy / "model.pt") as archive:
        weights = archive.read(max(archive.infolist(), key=lambda part: part.file_size))
    data[data.find(weights) + len(weights) // 2] ^= 0xFF
    (copy / "model.pt").write_bytes(data)
    words = ["detect", "good.mrc", "--model", "model.pt", "--no-classes", "-o", "picks"]
    refused(monkeypatch, capsys, copy, words, "model.pt: ")


def test_truth_is_kept(monkeypatch, capsys, copy):
    (copy / "model_0").mkdir()
    (copy / "model_0" / "class_mask.mrc").write_text("truth")
    words = ["targets", "good.mrc", "good.csv", "--radius", "30", "-o", "model_0"]
    refused(monkeypatch, capsys, copy, words, "class_mask.mrc: exists already; add --overwrite")
    code, _, _ = run(monkeypatch, capsys, copy, *words, "--overwrite")
    assert code == 0 and (copy / "model_0" / "class_mask.mrc").stat().st_size > 1000


def test_masks_and_their_list_are_replaced_together(monkeypatch, capsys, copy):
    """A list of new picks stayed beside the old masks where the disk was full."""
    words = ["targets", "good.mrc", "good.csv", "--radius", "30", "-o", "model_0"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    before = {path.name: path.read_bytes() for path in (copy / "model_0").iterdir()}
    write, files = mrc.write_mrc, []

    def fail_at_the_second(path, *arguments, **options):
        files.append(path)
        if len(files) == 2:
            raise VoxpickError(f"{path}: cannot be written (No space left on device)")
        write(path, *arguments, **options)

    monkeypatch.setattr(mrc, "write_mrc", fail_at_the_second)
    lines = (copy / "good.csv").read_text().splitlines(keepends=True)
    (copy / "good.csv").write_text("".join([*lines, lines[-1]]))
    refused(monkeypatch, capsys, copy, [*words, "--overwrite"], "model_0/occupancy_mask.mrc: cannot be written (No sp")
    assert {path.name: path.read_bytes() for path in (copy / "model_0").iterdir()} == before


def test_a_demo_keeps_what_no_demo_made(monkeypatch, capsys, copy):
    (copy / "mine" / "model_0").mkdir(parents=True)
    (copy / "mine" / "model_0" / "my_notes.txt").write_text("notes")
    code, lines, _ = run(monkeypatch, capsys, copy, *["demo", "-o", "mine"])
    assert code == 2 and "not of an earlier demo" in lines[-1]
    assert (copy / "mine" / "model_0" / "my_notes.txt").read_text() == "notes"


def test_one_demo_at_a_time_runs_in_a_folder(monkeypatch, capsys, copy):
    monkeypatch.setattr("voxpick.io.alone.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("voxpick.cli.demo.simulate_tomogram", None)
    with alone_in(copy / "mine", use="runs a demo"):
        code, lines, _ = run(monkeypatch, capsys, copy, "demo", "-o", "mine")
    assert code == 2 and "mine: another process runs a demo there" in lines[-1]


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_a_model_folder_between_two_renames_is_still_there(monkeypatch, capsys, copy, command):
    """Its process was killed; the folder was as good as gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old = copy / "mine" / f".model_0.{ended.pid}.old"
    old.mkdir(parents=True)
    (old / "my_notes.txt").write_text("notes")
    words = {"simulate": ["simulate", "shrec20", "mine"], "demo": ["demo", "-o", "mine"]}[command]
    assert run(monkeypatch, capsys, copy, *words)[0] == 2
    assert (copy / "mine" / "model_0" / "my_notes.txt").read_text() == "notes"


def test_a_demo_of_any_seed_is_repeated(monkeypatch, tmp_path):
    seeds = []

    def simulated(*words, **options):
        seeds.append(options["seed"])
        return simulate_shrec20(*words, **options)

    monkeypatch.setattr(demo, "DEMO_SIZE", (48, 32, 32))
    monkeypatch.setattr("voxpick.simulate.shrec20.simulate_shrec20", simulated)
    demo.simulate_tomogram(tmp_path / "model_0", seed=5, device="cpu")
    record = yaml.safe_load((tmp_path / "model_0" / "simulation.yaml").read_text())
    assert seeds == [model_seed(record["seed"], record["model"])]
    demo._keep_other_data(tmp_path)
    (tmp_path / "model_0" / "simulation.yaml").write_text("seed: 1000000005\n")
    demo._keep_other_data(tmp_path)
    (tmp_path / "model_0" / "simulation.yaml").write_text("seed: 5\n")
    with pytest.raises(VoxpickError, match="not of an earlier demo"):
        demo._keep_other_data(tmp_path)


@pytest.mark.parametrize("name", ["picks.star", "picks.csv", "picks.txt", "report.html"])
def test_a_demo_keeps_results_beside_which_there_is_no_demo(monkeypatch, capsys, copy, name):
    (copy / name).write_text("hours of work")
    monkeypatch.setattr("voxpick.cli.demo.simulate_tomogram", None)
    refused(monkeypatch, capsys, copy, ["demo", "-o", "."], f"{name}: exists already; no demo made it")


def test_picks_of_other_origin_are_kept(monkeypatch, capsys, copy):
    detect = ["detect", "good.mrc", "--model", "model.pt", "--no-classes", "-o", "picks"]
    (copy / "picks").mkdir()
    (copy / "picks" / "good.csv").write_text("by hand")
    refused(monkeypatch, capsys, copy, detect, "picks/good.csv: was not made by this command; add --overwrite")
    assert run(monkeypatch, capsys, copy, *detect, "--overwrite")[0] == 0
    assert run(monkeypatch, capsys, copy, *detect)[0] == 0, "the same tomogram again"
    record = yaml.safe_load((copy / "picks" / "detect.yaml").read_text())
    assert record["tomograms"] == {"good": str((copy / "good.mrc").resolve())}
    (copy / "other").mkdir()
    shutil.copy(copy / "good.mrc", copy / "other" / "good.mrc")
    other = ["detect", "other/good.mrc", "--model", "model.pt", "--no-classes", "-o", "picks"]
    refused(monkeypatch, capsys, copy, other, "holds picks of", "add --overwrite")


PICKERS = {"detect": "--model model.pt --no-classes", "match": "--method dog --radius 30"}


@pytest.mark.parametrize(
    ("command", "more", "name"),
    [
        ("detect", "--format imod", "good.mod"),
        ("detect", "--format csv,dynamo", "good.tbl"),
        ("detect", "--segmentation", "good_segmentation.mrc"),
        ("match", "--report", "good.html"),
    ],
)
def test_files_beside_own_picks_are_kept(monkeypatch, capsys, copy, command, more, name):
    """That a tomogram was picked here made every file of its name the command's own, those made by hand too."""
    words = [command, "good.mrc", *PICKERS[command].split(), "-o", "picks"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    (copy / "picks" / name).write_text("by hand")
    refused(
        monkeypatch,
        capsys,
        copy,
        [*words, *more.split()],
        f"picks/{name}: was not made by this command; add --overwrite",
    )
    assert (copy / "picks" / name).read_text() == "by hand"
    assert run(monkeypatch, capsys, copy, *words, *more.split(), "--overwrite")[0] == 0
    assert run(monkeypatch, capsys, copy, *words, *more.split())[0] == 0, "its own by now"
    assert run(monkeypatch, capsys, copy, *words)[0] == 0, "and so is what it wrote before"
    noted = yaml.safe_load((copy / "picks" / f"{command}.yaml").read_text())["written"]
    assert noted == {"good": sorted({"good.csv", "good.star", "good.txt", name})}


@pytest.mark.parametrize("dropped", [["written"], ["written", "tomograms"]])
def test_of_a_record_that_names_no_files_the_usual_ones_are_own(monkeypatch, capsys, copy, dropped):
    words = ["match", "good.mrc", *PICKERS["match"].split(), "-o", "picks"]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    record = yaml.safe_load((copy / "picks" / "match.yaml").read_text())
    for key in dropped:
        del record[key]
    (copy / "picks" / "match.yaml").write_text(yaml.safe_dump(record))
    (copy / "picks" / "good.mod").write_text("by hand")
    refused(monkeypatch, capsys, copy, [*words, "--format", "imod"], "picks/good.mod: was not made by this command")
    assert run(monkeypatch, capsys, copy, *words)[0] == 0


def test_files_of_another_tomogram_of_the_name_are_not_noted_as_of_this_one(monkeypatch, capsys, copy):
    (copy / "other").mkdir()
    shutil.copy(copy / "good.mrc", copy / "other" / "good.mrc")
    words = [*PICKERS["match"].split(), "-o", "picks", "--format"]
    assert run(monkeypatch, capsys, copy, "match", "good.mrc", *words, "imod,csv")[0] == 0
    assert run(monkeypatch, capsys, copy, "match", "other/good.mrc", *words, "csv", "--overwrite")[0] == 0
    before = (copy / "picks" / "good.mod").read_bytes()
    refused(monkeypatch, capsys, copy, ["match", "other/good.mrc", *words, "imod"], "picks/good.mod: was not made")
    assert (copy / "picks" / "good.mod").read_bytes() == before


@pytest.mark.parametrize("name", ["match.yaml", "relion_import.star"])
def test_records_and_lists_of_other_origin_are_kept(monkeypatch, capsys, copy, name):
    match = ["match", "good.mrc", "--method", "dog", "--radius", "30", "-o", "picks"]
    (copy / "picks").mkdir()
    (copy / "picks" / name).write_text("mine: 1\n")
    refused(monkeypatch, capsys, copy, match, f"picks/{name}: was not made by this command; add --overwrite")
    assert run(monkeypatch, capsys, copy, *match, "--overwrite")[0] == 0
    assert run(monkeypatch, capsys, copy, *match)[0] == 0, "its own record and list"


def test_a_tomogram_is_not_replaced_by_a_segmentation(monkeypatch, capsys, copy):
    """`detect *.mrc` finds the segmentations of an earlier call, too."""
    words = ["--model", "model.pt", "--no-classes", "--segmentation", "--overwrite", "-o", "."]
    shutil.copy(copy / "good.mrc", copy / "good_segmentation.mrc")
    words = ["detect", "good.mrc", "good_segmentation.mrc", *words]
    refused(monkeypatch, capsys, copy, words, "good_segmentation.mrc: is read by this command and would be overwritten")
    assert (copy / "good_segmentation.mrc").read_bytes() == (copy / "good.mrc").read_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rec_good", "2 tomograms are called good"), ("a\tb", "no tabs"),
        ("relion_import", "picks/relion_import.star: is the list of picks that RELION imports"),
        ("n" * 240, "link to the tomogram by a shorter one"), ("\u96ea" * 75, "its name has 230 bytes"),
    ],
)  # fmt: skip
def test_names_that_picks_cannot_have_are_refused_before_the_search(monkeypatch, capsys, copy, name, expected):
    """RELION knows rec_good as good, so of two such tomograms one was missing in relion_import.star.

    Picks of a tomogram called relion_import were replaced by that list, and those of one with a long name could not be
    written once they were found.
    """
    shutil.copy(copy / "good.mrc", copy / f"{name}.mrc")
    words = ["detect", "good.mrc", f"{name}.mrc", "--model", "model.pt", "--no-classes", "-o", "picks"]
    refused(monkeypatch, capsys, copy, words, expected)


def test_a_model_with_a_name_too_long_for_a_temporary_file_is_refused_before_it_is_trained(monkeypatch, capsys, copy):
    """The training ended with a model that could not be written, neither there nor beside it."""
    words = ["train", "good.mrc", "--picks", "good.csv", "--radius", 50, "--steps", 1, "--output", "m" * 240 + ".pt"]
    refused(monkeypatch, capsys, copy, words, "its name has 243 bytes")


def test_masks_of_two_processes_do_not_mix(monkeypatch, capsys, copy):
    """Their three files were replaced one by one: the class mask of one call lay beside the particles of another."""
    words = ["targets", "good.mrc", "good.csv", "--radius", 30, "--output", "masks"]
    monkeypatch.setattr(targets, "WRITING_SECONDS", 0.0)
    with alone_in(copy / "masks", use="writes masks"):
        refused(monkeypatch, capsys, copy, words, "masks: another process writes masks there")

    def paste_late(*arguments, **options):
        (copy / "masks").mkdir(exist_ok=True)
        (copy / "masks" / "occupancy_mask.mrc").write_text("another's")
        return paste(*arguments, **options)

    monkeypatch.setattr("voxpick.average.pasted.paste", paste_late)
    code, lines, _ = run(monkeypatch, capsys, copy, *words)
    assert code == 2 and "occupancy_mask.mrc: exists already" in lines[-1]
    assert [path.name for path in (copy / "masks").iterdir()] == ["occupancy_mask.mrc"]


@pytest.mark.parametrize("place_of_model", [".", "/", ""])
def test_a_model_without_a_name_is_refused(monkeypatch, capsys, copy, place_of_model):
    """It was a traceback of pathlib's."""
    words = ["train", "good.mrc", "--picks", "good.csv", "--radius", 50, "--output", place_of_model]
    refused(monkeypatch, capsys, copy, words, "is a folder; name the model file to write")


def test_a_name_that_is_not_unicode_is_refused(copy):
    path = copy / "a\udce9.mrc"
    try:
        shutil.copy(copy / "good.mrc", path)
    except OSError:
        pytest.skip("the file system takes no such name")
    with pytest.raises(VoxpickError, match=r"is not Unicode \(UTF-8\)"):
        check_tomograms([path], ["csv"])


def test_a_batch_goes_on_after_a_bad_tomogram(monkeypatch, capsys, copy, place):
    shutil.copy(place / "nan.mrc", copy / "nan.mrc")
    words = ["detect", "nan.mrc", "good.mrc", "--model", "model.pt", "--no-classes", "-o", "picks"]
    code, lines, written = run(monkeypatch, capsys, copy, *words)
    assert code == 2 and "1 of 2 tomograms failed: nan.mrc" in lines[-1]
    assert {"good.star", "good.csv", "good.txt", "detect.yaml"} <= written


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"), "t.mrc: not enough memory (CUDA out of memory"),
        (MemoryError(), "t.mrc: not enough memory"),
        (OSError(5, "Input/output error"), "t.mrc: [Errno 5] Input/output error"),
    ],
)
def test_a_batch_survives_what_is_wrong_with_one_tomogram(capsys, error, words):
    failures = Failures(2)
    with failures.of(Path("t.mrc")):
        raise error
    assert words in capsys.readouterr().err and failures.messages == ["t.mrc"]
    with pytest.raises(type(error)), Failures(1).of(Path("t.mrc")):
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_batch_ends_by_ctrl_c_and_by_faults_of_voxpick(error):
    with pytest.raises(error), Failures(2).of(Path("t.mrc")):
        raise error


def test_a_bank_is_kept(monkeypatch, capsys, copy):
    (copy / "bank.npz").write_text("structures")
    refused(
        monkeypatch,
        capsys,
        copy,
        ["structures", "build", "good.mrc", "-o", "bank.npz", "--mass-kda", "300"],
        "--append",
    )


@pytest.mark.parametrize("command", ["targets good.mrc far.csv -o out --radius 30", "train good.mrc --picks far.csv"])
def test_picks_that_all_lie_outside_are_refused(monkeypatch, capsys, copy, command):
    (copy / "far.csv").write_text("class,x_angstrom,y_angstrom,z_angstrom\n3cf3,70000,60000,90000\n")
    words = [*command.split(), *(["--radius", "30", "-o", "mine.pt"] if command.startswith("train") else [])]
    code, lines, _ = run(monkeypatch, capsys, copy, *words)
    assert code == 2 and "check their unit and frame" in lines[-1]


def test_a_misspelt_class_is_refused(monkeypatch, capsys, copy):
    words = ["targets", "good.mrc", "good.csv", "-o", "out", "--radius", "30", "--radius", "nope=40"]
    refused(monkeypatch, capsys, copy, words, "no pick is of class 'nope'")


def test_what_detect_wrote_of_nothing_can_be_looked_at(monkeypatch, capsys, copy):
    words = [
        "detect",
        "good.mrc",
        "--model",
        "model.pt",
        "--no-classes",
        "--min-score",
        "1",
        "--set",
        "minimum_score=1",
        "-o",
        "picks",
    ]
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    if len(read_particles(copy / "picks" / "good.star", voxel_size=10.0, shape=(24, 28, 32))):
        pytest.skip("a pick has a confidence of exactly 1")
    for suffix in ("star", "csv", "txt"):
        code, _, written = run(
            monkeypatch, capsys, copy, *f"report good.mrc picks/good.{suffix} -o {suffix}.html".split()
        )
        assert code == 0 and f"{suffix}.html" in written


def test_one_stray_pick_does_not_move_picks_in_angstrom(monkeypatch, capsys, place, tmp_path):
    """Of a text file the organisers' rule moves all; STAR and CSV say what they count from."""
    words = "--size 24,28,32 --particles 3 --classes 1s3x --tilt-step 60 --thickness 60"
    assert run(monkeypatch, capsys, tmp_path, *f"simulate shrec20 d {words}".split())[0] == 0
    table = [line.split() for line in (tmp_path / "d/model_0/particle_locations.txt").read_text().splitlines()]
    rows = [[name, *(float(value) for value in (x, y, z))] for name, x, y, z, *_ in table]
    shift = (60 - 24) // 2
    lines = [f"{n},{10 * x},{10 * y},{10 * (z + shift)}" for n, x, y, z in rows] + ["1s3x,100,100,20"]
    (tmp_path / "p.csv").write_text("\n".join(["class,x_angstrom,y_angstrom,z_angstrom", *lines]) + "\n")
    code, _, _ = run(monkeypatch, capsys, tmp_path, *["evaluate", "p.csv", "d/model_0", "--json", "out.json"])
    found = yaml.safe_load((tmp_path / "out.json").read_text())
    assert code == 0 and found["localisation"]["TP"] == 3
    assert np.isclose(found["localisation"]["precision"], 3 / 4)


def test_calibrating_a_model_of_the_package_needs_another_file(tmp_path):
    with pytest.raises(VoxpickError, match="stays as it is; name a file with --output"):
        calibrate_command("vp-detector", [tmp_path])


@pytest.mark.parametrize("changed", [False, True])
def test_calibrating_keeps_what_is_trained_meanwhile(monkeypatch, capsys, copy, changed):
    """The file was written as it had been read, so that a stage trained meanwhile was gone."""
    path = copy / "model.pt"
    stage, model = next(iter(load_models(path).items()))

    def calibrate(models, folders, **options):
        models[stage].detection = {**models[stage].detection, "threshold": 0.625}
        if changed:
            with torch.no_grad():
                next(iter(model.network.parameters())).add_(1.0)
        save_models(path, {stage: model, "later": model})

    monkeypatch.setattr("voxpick.cli.calibrate.calibrate", calibrate)
    monkeypatch.setattr("voxpick.cli.calibrate.print_fit", lambda found: None)
    save_models(path, {stage: model})
    code, lines, _ = run(monkeypatch, capsys, copy, "calibrate", "model.pt", "nowhere")
    found = load_models(path)
    assert list(found) == [stage, "later"]
    assert code == (2 if changed else 0)
    assert (found[stage].detection.get("threshold") == 0.625) != changed
    assert not changed or f"its {stage} was trained anew" in lines[-1]


@pytest.mark.parametrize("command", ["detect", "match"])
def test_a_batch_that_was_killed_goes_on(monkeypatch, capsys, copy, command):
    """What it has written is known to be its own, though it never came to its end."""
    shutil.copy(copy / "good.mrc", copy / "second.mrc")
    words = [command, "good.mrc", "second.mrc", *PICKERS[command].split(), "-o", "picks"]
    writers, calls = detect_output.picks_writers, []

    def dies(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return writers(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(detect_output, "picks_writers", dies)
        assert run(patched, capsys, copy, *words)[0] == 130
    assert (copy / "picks" / "good.csv").exists() and not (copy / "picks" / "second.csv").exists()
    assert run(monkeypatch, capsys, copy, *words)[0] == 0
    record = yaml.safe_load((copy / "picks" / f"{command}.yaml").read_text())
    assert list(record["tomograms"]) == ["good", "second"] and (copy / "picks" / "second.csv").exists()


def test_picks_and_their_record_are_replaced_together(monkeypatch, capsys, copy):
    """A format that fails left the record of the new settings beside picks of the old ones."""
    words = ["match", "good.mrc", "--method", "dog", "-o", "picks", "--format", "csv,imod,copick", "--radius"]
    assert run(monkeypatch, capsys, copy, *words, "30")[0] == 0
    before = contents(copy / "picks")

    def fails(*arguments, **options):
        raise VoxpickError("no room")

    with monkeypatch.context() as patched:
        patched.setitem(formats.FORMATS, "imod", replace(formats.FORMATS["imod"], write=fails))
        assert run(patched, capsys, copy, *words, "40")[0] == 2
    assert contents(copy / "picks") == before
    assert run(monkeypatch, capsys, copy, *words, "40")[0] == 0
    assert contents(copy / "picks").keys() == before.keys()
    assert yaml.safe_load((copy / "picks" / "match.yaml").read_text())["settings"]["radius"] == 40


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_call_does_not_relabel_what_earlier_ones_made(monkeypatch, capsys, copy):
    """The record told of all picks in the folder what the last call made its own with."""
    shutil.copy(copy / "good.mrc", copy / "second.mrc")
    words = ["--method", "dog", "-o", "picks", "--radius"]

    def otherwise(*arguments):
        assert run(monkeypatch, capsys, copy, "match", *arguments)[0] == 0
        record = yaml.safe_load((copy / "picks" / "match.yaml").read_text())
        groups = {each["settings"]["radius"]: each["files"] for each in record.get("made_otherwise", [])}
        return record["settings"]["radius"], groups

    three = ["good.csv", "good.star", "good.txt"]
    assert otherwise("good.mrc", *words, "30") == (30, {})
    assert otherwise("second.mrc", *words, "30") == (30, {})
    assert otherwise("second.mrc", *words, "40") == (40, {30: three})
    assert otherwise("second.mrc", *words, "50", "--format", "csv") == (
        50,
        {30: three, 40: ["second.star", "second.txt"]},
    )
    assert otherwise("good.mrc", *words, "40") == (40, {50: ["second.csv"]})
    assert otherwise("second.mrc", *words, "40") == (40, {})


def test_picks_wait_for_those_that_another_process_writes(monkeypatch, capsys, copy):
    """Else each would drop from the record and the import list what the other has noted."""
    monkeypatch.setattr(detect_output, "WRITING_SECONDS", 0.0)
    words = ["match", "good.mrc", "--method", "dog", "--radius", "30", "-o", "picks"]
    with alone_in(copy / "picks", use="writes picks"):
        code, lines, _ = run(monkeypatch, capsys, copy, *words)
    assert code == 2 and "picks: another process writes picks there" in lines[-1]
    assert list((copy / "picks").iterdir()) == []
    assert run(monkeypatch, capsys, copy, *words)[0] == 0


@pytest.mark.parametrize("commands", [("detect", "match"), ("match", "detect")])
def test_an_import_list_names_what_both_commands_found(monkeypatch, capsys, copy, commands):
    shutil.copy(copy / "good.mrc", copy / "second.mrc")
    for command, tomogram in zip(commands, ("good.mrc", "second.mrc"), strict=True):
        assert run(monkeypatch, capsys, copy, command, tomogram, *PICKERS[command].split(), "-o", "picks")[0] == 0
    listed = starfile.read(copy / "picks" / "relion_import.star")
    assert sorted(listed["rlnTomoName"]) == ["good", "second"]


def test_a_radius_given_twice_for_a_class_is_refused(monkeypatch, capsys, copy):
    words = "targets good.mrc good.csv -o masks --radius 3cf3=30 --radius 3cf3=40"
    refused(monkeypatch, capsys, copy, words.split(), "--radius is given twice for class '3cf3', 30 and 40")


def test_a_template_whose_name_no_file_can_hold_is_refused_before_the_search(monkeypatch, capsys, copy):
    with mrcfile.new(copy / "my map.mrc", np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)) as file:
        file.voxel_size = read_mrc(copy / "good.mrc").voxel_size
    monkeypatch.setattr("voxpick.methods.template_matching.match", None)
    code, lines, written = run(monkeypatch, capsys, copy, "match", "good.mrc", "-t", "my map.mrc", "-o", "picks")
    told = "SHREC lists cannot hold the class name 'my map'; use one word, or leave shrec out of --format"
    assert code == 2 and told in lines[-1] and not written


def test_a_tomogram_is_averaged_once(monkeypatch, capsys, copy):
    words = "average good.csv good.mrc good.mrc --iterations 0 -o average"
    code, lines, written = run(monkeypatch, capsys, copy, *words.split())
    assert code == 2 and "2 tomograms are called good" in lines[-1] and not written
