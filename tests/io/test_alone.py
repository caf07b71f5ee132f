"""One process at a time in a folder."""

import os
import signal
import subprocess
import sys

import pytest

from voxpick.errors import VoxpickError
from voxpick.io import alone
from voxpick.io.alone import alone_in

HOLDER = """
import sys, time
from voxpick.io.alone import alone_in
with alone_in(sys.argv[1], use="trains"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_gone_even_if_killed(tmp_path):
    folder = tmp_path / "made"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(VoxpickError, match="made: another process trains there; wait until it has ended"),
            alone_in(folder, use="trains", patience=0),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with alone_in(folder, use="trains", patience=5):
        assert list(folder.iterdir()) == []


def test_a_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError), alone_in(tmp_path, use="trains", patience=0):
        raise ValueError
    with alone_in(tmp_path, use="trains", patience=0):
        pass


def test_a_file_is_no_folder_to_hold(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(VoxpickError, match="file: the folder cannot be made or opened"),
        alone_in(tmp_path / "file", use=""),
    ):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_meanwhile_does_not_hold_on(tmp_path):
    read, write = os.pipe()
    with alone_in(tmp_path, use="trains", patience=0):
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)  # until the parent closes its end
            os._exit(0)
    try:
        with alone_in(tmp_path, use="trains", patience=0):
            pass
    finally:
        os.close(write)
        os.waitpid(child, 0)
        os.close(read)


def test_where_there_are_no_locks_no_folder_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(alone, "fcntl", None)
    monkeypatch.setattr(alone.os, "open", None)  # Windows refuses to open a folder
    with alone_in(tmp_path / "made", use="trains"):
        assert (tmp_path / "made").is_dir()
