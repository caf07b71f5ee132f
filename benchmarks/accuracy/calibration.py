"""TM-F on a simulated SHREC'20 specimen beside the published row: are our tomograms as hard as the published ones?

    python benchmarks/accuracy/calibration.py MODEL_FOLDER --work FOLDER [--step 12.85] [--seconds 170]
    python benchmarks/accuracy/calibration.py --page

The first matches one class after the other and keeps each class's candidates in --work, named after the settings; it
starts no further class after --seconds, and goes on where it stopped when it is called again. When all twelve are there
it scores TM-F and TM-T and writes calibration.json beside this script. Everything that counts particles is scaled by
the specimen's area: 217 picks and 2000 candidates a class belong to 512 x 512 voxels. The second writes
docs/calibration.md from the JSON. --set changes settings of `voxpick match`, such as --set ctf=full. With --variant and
some --classes only the candidates of these are told of, under the run's "variants": what a setting changes in them
before any choice. --structure takes a class's template from a file, all chains as they are, in place of the bank's
biological assembly. Every whole run also says what other orders and radii of the choice would have given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration_page import TABLE9_COLUMNS, write_page
from scipy.spatial import cKDTree

from voxpick.benchmark.published import CLASS_COLUMNS
from voxpick.cli.assignments import read_assignments
from voxpick.cli.truth import ShrecTruth, read_truth
from voxpick.detect.prepare import prepare
from voxpick.evaluate.shrec import score_shrec
from voxpick.evaluate.shrec_score import Shrec20Score
from voxpick.io.shrec_model import open_model
from voxpick.io.structures import read_atoms
from voxpick.match.bank import Template
from voxpick.match.peaks import Peaks
from voxpick.match.rotations import rotation_grid
from voxpick.match.sampling import EVERY
from voxpick.match.search import find_all
from voxpick.match.select import ball_radius, choose
from voxpick.match.settings import MatchSettings, make_match_settings
from voxpick.match.tiles import TiledVolume
from voxpick.match.whitening import whiten
from voxpick.methods.template_matching import bead_templates, make_target
from voxpick.methods.untrained import as_detection, shared_settings
from voxpick.shrec_classes import SHREC20_TABLE1
from voxpick.simulate.bank import load_bank
from voxpick.simulate.beads import beads_from_atoms
from voxpick.simulate.structures import BeadModel
from voxpick.volume import Volume

sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
from record import machine

AREA = 512 * 512
FILE = "file "
"""Before the name of the file that a structure was read from."""
NEAR = 4.0
"""Voxels: a candidate is on a particle when its centre is so near, or within the class's radius if that is less."""


def main() -> None:
    """Match, or score, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--step", type=float, default=12.85)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--classes", nargs="+", default=list(CLASS_COLUMNS), choices=CLASS_COLUMNS)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--name", default="TM-F", help="what this run is called in the JSON, which may hold several")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--structure", action="append", default=[], metavar="CLASS=FILE")
    parser.add_argument("--variant", help="what these settings are called among the variants of the run --name")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    if arguments.page:
        write_page(arguments.output)
        return
    if arguments.model is None or arguments.work is None:
        parser.error("give MODEL_FOLDER and --work, or --page")
    volume = open_model(arguments.model).reconstruction
    share = volume.shape[1] * volume.shape[2] / AREA
    changes = read_assignments(arguments.set, example="ctf=full", as_text=("background", "ctf", "tilt_range"))
    settings = make_match_settings(
        MatchSettings, changes, angular_step=arguments.step, number=round(217 * share), candidates=round(2000 * share)
    )
    structures = read_assignments(arguments.structure, example="3qm1=3qm1.pdb.gz", as_text=CLASS_COLUMNS)
    bank = {name: structure_of(name, structures.get(name)) for name in arguments.classes}
    begun = time.perf_counter()
    for name in arguments.classes:
        if (
            not kept_in(arguments.work, bank[name], settings).exists()
            and time.perf_counter() - begun < arguments.seconds
        ):
            match_class(volume, bank[name], settings, arguments.work)
    left = [name for name in arguments.classes if not kept_in(arguments.work, bank[name], settings).exists()]
    if left:
        print(f"{len(left)} classes left: {' '.join(left)}; call it again")
        return
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"runs": {}}
    if arguments.variant is not None:
        told = candidates_of(arguments.model, volume, settings, arguments.work, bank)
        known["runs"][arguments.name].setdefault("variants", {})[arguments.variant] = {
            "changed": changes | {name: Path(file).name for name, file in structures.items()}, "candidates": told,
        }  # fmt: skip
        arguments.output.write_text(json.dumps(known, indent=1) + "\n")
        print(json.dumps(told, indent=1))
        return
    result = scored(arguments.model, volume, settings, arguments.work, bank)
    variants = known["runs"].get(arguments.name, {}).get("variants", {})
    known["runs"][arguments.name] = {
        **result,
        "variants": variants,
        "changed": changes | {name: Path(file).name for name, file in structures.items()},
    }
    arguments.output.write_text(json.dumps(known, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("table3", "class_f1", "candidates")}, indent=1))


def structure_of(name: str, file: str | None) -> BeadModel:
    """The structure of a class: the bank's, or all chains of a file."""
    if file is None:
        return load_bank([name])[name]
    positions, electrons, weight = read_atoms(file)
    return beads_from_atoms(name, positions, electrons, molecular_weight_kda=weight, source=f"{FILE}{Path(file).name}")


def template_of(structure: BeadModel, volume: Volume) -> Template:
    """The density of a class, at the tomogram's voxel size."""
    return bead_templates({structure.name: structure}, volume)[0]


def kept_in(work: Path, structure: BeadModel, settings: MatchSettings) -> Path:
    """The file of a class's candidates; its name holds all settings that act on them."""
    acting = settings.model_dump(exclude={"number", "overlap", "classes", "tile"})
    text = "_".join(
        f"{key}-{value}" for key, value in acting.items() if value != MatchSettings.model_fields[key].default
    )
    other = f"_{structure.source.removeprefix(FILE)}" if structure.source.startswith(FILE) else ""
    return work / f"{structure.name}_{text.replace('/', '')}{other}.npz"


def match_class(volume: Volume, structure: BeadModel, settings: MatchSettings, work: Path) -> None:
    """Candidates of one class, kept in a file."""
    start, template = time.perf_counter(), template_of(structure, volume)
    ready = prepare(volume, volume.voxel_size, shared_settings(settings))
    data, whitening = whiten(ready.data) if settings.whiten else (ready.data, None)
    target = make_target(
        template, rotation_grid(settings.angular_step, settings.rotations), settings, ball_radius(template),
        whitening=whitening,
    )  # fmt: skip
    matched = next(
        find_all(TiledVolume(data, sign=-1.0), [target], path=settings.path, residual=settings.residual,
                 volumes=settings.volumes, sampling=EVERY if settings.sampling == "every" else None,
                 tile=settings.tile)
    )  # fmt: skip
    peaks = matched.peaks
    work.mkdir(parents=True, exist_ok=True)
    inside = ready.slab.holds(peaks.places[:, 0] + ready.sections.start)
    seconds = time.perf_counter() - start
    np.savez(
        kept_in(work, structure, settings), places=peaks.places[inside], scores=peaks.scores[inside],
        rows=peaks.rows[inside], noise=matched.noise, energy=matched.energy, seconds=seconds,
    )  # fmt: skip
    print(f"{structure.name}: {inside.sum()} candidates, {seconds:.0f} s, energy {matched.energy[0]:.3f}", flush=True)


def candidates_of(
    folder: Path, volume: Volume, settings: MatchSettings, work: Path, bank: dict[str, BeadModel]
) -> dict[str, dict[str, Any]]:
    """`on_what` of every class."""
    truth, first = read_truth(folder), prepare(volume, volume.voxel_size, shared_settings(settings)).sections.start
    told = {}
    for name, structure in bank.items():
        kept, radius = dict(np.load(kept_in(work, structure, settings))), ball_radius(template_of(structure, volume))
        told[name] = on_what(name, kept, radius / volume.voxel_size, first, truth, settings.number or 0)
    return told


def scored(
    folder: Path, volume: Volume, settings: MatchSettings, work: Path, bank: dict[str, BeadModel]
) -> dict[str, Any]:
    """Scores of TM-F and TM-T, on what the candidates of each class lie, and class F1 of other choices among them."""
    truth = read_truth(folder)
    ready = prepare(volume, volume.voxel_size, shared_settings(settings))
    rotations = rotation_grid(settings.angular_step, settings.rotations)
    classes = list(bank)
    kept = [dict(np.load(kept_in(work, one, settings))) for one in bank.values()]
    peaks = [Peaks(one["places"], one["scores"], one["rows"]) for one in kept]
    radii = np.array([ball_radius(template_of(one, volume)) / volume.voxel_size for one in bank.values()])

    def score_of(radii: np.ndarray, sizes: np.ndarray, *, overlap: bool = False) -> Shrec20Score:
        chosen = choose(peaks, list(radii), number=settings.number, overlap=overlap, sizes=list(sizes))
        picks = [peaks[k][rows] for k, rows in chosen]
        detection = as_detection(
            ready, settings, classes, np.concatenate([np.full(len(rows), k + 1) for k, rows in chosen]),
            np.concatenate([one.places for one in picks]) + np.array([ready.sections.start, 0, 0]),
            np.concatenate([one.scores for one in picks]),
            rotations[np.concatenate([one.rows for one in picks])],
        )  # fmt: skip
        return score_shrec(
            detection.particles, truth.particles, truth.occupancy,
            voxel_size=truth.voxel_size, z_offset=truth.z_offset, frame="tomogram",
        )  # fmt: skip

    weights = np.array([SHREC20_TABLE1[name].weight_kda for name in classes])
    reach = np.array([one.radius for one in bank.values()]) / volume.voxel_size
    by_table9 = np.array([TABLE9_COLUMNS.index(name) for name in classes])
    best, with_overlap = score_of(radii, radii), score_of(radii, radii, overlap=True)
    choices = {
        "order by weight": score_of(radii, weights),
        "order of Table 9, 3qm1 last": score_of(radii, by_table9),
        "order and distance by the farthest atom": score_of(reach, reach),
        "order by the farthest atom": score_of(radii, reach),
        "radii times 0.7": score_of(0.7 * radii, radii),
        "smallest class first": score_of(radii, -radii),
    }
    return {
        "specimen": folder.name, "shape_zyx": list(volume.shape), "particles": best.particles,
        "picks_a_class": settings.number, "candidates_a_class": settings.candidates,
        "rotations": len(rotations), "settings": settings.model_dump(mode="json"),
        "table3": best.table3, "class_f1": best.class_f1, "class_accuracy": best.class_accuracy,
        "confusion": {"labels": list(best.labels), "counts": best.confusion.tolist()},
        "tm_t": {"table3": with_overlap.table3, "class_f1": with_overlap.class_f1},
        "choices": {what: {"F1": one.f1, "class_f1": one.class_f1} for what, one in choices.items()},
        "candidates": candidates_of(folder, volume, settings, work, bank),
        "threads": torch.get_num_threads(), "machine": machine(),
    }  # fmt: skip


def on_what(
    name: str, kept: dict[str, np.ndarray], radius: float, first: int, truth: ShrecTruth, number: int
) -> dict[str, Any]:
    """On what the best `number` candidates of a class lie before any choice, and how the class's own particles score.

    own, other, nothing: of the best candidates. found: share of the class's particles among all candidates.
    deviations: median score of its particles among the candidates, in standard deviations of the noise.
    """
    known = truth.tomogram_particles
    distance, nearest = cKDTree(known.voxels(truth.voxel_size)).query(kept["places"] + np.array([first, 0, 0]))
    hit = distance <= min(NEAR, max(radius, 2.0))
    own = hit & (known.classes.astype(str)[nearest] == name)
    best = slice(0, number)
    scores = kept["scores"][own]
    return {
        "own": int(own[best].sum()), "other": int((hit & ~own)[best].sum()), "nothing": int((~hit)[best].sum()),
        "found": len(np.unique(nearest[own])) / max(int((known.classes.astype(str) == name).sum()), 1),
        "deviations": float(np.median(scores) / kept["noise"]) if len(scores) else None,
        "noise": float(kept["noise"]), "energy_kept": float(kept["energy"][0]), "seconds": float(kept["seconds"]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
