"""Template matching: rotations a second of both paths, and of pytme, over one volume.

python benchmarks/speed/match.py [--side 256] [--template 32] [--rotations 2000] [--few 12] [--threads 2]
All get noise of side^3 voxels and a template of template^3 in a soft spherical mask, neither CTF nor wedge. The
low-rank path searches all rotations, compression of the bank and exact scores of --peaks candidates included; the exact
path and pytme (FLCSphericalMask, linear interpolation, as many jobs as threads) take --few rotations each. pytme's time
for all rotations is that for one, and for each further one what it takes longer for --few than for one. Rows of pytme
are left out where it is not installed.

python benchmarks/speed/match.py --job 2 --output benchmarks/speed/match_job.json
tells how long the twelve built-in structures take at 7112 rotations over 512 x 512 x 200 voxels, from so many tiles for
each size of template: making and compressing the banks is measured in full, the search is scaled by the number of
tiles, and exact scores by the number of candidates. It says so in its rows. The whole job itself is
voxpick match TOMOGRAM.mrc --output picks --step 12.785 --threads 2
"""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import torch
from record import alternating, parser, row, write

from voxpick.match.bank import Bank, Template
from voxpick.match.exact import match_exact
from voxpick.match.rotations import super_fibonacci
from voxpick.match.search import Matched, Wanted, find
from voxpick.match.tiles import TiledVolume


def main() -> None:
    """The few rotations in turns, then all of them once."""
    options = parser(__doc__, __file__)
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--template", type=int, default=32)
    options.add_argument("--rotations", type=int, default=2000)
    options.add_argument("--few", type=int, default=12)
    options.add_argument("--peaks", type=int, default=200)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=2)
    options.add_argument("--job", type=int, default=0, help="tiles of the job of twelve templates to measure")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    if options.job:
        from match_job import measure_job

        rows, note = measure_job(options.job)
        write(options, rows, note=note)
        return
    data = np.random.default_rng(0).normal(size=(options.side,) * 3).astype(np.float32)
    template = lopsided(options.template)
    few, every = (Bank(template, super_fibonacci(n), edge=1.0) for n in (options.few, options.rotations))
    volume = TiledVolume(data)
    works: dict[str, Any] = {"exact": lambda: match_exact(volume, few)}
    peers = pytme(data, few, options)
    works |= peers
    times = dict(zip(works, alternating(list(works.values()), repeats=options.repeats), strict=True))
    theirs = times.get("pytme")
    found: list[Matched] = []
    wanted = Wanted(distance=options.template / 2, number=options.peaks)
    whole = alternating([lambda: found.append(find(volume, every, wanted))], repeats=1)[0]
    scaled = None
    if theirs is not None:
        each = (theirs - times["pytme, one"]) / (options.few - 1)
        scaled = times["pytme, one"] + each * (options.rotations - 1)
    rows = [
        row(f"exact path, {options.few} rotations", times["exact"], peer="pytme", peer_seconds=theirs,
            rotations_per_second=options.few / times["exact"]),
        row(f"low-rank path, {options.rotations} rotations", whole, peer="pytme, scaled from its few rotations",
            peer_seconds=scaled, rotations_per_second=options.rotations / whole, energy_kept=found[0].energy,
            peaks=len(found[0].peaks)),
    ]  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    write(options, rows, note=f"Templates of {every.side} voxels a side; peak memory of all {peak:.1f} GiB.")


def lopsided(side: int) -> Template:
    """Balls of unequal weight without any symmetry, as wide as the mask of a cube of `side` voxels allows."""
    grid = np.indices((side,) * 3) - side // 2
    rng = np.random.default_rng(1)
    reach = side / 2 - 4
    density = np.zeros((side,) * 3, dtype=np.float32)
    for _ in range(40):
        at = rng.normal(size=3)
        at *= reach * rng.random() ** (1 / 3) / np.linalg.norm(at)
        square = sum((g - a) ** 2 for g, a in zip(grid, at, strict=True))
        density += rng.uniform(0.3, 1) * np.exp(-0.5 * square / 1.3**2)
    return Template("lopsided", density, 10.0, radius=10.0 * (side / 2 - 3.4))


def pytme(data: np.ndarray, bank: Bank, options: Any) -> dict[str, Any]:
    """The same search by pytme, and that of one rotation, if it is installed."""
    try:
        from tme.analyzer import MaxScoreOverRotations
        from tme.matching_data import MatchingData
        from tme.matching_exhaustive import MATCHING_EXHAUSTIVE_REGISTER, match_exhaustive
    except ImportError:
        print("match: pytme is not installed (pip install pytme==0.3.6)")
        return {}
    setup, score = MATCHING_EXHAUSTIVE_REGISTER["FLCSphericalMask"]
    density = np.zeros((bank.side,) * 3, dtype=np.float32)
    shift = (bank.side - options.template) // 2
    window = slice(max(shift, 0), max(shift, 0) + min(options.template, bank.side))
    inner = slice(max(-shift, 0), max(-shift, 0) + min(options.template, bank.side))
    density[window, window, window] = bank.template.density[inner, inner, inner]

    def work(rotations: np.ndarray) -> Any:
        matching = MatchingData(
            target=data.copy(), template=density.copy(), template_mask=bank.mask.numpy().copy(),
            rotations=rotations,
        )  # fmt: skip
        return match_exhaustive(
            matching_data=matching, matching_setup=setup, matching_score=score, callback_class=MaxScoreOverRotations,
            callback_class_args={"score_threshold": -2.0}, interpolation_order=1, job_schedule=(1, options.threads),
        )  # fmt: skip

    return {"pytme": lambda: work(bank.rotations), "pytme, one": lambda: work(bank.rotations[:1])}


if __name__ == "__main__":
    main()
