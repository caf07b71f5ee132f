"""The directory of a training run: settings.yaml, training_data.yaml, log.csv, checkpoint.pt and TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from voxpick.errors import VoxpickError
from voxpick.io.atomic import atomic_path, write_text
from voxpick.io.model import damaged_part
from voxpick.io.yaml_file import read_notes

DATA_FILE = "training_data.yaml"
SKETCHES = "sketches"
SETTINGS_FILE = "settings.yaml"
LOG_FILE = "log.csv"
EVENT_FILES = "events.out.tfevents.*"
"""TensorBoard's."""
MADE_BY = "# Settings of a training by voxpick, all of them; --config takes them over."
"""First line of settings.yaml, by which a run is known that was stopped before its first checkpoint."""

DIFFERENT = {
    "mark": "the run began on other training data, or the same in another order; resume with those",
    "labels": "the run began with other labels of the same particles (radii, what is known around them, background "
    "picks, or masks); resume with those",
    "validation": "the run began with another validation, or none, so that its best score cannot be compared; resume "
    "with that one",
    "start": "the run began with other weights than these of --from, or with none; resume with what it began with",
    "earlier": "the run began on the output of an earlier stage, which was trained anew since; begin this one anew",
}
"""What is told of a mark that has changed."""


def written_files(folder: Path) -> list[Path]:
    """The files, other than the checkpoint, that a run in the folder writes anew when it begins."""
    return [folder / name for name in (SETTINGS_FILE, DATA_FILE, LOG_FILE)]


def is_run(folder: Path) -> bool:
    """Whether the folder is that of an earlier run: it holds a checkpoint, or settings.yaml as a run writes it."""
    if (folder / "checkpoint.pt").exists():
        return True
    try:
        with (folder / SETTINGS_FILE).open("rb") as file:
            return file.readline(200).rstrip() == MADE_BY.encode()
    except OSError:
        return False


class RunDirectory:
    """Writes what a run leaves behind; a resumed run drops log lines and events after its checkpoint and goes on."""

    def __init__(self, path: str | Path, *, tensorboard: bool = False) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VoxpickError(f"{path}: the run folder cannot be made ({error.strerror or error})") from error
        self.rows: list[dict[str, float]] = []
        self.columns: list[str] = []
        self.tensorboard = tensorboard
        self.events: Any = None
        self.gone_on_from: int | None = None

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint lies."""
        return self.path / "checkpoint.pt"

    def remove_earlier(self) -> None:
        """Remove what an earlier run in the folder has written and this one would not write anew."""
        for path in (self.checkpoint_path, self.path / LOG_FILE, *self.path.glob(EVENT_FILES)):
            path.unlink(missing_ok=True)

    def write_settings(self, settings: dict[str, Any]) -> None:
        """The resolved settings as settings.yaml."""
        write_text(self.path / SETTINGS_FILE, f"{MADE_BY}\n{yaml.safe_dump(settings, sort_keys=False)}")

    def write_data(
        self, names: Sequence[str], marks: Mapping[str, str], sketches: Mapping[str, str] | None = None
    ) -> None:
        """What the run learns from as training_data.yaml: names, and digests that `require_same_data` compares.

        sketches: by place, of tomograms whose digests do not tell their content (`sketches`).
        """
        noted = {**marks, "names": list(names), **({SKETCHES: dict(sketches)} if sketches else {})}
        write_text(self.path / DATA_FILE, yaml.safe_dump(noted, sort_keys=False))

    def sketches(self) -> dict[str, str]:
        """Those that `write_data` noted, by place; none of runs of earlier versions."""
        noted = read_notes(self.path / DATA_FILE).get(SKETCHES)
        return {str(place): str(text) for place, text in noted.items()} if isinstance(noted, dict) else {}

    def require_same_data(self, marks: Mapping[str, str], former: Mapping[str, str] | None = None) -> None:
        """Raise VoxpickError where training_data.yaml says that the run began on other data, labels or validation.

        marks: by the keys of DIFFERENT; former: those that earlier versions wrote for the same, where they differ. What
        the file lacks, as those of earlier versions do, is not compared.
        """
        written = read_notes(self.path / DATA_FILE)
        for key, now in marks.items():
            before = written.get(key)
            if before is not None and before not in (now, (former or {}).get(key)):
                raise VoxpickError(f"{self.path}: {DIFFERENT[key]}, or begin another run in another folder")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the checkpoint; a previous one stays whole until the new one is."""
        buffer = io.BytesIO()
        torch.save(state, buffer)  # straight to a full disk torch raises RuntimeError, not OSError
        with atomic_path(self.checkpoint_path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load_checkpoint(self) -> dict[str, Any]:
        """Read the checkpoint and the log up to it. Raises VoxpickError when there is none or it is damaged."""
        path = self.checkpoint_path
        if not path.is_file():
            raise VoxpickError(f"{path}: no checkpoint to resume from; start without --resume")
        try:
            damaged = damaged_part(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
            step = int(state["progress"]["step"])
        except Exception as error:
            raise VoxpickError(
                f"{path}: not a training checkpoint, or damaged ({type(error).__name__}); delete it, or give another "
                "--run-dir"
            ) from error
        if damaged is not None:
            raise VoxpickError(
                f"{path}: a damaged training checkpoint ({damaged} fails its checksum); copy it anew, delete it, or "
                "give another --run-dir"
            )
        self.gone_on_from = step
        log = self.path / LOG_FILE
        if log.is_file():
            try:
                rows = [{key: float(value) for key, value in row.items() if value} for row in _whole_rows(log)]
                self.rows = [row for row in rows if row["step"] <= step]
            except (KeyError, TypeError, ValueError, csv.Error) as error:
                raise VoxpickError(f"{log}: not a training log ({error}); move it away to resume without it") from error
            known = dict.fromkeys(column for row in self.rows for column in row)
            self._rewrite(list(known))
        return state

    def log(self, row: dict[str, float]) -> None:
        """Append a row to log.csv and to TensorBoard; a row with new columns rewrites the file with them."""
        self.rows.append(row)
        columns = list(dict.fromkeys([*self.columns, *row]))
        if columns == self.columns:
            self._append(row)
        else:
            self._rewrite(columns)
        if self.tensorboard:
            self._add_events(row)

    def _add_events(self, row: dict[str, float]) -> None:
        if self.events is None:
            from torch.utils.tensorboard import SummaryWriter

            try:
                after = None if self.gone_on_from is None else self.gone_on_from + 1
                self.events = SummaryWriter(str(self.path), purge_step=after)
            except OSError as error:
                raise VoxpickError(f"{self.path}: TensorBoard events cannot be written ({error.strerror})") from error
        for key, value in row.items():
            if key != "step":
                self.events.add_scalar(key, value, int(row["step"]))

    def _rewrite(self, columns: list[str]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path / LOG_FILE, text.getvalue())
        self.columns = columns

    def _append(self, row: dict[str, float]) -> None:
        path = self.path / LOG_FILE
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        except OSError as error:
            raise VoxpickError(f"{path}: cannot be written ({error.strerror or error})") from error

    def close(self) -> None:
        """Flush TensorBoard."""
        if self.events is not None:
            self.events.close()


def _whole_rows(log: Path) -> list[dict[str, str]]:
    """The rows of a log, without a last one that a full disk has cut off."""
    text = log.read_bytes().decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
    while rows and None in rows[-1].values():
        rows.pop()
    return rows
