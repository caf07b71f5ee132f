"""The settings of a benchmark: benchmark.yaml, and one YAML file per entry beside it; unknown keys are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from voxpick.benchmark.data_settings import SETS, Data, Strict, Sweep
from voxpick.errors import VoxpickError
from voxpick.io.yaml_file import read_settings_file

MAIN_FILE = "benchmark.yaml"


class Entry(Strict):
    """One line of the tables: what to train, from which parts, and how to detect.

    changes: training settings by stage. split: shares of the minutes by stage (equal ones if empty). detection: its
    settings; paper_detection: as the method's paper has it. training: numbers of the training tomograms from 1 on (all
    if absent). model: a trained file, or the name of a model of the zoo. model_of: the model of another entry.
    localizer: detection begins with the model of another entry and this entry trains the rest. classifier: particles
    are named by another entry's classifier.
    """

    title: str = ""
    method: str
    preset: str = "minutes"
    changes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    split: dict[str, float] = Field(default_factory=dict)
    detection: dict[str, Any] = Field(default_factory=dict)
    paper_detection: bool = False
    training: list[int] | None = Field(None, min_length=1)
    model: str | None = None
    model_of: str | None = None
    localizer: str | None = None
    classifier: str | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Entry:
        if sum(value is not None for value in (self.model, self.model_of, self.localizer)) > 1:
            raise ValueError("give one of model, model_of and localizer")
        if self.localizer is not None and self.classifier is not None:
            raise ValueError("an entry with localizer trains its own classifier; give one of the two")
        if (self.model or self.model_of) and (self.changes or self.split or self.training):
            raise ValueError("a model that is trained already takes no changes, split or training")
        if any(share <= 0 for share in self.split.values()):
            raise ValueError("split: shares are above 0")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """Entries whose models this one uses."""
        return tuple(name for name in (self.model_of, self.localizer, self.classifier) if name)

    @property
    def borrows(self) -> bool:
        """Whether it uses a model that it does not train."""
        return bool(self.model or self.needs)


class Claim(Strict):
    """What a paper claims of two entries, to be told from their runs. source: where it stands.

    measure: what has to be higher with `with` than with `without`, or lower for MH: F1 or MH of the localisation, the
    mean class F1 (mean) or that of a size group (small, medium, large). published_with, published_without: the paper's
    numbers; published_measure: what they measure, if not the same.
    """

    says: str
    source: str = ""
    with_: str = Field(alias="with")
    without: str
    measure: Literal["F1", "MH", "mean", "small", "medium", "large"]
    published_with: float | None = None
    published_without: float | None = None
    published_measure: str = ""

    @model_validator(mode="after")
    def _published_whole(self) -> Claim:
        if (self.published_with is None) != (self.published_without is None):
            raise ValueError("give both of published_with and published_without, or none")
        if self.published_measure and self.published_with is None:
            raise ValueError("published_measure: there is no published_with that it could be said of")
        return self


class Benchmark(Strict):
    """The whole benchmark. minutes: of training per entry, over all its stages; null leaves it to the presets.

    order: entries in the order of the tables; those not named follow by name.
    """

    title: str = "SHREC'20 benchmark"
    data: Data
    minutes: float | None = Field(60.0, gt=0)
    seeds: list[int] = Field([0], min_length=1)
    device: str = "auto"
    threads: int | None = Field(None, ge=1)
    validation_side: int = Field(192, ge=0)
    sweep: Sweep | None = None
    order: list[str] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("seeds are whole numbers from 0 on, each once")
        return seeds

    @model_validator(mode="after")
    def _sweep_apart(self) -> Benchmark:
        for name in SETS:
            if self.sweep and getattr(self.data, name).seed == self.sweep.seed:
                raise ValueError(f"sweep: seed {self.sweep.seed} is in {name} as well; keep them apart")
        for what, value in self.sweep.points() if self.sweep else []:
            try:
                self.data.recipe_of(self.data.test, **{what: value})
            except ValueError as error:
                raise ValueError(f"sweep: {error}") from error
        return self


class Settings(Strict):
    """All files of a settings folder."""

    benchmark: Benchmark
    entries: dict[str, Entry]


S = TypeVar("S", Benchmark, Entry)


def load_settings(folder: Path) -> Settings:
    """Read a settings folder; paths in it are taken relative to it. Raises VoxpickError naming file, key and reason."""
    if not (folder / MAIN_FILE).is_file():
        raise VoxpickError(
            f"{folder}: holds no {MAIN_FILE}; give a folder of settings such as benchmarks/shrec20/replica"
        )
    benchmark = _read(Benchmark, folder / MAIN_FILE)
    entries = {path.stem: _read(Entry, path) for path in sorted(folder.glob("*.yaml")) if path.name != MAIN_FILE}
    for name in benchmark.order:
        if name not in entries:
            raise VoxpickError(
                f"{folder / MAIN_FILE}: order: there is no entry {name!r}; there are {', '.join(entries)}"
            )
    for name in (name for claim in benchmark.claims for name in (claim.with_, claim.without)):
        if name not in entries:
            raise VoxpickError(
                f"{folder / MAIN_FILE}: claims: there is no entry {name!r}; there are {', '.join(entries)}"
            )
    entries = {name: entries[name] for name in dict.fromkeys([*benchmark.order, *entries])}
    if not entries:
        raise VoxpickError(f"{folder}: holds no entry; add a file NAME.yaml with at least 'method: vp-detector'")
    for name, entry in entries.items():
        _check_entry(folder / f"{name}.yaml", name, entry, entries, benchmark.data.training.count)
    titles: dict[str, str] = {}
    for name, entry in entries.items():
        other = titles.setdefault(entry.title or name, name)
        if other != name:
            raise VoxpickError(f"{folder / name}.yaml: title {entry.title!r} is that of {other} as well; give another")
    return Settings(benchmark=benchmark, entries=entries)


def model_file(folder: Path, given: str) -> Path:
    """The file of an entry's `model`: a path relative to the settings folder, or the name of a model of the zoo."""
    from voxpick.io.model import builtin_models

    path = folder / given
    return builtin_models().get(given, path) if not path.exists() else path


def _check_entry(path: Path, name: str, entry: Entry, entries: dict[str, Entry], tomograms: int) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or name in ("data", "tables", "report"):
        raise VoxpickError(f"{path}: {name!r} cannot name an entry; use letters, digits, '.', '+', '-' and '_'")
    for other in entry.needs:
        if other == name or other not in entries:
            raise VoxpickError(f"{path}: needs the entry {other!r}; there are {', '.join(entries)}")
    for number in entry.training or ():
        if not 1 <= number <= tomograms:
            raise VoxpickError(f"{path}: training = {entry.training}: tomograms are numbered from 1 to {tomograms}")


def _read(kind: type[S], path: Path) -> S:
    values = read_settings_file(path)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise VoxpickError(f"{path}: unknown key {key!r}") from error
        reason = first["msg"].removeprefix("Value error, ")
        raise VoxpickError(f"{path}: {key + ': ' if key else ''}{reason}") from error
