"""voxpick simulate goes on where it was stopped, and only with what the same call has made."""

import shutil

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from voxpick.cli import build_app
from voxpick.errors import VoxpickError
from voxpick.io.structures import write_arrays
from voxpick.simulate import shrec20
from voxpick.simulate.bank import load_bank, pack_bank


def simulate(folder, *more):
    tilts = [] if "--vary" in more else ["--tilt-step", "30"]
    words = ["simulate", "shrec20", folder, "--size", "20,24,28", "--thickness", "24", "--particles", "2"]
    words += ["--classes", "1s3x", "--threads", "1", *tilts, *more]
    result = CliRunner().invoke(build_app(), [str(word) for word in words], standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.output


def test_a_series_goes_on_where_it_was_stopped(tmp_path):
    simulate(tmp_path, "--models", 2, "--vary")
    first = (tmp_path / "model_0" / "reconstruction.mrc").stat().st_mtime_ns
    second = (tmp_path / "model_1" / "reconstruction.mrc").read_bytes()
    shutil.rmtree(tmp_path / "model_1")
    with pytest.raises(VoxpickError, match=r"model_0: exists already; .* --resume to keep it"):
        simulate(tmp_path, "--models", 2, "--vary")
    text = simulate(tmp_path, "--models", 2, "--vary", "--resume")
    assert "model_0: is there already" in text and "model_1: reconstructing: 24/24" in text
    assert (tmp_path / "model_0" / "reconstruction.mrc").stat().st_mtime_ns == first
    assert (tmp_path / "model_1" / "reconstruction.mrc").read_bytes() == second


def test_two_processes_may_go_on_with_one_series(tmp_path, monkeypatch):
    """The one that was later ended at the first tomogram that the other had made meanwhile."""
    make = shrec20.simulate_shrec20

    def made_meanwhile(*words, **more):
        monkeypatch.setattr(shrec20, "simulate_shrec20", make)
        simulate(tmp_path)
        return make(*words, **more)

    monkeypatch.setattr(shrec20, "simulate_shrec20", made_meanwhile)
    text = simulate(tmp_path, "--models", 2, "--resume")
    assert "model_0: is there already" in text and (tmp_path / "model_1").is_dir()
    shutil.rmtree(tmp_path / "model_0")
    monkeypatch.setattr(shrec20, "simulate_shrec20", made_meanwhile)
    with pytest.raises(VoxpickError, match="model_0: was made with another seed"):
        simulate(tmp_path, "--seed", 1, "--resume")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--snr", "0.01"], "model_0: was made with another recipe"),
        (["--seed", "1"], "model_0: was made with another seed"),
        (["--overwrite"], "give one of the two"),
    ],
)
def test_what_another_call_made_is_not_taken_for_its_own(tmp_path, more, message):
    simulate(tmp_path)
    before = (tmp_path / "model_0" / "reconstruction.mrc").read_bytes()
    with pytest.raises(VoxpickError, match=message):
        simulate(tmp_path, "--resume", *more)
    assert (tmp_path / "model_0" / "reconstruction.mrc").read_bytes() == before


def test_folders_of_another_bank_or_of_no_record_are_not_taken(tmp_path):
    arrays = pack_bank(load_bank(["1s3x"]).values())
    write_arrays(tmp_path / "mine.npz", arrays)
    write_arrays(tmp_path / "other.npz", {**arrays, "electrons": np.roll(arrays["electrons"], 1)})
    simulate(tmp_path, "--structures", tmp_path / "mine.npz")
    with pytest.raises(VoxpickError, match="model_0: was made with another bank"):
        simulate(tmp_path, "--structures", tmp_path / "other.npz", "--resume")
    notes = tmp_path / "model_0" / "simulation.yaml"
    record = yaml.safe_load(notes.read_text())
    notes.write_text(yaml.safe_dump({name: value for name, value in record.items() if name != "bank"}))
    assert "is there already" in simulate(tmp_path, "--structures", tmp_path / "mine.npz", "--resume"), "of before"
    notes.unlink()
    with pytest.raises(VoxpickError, match=r"model_0: holds no simulation\.yaml .*not one of this command's"):
        simulate(tmp_path, "--structures", tmp_path / "mine.npz", "--resume")


def test_noise_of_another_device_is_not_mixed_in(tmp_path):
    """A GPU draws other noise from the same seed, and nothing told which had drawn it."""
    simulate(tmp_path, "--device", "cpu")
    notes = tmp_path / "model_0" / "simulation.yaml"
    record = yaml.safe_load(notes.read_text())
    assert record["noise_drawn_on"] == "cpu"
    notes.write_text(yaml.safe_dump({**record, "noise_drawn_on": "cuda"}))
    with pytest.raises(VoxpickError, match=r"its noise was drawn on cuda, and on cpu .* go on with --device cuda"):
        simulate(tmp_path, "--device", "cpu", "--resume")
    with pytest.raises(VoxpickError, match="made with another seed"):
        simulate(tmp_path, "--device", "cpu", "--resume", "--seed", "3")
    del record["noise_drawn_on"]
    notes.write_text(yaml.safe_dump(record))
    assert "is there already" in simulate(tmp_path, "--device", "cpu", "--resume"), "of an earlier version"


def test_voxels_finer_than_the_structures_are_told(tmp_path):
    assert "particles are grainy" in simulate(tmp_path / "fine", "--voxel-size", "4.9")
    assert "grainy" not in simulate(tmp_path / "coarse", "--voxel-size", "10")
