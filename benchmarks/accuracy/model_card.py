"""Write docs/models/vp-detector.md from the figures that vp_detector.py measured.

python benchmarks/accuracy/model_card.py
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from voxpick.networks.hdc import receptive_field
from voxpick.shrec_classes import SHREC20_BY_WEIGHT

HERE = Path(__file__).parent
CARD = HERE.parent.parent / "docs" / "models" / "vp-detector.md"
PUBLISHED_F1 = 0.951
PUBLISHED_ACCURACY = {
    "1s3x": 0.66, "3qm1": 0.60, "3gl1": 0.85, "3h84": 0.82, "2cg9": 0.76, "3d2f": 0.83, "1u6g": 0.79, "3cf3": 0.96,
    "1bxn": 0.97, "1qvr": 0.94, "4cr2": 1.0, "4d8q": 1.0,
}  # fmt: skip
"""VP-Detector paper, Table 3: focal loss, training sets 1-7, 100 layers. The average after each size group (0.74, 0.90
and 1) tells which of the row's fifteen numbers are classes."""


def main() -> None:
    """Read, format, write."""
    result = json.loads((HERE / "vp_detector.json").read_text())
    CARD.parent.mkdir(parents=True, exist_ok=True)
    CARD.write_text(
        "\n".join([*_head(result), *_training(result), *_scores(result), *_variants(result), *_limits()]) + "\n"
    )


def _head(result: dict) -> list[str]:
    return [
        "# Model card: vp-detector",
        "",
        "Made by `benchmarks/accuracy/model_card.py` from `benchmarks/accuracy/vp_detector.json`; do not edit by hand.",
        "",
        "VP-Detector (Hao et al. 2022): a 3D MSDNet that separates particles from background, and a second one that",
        "names the twelve complexes of SHREC'20. For tomograms with 10 A voxels (others are rescaled), dark protein",
        "and a tilt axis along y. Licence: BSD 3-Clause, like the package.",
        "",
    ]


def _training(result: dict) -> list[str]:
    lines = [
        "## Training",
        "",
        "| | localizer | classifier |",
        "|---|---|---|",
    ]
    parts = [result["model"].get(name, {}) for name in ("localizer", "classifier")]

    def row(name: str, values: list[object]) -> None:
        lines.append(f"| {name} | " + " | ".join(str(value) for value in values) + " |")

    settings = [part.get("settings", {}) for part in parts]
    networks = [s.get("network_settings", {}) for s in settings]
    row("depth, dilations", [f"{n.get('depth')}, {n.get('dilations')}" for n in networks])
    row("receptive field (voxels)", [receptive_field(n["depth"], n["dilations"]) if n else "" for n in networks])
    row(
        "steps x batch x patch",
        [f"{p.get('steps')} x {s.get('batch')} x {s.get('patch')}^3" for p, s in zip(parts, settings, strict=True)],
    )
    row("minutes", [p.get("minutes") for p in parts])
    earlier = [p.get("started_from", {}) for p in parts]
    row("before that, steps in minutes", [f"{e['steps']} in {e['minutes']}" if e else "" for e in earlier])
    row("device, threads", [f"{p.get('device')}, {p.get('threads')}" for p in parts])
    row("tomograms", [len(p.get("training_data", [])) for p in parts])
    row("seed", [s.get("seed") for s in settings])
    row("loss, gamma", [f"{s.get('loss')}, {s.get('gamma')}" for s in settings])
    row("learning rate", [s.get("learning_rate") for s in settings])
    row("best validation score", [_round(p.get("best_validation_score")) for p in parts])
    lines += [
        "",
        "Score: SHREC F1 of the picks in the middle of a validation tomogram for the localizer, mean class accuracy at",
        "true centres for the classifier. Data: `voxpick simulate shrec20`, specimens of 512 x 128 x 200 voxels",
        "(x, y, z), setting 0.004, seeds: training 100001 (the classifier's last run: 110001), validation 900001,",
        "test 510001.",
        "",
    ]
    return lines


def _scores(result: dict) -> list[str]:
    rows = result["test"]
    machine = result["machine"]
    names = ("RR", "TP", "FP", "FN", "MH", "RO", "AD", "precision", "recall", "miss_rate", "F1")
    lines = [
        "## Held-out tomograms",
        "",
        f"Commit {result['commit'][:10]}, {machine['processor']}, {machine['threads']} threads; peak memory of the "
        f"process {result['peak_memory_gb']} GB.",
        "",
        "| tomogram | " + " | ".join(names) + " | mean class F1 | VA | MVA | MIoU | seconds |",
        "|---|" + "---|" * (len(names) + 5),
    ]
    for row in rows:
        voxels = row["segmentation"]
        values = [row["table3"].get(name) for name in names]
        values += [row["mean_class_f1"], voxels["VA"], voxels["MVA"], voxels["MIoU"]]
        lines.append(f"| {row['tomogram']} | " + " | ".join(_round(v) for v in values) + f" | {row['seconds']} |")
    lines += [
        f"| published, other data | 2635 | 2577 | 57 | 205 | 1 | 0 | 2.046 | 0.978 | 0.926 | 0.074 | {PUBLISHED_F1} | "
        "| 0.961 | 0.819 | 0.763 | |",
        "",
        "| class | " + " | ".join(SHREC20_BY_WEIGHT) + " |",
        "|---|" + "---|" * len(SHREC20_BY_WEIGHT),
    ]
    for key, title in (("class_f1", "F1"), ("class_accuracy", "accuracy")):
        means = [mean(row[key][name] for row in rows) for name in SHREC20_BY_WEIGHT]
        lines.append(f"| {title} | " + " | ".join(_round(v) for v in means) + " |")
    lines.append(
        "| accuracy, published | " + " | ".join(_round(PUBLISHED_ACCURACY[n]) for n in SHREC20_BY_WEIGHT) + " |"
    )
    lines += [
        "",
        "Accuracy: the share of a class's true particles that were found and named rightly. The published rows are of",
        "the SHREC'20 test tomogram (512 x 512 x 512 voxels), trained for 500 epochs on GPUs; ours are of simulated",
        "tomograms of the same recipe, which need not be equally hard.",
        "",
    ]
    return lines


def _variants(result: dict) -> list[str]:
    lines = [
        "## What turns voxels into picks",
        "",
        "Stage 1 alone on the first tomogram; `voxpick detect --paper` takes the paper's steps.",
        "",
        "| | RR | TP | MH | precision | recall | F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["post_processing"].items():
        cells = " | ".join(_round(row[key]) for key in ("RR", "TP", "MH", "precision", "recall", "F1"))
        lines.append(f"| {name} | {cells} |")
    return [*lines, ""]


def _limits() -> list[str]:
    return [
        "## Limits",
        "",
        "- Trained for a short time on two CPU cores and on simulated data only; it has not seen a real tomogram.",
        "- It knows twelve complexes and calls everything else by one of their names.",
        "- Membranes, filaments, gold beads and carbon edges were not in the training data.",
        "- Scores are confidences, not calibrated probabilities.",
    ]


def _round(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
