"""Help answers before anybody wonders."""

import subprocess
import sys
import time

LONGEST = 0.6
"""Seconds; half of it on an idle machine, and one of five runs finds a busy one idle enough."""

OF_BARE = 15
"""Times a Python that does nothing, which counts on a machine where that alone takes longer than a few hundredths."""


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom voxpick.cli import main\nsys.argv = ['voxpick', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'zarr', 'mrcfile', 'gemmi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    fastest = bare = 99.0
    for _ in range(5):
        bare = min(bare, seconds_of("pass")[0])
        seconds, done = seconds_of(code)
        fastest = min(fastest, seconds)
        assert done.returncode == 0, done.stderr
        if fastest < max(LONGEST, OF_BARE * bare):
            break
    for command in ("demo", "structures", "simulate", "train", "detect", "evaluate", "report"):
        assert command in done.stdout
    assert fastest < max(LONGEST, OF_BARE * bare), f"{fastest:.2f} s, and a Python that does nothing {bare:.2f} s"


def seconds_of(code):
    """How long a Python takes that runs this, and what it said."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return time.perf_counter() - start, done
