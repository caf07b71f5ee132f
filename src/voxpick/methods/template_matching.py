"""TM-F, template matching as the baseline of SHREC'20, filtered; tm_t.py is its thresholded sister.

G. van der Schot and I. Gubins in Gubins et al., SHREC 2020, Computers & Graphics 91 (2020), section 3.7: each of the
twelve densities is a template, modulated by the CTF at 3 um defocus and cut at its first zero; spherical masks with
Gaussian edges; the 2000 best candidates of each class; of these N = 217 a class, from the largest class to the
smallest. TM-F passes over candidates nearer to a pick than the sum of both radii. Nothing is trained.
What the section leaves open, or we do otherwise:
- the paper's program is PyTom; the score here is PyTom's, and equal to pytme's (tests/match);
- the number of orientations: about 7000, one per cube of 12.85 degrees, from a super-Fibonacci spiral;
- the missing wedge (-60 to 60 degrees) acts on the templates too; the section does not mention it, PyTom does so;
- the CTF: the usual one with Cs 2.7 mm and amplitude contrast 0.08, whose first zero lies at 0.406 per nm (the data's
  at 0.411); no envelope;
- densities are the built-in bead models (4d8q's is of its successor 4v94; data/BANK.md) at the tomogram's voxel size,
  or what the caller gives;
- the mask reaches one voxel beyond the farthest voxel above a tenth of the density's maximum, its edge falls as a
  Gaussian of 10 A beyond;
- candidates of a class are local maxima at least a radius apart;
- "radii" are those of balls of the densities' volumes, above a tenth of the maximum; "biggest" goes by them;
- in TM-F, the picks of one class do not overlap each other either;
- scores are searched on the low-rank path (2 % of the templates' energy may be left out), where the templates allow at
  two places for every three voxels along each axis, and interpolated between (path=exact, or sampling=every, look at
  all voxels); those of the candidates and their orientations are exact;
- sections without specimen are left out (slab = off takes all).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from voxpick.detect.memory import spacious
from voxpick.detect.pipeline import Detection
from voxpick.detect.prepare import Prepared, prepare
from voxpick.errors import VoxpickError
from voxpick.match.background import phase_randomised
from voxpick.match.bank import Bank, Template, box_side
from voxpick.match.outliers import fill_outliers
from voxpick.match.peaks import Peaks
from voxpick.match.rotations import rotation_grid
from voxpick.match.sampling import EVERY
from voxpick.match.search import Matched, Target, find_all
from voxpick.match.select import ball_radius, choose, listed_by_class
from voxpick.match.settings import MatchSettings, make_match_settings
from voxpick.match.tiles import TiledVolume, make_tiling
from voxpick.match.whitening import Whitening, whiten
from voxpick.methods.untrained import as_detection, create_model, shared_settings, train, training_settings
from voxpick.networks.model import Model
from voxpick.precision import choose_device
from voxpick.progress import Progress, of_step
from voxpick.simulate.bank import load_bank
from voxpick.simulate.structures import BeadModel, density
from voxpick.volume import Volume

__all__ = [
    "DETECTION", "DETECTION_SETTINGS", "PAPER", "PRESETS", "STAGES", "TINY", "TITLE", "create_model", "detect", "match",
    "train", "training_settings",
]  # fmt: skip

TITLE = "template matching; candidates that overlap a pick are passed over (TM-F)"
PAPER = "van der Schot and Gubins in Gubins et al., Computers & Graphics (2020)"
STAGES: tuple[str, ...] = ()
PRESETS: dict[str, dict[str, Any]] = {"paper": {}, "minutes": {}}
TINY: dict[str, dict[str, Any]] = {}
DETECTION_SETTINGS = MatchSettings
DETECTION: dict[str, Any] = {"candidates": 2000, "number": 217, "overlap": False}
FINEST = 4.0
"""A; bead models are coarser than smaller voxels."""
LEAST_RADIUS = 2.0
"""Voxels; of smaller structures next to nothing but a blot is left."""


def detect(
    volume: Volume, models: dict[str, Model], *, changes: dict[str, Any] | None = None, **options: Any
) -> Detection:
    """Match the built-in structures; scored, named picks with orientations, most confident first.

    models: not looked at. changes: settings of `match.settings.MatchSettings`. options: device and progress.
    """
    settings = make_match_settings(MatchSettings, changes, **DETECTION)
    templates = bead_templates(load_bank(settings.classes), volume)
    return match(volume, templates, settings, **options)


def bead_templates(models: dict[str, BeadModel], volume: Volume) -> list[Template]:
    """Densities of bead models at a tomogram's voxel size.

    Raises VoxpickError for voxels finer than beads can fill, and so large that a structure is but a few voxels wide.
    """
    if volume.voxel_size < FINEST:
        raise VoxpickError(
            f"{volume.name}: voxels of {volume.voxel_size:g} A are too fine for templates from bead models, which hold "
            f"down to {FINEST:g} A; bin the tomogram, set the right one with --voxel-size, or give maps as templates"
        )
    for name, model in models.items():
        radius = float(np.linalg.norm(model.positions_zyx, axis=1).max())
        if radius < LEAST_RADIUS * volume.voxel_size:
            raise VoxpickError(
                f"{volume.name}: voxels of {volume.voxel_size:g} A are too large for {name}, whose radius is "
                f"{radius:.0f} A, {radius / volume.voxel_size:.2g} voxels; {LEAST_RADIUS:g} are the least. Set the "
                "right voxel size with --voxel-size, bin the tomogram less, or look for larger structures"
            )
    return [
        Template(name, density(model, voxel_size=volume.voxel_size), volume.voxel_size)
        for name, model in models.items()
    ]


def match(
    volume: Volume,
    templates: Sequence[Template],
    settings: MatchSettings,
    *,
    device: str = "auto",
    progress: Progress | None = None,
    report: Callable[[str, Matched], None] | None = None,
) -> Detection:
    """Match templates of the tomogram's voxel size; report(name, what was found) after each of them.

    Raises VoxpickError for templates of another voxel size, larger than the tile, or whose masks are wider than the
    tomogram along y or x; warns of masks wider than it along z, and where the limit of volumes lets less of the
    templates be kept than the residual asks for.
    """
    if settings.mask_radius is not None:
        masked = [replace(template, radius=settings.mask_radius) for template in templates]
    else:
        masked = list(templates)
    _check(volume, masked, settings)
    ready = prepare(volume, volume.voxel_size, shared_settings(settings))
    sections = _with_surroundings(ready, masked, settings)
    data = ready.grid.data[sections]
    if settings.outliers is not None:
        data = fill_outliers(data, spacious(data.shape), deviations=settings.outliers, name=volume.name)
    data, whitening = whiten(data) if settings.whiten else (data, None)
    tiled = TiledVolume(data, sign=1.0 if settings.invert else -1.0, device=choose_device(device))
    rotations = rotation_grid(settings.angular_step, settings.rotations)
    radii = [ball_radius(template) for template in masked]
    targets = [
        make_target(template, rotations, settings, radius, whitening=whitening, device=tiled.device)
        for template, radius in zip(masked, radii, strict=True)
    ]
    asked = _asked(ready, sections)
    targets = [replace(target, wanted=replace(target.wanted, sections=asked)) for target in targets]
    matches = find_all(
        tiled, targets, path=settings.path, residual=settings.residual, volumes=settings.volumes,
        sampling=EVERY if settings.sampling == "every" else None, tile=settings.tile,
        progress=of_step(progress, "matching"),
    )  # fmt: skip
    found: list[Peaks] = []
    capped: dict[str, Matched] = {}
    for template, matched in zip(templates, matches, strict=True):
        found.append(matched.peaks)
        if matched.needed > matched.volumes:
            capped[template.name] = matched
        if report:
            report(template.name, matched)
    if capped:
        _warn_of_limit(volume, capped, settings)
    in_voxels = [radius / volume.voxel_size for radius in radii]
    chosen = choose(found, in_voxels, number=settings.number, overlap=settings.overlap)
    names = [template.name for template in templates]
    labels = np.concatenate([np.full(len(rows), k + 1) for k, rows in chosen])
    picks = [found[k][rows] for k, rows in chosen]
    places = np.concatenate([part.places for part in picks]) + np.array([sections.start, 0, 0])
    scores = np.concatenate([part.scores for part in picks])
    turns = rotations[np.concatenate([part.rows for part in picks])]
    detection = as_detection(ready, settings, names, labels, places, scores, turns)
    if not settings.overlap or len(names) < 2:
        return detection
    largest_first = [names[k] for k, _ in chosen]
    return replace(detection, particles=listed_by_class(detection.particles, largest_first))


def make_target(
    template: Template,
    rotations: np.ndarray,
    settings: MatchSettings,
    radius: float,
    *,
    whitening: Whitening | None = None,
    device: torch.device | str = "cpu",
) -> Target:
    """A template as the settings have it searched; radius: A, within which there is one peak.

    rotations: (n, 3, 3), of the template, that act on (z, y, x) column vectors.
    """
    options: dict[str, Any] = {
        "optics": settings.optics(), "tilt_range_deg": settings.wedge(), "whitening": whitening,
        "edge": settings.mask_edge / template.voxel_size, "device": device,
    }  # fmt: skip
    bank, wanted = Bank(template, rotations, **options), settings.wanted(template, radius)
    if settings.background == "off":
        return Target(bank, wanted)
    noise = phase_randomised(template, np.random.default_rng(0))
    return Target(bank, wanted, Bank(noise, rotations, **options), settings.background)


def _check(volume: Volume, templates: Sequence[Template], settings: MatchSettings) -> None:
    """Refuse before the first search what would fail in a later one."""
    if settings.background != "off" and settings.false_positives is not None:
        raise VoxpickError(
            "false_positives counts by the scores of noise, which a background changes; leave one of the two out"
        )
    if not templates:
        raise VoxpickError("there is no template to match; name one of the built-in structures or give a file")
    for template in templates:
        if abs(template.voxel_size / volume.voxel_size - 1) > 0.01:
            raise VoxpickError(
                f"template {template.name}: voxels of {template.voxel_size:g} A, but {volume.name} has "
                f"{volume.voxel_size:g} A; resample the map, or set the right one with --voxel-size"
            )
        try:
            make_tiling(volume.shape, box_side(template, settings.mask_edge / volume.voxel_size), largest=settings.tile)
        except VoxpickError as error:
            raise VoxpickError(f"template {template.name}: {error}") from error
    _check_room(volume, templates)


def _check_room(volume: Volume, templates: Sequence[Template]) -> None:
    """Refuse particles that the tomogram has no room for along y or x, and warn of those that are thicker than it.

    What counts is the ball of the mask; a map's empty surroundings may hang over. A thin slab is no mistake: particles
    in it are cut by its faces, and what hangs over meets the tomogram's mean.
    """
    sides = {template.name: math.ceil(2 * template.radius_voxels()) for template in templates}
    z, y, x = volume.shape
    for name, side in sides.items():
        if side > min(y, x):
            raise VoxpickError(
                f"template {name}: its mask is {side} voxels across ({side * volume.voxel_size:g} A), but "
                f"{volume.name} has {z} x {y} x {x} voxels (z, y, x): no such particle fits in; match in a larger "
                "part of the tomogram, leave this template out, set a smaller mask with --radius, or the right voxel "
                "size with --voxel-size"
            )
    thick = [f"{name} ({side})" for name, side in sides.items() if side > z]
    if thick:
        warnings.warn(
            f"{volume.name}: {z} sections are fewer than the voxels that the masks of {', '.join(thick)} are across; "
            "wherever such a particle lies, a part of it is missing, and its scores are lower. Match in more sections "
            "if there are any, or set a smaller mask with --radius",
            stacklevel=3,
        )


def _warn_of_limit(volume: Volume, capped: dict[str, Matched], settings: MatchSettings) -> None:
    """Say of which templates the search kept less than 1 - residual, as their volumes are limited."""
    kept = ", ".join(f"{name} {one.energy[0]:.1%} ({one.needed} volumes)" for name, one in capped.items())
    needed = max(one.needed for one in capped.values())
    warnings.warn(
        f"{volume.name}: with at most {settings.volumes} volumes the search kept less of the templates' energy than "
        f"the {1 - settings.residual:.1%} that residual = {settings.residual:g} asks for: {kept}; candidates may be "
        f"lost. --set volumes={needed} keeps about that much of all, in more time",
        stacklevel=3,
    )


def _with_surroundings(ready: Prepared, templates: Sequence[Template], settings: MatchSettings) -> slice:
    """The sections to search and, beyond those that the settings name, what templates reach into.

    A slab that was found by itself has a margin already.
    """
    if settings.slab == "auto":
        return ready.sections
    reach = max(box_side(template, settings.mask_edge / template.voxel_size) for template in templates) // 2
    return slice(max(ready.sections.start - reach, 0), min(ready.sections.stop + reach, ready.grid.shape[0]))


def _asked(ready: Prepared, searched: slice) -> tuple[int, int]:
    """The first of the sections searched that were asked for and lie in the ice, and the one after the last."""
    z = np.arange(searched.start, searched.stop)
    inside = np.flatnonzero((z >= ready.sections.start) & (z < ready.sections.stop) & ready.slab.holds(z))
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
