"""DeepFinder object lists (.xml): <objlist> of <object class_label x y z ...>, in voxels from 0.

The attributes are those of DeepFinder (github.com/deep-finder/cryoet-deepfinder) and its example data: class_label, x,
y, z and, optionally, tomo_idx, cluster_size, psi, phi, the. The angles have no documented convention, so they are
neither read nor written. voxpick adds vpx_class and vpx_score, which DeepFinder does not look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from voxpick.errors import VoxpickError
from voxpick.io.atomic import write_text
from voxpick.io.foreign import confidences, number, numbers_of, read_bytes, require_known, voxels_xyz
from voxpick.particles import Particles


def read_deepfinder(
    path: str | Path, *, voxel_size: float | None = None, shape: Sequence[int] | None = None
) -> Particles:
    """Read an object list: the class is vpx_class, else class_label; the tomogram tomo_idx, else the file's name.

    voxel_size: A, needed, for the file does not say it. The score is vpx_score, else cluster_size mapped linearly onto
    [0, 1], where all objects have it, else 1. A list without objects is no particles.
    Raises VoxpickError for a missing file, one that is not such XML, a DTD (with which entities could grow without
    end), missing attributes and values that are not finite numbers.
    """
    objects = _objects(path)
    if not objects:
        return Particles(np.zeros((0, 3)))
    size = require_known(voxel_size, path, "an object list")
    centers = [[number(found[axis], path, line, axis) for axis in "zyx"] for line, found in objects]
    scores = None
    for name in ("vpx_score", "cluster_size"):
        if scores is None and all(name in found for _, found in objects):
            scores = confidences([number(found[name], path, line, name) for line, found in objects])
    stem = Path(path).stem
    return Particles(
        np.array(centers) * size,
        classes=np.array([found.get("vpx_class", found["class_label"]) for _, found in objects], dtype=object),
        scores=scores,
        tomograms=np.array([found.get("tomo_idx", stem) for _, found in objects], dtype=object),
    )


def write_deepfinder(
    path: str | Path, particles: Particles, *, voxel_size: float | None = None, shape: Sequence[int] | None = None
) -> None:
    """Write an object list in row order; positions to three decimals of a voxel, orientations not at all.

    voxel_size: A. class_label is the class where it is a whole number, the SHREC'20 id, or else the place in the
    sorted names; tomo_idx likewise, places counted from 0. Raises VoxpickError when voxel_size is missing, and for
    names that XML cannot hold.
    """
    size = require_known(voxel_size, path, "an object list")
    labels = numbers_of(particles.classes, len(particles))
    tomograms = numbers_of(particles.tomograms, len(particles), first=0, ids={})
    assert particles.scores is not None
    lines = []
    columns = zip(tomograms, labels, voxels_xyz(particles, size), particles.classes, particles.scores, strict=True)
    for tomogram, label, (x, y, z), name, score in columns:
        if not str(name).isprintable():
            raise VoxpickError(f"{path}: XML cannot hold the class name {name!r}; leave out characters without a shape")
        lines.append(
            f'  <object tomo_idx="{tomogram}" class_label="{label}" x="{x:.3f}" y="{y:.3f}" z="{z:.3f}" '
            f'vpx_class={quoteattr(str(name))} vpx_score="{score:.6f}"/>\n'
        )
    write_text(path, "<objlist>\n" + "".join(lines) + "</objlist>\n")


def _objects(path: str | Path) -> list[tuple[int, dict[str, str]]]:
    """Line and attributes of each object."""
    parser = expat.ParserCreate()
    found: list[tuple[int, dict[str, str]]] = []
    roots: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        line = parser.CurrentLineNumber
        if not roots and name != "objlist":
            raise VoxpickError(f"{path}, line {line}: <{name}> is no object list; DeepFinder's begin with <objlist>")
        roots.append(name)
        if name != "object":
            return
        for needed in ("x", "y", "z", "class_label"):
            if needed not in attributes:
                raise VoxpickError(f"{path}, line {line}: this object has no {needed}; found {', '.join(attributes)}")
        found.append((line, attributes))

    def refuse(*_: object) -> NoReturn:
        raise VoxpickError(f"{path}: has a document type (DTD); object lists have none, so take it out")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bytes(path, "a DeepFinder object list (XML)"), True)
    except expat.ExpatError as error:
        raise VoxpickError(f"{path}, line {error.lineno}: not a whole XML file ({error})") from error
    except (LookupError, ValueError) as error:
        raise VoxpickError(f"{path}: not a readable XML file ({error})") from error
    return found
