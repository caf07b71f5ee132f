"""What `voxpick match` tells of each template's search: on the terminal, in the report, and in match.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from voxpick.match.search import Matched


def say_search(name: str, matched: Matched) -> None:
    """A line about the candidates of one template."""
    peaks, kept = matched.peaks, "; " + energy_in_words(matched) if matched.volumes else ""
    if not len(peaks):
        typer.echo(f"{name}: no candidate scores above {matched.lowest:.3f}{kept}", err=True)
        return
    typer.echo(
        f"{name}: {len(peaks)} candidates, scores {peaks.scores[-1]:.3f} to {peaks.scores[0]:.3f}, noise "
        f"{matched.noise:.3f}{kept}",
        err=True,
    )


def energy_in_words(matched: Matched) -> str:
    """How much of the templates' energy the search kept, in words."""
    if not matched.volumes:
        return "every orientation by itself"
    mean, least = matched.energy
    between = "" if matched.sampling.every else f", at every {matched.sampling.spacing:g} voxels"
    kept = f"the search kept {mean:.1%} of the templates' energy, {least:.1%} at least"
    return f"{kept}, with {matched.volumes} volumes{between}"


def search_notes(matched: Matched) -> dict[str, Any]:
    """The same for match.yaml."""
    mean, least = matched.energy
    kept: dict[str, Any] = {"candidates": len(matched.peaks), "energy_kept": round(mean, 4)}
    if matched.volumes:
        kept |= {
            "least_energy_kept": round(least, 4),
            "volumes": matched.volumes,
            "volumes_for_residual": matched.needed,
        }
        kept["voxels_between_places"] = matched.sampling.spacing
    return kept
