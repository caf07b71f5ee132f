"""What a trained model makes of specimens that its training did not have: what holds, and what breaks.

    python benchmarks/accuracy/generalisation.py MODEL [...] --decoy 1oel.pdb.gz --decoy 3j9i.pdb.gz

MODEL is a model file or the name of shipped weights, of any method. Each condition is one change of the SHREC'20 recipe
on specimens of the same seed; decoys and other voxel sizes change what is drawn from it. Tomograms of other voxel sizes
have the same extent and are rescaled by `detect`; they are not the same microscope sampled otherwise, as its envelope
is a share of the Nyquist frequency and the noise goes by the voxel. Decoys are structures that the model does not know,
placed among the particles as one more class each; picks on them are false. --letter adds specimens of letter.py, a
generator without our code. What is done is
kept in --work and skipped by a second call. Models named with --unmatched are also tried where a tomogram's amplitude
spectrum would be brought to theirs, without that; --at-once ends a call after so many seconds, and --add keeps what
--output says of other models. The page is made by generalisation_page.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voxpick.cli.detect_models import read_parts
from voxpick.cli.simulation_folders import provenance, write_simulation
from voxpick.cli.structures import read_bank
from voxpick.cli.truth import read_truth
from voxpick.errors import VoxpickError
from voxpick.evaluate.shrec import occupancy_ids, score_shrec
from voxpick.io.shrec_model import open_model
from voxpick.io.structures import read_atoms
from voxpick.methods.catalogue import find_method, method_of
from voxpick.particles import Particles
from voxpick.precision import choose_device
from voxpick.simulate.beads import beads_from_atoms
from voxpick.simulate.shrec20 import Recipe, simulate_shrec20
from voxpick.simulate.structures import BeadModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from record import machine

EXTENT_A = (2000.0, 1280.0, 2560.0)
PARTICLES = 325
"""As crowded as SHREC'20: 2600 on 512 x 512 voxels of 10 A."""

USUAL = "as in training"
DECOYS = "decoys"
LETTER = "another generator"
CONDITIONS: dict[str, dict[str, Any]] = {
    USUAL: {},
    "SNR 0.002": {"snr": 0.002},
    "SNR 0.02": {"snr": 0.02},
    "tilts to 50 degrees": {"tilt_limit_deg": 50.0, "tilt_step_deg": 50 / 17},
    "tilts to 70 degrees": {"tilt_limit_deg": 70.0, "tilt_step_deg": 70 / 23},
    "defocus 2 um": {"defocus_um": 2.0},
    "defocus 5 um": {"defocus_um": 5.0},
    "voxels of 7.84 A": {"voxel_size": 7.84},
    "voxels of 13.33 A": {"voxel_size": 13.33},
    DECOYS: {},
}


def main() -> None:
    """Specimens, detections, scores; each only where it is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="Model files, or names of shipped weights.")
    parser.add_argument("--decoy", type=Path, action="append", default=[], help="Structure files (PDB, mmCIF).")
    parser.add_argument("--letter", type=Path, action="append", default=[], help="Folders that letter.py made.")
    parser.add_argument("--specimens", type=int, default=1, help="Of each condition.")
    parser.add_argument("--seed", type=int, default=770001)
    parser.add_argument("--only", nargs="+", choices=list(CONDITIONS), default=list(CONDITIONS))
    parser.add_argument("--work", type=Path, default=Path("generalisation_work"))
    parser.add_argument("--at-once", type=float, default=float("inf"), help="Seconds after which nothing is begun.")
    parser.add_argument("--unmatched", nargs="+", default=[], help="Which models to try with their spectrum off, too.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--add", action="store_true", help="Keep the rows that --output has of other models.")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    device, deadline = str(choose_device(options.device)), time.monotonic() + options.at_once
    decoys, skipped = read_decoys(options.decoy)
    models = {
        Path(name).stem: {**_describe(name), "unmatched": Path(name).stem in options.unmatched}
        for name in options.models
    }
    rows: list[dict[str, Any]] = []
    for condition in options.only:
        if condition == DECOYS and not decoys:
            print(f"{DECOYS}: skipped, {skipped}")
            continue
        for number in range(options.specimens):
            folder = options.work / f"{_slug(condition)}_{options.seed + number}"
            if time.monotonic() > deadline:
                print("not done yet; call again")
                return
            make(folder, condition, decoys, seed=options.seed + number, device=device)
            for name, about in models.items():
                if time.monotonic() > deadline:
                    print("not done yet; call again")
                    return
                rows.append({"model": name, **measured(folder, about, condition, set(decoys), device=device)})
                print(json.dumps({k: v for k, v in rows[-1].items() if k != "class_f1"}), flush=True)
    for folder in options.letter:
        for name, about in models.items():
            rows.append({"model": name, **measured(folder, about, LETTER, set(), device=device)})
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "class_f1"}), flush=True)
    result: dict[str, Any] = {
        "letter": len(options.letter),
        "seed": options.seed, "specimens": options.specimens, "extent_a": list(EXTENT_A), "particles": PARTICLES,
        "decoys": {name: model.source for name, model in decoys.items()},
        "skipped": {DECOYS: skipped} if skipped else {},
        "conditions": {name: CONDITIONS[name] for name in options.only}, "machine": machine(), "device": device,
        "models": {name: about["card"] for name, about in models.items()}, "rows": rows,
    }  # fmt: skip
    if options.add and options.output.is_file():
        add_others(result, json.loads(options.output.read_text()))
    options.output.write_text(json.dumps(result, indent=1) + "\n")


def add_others(result: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Put the models of an earlier result that are not in this one behind them, with what they were measured on."""
    alike = ("letter", "seed", "specimens", "extent_a", "particles", "decoys", "conditions")
    if different := [name for name in alike if earlier[name] != result[name]]:
        sys.exit(f"--add: the earlier result has other {', '.join(different)}")
    others = {name: card for name, card in earlier["models"].items() if name not in result["models"]}
    for name, card in others.items():
        result["models"][name] = {**card, "machine": card.get("machine", earlier["machine"])}
    result["rows"] += [row for row in earlier["rows"] if row["model"] in others]


def read_decoys(files: Sequence[Path]) -> tuple[dict[str, BeadModel], str]:
    """Bead models by name, and why there are none; each file is taken as its first assembly, or all its chains."""
    found = {}
    for path in files:
        name = path.name.split(".")[0].lower()
        if not path.is_file():
            return {}, f"there is no {path.name}; give structure files with --decoy"
        try:
            positions, electrons, weight = read_atoms(path, assembly="1")
        except VoxpickError:
            positions, electrons, weight = read_atoms(path)
        found[name] = beads_from_atoms(
            name, positions, electrons, molecular_weight_kda=weight, source=f"{path.name}, {weight:.0f} kDa"
        )
    return found, "" if found else "no structure files were given with --decoy"


def make(folder: Path, condition: str, decoys: dict[str, BeadModel], *, seed: int, device: str) -> None:
    """Simulate a specimen of a condition into `folder`, unless it is there."""
    if folder.exists():
        return
    bank = read_bank(None)
    if condition == DECOYS:
        bank = {**bank, **decoys}
    changes = CONDITIONS[condition]
    size = tuple(round(length / changes.get("voxel_size", 10.0)) for length in EXTENT_A)
    recipe = Recipe(size_zyx=size, thickness=size[0] + 32, particles=PARTICLES, **changes)
    simulation = simulate_shrec20(bank, recipe, seed=seed, device=device)
    ids = {name: k for k, name in enumerate(bank, start=1)}
    made = provenance(recipe, bank, seed, 0, device=device)
    write_simulation(folder, simulation, ids, provenance=made, overwrite=False)


def measured(folder: Path, about: dict[str, Any], condition: str, decoys: set[str], *, device: str) -> dict[str, Any]:
    """The scores of a model on a specimen, kept beside it."""
    kept = folder / f"{about['digest']}{'_both' if about['unmatched'] else ''}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    volume, truth = open_model(folder).reconstruction, read_truth(folder)
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        picks = about["method"].detect(volume, about["models"], device=device).particles
    seconds = time.perf_counter() - begun
    wanted, occupancy = without(truth.particles, truth.occupancy, decoys)
    frame: dict[str, Any] = {"voxel_size": truth.voxel_size, "z_offset": truth.z_offset, "frame": "tomogram"}
    score = score_shrec(picks, wanted, occupancy, **frame)
    changed = any("amplitude spectrum" in str(warning.message) for warning in told)
    without_it = score
    if changed and about["unmatched"]:
        off = about["method"].detect(volume, about["models"], changes={"match_spectrum": "off"}, device=device)
        without_it = score_shrec(off.particles, wanted, occupancy, **frame)
    scores = np.ones(len(picks)) if picks.scores is None else picks.scores
    best = score.curve.best()
    row = {
        "condition": condition, "specimen": folder.name, "particles": len(wanted), "picks": len(picks),
        "f1": score.f1, "recall": score.recall, "precision": score.precision, "mean_class_f1": score.mean_class_f1,
        "right": float(np.trace(score.confusion[1:, 1:]) / max(len(picks), 1)),
        "class_f1": score.class_f1, "size_groups": score.size_groups, "distance": score.average_distance,
        "best_f1": best[1] if best else 0.0, "best_threshold": best[0] if best else None,
        "mean_score": float(scores.mean()) if len(scores) else None, "seconds": round(seconds, 1),
        "spectrum_matched": changed,
    }  # fmt: skip
    if about["unmatched"]:
        row |= {"f1_unmatched": without_it.f1, "mean_class_f1_unmatched": without_it.mean_class_f1}
    if decoys and condition == DECOYS:
        row["decoys"] = on_decoys(picks, truth, decoys)
    kept.write_text(json.dumps(row))
    return row


def without(particles: Particles, occupancy: np.ndarray, left_out: set[str]) -> tuple[Particles, np.ndarray]:
    """The truth as if the particles of some classes were not there."""
    rows = np.flatnonzero([str(name) not in left_out for name in particles.classes])
    numbers = np.zeros(len(particles) + 1, dtype=np.int32)
    numbers[rows + 1] = np.arange(1, len(rows) + 1)
    return particles[rows], numbers[occupancy]


def on_decoys(picks: Particles, truth: Any, decoys: set[str]) -> dict[str, dict[str, Any]]:
    """By decoy: how many there are, how many of them were picked, as what, and how sure."""
    voxels = np.rint(picks.voxels(truth.voxel_size)).astype(np.int64) - [truth.z_offset, 0, 0]
    ids = occupancy_ids(truth.occupancy, voxels, dilate=True)
    names = np.array(["", *(str(name) for name in truth.particles.classes)])[ids]
    result = {}
    for decoy in sorted(decoys):
        mine = names == decoy
        claimed, counts = np.unique([str(name) for name in picks.classes[mine]], return_counts=True)
        result[decoy] = {
            "particles": int((truth.particles.classes == decoy).sum()),
            "picked": len(np.unique(ids[mine])),
            "mean_score": float(picks.scores[mine].mean()) if picks.scores is not None and mine.any() else None,
            "claimed": {str(name): int(n) for name, n in zip(claimed, counts, strict=True)},
        }
    return result


def _describe(name: str) -> dict[str, Any]:
    """A model with its method, and what of its provenance the page shows."""
    path, models = read_parts(name)
    method = method_of(models, source=str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    parts = {
        part: {key: model.provenance.get(key) for key in ("steps", "minutes", "training_data", "device")}
        for part, model in models.items()
    }
    card = {"method": method, "file": path.name, "sha256": digest, "parts": parts}
    return {"method": find_method(method), "models": models, "digest": digest, "card": card}


def _slug(text: str) -> str:
    return text.replace(" ", "_").replace(".", "")


if __name__ == "__main__":
    main()
