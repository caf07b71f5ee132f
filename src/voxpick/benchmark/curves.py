"""How the entries of a benchmark learned: losses and validation scores against steps, from the log.csv of each run."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxpick.benchmark.settings import Entry

Curve = list[tuple[float, float]]
"""Points (step, value)."""

Curves = dict[str, dict[str, dict[str, Curve]]]
"""By stage and entry: the curves 'loss', 'validation_score' and whatever else the validation gave."""

RUN = re.compile(r"model_(.+)_run")
MOST = 150
"""Points of a loss; more of them are averaged in groups."""


def training_curves(output: Path, results: Sequence[Mapping[str, Any]], entries: Mapping[str, Entry]) -> Curves:
    """The curves of the finished results, as far as their logs lie in the output folder, by stage and title.

    Titles name the seed where an entry has several. Entries that train nothing have no curves.
    """
    found: Curves = {}
    done = [(result["entry"], result["seed"]) for result in results if result["status"] == "done"]
    names = [name for name, _ in done]
    for name, seed in done:
        title = (entries[name].title or name) + (f", seed {seed}" if names.count(name) > 1 else "")
        for log in sorted((output / name / f"seed_{seed}").glob("model_*_run/log.csv")):
            stage = RUN.fullmatch(log.parent.name)
            if stage and (curves := read_log(log)):
                found.setdefault(stage[1], {})[title] = curves
    return found


def read_log(path: Path) -> dict[str, Curve]:
    """Losses and what validation gave, by column; a line that breaks off, as where a run was killed, is left out.

    So are zero bytes, with which file systems fill what a machine that lost its power had not written yet.
    """
    curves: dict[str, Curve] = {}
    text = path.read_bytes().replace(b"\0", b"").decode("utf-8", "replace")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        for key, cell in row.items():
            if key is not None and (key == "loss" or key.startswith("validation_")):
                step, value = _number(row.get("step")), _number(cell)
                if step is not None and value is not None:
                    curves.setdefault(key, []).append((step, value))
    if "loss" in curves:
        curves["loss"] = _thinned(curves["loss"])
    return curves


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _thinned(curve: Curve) -> Curve:
    """At most `MOST` points, each the mean of as many."""
    size = math.ceil(len(curve) / MOST)
    groups = [curve[first : first + size] for first in range(0, len(curve), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
