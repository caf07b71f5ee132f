"""Warnings of voxpick calibrate look like those of voxpick detect."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from voxpick.cli.calibrate import calibrate
from voxpick.errors import VoxpickError


def test_a_warning_of_the_detection_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def detect(*_: object, **__: object) -> None:
        warnings.warn("model_0: its voxels are larger", UserWarning, stacklevel=2)
        raise VoxpickError("seen enough")

    part = SimpleNamespace(detection={}, provenance={})
    method = SimpleNamespace(STAGES=("picker",), detect=detect)
    monkeypatch.setattr("voxpick.methods.catalogue.find_method", lambda name: method)
    monkeypatch.setattr("voxpick.methods.catalogue.method_of", lambda models: "voxpick")
    monkeypatch.setattr("voxpick.cli.truth.read_truth", lambda folder: None)
    monkeypatch.setattr("voxpick.io.shrec_model.open_model", lambda folder: SimpleNamespace(reconstruction=None))
    with pytest.raises(VoxpickError, match="seen enough"):
        calibrate({"picker": part}, [Path("model_0")])  # type: ignore[dict-item]
    told = capsys.readouterr().err.splitlines()
    assert "voxpick: warning: model_0: its voxels are larger" in told and not any(".py:" in line for line in told)
