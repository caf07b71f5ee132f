"""voxpick methods."""

import pytest
import typer
from typer.testing import CliRunner

from voxpick.cli import methods as command
from voxpick.errors import VoxpickError
from voxpick.methods import vp_detector
from voxpick.methods.catalogue import METHODS


def run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    result = CliRunner().invoke(app, ["methods", *arguments])
    if result.exception:
        raise result.exception
    return result.output


def test_every_method_is_listed_with_its_stages():
    lines = run().splitlines()
    for name, method in METHODS.items():
        row = next(line for line in lines if line.split("│")[1:2] and line.split("│")[1].strip() == name)
        assert row.split("│")[2].strip().split(", ")[0] == (method.STAGES or ("-",))[0]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_shows_its_settings_and_parameters(name):
    output = run(name)
    method = METHODS[name]
    assert output.startswith(f"{name}: {method.TITLE}\n{method.PAPER}\n")
    for stage in method.STAGES:
        assert f"{name}, {stage}" in output
        settings = method.training_settings(stage, "paper")
        network = method.create_model(settings, [str(k) for k in range(12)], voxel_size=10.0).network
        assert f"{sum(weights.numel() for weights in network.parameters()):,}" in output
        assert f"│ {settings.epochs or settings.steps} " in output


def test_settings_of_the_paper_stand_beside_those_of_a_budget():
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in run("vp-detector").splitlines()]
    by_name = {row[0]: row[1:3] for row in rows if len(row) == 4}
    assert by_name["epochs"] == ["500", "-"] and by_name["minutes"] == ["-", "60.0"]
    assert by_name["gamma"] == ["2.0", "1.0"]
    assert "split=mean-shift" in run("vp-detector") and vp_detector.PAPER_DETECTION["split"] == "mean-shift"


@pytest.mark.parametrize("name", ["vp-detector", "ms-d"])
def test_mean_shift_of_the_papers_that_say_so_begins_at_centroids(name):
    assert "seeds=centroids" in run(name)


def test_an_unknown_method_is_refused():
    with pytest.raises(VoxpickError, match=r"unknown method 'magic'; one of .*vp-detector"):
        run("magic")
