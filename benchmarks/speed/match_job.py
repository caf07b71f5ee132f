"""How long twelve templates take over a tomogram of 512 x 512 x 200 voxels, from a few of its tiles; for match.py."""

from __future__ import annotations

import math
import resource
import time
from functools import partial
from typing import Any

import numpy as np
from record import row

from voxpick.match.bank import Bank
from voxpick.match.compress import RESIDUAL, choose_sampling, compress
from voxpick.match.exact import Scores
from voxpick.match.low_rank import BEYOND_BAND, search_compressed
from voxpick.match.passes import passes
from voxpick.match.peaks import peaks_of
from voxpick.match.rescore import at_places, climb
from voxpick.match.rotations import super_fibonacci
from voxpick.match.search import BETWEEN, SPARE, SPARE_BETWEEN
from voxpick.match.select import ball_radius
from voxpick.match.settings import MatchSettings
from voxpick.match.tiles import TiledVolume, Tiling, make_tiling
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
    making, search, exact, tiles = 0.0, 0.0, 0.0, 0
    kept, energy, spacing = {}, {}, {}
    for group in passes(banks):
        some, compressed = [banks[k] for k in group], []
        for bank in some:
            start = time.perf_counter()
            compressed.append(compress(bank))
            making += time.perf_counter() - start
            bank.forget()
            kept[bank.template.name] = len(compressed[-1].volumes)
            energy[bank.template.name] = round(float(compressed[-1].energy.mean()), 4)
        start = time.perf_counter()
        sampling = choose_sampling(compressed, beyond=BEYOND_BAND * RESIDUAL)
        making += time.perf_counter() - start
        spacing |= {bank.template.name: sampling.spacing for bank in some}
        tiling = make_tiling(SHAPE, max(bank.side for bank in some), sampling=sampling)
        z, y, x = tiling.core
        volume = TiledVolume(rng.normal(size=(z, y, number * x)).astype(np.float32))
        measured = make_tiling(volume.shape, tiling.template, largest=max(tiling.sides), sampling=sampling)
        start = time.perf_counter()
        scores = search_compressed(volume, some, compressed, tile=max(tiling.sides), sampling=sampling)
        search += (time.perf_counter() - start) * _transformed(tiling) / _transformed(measured)
        tiles += len(tiling.starts()) * len(group)
        exact += sum(_exact_seconds(volume, bank, one, settings) for bank, one in zip(some, scores, strict=True))
    total = making + search + exact
    rows = [
        row(f"twelve banks of {ROTATIONS} rotations made and compressed", making, volumes=kept, energy_kept=energy),
        row(f"search of all {tiles} tiles, scaled from {number} of each size", search, spacing=spacing),
        row(f"exact scores of {settings.candidates} peaks of each, scaled from {ASKED} candidates", exact),
        row("the whole job of twelve templates, extrapolated", total, minutes=total / 60),
    ]  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return rows, f"Extrapolated, not run: {total / 60:.0f} minutes; peak memory of what was run {peak:.1f} GiB."


def _transformed(tiling: Tiling) -> int:
    """Voxels of all tiles; those at the far faces count in full, so that the estimate errs on the slow side."""
    return len(tiling.starts()) * math.prod(tiling.sides)


def _exact_seconds(volume: TiledVolume, bank: Bank, scores: Scores, settings: MatchSettings) -> float:
    """Time to make the templates once more, and for all candidates to climb as long as a few do."""
    start = time.perf_counter()
    for _ in bank.under_mask(64):
        pass
    making = time.perf_counter() - start
    places = peaks_of(scores.score, distance=ball_radius(bank.template) / bank.template.voxel_size, number=ASKED)
    start = time.perf_counter()
    climb(partial(at_places, volume, bank), scores.score, places, **({} if scores.sampling.every else BETWEEN))
    climbing = time.perf_counter() - start
    if not bank.kept():  # made anew in each of the three steps, however many candidates ask
        making, climbing = 4 * making, max(climbing - 3 * making, 0.0)
    bank.forget()
    each = SPARE if scores.sampling.every else SPARE_BETWEEN
    return making + climbing * each * settings.candidates / max(len(places), 1)
