"""How long `voxpick demo` takes, start to report.

python benchmarks/speed/demo.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from record import alternating, parser, row, write


def main() -> None:
    options = parser(__doc__, __file__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "voxpick", "demo", "--output", f"{folder}/demo"]
        (seconds,) = alternating([lambda: subprocess.run(command, check=True, capture_output=True)], repeats=1)
    write(options, [row("voxpick demo", seconds)])


if __name__ == "__main__":
    main()
