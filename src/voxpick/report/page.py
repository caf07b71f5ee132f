"""The report: one HTML file with everything inside, which needs no server and no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from voxpick.particles import Particles
from voxpick.report import frame
from voxpick.report.binning import BinnedVolume, bin_volume
from voxpick.report.frame import FOOTER, asset, fill
from voxpick.report.sections import chart_section, score_tables, settings_table, tiles
from voxpick.shrec_classes import SHREC20_BY_WEIGHT, SHREC20_TABLE1
from voxpick.volume import Volume

PALETTE = (
    "#ff5a5f", "#3ddc84", "#ffd23f", "#5aa9ff", "#ff9f40", "#c77dff", "#2ee6e6", "#ff6ad5", "#b8e62e", "#f5b7b1",
    "#1fbf9f", "#d9b3ff", "#d08c4a", "#8fd3ff", "#f4e285", "#9fe6a0",
)  # fmt: skip
DEFAULT_RADIUS_A = 80.0


def build_report(
    volume: Volume,
    picks: Particles,
    truth: Particles | None = None,
    score: Mapping[str, Any] | None = None,
    title: str = "voxpick report",
    *,
    hits: np.ndarray | None = None,
    settings: Mapping[str, Any] | None = None,
    charts: str = "",
    max_side: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """The report as HTML text.

    picks, truth: centres in A in the frame of the volume; truth is drawn over the slices. score: the dictionary of
    `Shrec20Score.to_dict` or `PairingScore.to_dict`; without it the page has no chart that needs the truth. hits:
    for each pick, whether it lies on a particle (`hit_ids > 0` of a score). settings: what to list of the run.
    charts: more of them, as HTML. max_side: the volume is binned until no side has more voxels; it is read slice by
    slice.
    """
    binned = bin_volume(volume, max_side=max_side, progress=progress)
    picks, truth = _in_one_spelling(picks, truth, score)
    classes = _class_names(picks, truth, score)
    colours = {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(classes)}
    shape = " × ".join(str(n) for n in reversed(volume.shape))
    subtitle = f"{volume.name} · {shape} voxels (x × y × z) of {volume.voxel_size:g} Å"
    if binned.factor > 1:
        subtitle += f" · shown binned {binned.factor} times"
    parts = {
        "WARNINGS": "".join(f'<p class="warning">{escape(text)}</p>' for text in (score or {}).get("warnings", ())),
        "TILES": tiles(picks, truth, score),
        "CHARTS": chart_section(picks, score, hits, colours) + charts,
        "TABLES": score_tables(picks, score, colours) + settings_table(settings),
    }
    script = fill(
        '<script type="application/json" id="data">@DATA@</script>\n'
        '<script type="text/plain" id="voxels">@VOXELS@</script>\n'
        "<script>\n@SCRIPT@\n</script>",
        {
            "DATA": _json(_viewer_data(volume, binned, picks, truth, score, hits, classes, colours)),
            "VOXELS": base64.b64encode(np.ascontiguousarray(binned.voxels).tobytes()).decode("ascii"),
            "SCRIPT": asset("viewer.js"),
        },
    )
    footer = f"{FOOTER} Coordinates are voxels of the full tomogram; the first voxel is 0."
    return frame.page(title, subtitle, fill(asset("page.html"), parts), footer=footer, script=script)


def _in_one_spelling(
    picks: Particles, truth: Particles | None, score: Mapping[str, Any] | None
) -> tuple[Particles, Particles | None]:
    """Picks and truth with the score's spelling of their class names, or else the truth's: case does not matter."""
    named = [picks.classes, () if truth is None else truth.classes, (score or {}).get("class_f1", {})]
    spelling = {str(name).lower(): str(name) for names in named for name in names}

    def spelled(particles: Particles) -> Particles:
        classes = np.array([spelling[str(name).lower()] for name in particles.classes], dtype=object)
        return particles.with_columns(classes=classes)

    return spelled(picks), None if truth is None else spelled(truth)


def _class_names(picks: Particles, truth: Particles | None, score: Mapping[str, Any] | None) -> list[str]:
    """Every class of picks, truth and score: those of SHREC by weight, the others by name."""
    names = {str(name) for name in picks.classes} | set((score or {}).get("class_f1", {}))
    if truth is not None:
        names |= {str(name) for name in truth.classes}
    rank = {name: k for k, name in enumerate(SHREC20_BY_WEIGHT)}
    return sorted(names, key=lambda name: (rank.get(name, len(rank)), name))


def _viewer_data(
    volume: Volume,
    binned: BinnedVolume,
    picks: Particles,
    truth: Particles | None,
    score: Mapping[str, Any] | None,
    hits: np.ndarray | None,
    classes: Sequence[str],
    colours: Mapping[str, str],
) -> dict[str, Any]:
    """What the script draws. A pick is [z, y, x, class number, score, hit or null]; voxels of the full volume."""
    index = {name: k for k, name in enumerate(classes)}
    assert picks.scores is not None
    known: list[Any] = [None] * len(picks) if hits is None else [int(bool(hit)) for hit in hits]
    rows = [
        [*np.round(center, 1).tolist(), index[str(name)], round(float(value), 4), hit]
        for center, name, value, hit in zip(
            picks.voxels(volume.voxel_size), picks.classes, picks.scores, known, strict=True
        )
    ]
    true_rows: list[list[Any]] = []
    if truth is not None:
        centers = truth.voxels(volume.voxel_size)
        true_rows = [
            [*np.round(c, 1).tolist(), index[str(name)]] for c, name in zip(centers, truth.classes, strict=True)
        ]
    counts = dict(zip(*np.unique(picks.classes.astype(str), return_counts=True), strict=True)) if len(picks) else {}
    return {
        "shape": list(volume.shape),
        "binnedShape": list(binned.voxels.shape),
        "factor": binned.factor,
        "voxelSize": volume.voxel_size,
        "classes": [
            {
                "name": name,
                "colour": colours[name],
                "picks": int(counts.get(name, 0)),
                "radius": _radius(name) / volume.voxel_size,
            }
            for name in classes
        ],
        "picks": rows,
        "truth": true_rows,
        "curve": (score or {}).get("precision_recall"),
    }


def _radius(name: str) -> float:
    """Radius in A of the ball of a SHREC class's volume, a tenth larger to stay outside it; one for all others."""
    if name not in SHREC20_TABLE1:
        return DEFAULT_RADIUS_A
    return 11.0 * (3 * SHREC20_TABLE1[name].volume_nm3 / (4 * np.pi)) ** (1 / 3)


def _json(value: Any) -> str:
    """JSON that may stand inside a <script> element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
