"""F1 against the number of labelled particles of each class, learnt from positions alone.

    python benchmarks/accuracy/few_labels.py TRAIN/model_* --test TEST/model_0 --numbers 5 10 20 50 --steps 1000
    python benchmarks/accuracy/few_labels.py TRAIN/model_* --test TEST/model_0 --classes 1oel 3j9i --start shipped

For every number, so many particles of each class are drawn from the training tomograms at random, a larger number
holding the smaller ones. `voxpick train` gets the tomograms and these positions: balls of the class's volume, and what
is farther than --shell from all of them left out of the loss (--partial). 0 stands for all particles, everything else
being background. With --start, each is also trained from these weights. --classes: label these alone, such as
structures that the weights do not know; all else in the tomograms is then unlabelled, and picks are scored for these
classes alone. Nothing but the chosen positions is used in training, no validation either; so besides F1 at the method's
own threshold there is the best F1 over all higher ones. What is done is kept in --work and skipped by a second call;
--at-once ends a call after so many seconds of training.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxpick.cli.truth import read_truth
from voxpick.evaluate.shrec import score_shrec
from voxpick.io.formats import write_particles
from voxpick.io.model import load_models
from voxpick.io.shrec_model import open_model
from voxpick.methods.catalogue import find_method
from voxpick.particles import Particles

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from record import machine


@dataclass(frozen=True)
class Run:
    """One training: so many labels of each class (0: all), from random weights or from those of --start."""

    number: int
    start: str | None
    seed: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.number or 'all'}_{'random' if self.start is None else 'started'}_{self.seed}"


def main() -> None:
    """Labels, training, scores; each only where it is missing."""
    options = _arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    truths = [open_model(path).tomogram_particles for path in options.training]
    classes = options.classes or sorted({str(name) for truth in truths for name in truth.classes})
    radii = ball_radii(options.training, classes)
    starts = [None, *([options.start] if options.start else [])]
    rows, deadline = [], time.monotonic() + options.at_once
    for seed in options.seeds:
        ranks = ranks_of(truths, classes, seed)
        for number in options.numbers:
            labels = options.work / f"labels_{number or 'all'}_{seed}.csv"
            counts = write_labels(labels, options.training, truths, ranks, number)
            for start in starts:
                run = Run(number, start, seed)
                if not trained(run, labels, radii, options, deadline):
                    print(f"{run.name}: not done yet; call again", flush=True)
                    return
                scores = [scored(run, path, classes, options) for path in options.test]
                rows.append(
                    {"labels": number, "start": start, "seed": seed, "particles": counts, "tests": scores,
                     **{key: _mean([score[key] for score in scores]) for key in ("f1", "best_f1", "mean_class_f1")}}
                )  # fmt: skip
                print(json.dumps({key: value for key, value in rows[-1].items() if key != "tests"}), flush=True)
    settings = {key: value for key, value in vars(options).items() if key not in ("work", "output", "at_once")}
    result = {"settings": settings, "classes": classes, "radii": radii, "machine": machine(), "rows": rows}
    options.output.write_text(json.dumps(result, indent=1, default=str) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, nargs="+", help="Folders model_N that labels are drawn from.")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="Folders model_N to score on.")
    parser.add_argument("--method", default="voxpick", help="Any method that 'voxpick methods' lists.")
    parser.add_argument("--numbers", type=int, nargs="+", default=[5, 10, 20, 50, 0])
    parser.add_argument("--classes", nargs="+", default=None, help="Those that are labelled; all if none are given.")
    parser.add_argument("--start", default=None, help="Weights to begin with in a second series: a file, or 'shipped'.")
    parser.add_argument("--shell", type=float, default=40.0, help="A around a labelled particle that are background.")
    parser.add_argument("--steps", type=int, default=1000, help="Of each stage.")
    parser.add_argument("--set", dest="changes", nargs="*", default=[], help="Training settings, key=value.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=Path("few_labels_work"))
    parser.add_argument("--at-once", type=float, default=float("inf"))
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


def ball_radii(folders: Sequence[Path], classes: Sequence[str]) -> dict[str, float]:
    """A, of a ball as large as the mean particle of each class."""
    voxels, particles = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
    for folder in folders:
        model = open_model(folder)
        names = np.array(["", *(str(name) for name in model.particles.classes)])
        sizes = np.bincount(np.asarray(model.occupancy_mask).ravel(), minlength=len(names))[: len(names)]
        for name in classes:
            voxels[name] += int(sizes[names == name].sum()) * model.voxel_size**3
            particles[name] += int((names == name).sum())
    return {name: float((0.75 * voxels[name] / particles[name] / np.pi) ** (1 / 3)) for name in classes}


def ranks_of(truths: Sequence[Particles], classes: Sequence[str], seed: int) -> list[np.ndarray]:
    """For each particle of each tomogram its place in a random order of its class; -1 for other classes."""
    rng = np.random.default_rng(seed)
    names = np.concatenate([truth.classes for truth in truths])
    ranks = np.full(len(names), -1)
    for name in classes:
        rows = np.flatnonzero(names == name)
        ranks[rows] = rng.permutation(len(rows))
    return np.split(ranks, np.cumsum([len(truth) for truth in truths])[:-1])


def write_labels(
    path: Path, folders: Sequence[Path], truths: Sequence[Particles], ranks: Sequence[np.ndarray], number: int
) -> dict[str, int]:
    """The first `number` particles of each class (0: all) as a file of picks; how many there are."""
    tables = []
    for folder, truth, order in zip(folders, truths, ranks, strict=True):
        rows = np.flatnonzero((order >= 0) & ((order < number) | (number == 0)))
        names = np.full(len(rows), folder.name, dtype=object)
        tables.append((truth.centers_zyx[rows], truth.classes[rows], names))
    centers, classes, tomograms = (np.concatenate(column) for column in zip(*tables, strict=True))
    if not path.is_file():
        write_particles(path, Particles(centers, classes, tomograms=tomograms))
    found, counts = np.unique([str(name) for name in classes], return_counts=True)
    return {str(name): int(count) for name, count in zip(found, counts, strict=True)}


def trained(run: Run, labels: Path, radii: dict[str, float], options: argparse.Namespace, deadline: float) -> bool:
    """Train all stages, or go on with them; whether that is done."""
    output = options.work / f"{run.name}.pt"
    held = {str(name) for name in _tomograms_in(labels)}
    tomograms = [_link(options.work / f"{path.name}.mrc", path) for path in options.training if path.name in held]
    for stage in find_method(options.method).STAGES:
        folder = options.work / f"{run.name}_{stage}"
        if output.is_file() and stage in load_models(output):
            continue
        command = [
            sys.executable, "-m", "voxpick", "train", *map(str, tomograms), "--picks", str(labels), "--method",
            options.method, "--stage", stage, "--steps", str(options.steps), "--seed", str(run.seed), "--output",
            str(output), "--run-dir", str(folder), "--threads", str(options.threads), "--device", options.device,
            "--no-tensorboard", *(f"--radius={name}={value:.1f}" for name, value in radii.items()),
        ]  # fmt: skip
        command += [] if run.number == 0 else ["--partial", str(options.shell)]
        command += [] if run.start is None else ["--from", run.start]
        command += [part for change in options.changes for part in ("--set", change)]
        command += ["--resume"] if (folder / "checkpoint.pt").exists() else []
        if not _finished(command, options.work / f"{run.name}.txt", deadline):
            return False
    return True


def _finished(command: list[str], log: Path, deadline: float) -> bool:
    """Run until it ends or the time is over; whether it ended."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    with log.open("a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            process.wait(None if left == float("inf") else left)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
    if process.returncode not in (0, 130):
        raise SystemExit(f"training failed with code {process.returncode}; see {log}")
    return process.returncode == 0


def scored(run: Run, test: Path, classes: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The SHREC'20 scores of what the model finds in a tomogram, of these classes alone."""
    kept = options.work / f"{run.name}_{test.name}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    truth = read_truth(test)
    models = load_models(options.work / f"{run.name}.pt")
    picks = find_method(options.method).detect(open_model(test).reconstruction, models, device=options.device).particles
    rows = np.flatnonzero(np.isin([str(name) for name in truth.particles.classes], classes))
    numbers = np.zeros(len(truth.particles) + 1, dtype=np.int32)
    numbers[rows + 1] = np.arange(1, len(rows) + 1)
    score = score_shrec(
        picks, truth.particles[rows], numbers[truth.occupancy], voxel_size=truth.voxel_size, z_offset=truth.z_offset,
        frame="tomogram",
    )  # fmt: skip
    best = score.curve.best()
    own = {name: score.class_f1[name] for name in classes if name in score.class_f1}
    row = {
        "test": test.name, "picks": len(picks), "particles": len(rows), "f1": score.f1, "recall": score.recall,
        "precision": score.precision, "best_f1": best[1] if best else 0.0, "mean_class_f1": _mean(list(own.values())),
        "class_f1": own,
    }  # fmt: skip
    kept.write_text(json.dumps(row))
    return row


def _tomograms_in(labels: Path) -> set[str]:
    from voxpick.io.formats import read_particles

    names = read_particles(labels).tomograms
    return set() if names is None else {str(name) for name in names}


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else 0.0


def _link(link: Path, folder: Path) -> Path:
    if not link.is_symlink():
        link.symlink_to((folder / "reconstruction.mrc").resolve())
    return link


if __name__ == "__main__":
    main()
