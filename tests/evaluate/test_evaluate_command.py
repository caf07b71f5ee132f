"""`voxpick evaluate` and `voxpick report` on a small model folder."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from voxpick.cli import evaluate, report
from voxpick.errors import VoxpickError
from voxpick.io.formats import write_particles
from voxpick.io.mrc import write_mrc
from voxpick.io.shrec_model import write_model
from voxpick.particles import Particles
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


def test_bad_input_names_file_and_value(folder):
    picks = folder.parent / "picks.csv"
    with pytest.raises(VoxpickError, match="--benchmark is 'shrec18'"):
        run(evaluate, picks, folder, "--benchmark", "shrec18")
    (folder.parent / "odd.txt").write_text("9xyz 4 4 8\n")
    with pytest.raises(VoxpickError, match=r"odd\.txt .*'9xyz' is unknown"):
        run(evaluate, folder.parent / "odd.txt", folder)
    write_particles(folder.parent / "none.csv", Particles(np.empty((0, 3))))
    with pytest.raises(VoxpickError, match=r"none\.csv"):
        run(evaluate, folder.parent / "none.csv", folder)
    with pytest.raises(VoxpickError, match=r"picks\.csv"):
        run(evaluate, folder.parent / "picks.csv", folder.parent / "picks.csv")


def test_report_is_written_with_and_without_truth(folder):
    page = folder.parent / "out" / "report.html"
    volume, picks = folder / "reconstruction.mrc", folder.parent / "picks.star"
    run(report, volume, picks, "--truth", folder, "--output", page)
    assert "Confusion matrix" in page.read_text() and "Reliability: score" in page.read_text()
    run(report, volume, picks, "--output", page)
    assert "Confusion matrix" not in page.read_text() and "Reliability" not in page.read_text()
