"""The folder of a training run."""

import numpy as np
import pytest
import torch

from voxpick.errors import VoxpickError
from voxpick.io.run_directory import RunDirectory


def test_log_grows_and_takes_new_columns(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.log({"step": 1, "loss": 0.5})
    run.log({"step": 2, "loss": 0.25})
    run.log({"step": 2, "score": 0.9})
    run.log({"step": 3, "loss": 0.125})
    assert (tmp_path / "run" / "log.csv").read_text() == "step,loss,score\n1,0.5,\n2,0.25,\n2,,0.9\n3,0.125,\n"


def test_resuming_drops_log_lines_after_the_checkpoint(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.log({"step": 1, "loss": 0.5})
    run.save_checkpoint({"progress": {"step": 1}, "weights": torch.arange(3)})
    run.log({"step": 2, "loss": 0.25})
    again = RunDirectory(tmp_path / "run")
    state = again.load_checkpoint()
    assert state["weights"].tolist() == [0, 1, 2]
    again.log({"step": 2, "loss": 0.2})
    assert (tmp_path / "run" / "log.csv").read_text() == "step,loss\n1.0,0.5\n2,0.2\n"


def test_damaged_or_missing_checkpoints_are_named(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(VoxpickError, match="no checkpoint to resume from"):
        run.load_checkpoint()
    run.checkpoint_path.write_bytes(b"not a checkpoint")
    with pytest.raises(VoxpickError, match="not a training checkpoint"):
        run.load_checkpoint()


def test_tensorboard_holds_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = RunDirectory(tmp_path / "run", tensorboard=True)
    for step in (1, 2):
        run.log({"step": step, "loss": 0.5 / step})
    run.close()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert np.allclose(found, [(1, 0.5), (2, 0.25)])


def test_a_resumed_log_keeps_columns_that_the_next_row_lacks(tmp_path):
    first = RunDirectory(tmp_path / "run")
    first.log({"step": 1, "loss": 0.5})
    first.log({"step": 2, "validation_score": 0.9})
    first.log({"step": 9, "loss": 0.1})
    first.save_checkpoint({"progress": {"step": 2}})
    again = RunDirectory(tmp_path / "run")
    again.load_checkpoint()
    again.log({"step": 3, "loss": 0.4})
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert lines == ["step,loss,validation_score", "1.0,0.5,", "2.0,,0.9", "3,0.4,"]


@pytest.mark.parametrize("cut", ["2", "2,0.2", "2,0.25,", "2,0.25,1.5e", "2\n", "2\n2,0.25\n"])
def test_a_row_that_a_full_disk_cut_off_is_dropped(tmp_path, cut):
    """Of row 25 what was left looked like row 2."""
    first = RunDirectory(tmp_path / "run")
    first.log({"step": 1, "loss": 0.5, "rate": 3.0})
    first.save_checkpoint({"progress": {"step": 30}})
    with (tmp_path / "run" / "log.csv").open("a") as file:
        file.write(cut)
    again = RunDirectory(tmp_path / "run")
    again.load_checkpoint()
    again.log({"step": 31, "loss": 0.25, "rate": 2.0})
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert lines == ["step,loss,rate", "1.0,0.5,3.0", "31,0.25,2.0"]


def test_a_resumed_run_takes_back_tensorboards_later_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in ((1, 2, 3), (2, 3)):
        run = RunDirectory(tmp_path / "run", tensorboard=True)
        if steps[0] == 2:
            run.load_checkpoint()
        for step in steps:
            run.log({"step": step, "loss": float(len(steps))})
        run.save_checkpoint({"progress": {"step": 1}})
        run.close()
        first = next((tmp_path / "run").glob("events*"))
        first.rename(first.with_name(first.name.replace("tfevents.", "tfevents.0")))  # before the second, in one second
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 3.0), (2, 2.0), (3, 2.0)]
