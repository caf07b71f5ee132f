"""Warnings of voxpick calibrate look like those of voxpick detect."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from voxpick.cli.calibrate import calibrate
from voxpick.cli.training_marks import tomogram_mark
from voxpick.errors import VoxpickError
from voxpick.io.mrc import read_mrc, write_mrc


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


def _told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, folder: Path, provenance: dict) -> bool:
    """Whether calibrating in the folder, a model with this provenance, warns of training data."""

    def detect(*_: object, **__: object) -> None:
        raise VoxpickError("seen enough")

    part = SimpleNamespace(detection={}, provenance=provenance)
    method = SimpleNamespace(STAGES=("picker",), detect=detect)
    monkeypatch.setattr("voxpick.methods.catalogue.find_method", lambda name: method)
    monkeypatch.setattr("voxpick.methods.catalogue.method_of", lambda models: "voxpick")
    monkeypatch.setattr("voxpick.cli.truth.read_truth", lambda folder: None)
    seen = SimpleNamespace(reconstruction=read_mrc(folder / "reconstruction.mrc"))
    monkeypatch.setattr("voxpick.io.shrec_model.open_model", lambda folder: seen)
    with pytest.raises(VoxpickError, match="seen enough"):
        calibrate({"picker": part}, [folder])  # type: ignore[dict-item]
    told = capsys.readouterr().err
    assert ("trained on its tomogram" in told) == (f"warning: {folder}: the model was trained" in told)
    return "trained on its tomogram" in told


def test_a_tomogram_of_the_training_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name in ("TS_03", "TS_04"):
        write_mrc(tmp_path / f"{name}.mrc", rng.normal(size=(8, 10, 12)).astype(np.float32), voxel_size=10.0)
        (tmp_path / f"of_{name}").mkdir()
        (tmp_path / f"of_{name}" / "reconstruction.mrc").symlink_to(tmp_path / f"{name}.mrc")
    now = {"training_data": ["a.mrc"], "training_marks": [tomogram_mark(read_mrc(tmp_path / "TS_03.mrc"))]}
    for made in (now, {"started_from": now}, {"training_data": ["TS_03.mrc"]}):
        assert _told(monkeypatch, capsys, tmp_path / "of_TS_03", made)
        assert not _told(monkeypatch, capsys, tmp_path / "of_TS_04", made)
    plain = tmp_path / "model_0"
    plain.mkdir()
    (tmp_path / "TS_04.mrc").rename(plain / "reconstruction.mrc")
    for name in ("model_0", "reconstruction.mrc"):
        assert not _told(monkeypatch, capsys, plain, {"training_data": [name]})
