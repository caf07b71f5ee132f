"""What a command may write: never over what it reads, and over other people's files only when it is told to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from voxpick.errors import VoxpickError
from voxpick.io.yaml_file import read_notes

GENERATOR = b'<meta name="generator" content="voxpick">'
OVERWRITE = "add --overwrite to replace it, or give another --output"
BY_DEFAULT = (".star", ".csv", ".txt")
"""What commands that pick write of a tomogram, where their record, of an earlier version, does not say."""

NUMBERS = {"localisation", "both"}
"""Keys of which the numbers of `evaluate` have one: those of scores, and of comparisons."""
OTHERWISE = "made_otherwise"
"""What a record says of files that earlier calls made with another model or other settings."""
SEARCH = "search"
"""What a record says of each tomogram's search, by name: what came of it, not how it was made."""


def keep_inputs(outputs: Iterable[Path], inputs: Iterable[Path | None], *, option: str = "--output") -> None:
    """Raise VoxpickError when a file to be written, which the option names, is one that is read."""
    read = [path for path in inputs if path is not None and path.exists()]
    for output in outputs:
        for path in read:
            if output.exists() and output.samefile(path):
                raise VoxpickError(f"{output}: is read by this command and would be overwritten; give another {option}")


def files_of(place: Path | None) -> list[Path]:
    """The file itself, or all files of a folder; none of None."""
    if place is None:
        return []
    return [path for path in place.iterdir() if path.is_file()] if place.is_dir() else [place]


def keep_existing(outputs: Iterable[Path], *, overwrite: bool, way_out: str = OVERWRITE) -> None:
    """Raise VoxpickError for the first file that is there already, unless `overwrite`."""
    for output in outputs:
        if not overwrite and output.exists():
            raise VoxpickError(f"{output}: exists already; {way_out}")


def recorded_tomograms(record: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """The tomograms whose picks a folder holds, by name, when those of `files` are added to its `record` (YAML)."""
    return {**_tomograms(read_notes(record)), **{name: str(path.resolve()) for name, path in files.items()}}


def recorded_files(record: Path, name: str, tomogram: Path, written: Iterable[str]) -> dict[str, list[str]]:
    """What the command wrote of each tomogram, by name, when the paths `written` of NAME are added to its `record`.

    Of NAME itself earlier files are kept if they were of the same tomogram.
    """
    found = read_notes(record)
    earlier = {str(each): sorted(_own(found, str(each))) for each in _files_by_name(found)}
    same = _tomograms(found).get(name) == str(tomogram.resolve()) or _notes_no_tomogram(found)
    return {**earlier, name: sorted({*written, *(_own(found, name) if same else ())})}


def recorded_searches(record: Path, name: str, search: Mapping[str, Any]) -> dict[str, Any]:
    """What came of the search of each tomogram, by name, when that of NAME is added to its `record`."""
    earlier = read_notes(record).get(SEARCH)
    kept = {key: value for key, value in earlier.items() if key != name} if isinstance(earlier, dict) else {}
    return {**kept, name: dict(search)} if search else kept


def recorded_otherwise(record: Path, made_with: Mapping[str, Any], written: Iterable[str]) -> list[dict[str, Any]]:
    """What a record holds of files that were made with something else than `made_with`, which is now to be on top.

    One group for each way of making, with its `files`. written: the paths that are written now.
    """
    import yaml

    found, now = read_notes(record), set(written)
    noted = found.get(OTHERWISE)
    groups = [dict(each) for each in noted if isinstance(each, dict)] if isinstance(noted, list) else []
    told = {str(file) for group in groups for file in _files(group)}
    names = {*_tomograms(found), *map(str, _files_by_name(found))}
    before = {key: value for key, value in found.items() if key not in ("tomograms", "written", OTHERWISE, SEARCH)}
    if "voxpick" in before:
        groups.append({**before, "files": sorted({file for name in names for file in _own(found, name)} - told)})
    made, kept = yaml.safe_load(yaml.safe_dump(dict(made_with))), list[dict[str, Any]]()
    for group in groups:
        how = {key: value for key, value in group.items() if key != "files"}
        files = sorted({str(file) for file in _files(group)} - now)
        same = next((each for each in kept if {**each, "files": None} == {**how, "files": None}), None)
        if same is not None:
            same["files"] = sorted({*same["files"], *files})
        elif files and how != made:
            kept.append({**how, "files": files})
    return kept


def keep_other_picks(
    folder: Path, record: Path, files: Mapping[str, Path], patterns: Iterable[str], *, overwrite: bool
) -> None:
    """Refuse to write picks over those of another tomogram, or over files that this command did not make.

    files: tomogram by NAME. patterns: of what is written for it in the folder, such as '{}.star'. record: the YAML
    file, beside the picks, in which earlier calls noted their tomograms and what they wrote of each.
    Raises VoxpickError unless `overwrite`.
    """
    if overwrite:
        return
    patterns, found = list(patterns), read_notes(record)
    earlier = _tomograms(found)
    for name, tomogram in files.items():
        own = _own(found, name) if name in earlier or _notes_no_tomogram(found) else set()
        for written in (pattern.format(name) for pattern in patterns):
            if not (folder / written).exists():
                continue
            if written not in own:
                raise VoxpickError(f"{folder / written}: was not made by this command; {OVERWRITE}")
            if earlier.get(name, str(tomogram.resolve())) != str(tomogram.resolve()):
                raise VoxpickError(f"{folder / written}: holds picks of {earlier[name]}; {OVERWRITE}")


def keep_foreign_notes(
    folder: Path, record: str, import_list: str | None, records: Iterable[str], *, overwrite: bool
) -> None:
    """Refuse to replace a record that voxpick did not write, or an import list where there is no record of any command.

    record, import_list, records: names of files in the folder; import_list is None where none is written.
    Raises VoxpickError unless `overwrite`.
    """
    own = [name for name in records if "voxpick" in read_notes(folder / name)]
    for name in (record, import_list):
        if overwrite or name is None or not (folder / name).exists():
            continue
        if name not in own and (name == record or not own):
            raise VoxpickError(f"{folder / name}: was not made by this command; {OVERWRITE}")


def keep_other_pages(output: Path, *, overwrite: bool) -> None:
    """Raise VoxpickError unless the name of a page to write ends in .html or .htm and no foreign file has it.

    A page that voxpick made is replaced, as it can be made again; anything else only if told to `overwrite`.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise VoxpickError(f"{output}: a page is written, so give --output a name that ends in .html")
    if overwrite or not output.is_file():
        return
    with output.open("rb") as file:
        if GENERATOR not in file.read(4096):
            raise VoxpickError(f"{output}: was not made by voxpick; {OVERWRITE}")


def keep_other_numbers(json_path: Path) -> None:
    """Raise VoxpickError for a file that is no numbers of this command, which are replaced by new ones."""
    import json

    if not json_path.is_file():
        return
    try:
        found = json.loads(json_path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or (found and not found.keys() & NUMBERS):
        raise VoxpickError(
            f"--json {json_path}: was not made by this command; move it elsewhere, or give another --json"
        )


def _tomograms(found: dict[str, Any]) -> dict[str, str]:
    """The tomograms that a record notes, by name."""
    known = found.get("tomograms")
    return {str(name): str(path) for name, path in known.items()} if isinstance(known, dict) else {}


def _notes_no_tomogram(found: dict[str, Any]) -> bool:
    """Whether the record is of a version that noted no tomograms: its picks may be of any."""
    return "voxpick" in found and "tomograms" not in found


def _files_by_name(found: dict[str, Any]) -> dict[Any, Any]:
    """What a record says was written, by the name of the tomogram."""
    noted = found.get("written")
    return noted if isinstance(noted, dict) else {}


def _files(group: dict[str, Any]) -> list[Any]:
    """The files of a group of `recorded_otherwise`."""
    files = group.get("files")
    return files if isinstance(files, list) else []


def _own(found: dict[str, Any], name: str) -> set[str]:
    """What a record says was written of tomogram NAME; where it does not say, what is written by default."""
    files = _files_by_name(found).get(name)
    return {str(file) for file in files} if isinstance(files, list) else {f"{name}{suffix}" for suffix in BY_DEFAULT}
