"""Seconds of each step of a SHREC'20 simulation; the target is 120 s on two cores, 10 s on an H200.

python benchmarks/speed/simulate.py [--size 200 512 512] [--device cpu]
"""

from __future__ import annotations

import time

import torch
from record import parser, row, write

from voxpick.simulate.bank import load_bank
from voxpick.simulate.shrec20 import Recipe, simulate_shrec20


def main() -> None:
    options = parser(__doc__, __file__)
    options.add_argument("--size", type=int, nargs=3, default=(200, 512, 512))
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=2)
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    bank, began = load_bank(), time.perf_counter()
    spent: dict[str, float] = {}
    last = began

    def progress(name: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        spent[name] = spent.get(name, 0.0) + now - last
        last = now

    simulate_shrec20(bank, Recipe(size_zyx=tuple(options.size)), seed=1, device=options.device, progress=progress)
    total = time.perf_counter() - began
    size = " x ".join(str(n) for n in options.size)
    rows = [row(f"simulation of {size}", total), *(row(f"of this, {step}", s) for step, s in spent.items())]
    write(options, rows)


if __name__ == "__main__":
    main()
