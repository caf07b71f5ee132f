"""Template matching: rotations a second of both paths, and of pytme, over one volume.

python benchmarks/speed/match.py [--side 256] [--template 32] [--rotations 2000] [--few 12] [--threads 2]
All get noise of side^3 voxels and a template of template^3 in a soft spherical mask, neither CTF nor wedge. The
low-rank path searches all rotations, compression of the bank and exact scores of --peaks candidates included; the exact
path and pytme (FLCSphericalMask, linear interpolation, as many jobs as threads) take --few rotations each. pytme's time
for all rotations is that for one, and for each further one what it takes longer for --few than for one. Rows of pytme
are left out where it is not installed. How far our exact scores are from pytme's is measured over places where the mask
lies within the volume: for the first --compared templates, turned by us, and for all --few that pytme turns itself,
linearly on the template's own grid, where we read from one twice as fine.

The twelve built-in structures at 7115 rotations over 512 x 512 x 200 voxels are match_twelve.py's.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from record import alternating, parser, row, write

from voxpick.match.bank import Bank, Template, in_cube
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
    options.add_argument("--compared", type=int, default=3)
    options.add_argument("--peaks", type=int, default=200)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=2)
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    data = np.random.default_rng(0).normal(size=(options.side,) * 3).astype(np.float32)
    template = lopsided(options.template)
    few, every = (Bank(template, super_fibonacci(n), edge=1.0) for n in (options.few, options.rotations))
    volume = TiledVolume(data)
    maps: dict[str, np.ndarray] = {}
    works: dict[str, Any] = {"exact": lambda: maps.update(exact=match_exact(volume, few).score)}
    search = pytme(data, few, options)
    if search is not None:
        turned = few.rotations.transpose(0, 2, 1)  # pytme's rotations lead from places to where their values come from
        works["pytme"] = lambda: maps.update(pytme=search(few.template.density, turned))
        works["pytme, one"] = lambda: search(few.template.density, turned[:1])
    times = dict(zip(works, alternating(list(works.values()), repeats=options.repeats), strict=True))
    theirs = times.get("pytme")
    found: list[Matched] = []
    wanted = Wanted(distance=options.template / 2, number=options.peaks)
    whole = alternating([lambda: found.append(find(volume, every, wanted))], repeats=1)[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    differences = {} if search is None else compared(volume, few, search, maps, options.compared)
    scaled = None
    if theirs is not None:
        each = (theirs - times["pytme, one"]) / (options.few - 1)
        scaled = times["pytme, one"] + each * (options.rotations - 1)
    rows = [
        row(f"exact path, {options.few} rotations", times["exact"], peer="pytme", peer_seconds=theirs,
            rotations_per_second=options.few / times["exact"], **differences),
        row(f"low-rank path, {options.rotations} rotations", whole, peer="pytme, scaled from its few rotations",
            peer_seconds=scaled, rotations_per_second=options.rotations / whole, energy_kept=found[0].energy,
            peaks=len(found[0].peaks), peak_gb=peak),
    ]  # fmt: skip
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


Search = Callable[[np.ndarray, np.ndarray], np.ndarray]


def compared(
    volume: TiledVolume, bank: Bank, search: Search, maps: dict[str, np.ndarray], number: int
) -> dict[str, float]:
    """The largest differences between our exact scores and pytme's.

    search: of `pytme`. maps: of the whole bank, ours and pytme's. number: templates that we turn, for pytme as well.
    """
    half = bank.side // 2
    inner = tuple(slice(half, n - half) for n in volume.shape)
    few = Bank(bank.template, bank.rotations[:number], edge=bank.edge)
    theirs = [search(density, np.eye(3)[None]) for density in few.rotated(slice(None)).numpy()]
    same = match_exact(volume, few).score - np.max(theirs, axis=0)
    turned = maps["exact"] - maps["pytme"]
    return {
        "largest_score_difference": float(np.abs(same[inner]).max()),
        "largest_score_difference_turned_by_pytme": float(np.abs(turned[inner]).max()),
    }


def pytme(data: np.ndarray, bank: Bank, options: Any) -> Search | None:
    """The search by pytme under the bank's mask, of a density [z, y, x] at rotations (n, 3, 3), if it is installed.

    It gives the best score at every voxel.
    """
    try:
        from tme.analyzer import MaxScoreOverRotations
        from tme.matching_data import MatchingData
        from tme.matching_exhaustive import MATCHING_EXHAUSTIVE_REGISTER, match_exhaustive
    except ImportError:
        print("match: pytme is not installed (pip install pytme==0.3.6)")
        return None
    setup, score = MATCHING_EXHAUSTIVE_REGISTER["FLCSphericalMask"]

    def search(density: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        matching = MatchingData(
            target=data.copy(), template=in_cube(density, bank.side), template_mask=bank.mask.numpy().copy(),
            rotations=rotations,
        )  # fmt: skip
        found = match_exhaustive(
            matching_data=matching, matching_setup=setup, matching_score=score, callback_class=MaxScoreOverRotations,
            callback_class_args={"score_threshold": -2.0}, interpolation_order=1, job_schedule=(1, options.threads),
        )  # fmt: skip
        return np.asarray(found[0])

    return search


if __name__ == "__main__":
    main()
