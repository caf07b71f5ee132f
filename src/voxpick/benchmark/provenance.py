"""What every part of a benchmark was made from, as fingerprints: equal ones need not be made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxpick import __version__
from voxpick.benchmark.abilities import Methods
from voxpick.benchmark.datasets import Datasets, Tomogram
from voxpick.benchmark.fingerprint import fingerprint, of_file
from voxpick.benchmark.plan import finder, stage_minutes, stages_to_train
from voxpick.benchmark.settings import Settings, model_file


@dataclass(frozen=True)
class Provenance:
    """Fingerprints of the entries under their settings and data."""

    settings: Settings
    settings_folder: Path
    methods: Methods
    data: Datasets

    def training(self, name: str) -> list[Tomogram]:
        """The tomograms an entry trains on."""
        numbers, tomograms = self.settings.entries[name].training, self.data["training"]
        return [tomograms[number - 1] for number in numbers] if numbers else tomograms

    def of_stages(self, name: str, seed: int) -> dict[str, str]:
        """Of every stage the entry trains, in order; that of a stage holds those before it."""
        entry, benchmark = self.settings.entries[name], self.settings.benchmark
        minutes, marks, before = stage_minutes(name, self.settings, self.methods), {}, ""
        for stage in stages_to_train(entry, self.methods):
            before = fingerprint([
                before, __version__, entry.method, stage, entry.preset, entry.changes.get(stage, {}), minutes[stage],
                seed, benchmark.device, benchmark.threads, benchmark.validation_side, self.data["validation"][0].mark,
                [tomogram.mark for tomogram in self.training(name)],
            ])  # fmt: skip
            marks[stage] = before
        return marks

    def of_model(self, name: str, seed: int) -> str:
        """Of everything the entry's model is made of. Raises OSError when a given model file does not exist."""
        entry = self.settings.entries[name]
        parts: list[Any] = [self.of_stages(name, seed)]
        parts += [self.of_model(other, seed) for other in entry.needs]
        if entry.model:
            parts.append(of_file(model_file(self.settings_folder, entry.model)))
        return fingerprint(parts)

    def of_detection(self, name: str) -> str:
        """Of how the entry detects."""
        entry, benchmark = self.settings.entries[name], self.settings.benchmark
        how = [entry.model_of, entry.localizer, entry.classifier, entry.detection, entry.paper_detection]
        if not self.methods[method := finder(name, self.settings)[0]].stages:
            how.append(method)
        return fingerprint([__version__, how, benchmark.device, benchmark.threads])

    def tilt_range(self, name: str, tomogram: Tomogram) -> tuple[float, float] | None:
        """The tilts of a tomogram, degrees, that the entry's detection has to be told.

        None for finders that learn, as they know no tilts, where the entry sets them itself, where they are the
        method's default, and where nobody knows them.
        """
        method = self.methods[finder(name, self.settings)[0]]
        if method.stages or method.tilt_range is None or "tilt_range" in self.settings.entries[name].detection:
            return None
        return None if tomogram.tilt_range == method.tilt_range else tomogram.tilt_range

    def of_test(self, name: str, seed: int, tomogram: Tomogram, models: str | None) -> str:
        """Of the picks in one tomogram; models: fingerprint of the model files."""
        mark = [self.of_model(name, seed), self.of_detection(name), tomogram.mark, models]
        return fingerprint([*mark, *self._tilts(name, tomogram)])

    def _tilts(self, name: str, tomogram: Tomogram) -> list[tuple[float, float]]:
        tilts = self.tilt_range(name, tomogram)
        return [] if tilts is None else [tilts]

    def of_result(self, name: str, seed: int) -> str:
        """Of all that the entry's result depends on."""
        tomograms = [[t.name, t.mark, *self._tilts(name, t)] for t in (*self.data["test"], *self.data["sweep"])]
        return fingerprint([self.of_model(name, seed), self.of_detection(name), tomograms])
