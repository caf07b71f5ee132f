"""Class activation maps beside what the network saw and what is there, as in Fig. 5 of Gao et al. (2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from voxpick.detect.activation import Activation
from voxpick.particles import Particles
from voxpick.report.frame import page
from voxpick.report.pictures import image
from voxpick.shrec_classes import SHREC20_BY_WEIGHT


@dataclass(frozen=True)
class Column:
    """The maps of one network. classes: names of its outputs, background first; activation: one row a particle."""

    title: str
    classes: Sequence[str]
    activation: Activation


def choose_examples(
    particles: Particles, *, shape: Sequence[int], voxel_size: float, size: int, per_class: int
) -> np.ndarray:
    """Rows of at most `per_class` particles of every class, the most confident that lie wholly inside.

    Classes of SHREC'20 by weight, then the others by name. A class with none wholly inside gets those that stick out.
    shape: voxels (z, y, x) of the tomogram; size: side of the subtomogram in voxels.
    """
    corners = np.rint(particles.voxels(voxel_size)) - size // 2
    whole = ((corners >= 0) & (corners + size <= np.array(shape))).all(axis=1)
    assert particles.scores is not None
    order = np.lexsort((np.arange(len(particles)), -particles.scores, ~whole))
    names = particles.classes.astype(str)
    rank = {name: k for k, name in enumerate(SHREC20_BY_WEIGHT)}
    known = sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name))
    chosen = []
    for name in known:
        rows = order[names[order] == name]
        inside = rows[whole[rows]]
        chosen.append((inside if len(inside) else rows)[:per_class])
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)


def build_activation_page(
    particles: Particles,
    columns: Sequence[Column],
    truth: np.ndarray | None = None,
    *,
    title: str = "Class activation maps",
    subtitle: str = "",
    hint: str = "",
) -> str:
    """The maps as one HTML file with everything inside. particles: one row for each of the columns' maps."""
    return page(title, subtitle, activation_section(particles, columns, truth, hint=hint), styles=["activation.css"])


def activation_section(
    particles: Particles, columns: Sequence[Column], truth: np.ndarray | None = None, *, hint: str = ""
) -> str:
    """Rows of examples: the central z slices of the input, of the truth where known, and of every network's map.

    particles: n rows, grouped by class; truth: densities (n, z, y, x). Of the whole subtomogram, the input
    is shown from its 1 to its 99 percentile, the truth from its 1 percentile and a map from its least value to the
    greatest.
    """
    titles = ["input", *(["truth"] if truth is not None else []), *(f"CAM, {column.title}" for column in columns)]
    rows = ["<tr><th>class</th>" + "".join(f"<th>{escape(text)}</th>" for text in titles) + "</tr>"]
    for k, name in enumerate(particles.classes.astype(str)):
        cells = [image(_grey(columns[0].activation.images[k], (1, 99)), f"{name}, input")]
        if truth is not None:
            cells.append(image(_grey(truth[k], (1, 100)), f"{name}, truth"))
        for column in columns:
            picture = image(_grey(column.activation.maps[k], (0, 100)), f"{name}, map of {column.title}")
            cells.append(picture + _called(column, k, name))
        rows.append(f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    note = (
        "Central z slices. Bright in a map: this region speaks for the class the network gives, which stands below "
        f"with its probability; black to white is the map's own range, so brightness compares within a map only. {hint}"
    )
    return (
        f'<section class="card"><h2>What the classification rests on</h2><p class="hint">{escape(note.strip())}</p>'
        f'<div class="scroll"><table class="maps">{"".join(rows)}</table></div></section>'
    )


def accuracy(column: Column, classes: Sequence[str]) -> float:
    """Share of the particles that a column's network gives the class they have in `classes`."""
    found = [column.classes[k] for k in column.activation.class_index]
    return float(np.mean([mine.lower() == name.lower() for mine, name in zip(found, classes, strict=True)]))


def _called(column: Column, row: int, name: str) -> str:
    index = int(column.activation.class_index[row])
    called, probability = column.classes[index], column.activation.probabilities[row, index]
    style = "right-name" if called.lower() == name.lower() else "other-name"
    return f'<p class="{style}">{escape(called)} {probability:.2f}</p>'


def _grey(cube: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """The central z slice as uint8 [y, x], from one percentile of the whole cube to the other."""
    low, high = np.percentile(cube, percentiles)
    section = cube[len(cube) // 2].astype(np.float64)
    if not high > low:
        return np.full(section.shape, 128, dtype=np.uint8)
    return np.rint(np.clip((section - low) / (high - low), 0, 1) * 255).astype(np.uint8)
