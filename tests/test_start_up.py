"""Help answers before anybody wonders."""

import subprocess
import sys
import time

LONGEST = 0.6
"""Seconds; half of it on an idle machine, and one of five runs finds a busy one idle enough."""


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom voxpick.cli import main\nsys.argv = ['voxpick', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'zarr', 'mrcfile', 'gemmi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    fastest = 9.0
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        fastest = min(fastest, time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        if fastest < LONGEST:
            break
    for command in ("demo", "structures", "simulate", "train", "detect", "evaluate", "report"):
        assert command in done.stdout
    assert fastest < LONGEST, f"{fastest:.2f} s"
