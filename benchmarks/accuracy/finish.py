"""Make a trained model file one of the package: calibrate it, test it, store it small, write its card.

    python benchmarks/accuracy/finish.py MODEL.pt --name voxpick --training TRAIN/model_* --validation VALID/model_* \
        --test TEST/model_*

What `voxpick zoo train` does at its end, for weights that `voxpick train` made in several sittings. Folders are those
of `voxpick simulate`; none may have two roles. With --probe nothing is stored in the package: the numbers of the
validation tomograms alone, to compare weights by.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from voxpick.cli.calibrate import calibrate, print_fit
from voxpick.cli.zoo_card import card_of
from voxpick.cli.zoo_scores import machine, summary, tested
from voxpick.io.atomic import write_text
from voxpick.io.model import compact_dtype, load_models, save_models
from voxpick.networks.model import Model

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "src/voxpick/data/weights"
CARDS = ROOT / "docs/models"


def main() -> None:
    """Calibrate, test, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--training", type=Path, nargs="+", default=[])
    parser.add_argument("--validation", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", default=[])
    parser.add_argument("--probe", action="store_true")
    options = parser.parse_args()
    roles = {role: getattr(options, role) for role in ("training", "validation", "test")}
    about = [_about(role, folders) for role, folders in roles.items() if folders]
    _require_apart(roles)
    file = options.model.with_suffix(".probe.pt") if options.probe else WEIGHTS / f"{options.name}.pt"
    trained = load_models(options.model)
    dtype = compact_dtype(trained)
    save_models(file, trained, dtype=dtype)
    models = load_models(file)
    about += earlier_training(models)
    print_fit(calibrate(models, options.validation, device="cpu"))
    if options.probe:
        print(summary(tested(models, options.validation, device="cpu")))
        return
    rows = tested(models, options.test, device="cpu")
    last = models[list(models)[-1]]
    evaluation = {"tests": rows, "summary": summary(rows), "data": about, "machine": machine("cpu")}
    last.provenance = {**last.provenance, "evaluation": evaluation}
    save_models(file, models, dtype=dtype)
    write_text(CARDS / f"{options.name}.md", card_of(options.name, models))
    print(summary(rows))


def earlier_training(models: Mapping[str, Model]) -> list[str]:
    """What the cards of the weights that training began with say of their training data."""
    lines, made = [], models[list(models)[-1]].provenance
    while isinstance(made.get("started_from"), dict):
        made = made["started_from"]
        told = made.get("evaluation", {}).get("data", [])
        lines += [f"before that, {line}" for line in told if line.startswith("training")]
    return lines


def _record(folder: Path) -> dict[str, Any]:
    """What simulation.yaml says of a specimen."""
    record: dict[str, Any] = yaml.safe_load((folder / "simulation.yaml").read_text(encoding="utf-8"))
    return record


def _about(role: str, folders: list[Path]) -> str:
    """One line: how many specimens of which size, settings and seeds."""
    records = [_record(folder) for folder in folders]
    sizes = Counter(" x ".join(str(n) for n in reversed(record["recipe"]["size_zyx"])) for record in records)
    varied = sum("variation" in record for record in records)
    seeds = sorted({record["seed"] for record in records})
    shown = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 3 else ", ".join(map(str, seeds))
    kinds = f", {varied} of them with other settings drawn at random (--vary)" if varied else ", setting 0.004"
    return (
        f"{role}: {len(folders)} simulated, {', '.join(f'{n} of {size}' for size, n in sizes.items())} voxels "
        f"(x, y, z){kinds}, seeds {shown} of `voxpick simulate shrec20`"
    )


def _require_apart(roles: dict[str, list[Path]]) -> None:
    """Stop where a specimen has two roles."""
    seen: dict[tuple[int, int], str] = {}
    for role, folders in roles.items():
        for folder in folders:
            record = _record(folder)
            key = (record["seed"], record["model"])
            if seen.setdefault(key, role) != role:
                raise SystemExit(f"{folder}: seed and number {key} are also used for {seen[key]}")


if __name__ == "__main__":
    main()
