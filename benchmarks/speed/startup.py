"""How long `voxpick --help` takes, against importing PyTorch alone.

python benchmarks/speed/startup.py
"""

from __future__ import annotations

import subprocess
import sys

from record import alternating, parser, row, write


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--repeats", type=int, default=5)
    options = options.parse_args()

    def call(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    ours, peer = alternating(
        [lambda: call("-m", "voxpick", "--help"), lambda: call("-c", "import torch")], repeats=options.repeats
    )
    write(options, [row("voxpick --help", ours, peer="import torch", peer_seconds=peer)])


if __name__ == "__main__":
    main()
