"""`voxpick evaluate` and `voxpick report` on a small model folder."""

import json
import re

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from voxpick.cli import build_app, evaluate, main, report
from voxpick.cli.truth import read_truth
from voxpick.errors import VoxpickError
from voxpick.io.formats import read_particles, write_particles
from voxpick.io.mrc import read_labels, write_mrc
from voxpick.io.shrec_model import write_model
from voxpick.particles import Particles, joined
from voxpick.shrec_classes import CLASS_IDS


@pytest.fixture
def folder(tmp_path):
    shape = (12, 20, 28)
    occupancy, classes = np.zeros(shape, np.int16), np.zeros(shape, np.int8)
    boxes = [np.s_[2:6, 2:6, 2:6], np.s_[6:10, 10:16, 10:16], np.s_[4:9, 12:17, 20:25]]
    names = ["1s3x", "4d8q", "4d8q"]
    for k, (box, name) in enumerate(zip(boxes, names, strict=True)):
        occupancy[box], classes[box] = k + 1, CLASS_IDS[name]
    centers = np.array([[4, 4, 4], [8, 13, 13], [6, 14, 22]])
    rotations = np.broadcast_to(np.eye(3), (3, 3, 3))
    tomogram = np.random.default_rng(0).normal(size=(20, 20, 28)).astype(np.float32)
    model = write_model(
        tmp_path / "model_0", grandmodel=classes, class_mask=classes, occupancy_mask=occupancy, class_bbox=classes,
        occupancy_bbox=occupancy, projections=np.zeros((3, 20, 28)), reconstruction=tomogram,
        particles=Particles(centers * 10.0, names, rotations=rotations),
    )  # fmt: skip
    picks = Particles((centers + [4, 0, 0])[:2] * 10.0, ["1s3x", "1s3x"], [0.9, 0.8])
    for suffix in (".csv", ".txt", ".star"):
        write_particles(tmp_path / f"picks{suffix}", picks, voxel_size=10.0, shape=tomogram.shape)
    return model.directory


def run(command, *arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, [command.__name__.split(".")[-1], *map(str, arguments)])
    if result.exception:
        raise result.exception
    return result.output


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".star"])
def test_one_score_whatever_the_format(folder, suffix):
    out = folder.parent / "score.json"
    segmentation = folder.parent / "segmentation.mrc"
    write_mrc(segmentation, np.zeros((20, 20, 28), np.int8), voxel_size=10.0)
    text = run(
        evaluate, folder.parent / f"picks{suffix}", folder, "--json", out, "--strict", "--segmentation", segmentation
    )
    told = json.loads(out.read_text())
    assert told["localisation"] == {
        "RR": 2, "TP": 2, "FP": 0, "FN": 1, "MH": 0, "RO": 0, "AD": 0.0, "recall": 2 / 3, "precision": 1.0,
        "miss_rate": pytest.approx(1 / 3), "F1": pytest.approx(0.8),
    }  # fmt: skip
    assert told["class_accuracy"]["1s3x"] == 1 and told["class_f1"]["1s3x"] == pytest.approx(2 / 3)
    assert told["strict_scoring"]["strict"] and told["segmentation"]["MVA"] == pytest.approx(1 / 3)
    assert "0.800" in text and "MIoU" in text
    if suffix == ".txt":  # SHREC's text holds no scores
        assert told["calibration"] == {} and "Brier" not in text
    else:
        assert told["calibration"]["named"]["ece"] == pytest.approx((0.1 + 0.8) / 2) and "Brier" in text
        assert told["calibration"]["located"]["brier"] == pytest.approx((0.1**2 + 0.2**2) / 2)


def test_against_a_pick_file(folder):
    out = folder.parent / "score.json"
    picks = folder.parent / "picks.csv"
    run(evaluate, picks, folder.parent / "picks.star", "--radius", 5, "--json", out)
    assert json.loads(out.read_text())["localisation"]["TP"] == 2
    with pytest.raises(VoxpickError, match="--radius"):
        run(evaluate, picks, folder.parent / "picks.star")


def test_text_without_a_voxel_size_is_taken_for_10_A_and_says_so(folder, monkeypatch, capsys):
    picks, truth = folder.parent / "picks.txt", folder.parent / "picks.csv"
    words = ["voxpick", "evaluate", str(picks), str(truth), "--radius", "5"]
    for more, told in (([], 1), (["--voxel-size", "10"], 0)):
        monkeypatch.setattr("sys.argv", [*words, *more])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        warned = [line for line in capsys.readouterr().err.splitlines() if "picks.txt" in line]
        assert len(warned) == told and all("10 A is taken, --voxel-size" in line for line in warned)
        assert all(line.startswith("voxpick: warning: ") for line in warned)


def test_picks_of_two_tomograms_are_compared_with_a_warning(folder):
    truth = folder.parent / "TS_01.csv"
    one = Particles(np.full((1, 3), 40.0), ["1s3x"], tomograms=np.array(["TS_01"], dtype=object))
    write_particles(truth, one)
    for name, told in (("TS_01", False), ("TS_02", True), ("7", False)):
        picks = folder.parent / f"of_{name}.csv"
        write_particles(picks, one.with_columns(tomograms=np.array([name], dtype=object)))
        output = run(evaluate, picks, truth, "--radius", 50)
        assert ("of_TS_02.csv: says its picks are of 'TS_02', not 'TS_01'" in output) == told


@pytest.mark.parametrize("name", ["rec_TS_01.star", "mine.star", "rec_TS_01.txt"])
def test_the_tomogram_that_picks_name_is_looked_for_in_the_truth(folder, name):
    """As 'detect' names its files, or as they were renamed; SHREC's text holds no name."""
    picks, truth = folder.parent / name, folder.parent / "all.csv"
    one = Particles(np.full((1, 3), 40.0), ["1s3x"], tomograms=np.array(["TS_01"], dtype=object))
    other = Particles(np.full((1, 3), 90.0), ["1s3x"], tomograms=np.array(["TS_02"], dtype=object))
    write_particles(picks, one, voxel_size=10.0, shape=(20, 20, 28))
    write_particles(truth, joined([other, one]))
    for first, second in ((picks, truth), (truth, picks)):
        told = scores(folder, first, second, "--radius", 5)["localisation"]
        assert (told["TP"], told["FP"], told["FN"]) == (1, 0, 0)


def test_bad_input_names_file_and_value(folder):
    picks = folder.parent / "picks.csv"
    with pytest.raises(VoxpickError, match="--benchmark is 'shrec18'"):
        run(evaluate, picks, folder, "--benchmark", "shrec18")
    with pytest.raises(VoxpickError, match=r"picks\.csv"):
        run(evaluate, folder.parent / "picks.csv", folder.parent / "picks.csv")


def scores(folder, picks, truth, *more):
    run(evaluate, picks, truth, "--json", folder.parent / "score.json", *more)
    return json.loads((folder.parent / "score.json").read_text())


def test_no_picks_score_zero_and_an_unknown_class_is_a_wrong_name(folder):
    none, odd = folder.parent / "none.csv", folder.parent / "odd.txt"
    write_particles(none, Particles(np.empty((0, 3))))
    odd.write_text("9xyz 4 4 8\n1s3x 13 13 12\n")
    told = scores(folder, none, folder)
    assert (told["localisation"]["F1"], told["localisation"]["FN"], told["mean_class_f1"]) == (0, 3, 0)
    assert scores(folder, none, folder.parent / "picks.csv", "--radius", 5)["localisation"]["FN"] == 2
    told = scores(folder, odd, folder)
    assert told["localisation"]["TP"] == 2 and told["class_f1"]["1s3x"] == 0
    assert "'9xyz'" in told["warnings"][0]


def test_several_tomograms_in_both_files_name_the_way_out(folder):
    for name in ("one", "two"):
        two = Particles(np.zeros((2, 3)), ["a", "a"], tomograms=np.array(["T1", "T2"], dtype=object))
        write_particles(folder.parent / f"{name}.csv", two)
    with pytest.raises(VoxpickError, match=r"T1, T2\), but none of 'one'; rename the file"):
        run(evaluate, folder.parent / "one.csv", folder.parent / "two.csv", "--radius", 5)


def test_a_tomogram_an_odd_number_of_sections_thicker_than_its_specimen(folder):
    rng = np.random.default_rng(1)
    tomogram, page = rng.normal(size=(21, 20, 28)).astype(np.float32), folder.parent / "report.html"
    write_mrc(folder / "reconstruction.mrc", tomogram, voxel_size=10.0)
    picks = Particles(np.array([[8, 4, 4], [20, 13, 13]]) * 10.0, ["1s3x", "4d8q"], [0.9, 0.8])
    segmentation = np.zeros((21, 20, 28), np.int8)
    segmentation[6:10, 2:6, 2:6] = CLASS_IDS["1s3x"]
    write_mrc(folder.parent / "segmentation.mrc", segmentation, voxel_size=10.0)
    for suffix in (".star", ".csv"):
        path = folder.parent / f"odd{suffix}"
        write_particles(path, picks, voxel_size=10.0, shape=tomogram.shape)
        more = ("--frame", "tomogram", "--segmentation", folder.parent / "segmentation.mrc")
        told = scores(folder, path, folder, *more)
        assert (told["localisation"]["RO"], told["localisation"]["TP"], told["localisation"]["AD"]) == (0, 1, 0.0)
        assert told["segmentation"]["class_IoU"]["1s3x"] == 1
        run(report, folder / "reconstruction.mrc", path, "--truth", folder, "--output", page)
        assert [row[:3] for row in drawn(page)] == [[8.0, 4.0, 4.0], [20.0, 13.0, 13.0]]


def drawn(page):
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    return json.loads(data.group(1))["picks"]


@pytest.mark.parametrize(("frame", "z"), [("auto", 8.0), ("specimen", 8.0), ("tomogram", 4.0)])
def test_report_draws_picks_where_they_were_scored(folder, frame, z):
    picks, page = folder.parent / "specimen.txt", folder.parent / "report.html"
    picks.write_text("1s3x 4 4 4\n4d8q 13 13 1\n")  # the second is a stray one, of z below the specimen's first section
    run(report, folder / "reconstruction.mrc", picks, "--truth", folder, "--frame", frame, "--output", page)
    assert drawn(page)[0][:3] == [z, 4.0, 4.0] and drawn(page)[0][5] == int(z == 8.0)


def test_voxels_of_one_angstrom_in_a_header_are_unset(folder):
    page, picks = folder.parent / "report.html", folder.parent / "picks.csv"
    tomogram = np.zeros((20, 20, 28), np.float32)
    write_mrc(folder / "reconstruction.mrc", tomogram, voxel_size=1.0)
    run(report, folder / "reconstruction.mrc", picks, "--truth", folder, "--output", page)
    assert [row[5] for row in drawn(page)] == [1, 1] and "voxels (x × y × z) of 10 Å" in page.read_text()


def test_without_a_reconstruction_headers_and_simulation_yaml_tell(folder, capsys):
    (folder / "reconstruction.mrc").unlink()
    for name in ("occupancy_mask", "class_mask"):
        write_mrc(folder / f"{name}.mrc", read_labels(folder / f"{name}.mrc"), voxel_size=8.0)
    truth = read_truth(folder)
    assert (truth.voxel_size, truth.z_offset, truth.tomogram_shape) == (8.0, 156, (324, 20, 28))
    assert "specimen of 12 sections is taken to begin at section 156" in capsys.readouterr().err
    (folder / "simulation.yaml").write_text("recipe: {size_zyx: [12, 20, 28], thickness: 21}\n")
    truth = read_truth(folder)
    assert (truth.voxel_size, truth.z_offset, truth.tomogram_shape) == (8.0, 4, (21, 20, 28))
    assert truth.particles.centers_zyx[0].tolist() == [32.0, 32.0, 32.0] and not capsys.readouterr().err
    (folder / "simulation.yaml").write_text("recipe: {size_zyx: [12, 20, 28], thickness: null}\n")
    assert read_truth(folder).tomogram_shape == (28, 20, 28)


def test_a_thick_tomogram_without_ice_above_has_one_frame(tmp_path):
    folder, picks = tmp_path / "model_0", tmp_path / "picks.txt"
    folder.mkdir()
    occupancy = np.zeros((190, 20, 28), np.int16)
    occupancy[160:166, 2:6, 2:6], occupancy[170:176, 10:16, 10:16] = 1, 2
    for name in ("reconstruction", "occupancy_mask"):
        write_mrc(folder / f"{name}.mrc", occupancy, voxel_size=10.0)
    lines = "1s3x 4 4 163\n4d8q 13 13 173\n"  # no z below 156, where SHREC's specimens begin
    picks.write_text(lines)
    (folder / "particle_locations.txt").write_text(lines.replace("\n", " 0 0 0\n"))
    assert scores(folder, picks, folder)["localisation"]["F1"] == 1
    assert scores(folder, picks, folder, "--frame", "tomogram")["localisation"]["F1"] == 1


def test_segmentation_scores_have_the_names_of_the_data(folder):
    classes = read_labels(folder / "class_mask.mrc").copy()
    ids = {CLASS_IDS["1s3x"]: 3, CLASS_IDS["4d8q"]: 1}
    write_mrc(folder / "class_mask.mrc", np.vectorize(lambda n: ids.get(n, 0))(classes).astype(np.int8), voxel_size=10)
    claimed = np.zeros((12, 20, 28), np.int8)
    claimed[2:6, 2:6, 2:6], claimed[0, 0, 0] = 3, 4
    write_mrc(folder.parent / "claimed.mrc", claimed, voxel_size=10.0)

    def iou():
        told = scores(folder, folder.parent / "picks.csv", folder, "--segmentation", folder.parent / "claimed.mrc")
        return told["segmentation"]["class_IoU"]

    found = iou()
    assert list(found) == ["background", "4d8q", "class 2", "1s3x", "class 4"]
    assert (found["1s3x"], found["4d8q"], found["class 2"], found["class 4"]) == (1, 0, None, 0)
    (folder / "simulation.yaml").write_text("class_ids: {ribosome: 1, vault: 2, 1s3x: 3}\n")
    assert list(iou()) == ["background", "ribosome", "vault", "1s3x", "class 4"]


def test_report_is_written_with_and_without_truth(folder):
    page = folder.parent / "out" / "report.html"
    volume, picks = folder / "reconstruction.mrc", folder.parent / "picks.star"
    run(report, volume, picks, "--truth", folder, "--output", page)
    assert "Confusion matrix" in page.read_text() and "Reliability: score" in page.read_text()
    run(report, volume, picks, "--output", page)
    assert "Confusion matrix" not in page.read_text() and "Reliability" not in page.read_text()


def test_picks_of_several_tomograms_are_told_by_the_name_of_the_tomogram_too(folder):
    """A folder called model_0 may hold a link to TS_03.mrc, of which the picks are."""
    picks = read_particles(folder.parent / "picks.csv")
    both = joined([picks.with_columns(tomograms=np.full(2, name, dtype=object)) for name in ("TS_03", "TS_04")])
    write_particles(folder.parent / "all.csv", both)
    (folder / "reconstruction.mrc").rename(folder.parent / "TS_03.mrc")
    (folder / "reconstruction.mrc").symlink_to(folder.parent / "TS_03.mrc")
    assert "2" in run(evaluate, folder.parent / "all.csv", folder)
    page = folder.parent / "page.html"
    run(report, folder.parent / "TS_03.mrc", folder.parent / "all.csv", "--truth", folder, "--output", page)
    assert page.is_file()


def test_classes_that_are_numbers_in_one_file_alone_are_told(folder, capsys):
    table = folder.parent / "picks.tbl"
    write_particles(table, read_particles(folder.parent / "picks.csv"), voxel_size=10.0)
    warned = run(evaluate, folder.parent / "picks.csv", table, "--radius", 50)
    assert f"{table}: its classes are numbers" in warned
    assert "numbers" not in run(evaluate, table, table, "--radius", 50)


@pytest.mark.parametrize(
    ("said", "linked", "warned"),
    [
        ("TS_01", True, "'TS_01', not 'TS_03'"), ("TS_03", True, ""), ("model_0", True, ""),
        ("reconstruction", True, ""), ("TS_01", False, "'TS_01', not 'model_0'"), ("model_0", False, ""),
        ("reconstruction", False, ""), ("tomogram", False, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("elsewhere", [True, False])
def test_picks_of_another_tomogram_than_the_folders_are_told(folder, said, linked, warned, elsewhere):
    """Not where most lie on its particles: they are of it, whatever they are called."""
    if linked:
        (folder / "reconstruction.mrc").rename(folder.parent / "rec_TS_03.mrc")
        (folder / "reconstruction.mrc").symlink_to(folder.parent / "rec_TS_03.mrc")
    picks = read_particles(folder.parent / "picks.csv")
    path = folder.parent / "named.csv"
    if elsewhere:
        picks = picks.with_columns(centers_zyx=np.zeros((len(picks), 3)))
    write_particles(path, picks.with_columns(tomograms=np.full(len(picks), said, dtype=object)))
    told = CliRunner().invoke(build_app(), ["evaluate", str(path), str(folder)]).stderr
    assert ("says its picks are of" in told) == (elsewhere and bool(warned))
    assert not elsewhere or warned in told


def test_a_number_of_shrecs_is_told_with_its_name(folder):
    """Where a STAR file has lost the column of names, or a .tbl never had one."""
    picks = read_particles(folder.parent / "picks.csv")
    for number, told in (("11", "11 is SHREC'20's number of 4d8q"), ("77", "")):
        write_particles(folder.parent / "n.csv", picks.with_columns(classes=np.full(len(picks), number, dtype=object)))
        text = CliRunner().invoke(build_app(), ["evaluate", str(folder.parent / "n.csv"), str(folder)]).stderr
        assert "have a class that the truth does not hold" in text
        assert ("number of" in text) == bool(told) and told in " ".join(text.split())


@pytest.mark.parametrize(
    ("centers", "shifted"),
    [([[4000.0, 4000, 4000], [5000, 9000, 9000]], False), ([[80.0, 40, 40], [10, 130, 130]], True)],
)
def test_picks_that_are_all_outside_are_not_told_of_a_shift(folder, centers, shifted):
    """Their unit is wrong, and not the frame of one of them; a pick of two in the vacuum does move both."""
    write_particles(folder.parent / "far.csv", Particles(np.array(centers)))
    words = ["evaluate", str(folder.parent / "far.csv"), str(folder)]
    told = " ".join(CliRunner().invoke(build_app(), words).stderr.split())
    assert ("added to the z of ALL picks" in told) == shifted
    assert ("2 of 2 picks lie outside the tomogram" in told) != shifted
