"""Write docs/models/NAME.md, the model cards of the models in the package.

    python benchmarks/accuracy/model_card.py [NAME ...]

What a card tells stands in the model file (`voxpick zoo train` writes its test scores there). Scores that a script
beside this one measured, NAME.json with '_' for '-', go before those; they must be of the weights in the package.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from voxpick.cli.zoo_card import facts_of
from voxpick.io.model import builtin_models, load_models
from voxpick.networks.model import Model
from voxpick.report.model_card import CardFacts, model_card

HERE = Path(__file__).parent
CARDS = HERE.parent.parent / "docs" / "models"
SOURCE = "Made by `benchmarks/accuracy/model_card.py` from {}; do not edit by hand."
PUBLISHED_SEGMENTATION = {"vp-detector": {"VA": 0.961, "MVA": 0.819, "MIoU": 0.763}}
"""VP-Detector paper, Table 2."""


def main() -> None:
    """Write the cards of the models named, of all without a name."""
    known = builtin_models()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="all without one")
    CARDS.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names or known:
        models = load_models(known[name])
        (CARDS / f"{name}.md").write_text(model_card(name, models, facts(name, models)))
        print(CARDS / f"{name}.md")


def facts(name: str, models: dict[str, Model]) -> CardFacts:
    """What the file tells, with the scores that were measured afterwards."""
    told = replace(facts_of(models), source=SOURCE.format("the model file"))
    scores = HERE / f"{name.replace('-', '_')}.json"
    if not scores.is_file():
        return told
    result = json.loads(scores.read_text())
    for stage, model in models.items():
        made, now = result["model"].get(stage, {}), model.provenance
        if [made.get(key) for key in ("steps", "minutes")] != [now.get(key) for key in ("steps", "minutes")]:
            raise SystemExit(f"{scores.name} has the scores of another {stage}; run the script that measures them")
    published = dict(told.published)
    segmentation = PUBLISHED_SEGMENTATION.get(name, {})
    published["localisation"] = {**published.get("localisation", {}), **segmentation}
    machine = result["machine"]
    return replace(
        told,
        tests=result["test"],
        published=published,
        machine=f"Commit {result['commit'][:10]}, {machine['processor']}, {machine['threads']} threads; peak memory of "
        f"the process {result['peak_memory_gb']} GB.",
        remarks=variants(result.get("post_processing", {})),
        source=SOURCE.format(f"the model file and `benchmarks/accuracy/{scores.name}`"),
    )


def variants(rows: dict[str, dict[str, Any]]) -> list[str]:
    """What the steps from voxels to picks are worth."""
    if not rows:
        return []
    columns = ("RR", "TP", "MH", "precision", "recall", "F1")
    lines = [
        "## What turns voxels into picks",
        "",
        "Stage 1 alone on the first tomogram; `voxpick detect --paper` takes",
    ]
    lines += ["the paper's steps.", "", "| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for title, row in rows.items():
        cells = [f"{row[key]:.3f}" if isinstance(row[key], float) else str(row[key]) for key in columns]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
