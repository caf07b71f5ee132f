"""Runs the entries of a benchmark one after another; what fails is recorded and leaves the others alone."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from voxpick import __version__
from voxpick.benchmark.abilities import Methods
from voxpick.benchmark.commands import detect_command, train_command, training_changes
from voxpick.benchmark.datasets import Tomogram, described_sets, prepare, require_folders
from voxpick.benchmark.fingerprint import fingerprint, of_file
from voxpick.benchmark.machine import code_digest, machine
from voxpick.benchmark.plan import (
    borrowed_parts,
    check,
    finder,
    gives_names,
    naming_entry,
    order,
    seeds_of,
    stage_minutes,
    with_needed,
)
from voxpick.benchmark.provenance import Provenance
from voxpick.benchmark.settings import Settings, model_file
from voxpick.benchmark.steps import PROGRAM, StepFailed, Steps
from voxpick.errors import VoxpickError
from voxpick.io.atomic import write_text

Result = dict[str, Any]
Score = Callable[[Path, Path], dict[str, Any]]
"""From a file of picks and a model folder to the numbers of `Shrec20Score.to_dict`."""


@dataclass(frozen=True)
class Runner:
    """A benchmark in its output folder. program: what runs the commands; say: a listener."""

    settings: Settings
    settings_folder: Path
    output: Path
    methods: Methods
    score: Score
    program: Sequence[str] = PROGRAM
    say: Callable[[str], None] = print

    def run(self, only: Sequence[str] = ()) -> None:
        """Simulate, train, detect and score what is not done yet. only: these entries and those that they need."""
        check(self.settings, self.methods, self.settings_folder)
        require_folders(self.settings.benchmark.data, self.settings_folder)
        wanted = with_needed(list(only or self.settings.entries), self.settings.entries)
        data = prepare(self.settings, self.settings_folder, self.output, self._steps(self.output / "data"))
        made = Provenance(self.settings, self.settings_folder, self.methods, data)
        for name, seed in self._outdated(made):
            if name in wanted:  # so that no table mixes them with new ones
                self._result(name, seed).unlink(missing_ok=True)
        for seed in self.settings.benchmark.seeds:
            for name in order(self.settings.entries):
                if name in wanted and seed in self.seeds(name):
                    self._entry(name, seed, made)

    def results(self) -> list[Result]:
        """The result of every entry and seed there is, in the order of the settings."""
        found = (_read(self._result(name, seed)) for name, seed in self.runs())
        return [result for result in found if result is not None]

    def runs(self) -> list[tuple[str, int]]:
        """Every entry with every seed it is run with, in the order of the settings."""
        return [(name, seed) for name in self.settings.entries for seed in self.seeds(name)]

    def seeds(self, name: str) -> list[int]:
        """What an entry is run with."""
        return seeds_of(name, self.settings, self.methods)

    def folder(self, name: str, seed: int) -> Path:
        """Where an entry's model, picks, logs and result lie; those of another seed where it is not run with this."""
        seeds = self.seeds(name)
        return self.output / name / f"seed_{seed if seed in seeds else seeds[0]}"

    def _steps(self, folder: Path) -> Steps:
        return Steps(folder / "steps", str(folder.relative_to(self.output)), self.program, self.say)

    def outdated(self) -> list[tuple[str, int]]:
        """Entries and seeds whose result was made under other settings, data or models; none where data are gone."""
        try:
            data = described_sets(self.settings, self.settings_folder, self.output)
        except (VoxpickError, OSError):
            return []
        return self._outdated(Provenance(self.settings, self.settings_folder, self.methods, data))

    def _outdated(self, made: Provenance) -> list[tuple[str, int]]:
        found = []
        for name, seed in self.runs():
            before, mark = _read(self._result(name, seed)), None
            with suppress(OSError):  # a model file that was there before
                mark = made.of_result(name, seed)
            if before is not None and (before.get("fingerprint") != mark or self._retrained(before, name, seed)):
                found.append((name, seed))
        return found

    def finished(self, only: Sequence[str] = ()) -> list[tuple[str, int]]:
        """Entries and seeds that `run` would keep as they are: their result is there, of the present settings."""
        wanted, outdated = with_needed(list(only or self.settings.entries), self.settings.entries), self.outdated()
        done = [(result["entry"], result["seed"]) for result in self.results() if result["status"] == "done"]
        return [one for one in done if one[0] in wanted and one not in outdated]

    def of_other_code(self) -> list[Result]:
        """Results that another state of the package's sources made, or one that did not note them."""
        return [result for result in self.results() if result.get("code") != code_digest()]

    def _retrained(self, result: Result, name: str, seed: int) -> bool:
        """Whether a model file that a result was made with has changed since; not where it was not noted or is gone."""
        before, now = result.get("models"), self._of_models(name, seed)
        return before is not None and now is not None and before != now

    def _of_models(self, name: str, seed: int) -> str | None:
        """Of the content of the model files that the entry detects with; None where one is not there."""
        try:
            return fingerprint([path and of_file(path) for path in self._models(name, seed)])
        except OSError:
            return None

    def _result(self, name: str, seed: int) -> Path:
        return self.folder(name, seed) / "result.json"

    def _entry(self, name: str, seed: int, made: Provenance) -> None:
        """Bring one entry up to date and write its result."""
        entry, path = self.settings.entries[name], self._result(name, seed)
        before = _read(path)
        if before is not None and before["status"] == "done":
            if not self._retrained(before, name, seed):
                self.say(f"{name}, seed {seed}: done already")
                return
            path.unlink()
        result: Result = {
            "entry": name, "title": entry.title or name, "method": entry.method, "preset": entry.preset, "seed": seed,
            "voxpick": __version__, "settings": entry.model_dump(mode="json", exclude_defaults=True),
            "names": gives_names(name, self.settings, self.methods), "code": code_digest(), "machine": machine(),
        }  # fmt: skip
        try:
            result["fingerprint"] = made.of_result(name, seed)
            stages = self._train(name, seed, made)
            result["stages"] = stages + self._borrowed(name, seed)
            result["models"] = self._of_models(name, seed)
            result["tests"] = [self._test(name, seed, tomogram, made) for tomogram in made.data["test"]]
            result["sweep"] = [self._test(name, seed, tomogram, made) for tomogram in made.data["sweep"]]
            text = _written({**result, "status": "done"})
            self.say(f"{name}, seed {seed}: done")
        except Exception as error:  # of whatever kind: scores are made in this process, and other entries wait
            known = {key: value for key, value in result.items() if key not in ("tests", "sweep")}
            failed = {"status": "failed", "error": _told(error), "log": _log_of(error)}
            text = _written({**known, **failed})
            self.say(f"{name}, seed {seed}: failed: {failed['error']}")
        write_text(path, text)

    def _train(self, name: str, seed: int, made: Provenance) -> list[Result]:
        """Train the entry's own stages into its model.pt."""
        entry, folder = self.settings.entries[name], self.folder(name, seed)
        steps, model = self._steps(folder), folder / "model.pt"
        marks = made.of_stages(name, seed)
        minutes = stage_minutes(name, self.settings, self.methods)
        if marks and steps.known(f"train_{next(iter(marks))}", next(iter(marks.values()))) is None:
            model.unlink(missing_ok=True)
        if not model.exists():
            for stage, mark in marks.items():
                steps.forget(f"train_{stage}", mark)
        done = []
        for stage, mark in marks.items():
            before, run_dir = steps.known(f"train_{stage}", mark), folder / f"model_{stage}_run"
            resumed = before is not None and not before.done and (run_dir / "checkpoint.pt").is_file()
            if not resumed and not (before and before.done):
                shutil.rmtree(run_dir, ignore_errors=True)
            config = folder / f"{stage}.yaml"
            write_text(config, yaml.safe_dump(training_changes(entry, stage)) or "{}\n")
            command = train_command(
                entry, stage, self.settings.benchmark, data=[str(t.folder) for t in made.training(name)],
                validation=str(made.data["validation"][0].folder), output=str(model), config=str(config),
                minutes=minutes[stage], seed=seed, resume=resumed,
            )  # fmt: skip
            record = steps.run(f"train_{stage}", mark, command, makes=model, resumed=resumed)
            done.append({"stage": stage, **_cost(asdict(record)), "minutes": minutes[stage]})
        return done

    def _borrowed(self, name: str, seed: int) -> list[Result]:
        """Stages that other entries trained for this one, with what they cost there. Raises VoxpickError for failed."""
        entry, trained = self.settings.entries[name], {}
        for other in entry.needs:
            result = _read(self._result(other, seed))
            if result is None or "stages" not in result:
                raise VoxpickError(f"needs the model of {other}, which failed; run again once that works")
            for stage in result["stages"]:
                trained[stage.get("from", other), stage["stage"]] = stage
        parts = borrowed_parts(entry, self.settings, self.methods)
        return [{**trained[part], "from": part[0]} for part in parts if part in trained]

    def _test(self, name: str, seed: int, tomogram: Tomogram, made: Provenance) -> Result:
        """Detect in one tomogram and score."""
        entry, folder = self.settings.entries[name], self.folder(name, seed)
        model, classifier = self._models(name, seed)
        picks = folder / "picks" / tomogram.name
        models = self._of_models(name, seed)
        mark = made.of_test(name, seed, tomogram, models)
        steps = self._steps(folder)
        known = steps.known(f"detect_{tomogram.name}", mark)
        if known is None or not known.done:
            shutil.rmtree(picks, ignore_errors=True)
        command = detect_command(
            entry, self.settings.benchmark, tomogram=str(tomogram.folder / "reconstruction.mrc"),
            model=None if model is None else str(model), classifier=None if classifier is None else str(classifier),
            output=str(picks), method=finder(name, self.settings)[0], voxel_size=tomogram.voxel_size,
            tilt_range=made.tilt_range(name, tomogram),
        )  # fmt: skip
        file = picks / "reconstruction.csv"
        record = steps.run(f"detect_{tomogram.name}", mark, command, makes=file)
        about = {} if tomogram.about is None else {"varied": tomogram.about[0], "value": tomogram.about[1]}
        return {"tomogram": tomogram.name, **about, **_cost(asdict(record)), "score": self.score(file, tomogram.folder)}

    def _models(self, name: str, seed: int) -> tuple[Path | None, Path | None]:
        """The model file that detection begins with, none for a method without, and that of another classifier."""
        entry = self.settings.entries[name]
        base: Path | None = self._own_model(name, seed) if self.methods[entry.method].stages else None
        if entry.model_of or entry.localizer:
            base, second = self._models(entry.model_of or entry.localizer or "", seed)
            if entry.model_of and not entry.classifier:
                return base, second
        if entry.localizer:
            return base, self._own_model(name, seed)
        donor = naming_entry(entry.classifier, self.settings, self.methods) if entry.classifier else None
        return base, self._own_model(donor, seed) if donor else None

    def _own_model(self, name: str, seed: int) -> Path:
        """The file that an entry is given, or trains."""
        given = self.settings.entries[name].model
        return model_file(self.settings_folder, given) if given else self.folder(name, seed) / "model.pt"


def _written(result: Result) -> str:
    """As it is kept. Raises ValueError or TypeError for numbers that JSON has not."""
    today = datetime.now(UTC).date().isoformat()
    return json.dumps({**result, "date": today}, indent=1, allow_nan=False) + "\n"


def _told(error: Exception) -> str:
    """What went wrong, in words; the kind of an error that was not foreseen before them."""
    return str(error) if isinstance(error, VoxpickError | OSError) else f"{type(error).__name__}: {error}"


def _log_of(error: Exception) -> list[str]:
    """The last lines of a failed command, nothing for what its message explains, and where else it was raised."""
    if isinstance(error, VoxpickError):
        return error.tail if isinstance(error, StepFailed) else []
    return "".join(traceback.format_exception(error)).splitlines()


def _cost(record: Mapping[str, Any]) -> Result:
    return {key: record[key] for key in ("seconds", "peak_bytes", "device_bytes")}


def _read(path: Path) -> Result | None:
    """A result as `_written` has it; None of any other file, which is as good as none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and {"entry", "seed", "status"} <= value.keys() else None
