"""A model card: what a model file is, how it was made and how it did on tomograms kept apart, as Markdown.

Everything stands in the file's own provenance, or is given; nothing is made up where it is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from textwrap import wrap
from typing import Any

from voxpick.networks.hdc import receptive_field
from voxpick.networks.model import Model
from voxpick.shrec_classes import SHREC20_BY_WEIGHT

LOCALISATION = ("RR", "TP", "FP", "FN", "MH", "RO", "AD", "precision", "recall", "miss_rate", "F1")
SEGMENTATION = ("VA", "MVA", "MIoU")
SILENT = "–"
COUNTS = ("RR", "TP", "FP", "FN", "MH", "RO")
WIDTH = 118
LICENCE = "BSD 3-Clause, like the package"


@dataclass(frozen=True)
class CardFacts:
    """What a card tells beside the model itself.

    title, paper: of the method. tests: rows with tomogram, seconds, table3, class_f1, class_accuracy, mean_class_f1
    and, where known, calibration and segmentation. machine: of the tests, in words. published: numbers of a paper, by
    'localisation' (name of a column to number), 'class_f1' and 'class_accuracy' (class to number). remarks: lines that
    follow. data: one line for each set of tomograms. source: how the page was made.
    """

    title: str = ""
    paper: str = ""
    tests: Sequence[Mapping[str, Any]] = ()
    machine: str = ""
    published: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    data: Sequence[str] = ()
    source: str = ""


def model_card(name: str, models: Mapping[str, Model], facts: CardFacts) -> str:
    """The page. models: the parts of the file by stage."""
    lines = [f"# Model card: {name}", ""]
    if facts.source:
        lines += [*wrap(facts.source, WIDTH), ""]
    any_model = next(iter(models.values()))
    named = [part for part in models.values() if len(part.classes) > 2]
    classes = (named[-1] if named else any_model).classes[1:]
    title = facts.title or name
    use = (
        f"For tomograms with {any_model.voxel_size:g} A voxels (others are rescaled), dark protein and a tilt axis "
        f"along y. Classes: {', '.join(classes)}."
    )
    if _simulated(models):
        use += f" Licence: {LICENCE}."
    lines += [*wrap(f"{title[:1].upper()}{title[1:]}. {facts.paper}".strip(), WIDTH), "", *wrap(use, WIDTH), ""]
    lines += _training(models) + _data(facts)
    if facts.tests:
        lines += _held_out(facts) + _classes(facts) + _confidence(facts)
    lines += _calibration(models)
    return "\n".join([*lines, *facts.remarks, *_limits(models)]) + "\n"


def spread(values: Sequence[float | None], *, digits: int = 3) -> str:
    """Mean and standard deviation over tomograms."""
    known = [value for value in values if value is not None]
    if not known:
        return SILENT
    return f"{mean(known):.{digits}f}" + (f" ± {stdev(known):.{digits}f}" if len(known) > 1 else "")


def _training(models: Mapping[str, Model]) -> list[str]:
    made = {stage: model.provenance for stage, model in models.items()}
    settings = {stage: entry.get("settings", {}) for stage, entry in made.items()}

    def row(title: str, value: Callable[[str], Any]) -> str:
        return f"| {title} | " + " | ".join(_setting(value(stage)) for stage in models) + " |"

    def before(stage: str) -> str | None:
        runs = [run for run in _earlier(made[stage]) if "steps" in run]
        return ", before that ".join(f"{run['steps']} in {run['minutes']}" for run in runs) or None

    rows = [
        row("network", lambda s: models[s].name),
        row("parameters", lambda s: f"{sum(weights.numel() for weights in models[s].network.parameters()):,}"),
        row("network settings", lambda s: _listed(settings[s].get("network_settings", {}))),
        row("receptive field (voxels)", lambda s: _field(settings[s].get("network_settings", {}))),
        row("preset", lambda s: made[s].get("preset")),
        row("steps x batch x patch", lambda s: _steps(made[s], settings[s])),
        row("minutes", lambda s: made[s].get("minutes")),
        row("before that, steps in minutes", before),
        row("device, threads", lambda s: _device(made[s])),
        row("tomograms", lambda s: _tomograms(made[s].get("training_data"))),
        row("seed", lambda s: settings[s].get("seed")),
        row("loss", lambda s: settings[s].get("loss")),
        row("learning rate", lambda s: settings[s].get("learning_rate")),
        row("best validation score", lambda s: made[s].get("best_validation_score")),
    ]
    silent = " | ".join([SILENT] * len(models))
    kept = [line for line in rows if not line.endswith(f"| {silent} |")]
    return ["## Training", "", "| | " + " | ".join(models) + " |", "|---|" + "---|" * len(models), *kept, ""]


def _earlier(made: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is known of the runs whose weights a run began with, the latest first."""
    runs = []
    while isinstance(made.get("started_from"), Mapping):
        made = made["started_from"]
        runs.append(made)
    return runs


def _data(facts: CardFacts) -> list[str]:
    lines = [part for line in facts.data for part in wrap(f"- {line}", WIDTH, subsequent_indent="  ")]
    return ["## Data", "", *lines, ""] if lines else []


def _held_out(facts: CardFacts) -> list[str]:
    """The localisation table, tomogram by tomogram, their mean with its spread, and the published row."""
    extra = [name for name in SEGMENTATION if any(name in row.get("segmentation", {}) for row in facts.tests)]
    head = ["tomogram", *LOCALISATION, "mean class F1", *extra, "seconds"]
    lines = ["## Held-out tomograms", ""]
    if facts.machine:
        lines += [facts.machine, ""]
    lines += ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]

    def numbers(row: Mapping[str, Any]) -> list[Any]:
        counts = [row["table3"].get(name) for name in LOCALISATION]
        return [*counts, row["mean_class_f1"], *(row.get("segmentation", {}).get(name) for name in extra)]

    lines += [_row([row["tomogram"], *numbers(row), _setting(row.get("seconds"))]) for row in facts.tests]
    if len(facts.tests) > 1:
        columns = [*zip(*(numbers(row) for row in facts.tests), strict=True)]
        digits = [1 if name in COUNTS else 3 for name in head[1:-1]]
        means = [spread(column, digits=number) for column, number in zip(columns, digits, strict=True)]
        seconds = spread([row.get("seconds") for row in facts.tests], digits=1)
        lines.append(_row(["mean ± standard deviation", *means, seconds]))
    if known := facts.published.get("localisation"):
        cells = [known.get(name) for name in (*LOCALISATION, "mean class F1", *extra)]
        lines.append(_row(["published, other data", *cells, None]))
    return [*lines, ""]


def _classes(facts: CardFacts) -> list[str]:
    """F1 and accuracy of every class."""
    found = list(facts.tests[0]["class_f1"])
    names = [name for name in SHREC20_BY_WEIGHT if name in found] + sorted(set(found) - set(SHREC20_BY_WEIGHT))
    lines = [_row(["class", *names]), "|---|" + "---|" * len(names)]
    for key, title in (("class_f1", "F1"), ("class_accuracy", "accuracy")):
        rows = [row[key] for row in facts.tests if key in row]
        if rows:
            lines.append(_row([title, *(spread([row.get(name) for row in rows]) for name in names)]))
        if known := facts.published.get(key):
            lines.append(_row([f"{title}, published", *(known.get(name) for name in names)]))
    return [
        *lines, "",
        "F1 and accuracy are of each class, mean ± standard deviation over the tomograms. Accuracy: the share of a",
        "class's particles that were found and named rightly. Published numbers are of SHREC'20's own test tomogram",
        "(512 x 512 x 512 voxels) after hours on GPUs; these tomograms are simulated by the same recipe, and need not",
        "be equally hard.", "",
    ]  # fmt: skip


def _confidence(facts: CardFacts) -> list[str]:
    """How far scores are from the share of right picks, on the same tomograms."""
    rows = [row["calibration"] for row in facts.tests if row.get("calibration")]
    if not rows:
        return []
    lines = ["## Confidence", "", "| right means | calibration error | by chance | Brier score |", "|---|---|---|---|"]
    for kind, title in (("named", "on a particle and rightly named"), ("located", "on a particle (location score)")):
        known = [row[kind] for row in rows if kind in row]
        if known:
            cells = [spread([one[key] for one in known]) for key in ("ece", "ece_by_chance", "brier")]
            lines.append(_row([title, *cells]))
    return [
        *lines, "",
        "Expected calibration error in ten bins, over held-out tomograms; 'by chance' is what exact scores of as few",
        "picks would show. See [confidence](../confidence.md).", "",
    ]  # fmt: skip


def _calibration(models: Mapping[str, Model]) -> list[str]:
    found = [model.provenance["calibration"] for model in models.values() if "calibration" in model.provenance]
    if not found:
        return []
    made = found[-1]
    text = (
        f"Scores were calibrated on {made['picks']} picks of {', '.join(made['data'])}, and what is kept was "
        f"chosen there for '{made['aim']}' picks."
    )
    return [*wrap(text, WIDTH), ""]


def _limits(models: Mapping[str, Model]) -> list[str]:
    named = max(len(model.classes) for model in models.values()) - 1
    lines, simulated = ["## Limits", ""], _simulated(models)
    if simulated:
        lines.append("- Trained on simulated data only; it has not seen a real tomogram.")
    if named > 1:
        lines.append(f"- It knows {named} complexes and calls everything else by one of their names.")
    if simulated:
        lines.append("- Membranes, filaments, gold beads and carbon edges were not in the training data.")
    if not any("calibration" in m.detection or "location_calibration" in m.detection for m in models.values()):
        lines.append("- Scores are confidences, not calibrated probabilities.")
    return lines


def _simulated(models: Mapping[str, Model]) -> bool:
    """Whether provenance shows that every part, and every run whose weights it began with, saw simulated data alone.

    A run that its weights were taken from may say nothing of its data; a part itself has to.
    """
    parts = [model.provenance for model in models.values()]
    before = [run for made in parts for run in _earlier(made) if "training_data" in run]
    told = any(_told_simulated(made) for made in parts)
    return all(_made_of_simulated(made, told=told) for made in parts) and all(map(_made_of_simulated, before))


def _made_of_simulated(made: Mapping[str, Any], *, told: bool = False) -> bool:
    """simulated: what training wrote down; before, seeds or the lines about the data told (told: of the file)."""
    if "simulated" in made or "data_seeds" in made:
        return bool(made.get("simulated", True))
    return told or _told_simulated(made)


def _told_simulated(made: Mapping[str, Any]) -> bool:
    lines = made.get("evaluation", {}).get("data", ())
    return any(line.startswith("training:") and "simulated" in line for line in lines)


def _steps(made: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    if "steps" not in made:
        return None
    return f"{made['steps']} x {settings.get('batch')} x {settings.get('patch')}^3"


def _field(network: Mapping[str, Any]) -> int | None:
    """Of a network of dilated layers; the others have none that a line could tell."""
    if not {"depth", "dilations"} <= set(network):
        return None
    return receptive_field(network["depth"], network["dilations"])


def _device(made: Mapping[str, Any]) -> str | None:
    return f"{made['device']}, {made.get('threads')}" if "device" in made else None


def _tomograms(names: Any) -> Any:
    if not isinstance(names, list):
        return names
    return names[0] if len(names) == 1 and " " in str(names[0]) else len(names)


def _listed(values: Mapping[str, Any]) -> str | None:
    return "; ".join(f"{key} {value}" for key, value in values.items()) or None


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_cell(value) for value in cells) + " |"


def _cell(value: Any) -> str:
    if value is None or value == "" or (isinstance(value, float) and value != value):
        return SILENT
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _setting(value: Any) -> str:
    """As `_cell`, with as many digits as were given, up to five."""
    return f"{value:.5g}" if isinstance(value, float) and value == value else _cell(value)
