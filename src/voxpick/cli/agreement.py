"""`voxpick evaluate --agreement`: two pickings against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from voxpick.errors import VoxpickError


def compare_pickings(
    picks_path: Path,
    other_path: Path,
    folder: Path,
    *,
    radius: float | None,
    near: Path | None,
    voxel_size: float | None,
) -> dict[str, Any]:
    """Write both.csv, only_picks.csv, only_other.csv and agreement.json; the numbers.

    near: a mask; the distance of each part's picks to its nearest voxel is added as a histogram.
    """
    import json

    from voxpick.cli.truth import read_picks
    from voxpick.evaluate.agreement import compare, distances_to_mask, histogram
    from voxpick.io.atomic import require_writable, write_text
    from voxpick.io.formats import write_particles
    from voxpick.io.mrc import read_labels, read_voxel_size

    if not other_path.is_file():
        raise VoxpickError(f"{other_path}: is no pick file; --agreement compares two pick files")
    if radius is None:
        raise VoxpickError("--agreement needs --radius: how far apart, in A, two picks of one particle may lie")
    require_writable(folder)
    size = voxel_size if near is None or voxel_size is not None else read_voxel_size(near)
    shape = None if near is None else (mask := read_labels(near)).shape
    picks, other = (
        read_picks(path, tomogram=name.stem, voxel_size=size, shape=shape)
        for path, name in ((picks_path, other_path), (other_path, picks_path))
    )
    found = compare(other, picks, radius=radius)
    parts = {"both": found.both, "only_picks": found.only_b, "only_other": found.only_a}
    result: dict[str, Any] = {"picks": picks_path.name, "other": other_path.name, **found.to_dict()}
    result["only_picks"], result["only_other"] = result.pop("only_b"), result.pop("only_a")
    result["picks_against_other"] = result.pop("b_against_a")
    if near is not None:
        assert size is not None
        result["distance_to_mask"] = {
            name: histogram(distances_to_mask(part, mask, voxel_size=size)) for name, part in parts.items()
        }
    for name, part in parts.items():
        write_particles(folder / f"{name}.csv", part)
    write_text(folder / "agreement.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    counts = found.counts
    typer.echo(
        f"{folder}: {len(found.both)} picks in both, {len(found.only_b)} only in {picks_path.name}, "
        f"{len(found.only_a)} only in {other_path.name}; with {other_path.name} as the truth precision "
        f"{counts.precision:.3f}, recall {counts.recall:.3f}, F1 {counts.f_beta:.3f}"
    )
    return result
