"""How long twelve templates take over a tomogram of 512 x 512 x 200 voxels, from a few of its tiles; for match.py."""

from __future__ import annotations

import resource
import time
from functools import partial
from typing import Any

import numpy as np
from record import row

from voxpick.match.bank import Bank
from voxpick.match.low_rank import compress, search_compressed
from voxpick.match.peaks import peaks_of
from voxpick.match.rescore import at_places, climb
from voxpick.match.rotations import super_fibonacci
from voxpick.match.search import SPARE
from voxpick.match.select import ball_radius
from voxpick.match.settings import MatchSettings
from voxpick.match.tiles import TiledVolume, make_tiling
from voxpick.methods.template_matching import bead_templates, make_target
from voxpick.simulate.bank import load_bank
from voxpick.volume import Volume

SHAPE, ROTATIONS = (200, 512, 512), 7112
ASKED = 64
"""Candidates of each template whose exact scores are timed."""


def measure_job(number: int) -> tuple[list[dict[str, Any]], str]:
    """Rows and a note; number: tiles of noise to search."""
    settings, rotations = MatchSettings(), super_fibonacci(ROTATIONS)
    rng = np.random.default_rng(0)
    templates = bead_templates(load_bank(), Volume(np.zeros((2, 2, 2), np.float32), 10.0))
    banks = [make_target(one, rotations, settings, ball_radius(one)).bank for one in templates]
    tiling = make_tiling(SHAPE, max(bank.side for bank in banks))
    tiles, (z, y, x) = len(tiling.starts()), tiling.core
    volume = TiledVolume(rng.normal(size=(z, y, number * x)).astype(np.float32))
    compressed, making = [], 0.0
    for bank in banks:
        start = time.perf_counter()
        compressed.append(compress(bank))
        making += time.perf_counter() - start
        bank.forget()
    start = time.perf_counter()
    scores = search_compressed(volume, banks, compressed, tile=max(tiling.sides))
    search = (time.perf_counter() - start) * tiles / number
    exact = sum(_exact_seconds(volume, bank, one.score, settings) for bank, one in zip(banks, scores, strict=True))
    total = making + search + exact
    rows = [
        row(f"twelve banks of {ROTATIONS} rotations made and compressed", making, volumes=[len(c.volumes) for c in
            compressed], energy_kept=[round(float(c.energy.mean()), 4) for c in compressed]),
        row(f"search of all {tiles} tiles, scaled from {number}", search),
        row(f"exact scores of {settings.candidates} peaks of each, scaled from {ASKED} candidates", exact),
        row("the whole job of twelve templates, extrapolated", total, minutes=total / 60),
    ]  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return rows, f"Extrapolated, not run: {total / 60:.0f} minutes; peak memory of what was run {peak:.1f} GiB."


def _exact_seconds(volume: TiledVolume, bank: Bank, score: np.ndarray, settings: MatchSettings) -> float:
    """Time to make the templates once more, and for all candidates to climb as long as a few do."""
    start = time.perf_counter()
    for _ in bank.under_mask(64):
        pass
    making = time.perf_counter() - start
    places = peaks_of(score, distance=ball_radius(bank.template) / bank.template.voxel_size, number=ASKED)
    start = time.perf_counter()
    climb(partial(at_places, volume, bank), score, places)
    climbing = time.perf_counter() - start
    if not bank.kept():  # made anew in each of the three steps, however many candidates ask
        making, climbing = 4 * making, max(climbing - 3 * making, 0.0)
    bank.forget()
    return making + climbing * SPARE * settings.candidates / max(len(places), 1)
