"""Curves of training from the logs of runs."""

import csv

import pytest

from voxpick.benchmark.curves import MOST, read_log, training_curves
from voxpick.benchmark.settings import Entry
from voxpick.cli.benchmark import write_tables

COLUMNS = ["step", "minutes", "loss", "learning_rate", "best_score", "validation_score", "validation_accuracy_1s3x"]


def write_log(path, rows):
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def test_a_log_is_read_by_column(tmp_path):
    log = tmp_path / "run" / "log.csv"
    rows = [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.5}, {"step": 30, "loss": "nan"}]
    rows += [{"step": 30, "best_score": 0.4, "validation_score": 0.4, "validation_accuracy_1s3x": 0.25}]
    write_log(log, rows)
    with log.open("a") as file:
        file.write("4")  # killed while it wrote
    assert read_log(log) == {
        "loss": [(10, 2.0), (20, 1.5)], "validation_score": [(30, 0.4)], "validation_accuracy_1s3x": [(30, 0.25)],
    }  # fmt: skip


def test_a_log_that_a_disk_has_damaged_is_read_as_far_as_it_goes(tmp_path):
    """Zero bytes are what a machine that lost its power leaves; the report of all entries ended in a traceback."""
    write_log(tmp_path / "run" / "log.csv", [{"step": 10, "loss": 2.0}])
    with (tmp_path / "run" / "log.csv").open("ab") as file:
        file.write(b"20,0.1,1.5,\xff\r\n" + bytes(100))
    assert read_log(tmp_path / "run" / "log.csv") == {"loss": [(10, 2.0), (20, 1.5)]}


def test_long_logs_are_averaged_in_groups(tmp_path):
    write_log(tmp_path / "run" / "log.csv", [{"step": 10 * k, "loss": k % 2} for k in range(1, 2 * MOST + 1)])
    found = read_log(tmp_path / "run" / "log.csv")["loss"]
    assert len(found) == MOST
    assert found[0] == (20, pytest.approx(0.5)) and found[-1] == (20 * MOST, pytest.approx(0.5))


def test_curves_are_those_of_finished_results_by_stage(tmp_path):
    for name, seed, stage in (("a", 0, "localizer"), ("a", 0, "classifier"), ("a", 1, "classifier"), ("b", 0, "all")):
        write_log(tmp_path / name / f"seed_{seed}" / f"model_{stage}_run" / "log.csv", [{"step": 1, "loss": seed}])
    results = [
        {"entry": name, "seed": seed, "status": status}
        for name, seed, status in (("a", 0, "done"), ("a", 1, "done"), ("b", 0, "failed"), ("c", 0, "done"))
    ]
    entries = {"a": Entry(method="umc", title="A"), "b": Entry(method="umc"), "c": Entry(method="dog")}
    assert training_curves(tmp_path, results, entries) == {
        "classifier": {"A, seed 0": {"loss": [(1, 0.0)]}, "A, seed 1": {"loss": [(1, 1.0)]}},
        "localizer": {"A, seed 0": {"loss": [(1, 0.0)]}},
    }
    assert list(training_curves(tmp_path, results[:1], entries)["localizer"]) == ["A"]


def test_the_report_of_a_benchmark_draws_them(bench):
    bench.settings({"a": {"method": "vp-detector", "title": "A & B"}})
    bench.run()
    run = bench.root / "out/a/seed_0/model_classifier_run"
    run.rmdir()
    rows = [{"step": 10, "loss": 0.02}, {"step": 10, "validation_score": 0.4, "validation_accuracy_1s3x": 0.25}]
    write_log(run / "log.csv", rows)
    write_tables(bench.runner())
    page = (bench.root / "out" / "report.html").read_text()
    for title in ("Loss of the classifier", "Validation score of the classifier", "Class accuracy, A &amp; B"):
        assert f"<h2>{title}</h2>" in page
    assert "Loss of the localizer" not in page
