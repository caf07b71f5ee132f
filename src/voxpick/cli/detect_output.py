"""What `voxpick detect` and `voxpick match` write and print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxpick.cli.tomograms import check_tomograms, is_unicode, picks_name
from voxpick.errors import VoxpickError

if TYPE_CHECKING:
    from voxpick.detect.pipeline import Detection
    from voxpick.particles import Particles
    from voxpick.volume import Volume

Writer = Callable[[Path], object]

SUFFIXES = {
    "star": ".star", "csv": ".csv", "shrec": ".txt", "dynamo": ".tbl", "cbox": ".cbox", "imod": ".mod",
    "deepfinder": ".xml",
}  # fmt: skip
"""Formats that hold all picks of a tomogram in one file."""
COPICK = "copick"
"""The format that has a file for each class, in the folders of a copick project."""
COPICK_RUN = "copick/ExperimentRuns/{}"

IMPORT_LIST = "relion_import.star"
RECORDS = ("detect.yaml", "match.yaml")
"""Of the commands that write picks, which may share a folder."""

WRITING_SECONDS = 600.0
"""How long the picks of a tomogram wait for those of another that a second process writes into the same folder."""


@dataclass(frozen=True)
class PicksFolder:
    """A folder of picks in some formats, with a YAML file `record` of what they were made with and of.

    beside: patterns of what else is written of a tomogram NAME, such as '{}.html'.
    """

    path: Path
    record: str
    formats: list[str]
    beside: tuple[str, ...] = ()

    def prepare(self, volumes: list[Path], *, overwrite: bool) -> dict[str, Path]:
        """The tomograms by the name of their picks.

        Raises VoxpickError where the folder cannot be written to, or holds other picks, or a record or import list of
        another origin, and they are not to be replaced.
        """
        from voxpick.cli.outputs import keep_foreign_notes, keep_inputs, keep_other_picks
        from voxpick.io.atomic import require_short_name, require_writable

        check_tomograms(volumes, self.formats)
        if self.path.is_file():
            raise VoxpickError(f"--output {self.path}: cannot be written to (it is a file); name a folder")
        require_writable(self.path)
        if "star" in self.formats and not is_unicode(str(self.path.resolve())):
            raise VoxpickError(
                f"--output {self.path}: its path is not Unicode (UTF-8), and the list of files that RELION imports "
                "names it; choose another folder, or leave star out of --format"
            )
        files = {picks_name(path): path for path in volumes}
        patterns = self._patterns()
        for written in (self.path / pattern.format(name) for name in files for pattern in patterns):
            require_short_name(written, way_out="link to the tomogram by a shorter one")
            if written.name == IMPORT_LIST:
                raise VoxpickError(
                    f"{written}: is the list of picks that RELION imports, and would be that of this tomogram's picks "
                    "as well; link to the tomogram by another name, or leave star out of --format"
                )
        keep_inputs([self.path / pattern.format(name) for name in files for pattern in patterns], volumes)
        noted = IMPORT_LIST if "star" in self.formats else None
        keep_foreign_notes(self.path, self.record, noted, RECORDS, overwrite=overwrite)
        keep_other_picks(self.path, self.path / self.record, files, patterns, overwrite=overwrite)
        return files

    def write(
        self, name: str, tomogram: Path, detection: Detection, about: dict[str, Any], *,
        labelled: Volume | None = None, page: str | None = None, search: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write the picks and note what they are of and made with, together: a later call knows them as its own.

        What files of earlier calls were made with is kept. Other processes that write into the folder are waited for,
        so that none drops what another has noted. labelled: the class of every voxel, for NAME_segmentation.mrc.
        page: HTML for NAME.html. search: what came of this tomogram's search, noted beside how it was made.
        """
        import yaml

        from voxpick import __version__
        from voxpick.cli.outputs import (
            OTHERWISE,
            SEARCH,
            recorded_files,
            recorded_otherwise,
            recorded_searches,
            recorded_tomograms,
        )
        from voxpick.io.alone import alone_in
        from voxpick.io.atomic import write_text, write_together
        from voxpick.io.mrc import write_mrc

        record, volume, stem = self.path / self.record, detection.volume, self.path / name
        with alone_in(self.path, use="writes picks", patience=WRITING_SECONDS):
            patterns = [pattern.format(name) for pattern in self._patterns()]
            notes = {"voxpick": __version__, **about, "settings": detection.settings}
            otherwise = recorded_otherwise(record, notes, patterns)
            searches = recorded_searches(record, name, search or {})
            notes["tomograms"] = recorded_tomograms(record, {name: tomogram})
            notes["written"] = recorded_files(record, name, tomogram, patterns)
            notes |= {key: value for key, value in ((SEARCH, searches), (OTHERWISE, otherwise)) if value}
            writers: dict[Path, Writer] = {record: partial(write_text, text=yaml.safe_dump(notes, sort_keys=False))}
            picks = picks_writers(stem, detection.particles, self.formats, volume.voxel_size, volume.shape)
            if page is not None:
                writers[self.path / f"{name}.html"] = partial(write_text, text=page)
            if labelled is not None:
                writers[self.path / f"{name}_segmentation.mrc"] = partial(write_mrc, data=labelled)
            write_together(writers | picks)
            _remove_other_copick(stem, picks, self.formats)
            if "star" in self.formats:
                write_import_list(self.path)

    def _patterns(self) -> list[str]:
        return [*patterns_of(self.formats), *self.beside]


def read_formats(text: str) -> list[str]:
    """Names of formats out of a comma-separated list."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (*SUFFIXES, COPICK):
            raise VoxpickError(
                f"--format {text}: unknown format {name!r}; choose among {', '.join((*SUFFIXES, COPICK))}"
            )
    if not names:
        raise VoxpickError(f"--format is empty; choose among {', '.join((*SUFFIXES, COPICK))}")
    return names


def patterns_of(formats: list[str]) -> list[str]:
    """What `write_picks` makes in a folder of a tomogram NAME, with {} for the name."""
    return [COPICK_RUN if name == COPICK else "{}" + SUFFIXES[name] for name in formats]


def write_picks(
    stem: Path, particles: Particles, formats: list[str], voxel_size: float, shape: tuple[int, int, int]
) -> None:
    """One file a format, named after `stem`; of copick one a class. voxel_size (A), shape: of the tomogram."""
    from voxpick.io.atomic import write_together

    writers = picks_writers(stem, particles, formats, voxel_size, shape)
    write_together(writers)
    _remove_other_copick(stem, writers, formats)


def picks_writers(
    stem: Path, particles: Particles, formats: list[str], voxel_size: float, shape: tuple[int, int, int]
) -> dict[Path, Writer]:
    """What writes each file of `write_picks` to a path it is given."""
    from voxpick.io.formats import write_particles

    writers: dict[Path, Writer] = {}
    for name in formats:
        if name == COPICK:
            writers |= _copick_writers(stem, particles, voxel_size)
            continue
        path = stem.with_name(stem.name + SUFFIXES[name])
        writers[path] = partial(write_particles, particles=particles, voxel_size=voxel_size, shape=shape, format=name)
    return writers


def _copick_writers(stem: Path, particles: Particles, voxel_size: float) -> dict[Path, Writer]:
    """The picks as run NAME of a copick project in the folder."""
    import numpy as np

    from voxpick.io.copick import file_name, write_copick

    folder = stem.parent / COPICK_RUN.format(stem.name) / "Picks"
    writers: dict[Path, Writer] = {}
    for name in sorted({str(name) for name in particles.classes}):
        here = particles[np.array([str(each) == name for each in particles.classes])]
        writers[folder / file_name(name)] = partial(
            write_copick, particles=here, voxel_size=voxel_size, run=stem.name
        )  # fmt: skip
    return writers


def _remove_other_copick(stem: Path, written: Container[Path], formats: list[str]) -> None:
    """Remove objects of earlier picks that were not found now."""
    from voxpick.io.copick import file_name

    folder = stem.parent / COPICK_RUN.format(stem.name) / "Picks"
    for path in folder.glob(file_name("*")) if COPICK in formats else []:
        if path not in written:
            path.unlink()


def write_import_list(folder: Path) -> None:
    """relion_import.star: the STAR files of picks of all tomograms that the records of the folder name.

    RELION's name comes from that of the picks: the file may be what a link of that name points to.
    """
    from voxpick.cli.outputs import recorded_tomograms
    from voxpick.io.mrc import tomogram_name
    from voxpick.io.star import write_import_list as write

    names = [name for record in RECORDS for name in recorded_tomograms(folder / record, {})]
    stars = {tomogram_name(f"{name}.mrc"): folder / f"{name}.star" for name in names}
    there = {name: path.resolve() for name, path in stars.items() if path.is_file()}
    if there:
        write(folder / IMPORT_LIST, there)


def searched(detection: Detection) -> str:
    """Which sections were looked at, in one line."""
    slab, volume = detection.slab, detection.volume
    return f"{volume.name}: searched sections {slab.start}:{slab.stop} of {volume.shape[0]} ({slab.reason})"


def print_summary(found: dict[str, Particles], output: Path) -> None:
    """A table of the picks of each tomogram by class."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    classes = sorted({str(name) for particles in found.values() for name in particles.classes})
    table = Table(title=escape(f"Picks in {output}"))
    table.add_column("tomogram")
    for name in [*classes, "all", "median confidence"]:
        table.add_column(escape(name), justify="right")
    for tomogram, particles in found.items():
        counts = Counter(str(name) for name in particles.classes)
        scores = particles.scores
        median = "-" if scores is None or not len(scores) else f"{sorted(scores)[len(scores) // 2]:.2f}"
        table.add_row(escape(tomogram), *(str(counts[name]) for name in classes), str(len(particles)), median)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)
