"""What is known of a model file, for lists and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxpick.networks.model import Model
    from voxpick.report.model_card import CardFacts


def card_of(name: str, models: dict[str, Model]) -> str:
    """The model card of a file, from its own provenance."""
    from voxpick.report.model_card import model_card

    return model_card(name, models, facts_of(models))


def facts_of(models: Mapping[str, Model]) -> CardFacts:
    """What the provenance of the parts tells about the method, the data and the tests."""
    from voxpick.methods.catalogue import find_method, method_of
    from voxpick.report.model_card import CardFacts

    made_by = method_of(dict(models))
    method, tested = find_method(made_by), evaluation(models)
    return CardFacts(
        title=method.TITLE,
        paper=method.PAPER,
        tests=tested.get("tests", ()),
        machine=tested.get("machine", ""),
        published=published(made_by),
        data=tested.get("data", _data_lines(models)),
    )


def evaluation(models: Mapping[str, Model]) -> dict[str, Any]:
    """What 'voxpick zoo train' wrote into the last part: tests, data, machine."""
    found = [model.provenance["evaluation"] for model in models.values() if "evaluation" in model.provenance]
    return dict(found[-1]) if found else {}


def published(method: str) -> dict[str, dict[str, float | None]]:
    """Numbers of the method's paper, where SHREC'20 or VP-Detector's has them."""
    from voxpick.benchmark import published as paper

    name = paper.PUBLISHED_NAME.get(method, "")
    rows = {**paper.SHREC20_TABLE3, **paper.VPDETECTOR_TABLE1}
    found: dict[str, dict[str, float | None]] = {}
    if name in rows:
        found["localisation"] = dict(zip(paper.TABLE3_COLUMNS, rows[name], strict=True))
    if name in paper.SHREC20_TABLE4:
        found["class_f1"] = dict(zip(paper.CLASS_COLUMNS, paper.SHREC20_TABLE4[name], strict=True))
    if method == "vp-detector":
        accuracy = paper.VPDETECTOR_TABLE3["focal, tomograms 1-7, 100 layers"]
        found["class_accuracy"] = dict(zip(paper.ACCURACY_COLUMNS, accuracy, strict=True))
    return found


def _data_lines(models: Mapping[str, Model]) -> list[str]:
    """Seeds that the parts' provenance names."""
    lines = []
    for stage, model in models.items():
        seeds = model.provenance.get("data_seeds")
        if seeds:
            lines.append(f"{stage}: seeds of {', '.join(f'{role} {seed}' for role, seed in seeds.items())}")
    return lines
