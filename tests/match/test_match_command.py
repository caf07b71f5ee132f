"""voxpick match, from files to files."""

import re
import subprocess
import sys
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from voxpick.cli import match as command
from voxpick.errors import VoxpickError
from voxpick.io.formats import read_particles
from voxpick.io.model import save_models
from voxpick.io.mrc import write_mrc
from voxpick.io.structures import write_arrays
from voxpick.methods.catalogue import METHODS
from voxpick.simulate.bank import load_bank, pack_bank
from voxpick.simulate.structures import density, stamp_density
from voxpick.volume import Volume

SHAPE, PLACES = (24, 32, 40), [(12, 12, 12), (12, 18, 28)]
QUICK = ["--step", "60", "--ctf", "off", "--tilt-range", "off", "--slab", "off", "--set", "candidates=20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tomogram with two Rubiscos, the map of one, and the map in other voxels."""
    where, model = tmp_path_factory.mktemp("match"), load_bank(["1bxn"])["1bxn"]
    data = np.random.default_rng(0).normal(scale=0.05, size=SHAPE)
    for place in PLACES:
        data -= stamp_density(model.positions_zyx, model.electrons, SHAPE, 10.0, np.array(place) * 10.0)
    write_mrc(where / "tomo.mrc", Volume(data.astype(np.float32), 10.0))
    write_mrc(where / "Rubisco.mrc", Volume(density(model), 10.0))
    write_mrc(where / "fine.mrc", Volume(density(model), 5.0))
    return where


def run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, ["match", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("template", ["1bxn", "Rubisco.mrc"])
@pytest.mark.parametrize("extra", [["--exact"], ["--method", "tm-t"]])
def test_picks_are_written_with_orientations(folder, tmp_path, template, extra):
    name = folder / template if "." in template else template
    result = run(folder / "tomo.mrc", "-o", tmp_path, "-t", name, "--number", 2, *QUICK, *extra)
    assert result.exit_code == 0 and "69 rotations; any orientation is" in result.output
    written = {"tomo.star", "tomo.csv", "tomo.txt", "match.yaml", "relion_import.star"}
    assert {path.name for path in tmp_path.iterdir()} == written
    picks = read_particles(tmp_path / "tomo.csv", voxel_size=10.0, shape=SHAPE)
    assert sorted(map(tuple, np.round(picks.centers_zyx / 10).astype(int).tolist())) == sorted(PLACES)
    assert set(picks.classes) == {template.split(".")[0].lower()} and picks.rotations.shape == (2, 3, 3)
    written = yaml.safe_load((tmp_path / "match.yaml").read_text())
    assert written["settings"]["angular_step"] == 60 and written["templates"] == [str(name)]
    assert written["settings"]["overlap"] is ("tm-t" in extra)
    kept = written["search"]["tomo"][template.split(".")[0].lower()]
    if "--exact" in extra:
        assert kept.pop("candidates") >= 2 and kept == {"energy_kept": 1.0}
    else:
        assert 0.97 < kept["energy_kept"] < 1 and kept["least_energy_kept"] <= kept["energy_kept"]
        assert kept["volumes"] == kept["volumes_for_residual"] > 1 and kept["voxels_between_places"] in (1, 1.5)


def test_what_came_of_each_search_is_noted_and_makes_no_other_settings_of_them(folder, tmp_path):
    second = tmp_path / "again.mrc"
    second.write_bytes((folder / "tomo.mrc").read_bytes())
    words = ["-o", tmp_path / "out", "-t", "1bxn", "--number", 2, *QUICK]
    assert run(folder / "tomo.mrc", second, *words).exit_code == 0
    noted = yaml.safe_load((tmp_path / "out" / "match.yaml").read_text())
    assert noted["search"]["tomo"] == noted["search"]["again"] and "made_otherwise" not in noted
    assert run(second, *words, "--set", "volumes=3", "--overwrite").exit_code == 0
    noted = yaml.safe_load((tmp_path / "out" / "match.yaml").read_text())
    assert noted["search"]["again"]["1bxn"]["volumes"] == 3 < noted["search"]["tomo"]["1bxn"]["volumes"]
    assert [group["files"] for group in noted["made_otherwise"]] == [["tomo.csv", "tomo.star", "tomo.txt"]]


def test_volumes_that_keep_too_little_are_told_with_how_many_would_do(folder, tmp_path):
    words = [folder / "tomo.mrc", "-o", tmp_path, "-t", "1bxn", "-t", "1s3x", "--number", 2, *QUICK]
    said = run(*words, "--set", "volumes=3").output.replace("\n", " ")
    told = re.search(r"warning: tomo: with at most 3 volumes .* the 98.0% that residual = 0.02 asks for: 1bxn "
                     r"(\d\d\.\d)% \((\d+) volumes\), 1s3x .*--set volumes=(\d+) keeps", said)  # fmt: skip
    kept = yaml.safe_load((tmp_path / "match.yaml").read_text())["search"]["tomo"]
    assert float(told[1]) == pytest.approx(100 * kept["1bxn"]["energy_kept"], abs=0.1)
    assert int(told[2]) == kept["1bxn"]["volumes_for_residual"] > kept["1bxn"]["volumes"] == 3
    assert int(told[3]) == max(one["volumes_for_residual"] for one in kept.values())
    enough = run(*words, "--set", f"volumes={told[3]}", "--overwrite").output
    assert "with at most" not in enough and "templates' energy" in enough


def test_a_map_without_a_voxel_size_is_taken_to_have_the_tomograms(folder, tmp_path):
    with mrcfile.new(tmp_path / "bare.mrc") as file:
        file.set_data(density(load_bank(["1bxn"])["1bxn"]).astype(np.float32))
    result = run(folder / "tomo.mrc", "-o", tmp_path / "out", "-t", tmp_path / "bare.mrc", "--number", 2, *QUICK)
    assert "bare.mrc: no voxel size in the header; taken to be 10 A" in result.output
    picks = read_particles(tmp_path / "out" / "tomo.csv", voxel_size=10.0, shape=SHAPE)
    assert sorted(map(tuple, np.round(picks.centers_zyx / 10).astype(int).tolist())) == sorted(PLACES)


@pytest.mark.parametrize(
    ("size", "told"),
    [((1, 1, 1), "voxel size of 1 A, which is what programs write that do not know it, and tomo"),
     ((-10, -10, -10), "voxels of -10 x -10 x -10 A"), ((10, 10, 0), "voxels of 10 x 10 x 0 A"),
     ((10, 10, 12), "voxels of 10 x 10 x 12 A")],
)  # fmt: skip
def test_a_map_whose_header_is_wrong_has_to_be_mended(folder, tmp_path, size, told):
    """It said to set --voxel-size, which is the tomogram's."""
    path = tmp_path / "map.mrc"
    with mrcfile.new(path) as file:
        file.set_data(density(load_bank(["1bxn"])["1bxn"]).astype(np.float32))
        file.header.cella = tuple(n * s for n, s in zip(file.data.shape[::-1], size, strict=True))
    out = tmp_path / "out"
    with pytest.raises(VoxpickError) as raised:
        run(folder / "tomo.mrc", "-o", out, "-t", path, *QUICK)
    assert told in str(raised.value) and "--voxel-size" not in str(raised.value) and "resample" in str(raised.value)
    way_out = str(raised.value).partition('python -c "')[2].rstrip('"')
    subprocess.run([sys.executable, "-c", way_out], check=True)
    run(folder / "tomo.mrc", "-o", out, "-t", path, "--number", 2, *QUICK)
    assert len(read_particles(out / "tomo.csv", voxel_size=10.0, shape=SHAPE)) == 2


PDB = "ATOM  {:5d}  CA  ALA A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           {:>2s}\n"
COLUMNS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
    "Cartn_x Cartn_y Cartn_z occupancy auth_asym_id"
)
CIF = "data_tiny\n#\nloop_\n" + "".join(f"_atom_site.{column}\n" for column in COLUMNS.split())


def write_atoms(path, model):
    """Beads as atoms of carbon."""
    lines = []
    for k, (z, y, x) in enumerate(np.asarray(model.positions_zyx, dtype=float), start=1):
        if path.suffix == ".pdb":
            lines.append(PDB.format(k, k, x, y, z, "C"))
        else:
            lines.append(f"ATOM {k} C CA . ALA A 1 {k} {x:.3f} {y:.3f} {z:.3f} 1.0 A\n")
    path.write_text("".join(lines) + "END\n" if path.suffix == ".pdb" else CIF + "".join(lines) + "#\n")


@pytest.mark.parametrize("name", ["Rubisco.pdb", "Rubisco.cif", "bank.npz"])
def test_files_of_atoms_and_banks_are_templates(folder, tmp_path, name):
    path, model = tmp_path / name, load_bank(["1bxn"])["1bxn"]
    if path.suffix == ".npz":
        write_arrays(path, pack_bank([replace(model, name="Rubisco")]))
    else:
        write_atoms(path, model)
    run(folder / "tomo.mrc", "-o", tmp_path / "out", "-t", path, "--number", 2, *QUICK)
    picks = read_particles(tmp_path / "out" / "tomo.csv", voxel_size=10.0, shape=SHAPE)
    assert sorted(map(tuple, np.round(picks.centers_zyx / 10).astype(int).tolist())) == sorted(PLACES)
    assert set(picks.classes) == {"Rubisco" if path.suffix == ".npz" else "rubisco"} and (picks.scores > 0.5).all()


def test_the_report_shows_the_scores(folder, tmp_path):
    extra = ["--report", "--whiten", "--background", "subtract"]
    run(folder / "tomo.mrc", "-o", tmp_path, "-t", "1bxn", "--number", 2, *QUICK, *extra)
    page = (tmp_path / "tomo.html").read_text()
    assert "Scores: 1bxn" in page and "Settings of the run" in page
    assert re.search(r"the search kept 9\d\.\d% of the templates&#x27; energy, .* at least, with \d+ volumes", page)
    picks = read_particles(tmp_path / "tomo.csv", voxel_size=10.0, shape=SHAPE)
    assert sorted(map(tuple, np.round(picks.centers_zyx / 10).astype(int).tolist())) == sorted(PLACES)
    written = yaml.safe_load((tmp_path / "match.yaml").read_text())["settings"]
    assert written["whiten"] is True and written["background"] == "subtract"


def test_a_page_that_cannot_be_made_leaves_no_record_of_it(folder, tmp_path, monkeypatch):
    """It was written last: picks were there, and a record that listed the page."""
    words = [folder / "tomo.mrc", "-o", tmp_path, "-t", "1bxn", "--number", 2, *QUICK, "--report"]
    with monkeypatch.context() as patched:
        patched.setattr(command, "_page", lambda *_: "\ud800")  # no UTF-8: it fails as it is written
        with pytest.raises(UnicodeEncodeError):
            run(*words)
    assert not [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]
    run(*words)
    assert {"tomo.html", "tomo.star"} <= set(yaml.safe_load((tmp_path / "match.yaml").read_text())["written"]["tomo"])


def test_dog_needs_no_template(folder, tmp_path):
    run(folder / "tomo.mrc", "-o", tmp_path, "--method", "dog", "--radius", 50, "--slab", "off", "--number", 2)
    picks = read_particles(tmp_path / "tomo.csv", voxel_size=10.0, shape=SHAPE)
    assert len(picks) == 2 and set(picks.classes) == {"particle"}
    for place in PLACES:
        assert np.linalg.norm(picks.centers_zyx / 10 - place, axis=1).min() <= 2


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Model files with an untrained classifier, of 10 A and of 14 A."""
    densenet, where = METHODS["densenet"], tmp_path_factory.mktemp("names")
    settings = densenet.training_settings("classifier", changes=densenet.TINY["classifier"])
    files = []
    for voxel_size in (10.0, 14.0):
        model = densenet.create_model(settings, ["ball", "rod"], voxel_size=voxel_size)
        model.detection = {"subtomogram": settings.patch}
        model.provenance = {"method": "densenet"}
        save_models(where / f"{voxel_size:g}.pt", {"classifier": model})
        files.append(where / f"{voxel_size:g}.pt")
    return files


FINDERS = {
    "tm-f": ["-t", "1bxn", "--number", 2, *QUICK],
    "tm-t": ["-t", "1bxn", "--number", 2, *QUICK],
    "dog": ["--radius", 50, "--slab", "off", "--number", 2],
}


@pytest.mark.parametrize("method", FINDERS)
def test_a_classifier_names_what_is_found(folder, names, tmp_path, method):
    extra = ["--method", method, "--classifier", names[0], "--set", "batch=2", "--report"]
    run(folder / "tomo.mrc", "-o", tmp_path, *FINDERS[method], *extra)
    picks = read_particles(tmp_path / "tomo.csv", voxel_size=10.0, shape=SHAPE)
    assert len(picks) == 2 and set(picks.classes) <= {"ball", "rod"} and picks.rotations is None
    assert np.allclose(picks.scores, picks.location_scores * picks.class_scores, atol=1e-4)
    for place in PLACES:
        assert np.linalg.norm(picks.centers_zyx / 10 - place, axis=1).min() <= 2
    written = yaml.safe_load((tmp_path / "match.yaml").read_text())
    assert written["classifier"] == str(names[0]) and written["settings"]["batch"] == 2


def test_a_classifier_that_cannot_name_is_refused_before_the_search(folder, names, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_detection", None)
    start = [folder / "tomo.mrc", "-o", tmp_path, *FINDERS["dog"], "--method", "dog", "--classifier"]
    for words, message in (
        ([names[1]], r"found in voxels of 10 A and the classifier is made for 14 A"),
        (["umc"], r"holds no classifier \(it has: segmenter\)"),
        ([names[0], "--set", "votes=majority"], r"votes"),
    ):
        with pytest.raises(VoxpickError, match=message):
            run(*start, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-t", "fine.mrc"], r"fine.mrc: the map has voxels of 5 A and .* of 10 A; resample"),
        (["-t", "fine.mrc", "--voxel-size", "5", "--set", "tile=24"], r"too large for tiles of 24"),
        (["-t", "9xyz"], r"unknown structure '9xyz'"),
        (["-t", "missing.pdb"], r"missing.pdb: no such file"),
        (["-t", "notes.doc"], r"unknown type of structure file"),
        (["-t", "1bxn", "-t", "1bxn"], r"two templates are called 1bxn"),
        (["--tilt-range", "sixty"], r"--tilt-range sixty: give"),
        (["--tilt-range", "60:-60", "-t", "absent.mrc"], r"--tilt-range \[60.*tilt range 60 to -60 degrees"),
        (["--step", "1", "-t", "absent.mrc"], r"14851067 rotations.*smallest step that fits is 2.5 degrees"),
        (["--radius", "-3"], r"^--radius -3.0: Input should be greater than 0"),
        (["--method", "yopo"], r"one of tm-f, tm-t, dog"),
        (["--method", "dog", "-t", "1bxn"], r"leave --template out"),
        (["--method", "dog", "--exact"], r"--exact: is for templates, and --method dog has none"),
        (["--step", "0.1"], r"^--step 0.1: "),
        (["--set", "classes=[1bxn]"], r"with --template"),
        (["--voxel-size", "2"], r"2 A are too fine"),
        (["--background", "add"], r"^--background add: "),
        (["-t", "1s3x", "--background", "divide", "--false-positives", "1"], r"leave one of the two out"),
        (["-t", "1s3x", "--defocus", "-3"], r"^--defocus -3.0: "),
        (["-t", "1s3x", "--defocus", "30000"], r"^--defocus 30000.0: more than 100 um; give the defocus in um"),
        (["-t", "1s3x", "--set", "defocus=30000"], r"^match: defocus = 30000: more than 100 um"),
    ],
)
def test_bad_input_is_one_clear_line(folder, tmp_path, arguments, message):
    arguments = [str(folder / a) if a.endswith((".mrc", ".pdb", ".doc")) else a for a in arguments]
    with pytest.raises(VoxpickError, match=message):
        run(folder / "tomo.mrc", "-o", tmp_path, "--slab", "off", *arguments)
    assert not list(tmp_path.iterdir())


def test_nothing_above_chance_gives_empty_picks(tmp_path):
    noise = np.random.default_rng(1).normal(size=(20, 24, 28)).astype(np.float32)
    write_mrc(tmp_path / "noise.mrc", Volume(noise, 10.0))
    out = tmp_path / "out"
    result = run(tmp_path / "noise.mrc", "-o", out, "-t", "1s3x", "--false-positives", 0.001, *QUICK)
    assert re.search(
        r"no candidate scores above 0\.\d+; the search kept 9\d\.\d% of the templates' energy", result.output
    )
    assert yaml.safe_load((out / "match.yaml").read_text())["search"]["noise"]["1s3x"]["candidates"] == 0
    assert len((out / "noise.csv").read_text().splitlines()) == 1
