"""Full disks, missing memory, leftovers of killed processes; help and version."""

import io
import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from bad_files import refused, run

from voxpick import __version__
from voxpick.cli import build_app, main
from voxpick.cli.detect_output import PicksFolder
from voxpick.errors import VoxpickError
from voxpick.io.atomic import require_writable


@contextmanager
def small_disk():
    """Files end at 10 kB, as they do on a full disk; around the command alone, since pytest writes files too."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("report good.mrc good.csv -o new.html", "new.html"),
        ("detect good.mrc -o new --model model.pt --segmentation", "new/good_segmentation.mrc"),
        (
            "simulate shrec20 new --size 24,28,32 --particles 1 --classes 1s3x --tilt-step 60 --thickness 26",
            "new/model_0",
        ),
    ],
)
def test_a_full_disk_leaves_no_half_file(monkeypatch, capsys, place, words, name):
    with small_disk():
        code, lines, written = run(monkeypatch, capsys, place, *words.split())
    assert code == 2 and name in lines[-1] and "cannot be written" in lines[-1] and "partial" not in lines[-1]
    assert written <= {"detect.yaml", "good.star", "good.csv", "good.txt"}  # whole ones, written before


def test_a_terminal_that_lacks_a_letter_shows_another(monkeypatch):
    """It was a UnicodeEncodeError with its traceback: of authors' names here, of tomograms' after their detection."""
    content = io.BytesIO()
    terminal = io.TextIOWrapper(content, encoding="ascii")
    monkeypatch.setattr("sys.argv", ["voxpick", "methods"])
    monkeypatch.setattr("sys.stdout", terminal)
    with pytest.raises(SystemExit) as stopped:
        main()
    terminal.flush()
    assert not stopped.value.code and b"Gubins, Veltkamp, F?rster" in content.getvalue()


def test_a_folder_whose_name_is_not_utf8_is_refused_before_the_search(place, tmp_path):
    """The list that RELION imports could not be written, once the picks were."""
    folder = tmp_path / os.fsdecode(b"\xe9")
    with pytest.raises(VoxpickError, match="its path is not Unicode"):
        PicksFolder(folder, "detect.yaml", ["star"]).prepare([place / "good.mrc"], overwrite=False)
    assert PicksFolder(folder, "detect.yaml", ["csv"]).prepare([place / "good.mrc"], overwrite=False)


@pytest.mark.parametrize("words", ["average two.csv {}", "agreement two.csv {}"])
def test_a_name_that_no_report_can_hold_is_refused_before_the_average(monkeypatch, place, words):
    """The report, which is written last, could not be written."""
    words = [word.format(os.fsdecode(b"\xe9.csv")) for word in words.split()]
    monkeypatch.chdir(place)
    (place / words[-1]).write_bytes((place / "two.csv").read_bytes())
    try:
        with pytest.raises(VoxpickError, match="its name is not Unicode"):
            build_app()(args=[*words, "--radius", "30", "--output", "new"], standalone_mode=False)
    finally:
        (place / words[-1]).unlink()
    assert not (place / "new").exists()


def test_memory_that_is_not_there(monkeypatch, capsys, place):
    def exhausted(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("voxpick.methods.vp_detector.detect_with_segmentation", exhausted)
    words = ["detect", "good.mrc", "--model", "model.pt", "--output", "picks"]
    refused(monkeypatch, capsys, place, words, "not enough memory")


def test_leftovers_of_a_killed_process_are_no_obstacle(monkeypatch, capsys, place, tmp_path):
    monkeypatch.setattr("os.getpid", lambda: 7)  # containers give the same number again
    (tmp_path / ".model_0.7.partial").mkdir()
    (tmp_path / ".model_0.7.partial" / "grandmodel.mrc").write_text("half")
    words = "--size 24,28,32 --particles 1 --classes 1s3x --tilt-step 60 --thickness 26"
    assert run(monkeypatch, capsys, place, "simulate", "shrec20", tmp_path, *words.split())[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model_0"]
    assert (tmp_path / "model_0" / "simulation.yaml").is_file()


def test_sigterm_leaves_nothing_half_written(monkeypatch, capsys, place, tmp_path):
    """It ended the process at once, and a batch system's time limit left hidden halves of files behind."""
    ended = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    monkeypatch.setattr("voxpick.io.atomic.os.replace", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        words = ["report", "good.mrc", "good.csv", "--output", tmp_path / "new.html"]
        code, _, _ = run(monkeypatch, capsys, place, *words)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert code == 130
    assert ended == [signal.SIGTERM]  # by which the process ends, where nobody else answers it
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_a_link_to_itself_is_replaced(monkeypatch, capsys, place, tmp_path):
    """It was a RuntimeError with its traceback."""
    link = tmp_path / "new.html"
    link.symlink_to(link)
    assert run(monkeypatch, capsys, place, "report", "good.mrc", "good.csv", "--output", link)[0] == 0
    assert link.is_file() and not link.is_symlink()


def test_a_folder_that_is_a_link_to_nothing_cannot_be_written_to(tmp_path):
    (tmp_path / "picks").symlink_to(tmp_path / "gone")
    for folder in (tmp_path / "picks", tmp_path / "picks" / "new"):
        with pytest.raises(VoxpickError, match=r"picks.*: cannot be written to"):
            require_writable(folder)


def test_a_model_without_a_classifier_says_how_to_train_one(monkeypatch, capsys, place):
    """It named '--stage classifier', which the method that is trained unless one is named does not have."""
    words = ["cam", "good.mrc", "good.csv", "--model", "model.pt"]
    refused(monkeypatch, capsys, place, words, "holds no classifier", "voxpick train --method densenet")


def test_a_name_that_is_not_utf8_is_told(monkeypatch, capsys, place, tmp_path):
    """It was a UnicodeEncodeError with its traceback."""
    tomogram = tmp_path / os.fsdecode(b"\xe9.mrc")
    tomogram.write_bytes((place / "good.mrc").read_bytes())
    words = ["report", tomogram, "good.csv", "--output", tmp_path / "new.html"]
    code, lines, _ = run(monkeypatch, capsys, place, *words)
    assert code == 2 and "not UTF-8" in lines[-1] and "rename" in lines[-1]
    assert not (tmp_path / "new.html").exists()


def test_debug_shows_the_traceback(monkeypatch, place):
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["voxpick", "evaluate", "empty.csv", "truth", "--debug"])
    with pytest.raises(Exception, match=r"empty\.csv: is empty"):
        main()


@pytest.mark.parametrize("words", ["simulate shrec20", "detect", "demo", "report"])
def test_help_keeps_the_defaults(monkeypatch, capsys, place, words):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["voxpick", *words.split(), "--help"])
    with pytest.raises(SystemExit):
        main()
    text = " ".join(capsys.readouterr().out.split())
    default = {
        "simulate shrec20": "as many as x",
        "detect": "the model's",
        "demo": "fresh seed",
        "report": "tomogram's name",
    }
    assert default[words] in text and " . " not in text


def test_version_and_help_without_words(monkeypatch, capsys, place):
    monkeypatch.setattr("sys.argv", ["voxpick", "--version"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code and capsys.readouterr().out.split() == ["voxpick", __version__]
    monkeypatch.setattr("sys.argv", ["voxpick", "simulate"])
    with pytest.raises(SystemExit):
        main()
    written = capsys.readouterr()
    assert "shrec20" in written.out and not written.err


def test_require_writable_leaves_nothing(tmp_path):
    require_writable(tmp_path / "new" / "deep")
    assert not list(tmp_path.iterdir())
    assert Path.cwd().exists()
