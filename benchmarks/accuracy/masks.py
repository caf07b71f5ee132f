"""What it costs in F1 to train on masks made from positions alone, on a tomogram that no training has seen.

    python benchmarks/accuracy/masks.py DATA/model_* --validation VALID/model_0 --test VALID/model_1 --steps 1000

The same small DeepFinder is trained for the same number of steps, from the same seed, on three kinds of masks: the true
ones of the simulation, spheres of each class's volume, and averages pasted at every particle (`voxpick average` from
the positions alone, without reference or orientations, then `voxpick targets`). All else is the same: tomograms,
positions of patches, validation. What is done is kept in --work and skipped by a second call, which goes on where the
first stopped; --at-once ends a call after so many seconds.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxpick.evaluate.segmentation import score_segmentation
from voxpick.io.formats import read_particles, write_particles
from voxpick.io.mrc import read_voxel_size
from voxpick.io.shrec_model import open_model
from voxpick.particles import Particles
from voxpick.shrec_classes import SHREC20_CLASSES, SHREC20_TABLE1
from voxpick.simulate.bank import load_bank

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))
from record import machine

KINDS = ("true", "pasted", "sphere")
NETWORK = ("network_settings.filters=[16,32,48]", "patch=48", "validate_minutes=1000")
RADIUS_FACTOR = 1.15
"""Of the radius that averages are masked with, over the distance of the farthest atom from the centre."""


def main() -> None:
    """Masks, training, scores; each only where it is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, nargs="+", help="Folders model_N to train on.")
    parser.add_argument("--validation", type=Path, required=True, help="The folder model_N that chooses thresholds.")
    parser.add_argument("--test", type=Path, required=True, nargs="+", help="Folders model_N to score on.")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path("masks_work"))
    parser.add_argument("--at-once", type=float, default=None, help="Seconds of training before this call ends.")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    folders = {kind: _masks(kind, options.training, options.work) for kind in KINDS}
    quality = {kind: _quality(folders[kind], options.training) for kind in KINDS}
    runs = []
    for seed in options.seeds:
        for kind in KINDS:
            model = options.work / f"{kind}_{seed}.pt"
            if not model.is_file() and not _train(folders[kind], model, seed, options):
                print(f"{kind}, seed {seed}: not done yet; call again", flush=True)
                return
            runs.append({"masks": kind, "seed": seed, **_scores(model, options.test)})
            print(json.dumps(runs[-1]), flush=True)
    _write(options, quality, runs)


def _masks(kind: str, training: Sequence[Path], work: Path) -> list[Path]:
    """Training folders whose masks are of a kind."""
    if kind == "true":
        return list(training)
    tomograms = [link(work / "tomograms" / f"{_name(path)}.mrc", path / "reconstruction.mrc") for path in training]
    picks = work / "positions.csv"
    if not picks.is_file():
        write_particles(picks, _positions(training))
    made = [work / kind / _name(path) for path in training]
    maps = _averages(picks, tomograms, work) if kind == "pasted" else {}
    for folder, tomogram in zip(made, tomograms, strict=True):
        if (folder / "reconstruction.mrc").exists():
            continue
        options = [f"--radius={name}={_reach(name) if maps else _ball_radius(name):.1f}" for name in SHREC20_CLASSES]
        options += [f"--map={name}={path}" for name, path in maps.items()]
        if maps:  # both kinds know the volume
            options += [f"--volume={name}={SHREC20_TABLE1[name].volume_nm3:g}" for name in SHREC20_CLASSES]
        source = work / "aligned.csv" if maps else picks
        shape = "pasted" if maps else "sphere"
        _voxpick("targets", tomogram, source, "--output", folder, "--shape", shape, *options)
        link(folder / "reconstruction.mrc", tomogram)
    return made


def _positions(training: Sequence[Path]) -> Particles:
    """Centres and classes of all particles, and nothing else that the simulation knows."""
    tables = []
    for path in training:
        truth = open_model(path).tomogram_particles
        tables.append(
            Particles(truth.centers_zyx, truth.classes, tomograms=np.full(len(truth), _name(path), dtype=object))
        )
    return _joined(tables)


def _averages(picks: Path, tomograms: Sequence[Path], work: Path) -> dict[str, Path]:
    """The map of every class, aligned from nothing; the aligned particles of all go into aligned.csv."""
    for name in SHREC20_CLASSES:
        if not (work / "averages" / name / "picks.star").is_file():
            _voxpick(
                "average", picks, *tomograms, "--class", name, "--radius", f"{_reach(name):.1f}", "--edges", "pad",
                "--output", work / "averages" / name,
            )  # fmt: skip
    if not (work / "aligned.csv").is_file():
        first = open_model(tomograms[0].resolve().parent)
        size, shape = read_voxel_size(tomograms[0]), first.reconstruction.shape
        tables = [
            read_particles(work / "averages" / name / "picks.star", voxel_size=size, shape=shape)
            for name in SHREC20_CLASSES
        ]
        write_particles(work / "aligned.csv", _joined(tables))
    return {name: work / "averages" / name / "map.mrc" for name in SHREC20_CLASSES}


def _quality(made: Sequence[Path], training: Sequence[Path]) -> dict[str, object]:
    """How far masks of a kind are the true ones, over all voxels of particles.

    right: share of the marked voxels that are of that class in truth; found: share of the true voxels that are marked
    so. The true masks hold all above 0.001 e/A^3 and the cavities, so tight outlines find only part of them.
    """
    confusion = np.zeros((len(SHREC20_CLASSES) + 1,) * 2, dtype=np.int64)
    for mine, path in zip(made, training, strict=True):
        given, true = open_model(mine), open_model(path)
        low = true.z_offset - given.z_offset
        inner = given.class_mask[low : low + true.class_mask.shape[0]]
        score = score_segmentation(inner, true.class_mask, labels=("background", *SHREC20_CLASSES))
        confusion += score.confusion
    hit, union = confusion[1:, 1:].sum(), confusion.sum() - confusion[0, 0]
    of_class = np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1) - np.diag(confusion))
    share = confusion[:, 1:].sum() / confusion.sum()
    return {
        "share_of_voxels": float(share),
        "right": float(np.trace(confusion[1:, 1:]) / confusion[:, 1:].sum()),
        "found": float(np.trace(confusion[1:, 1:]) / confusion[1:].sum()),
        "foreground_iou": float(hit / union),
        "mean_class_iou": float(of_class[1:].mean()),
        "class_iou": {name: float(value) for name, value in zip(SHREC20_CLASSES, of_class[1:], strict=True)},
    }


def _train(folders: Sequence[Path], model: Path, seed: int, options: argparse.Namespace) -> bool:
    """Train, or go on with it; whether it is done."""
    run = model.with_suffix("")
    command = [
        sys.executable, "-m", "voxpick", "train", *map(str, folders), "--method", "deepfinder", "--output", str(model),
        "--validation", str(options.validation), "--validation-side", "128", "--steps", str(options.steps),
        "--seed", str(seed), "--run-dir", str(run), "--no-tensorboard", "--threads", "1",
    ]  # fmt: skip
    command += [part for change in NETWORK for part in ("--set", change)]
    if (run / "checkpoint.pt").exists():
        command.append("--resume")
    with (model.with_suffix(".txt")).open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            process.wait(options.at_once)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
    if process.returncode not in (0, 130):
        raise SystemExit(f"training failed with code {process.returncode}; see {model.with_suffix('.txt')}")
    return process.returncode == 0


def _scores(model: Path, test: Sequence[Path]) -> dict[str, object]:
    """SHREC'20's scores on the test tomograms: the mean over them."""
    results = []
    for path in test:
        folder = model.with_suffix("") / f"test_{_name(path)}"
        if not (folder / "score.json").is_file():
            _voxpick("detect", path / "reconstruction.mrc", "--model", model, "--output", folder)
            _voxpick(
                "evaluate", folder / "reconstruction.csv", path, "--frame", "tomogram", "--json", folder / "score.json"
            )
        results.append(json.loads((folder / "score.json").read_text()))
    found = {name: float(np.mean([r["localisation"][name] for r in results])) for name in ("F1", "recall", "precision")}
    of_class = {name: float(np.mean([r["class_f1"][name] for r in results])) for name in SHREC20_TABLE1}
    return {"localisation": found, "mean_class_f1": float(np.mean(list(of_class.values()))), "class_f1": of_class}


def _write(options: argparse.Namespace, quality: dict[str, object], runs: list[dict[str, object]]) -> None:
    sources = {
        "training": [source(path) for path in options.training],
        "validation": source(options.validation),
        "test": [source(path) for path in options.test],
    }
    result = {"steps": options.steps, "network": NETWORK, **sources, "machine": machine(), "masks": quality}
    options.output.write_text(json.dumps({**result, "runs": runs}, indent=1) + "\n")


def source(path: Path) -> dict[str, object]:
    """Seed and number of a simulated specimen."""
    import yaml

    made = yaml.safe_load((path / "simulation.yaml").read_text())
    return {
        "seed": made["seed"],
        "model": made["model"],
        "snr": made["recipe"]["snr"],
        "size_zyx": made["recipe"]["size_zyx"],
    }


def _joined(tables: Sequence[Particles]) -> Particles:
    turned = all(table.rotations is not None for table in tables)
    return Particles(
        np.concatenate([table.centers_zyx for table in tables]),
        np.concatenate([table.classes for table in tables]),
        rotations=np.concatenate([np.asarray(table.rotations) for table in tables]) if turned else None,
        tomograms=np.concatenate([np.asarray(table.tomograms) for table in tables]),
    )


def _ball_radius(name: str) -> float:
    """A, of a ball of the class's volume."""
    return 10 * float((3 * SHREC20_TABLE1[name].volume_nm3 / (4 * np.pi)) ** (1 / 3))


def _reach(name: str) -> float:
    return RADIUS_FACTOR * load_bank([name])[name].radius


def _name(path: Path) -> str:
    return path.resolve().name


def link(link: Path, target: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(target.resolve())
    return link


def _voxpick(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "voxpick", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
