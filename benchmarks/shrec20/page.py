"""Keep the tables of a benchmark run: benchmarks/shrec20/NAME.json and a page in docs/ from its output folder.

    python benchmarks/shrec20/page.py OUTPUT [--name replica] [--join]
    python benchmarks/shrec20/page.py --name replica

The page is docs/benchmark.md for the replica, docs/benchmark-NAME.md for other settings.
OUTPUT is what `voxpick benchmark shrec20 benchmarks/shrec20/NAME --output OUTPUT` wrote. What a reader should make of
the numbers stands in benchmarks/shrec20/NAME.md and is put between the title and the tables. Without OUTPUT the page is
written anew from NAME.json, as after a change of NAME.md, and with what today's code knows of the papers.
--join keeps what NAME.json has of entries that OUTPUT lacks: of an earlier run with the same settings, on tomograms of
the same seeds. Their rows say which commit they are of.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "speed"))

from record import machine  # noqa: E402

from voxpick.benchmark.completed import complete  # noqa: E402
from voxpick.benchmark.machine import commit_in_words, together  # noqa: E402
from voxpick.benchmark.settings import Settings, load_settings  # noqa: E402
from voxpick.benchmark.writing import remarks_on, tables_to_markdown  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?")
    parser.add_argument("--name", default="replica")
    parser.add_argument("--join", action="store_true")
    options = parser.parse_args()
    file = FOLDER / f"{options.name}.json"
    if options.output is None:
        kept = json.loads(file.read_text())
    else:
        kept = read(options.output)
        if options.join:
            earlier = json.loads(file.read_text())
            join(kept, {**earlier, "tables": complete(earlier["tables"])})
        file.write_text(json.dumps(kept, indent=1) + "\n")
    settings = settings_of(options.name)
    tables = complete(kept["tables"], settings.benchmark.claims if settings else [])
    text = tables_to_markdown(kept["title"], tables, remarks_on(kept), kept["confusion"])
    title, _, rest = text.partition("\n")
    remarks = FOLDER / f"{options.name}.md"
    said = remarks.read_text().strip() if remarks.is_file() else ""
    made = made_with(kept, command(options.name, settings, kept["minutes"]))
    parts = [title, when(kept), said, made, rest.strip()]
    suffix = "" if options.name == "replica" else f"-{options.name}"
    page = FOLDER.parents[1] / "docs" / f"benchmark{suffix}.md"
    page.write_text("\n\n".join(part for part in parts if part) + "\n")


def settings_of(name: str) -> Settings | None:
    """Of the settings folder, with what the papers print of its claims now; None where there is no such folder."""
    folder = FOLDER / name
    return load_settings(folder) if folder.is_dir() else None


def command(name: str, settings: Settings | None, minutes: dict[str, float]) -> str:
    """What was run, in words: with the minutes of each entry where these are not those of the settings, and the entries
    of the settings that there is nothing of.

    Empty where no one command gives these minutes, as after --join.
    """
    if settings is None:
        return ""
    given, trained = settings.benchmark.minutes, {value for value in minutes.values() if value}
    own = trained - {given} if given is not None else set()
    if own and len(trained) > 1:
        return ""
    option = f" --minutes {own.pop():g}" if own else ""
    lacking = [entry for entry in settings.entries if entry not in minutes]
    without = f", without {', '.join(lacking)}," if lacking else ""
    return f"`voxpick benchmark shrec20 benchmarks/shrec20/{name}{option} --output OUTPUT`{without}"


def read(output: Path) -> dict:
    """Tables of a run, the machine it ran on and the minutes that its entries were trained for."""
    tables = json.loads((output / "tables.json").read_text())
    files = sorted(output.glob("*/seed_*/result.json"))
    results = [json.loads(path.read_text()) for path in files]
    dates = dates_of([result.get("date") or written(path) for result, path in zip(results, files, strict=True)])
    minutes = minutes_of({result["entry"]: result for result in results})
    return {"machine": machine_of(results), "dates": dates, "minutes": minutes, **tables}


def written(path: Path) -> str:
    """The day a file was last written, as results of earlier code do not tell when they were made."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def dates_of(days: Sequence[str]) -> list[str]:
    """The first and the last of days, once where they are the same."""
    return sorted({min(days), max(days)}) if days else []


def machine_of(results: Sequence[dict]) -> dict:
    """The machine and code of the run, 'of' it; of the moment, where a result does not tell."""
    found = [result.get("machine") for result in results]
    return {**together(found), "of": "run"} if found and all(found) else machine()


def join(kept: dict, earlier: dict) -> None:
    """Rows, confusion matrices and minutes of an earlier run's entries that are not in this one, put after it.

    Stops where the two were not scored on the same number of particles.
    """
    if particles_of(kept) != particles_of(earlier):
        sys.exit(f"the test tomograms differ: {particles_of(kept)} particles now, {particles_of(earlier)} before")
    here = {row["name"] for row in kept["tables"]["localisation"]["rows"] if not row["published"]}
    label = ", ".join(["earlier run", commit_of(earlier), *days_of(earlier)])
    for key, table in kept["tables"].items():
        old = earlier["tables"].get(key, {"columns": [], "rows": []})
        own = [row for row in table["rows"] if not row["published"]]
        if key == "claims":  # what this run has no pairs for, the earlier one tells
            told = {row["name"] for row in old["rows"]}
            own = [row for row in own if row["name"] not in told or compared(table, row)]
        for row in old["rows"]:
            if row["published"] or row["name"] in here | {new["name"] for new in own}:
                continue
            cells, shown = (dict(zip(old["columns"], row[part], strict=True)) for part in ("cells", "shown"))
            own.append({
                **row, "source": row["source"] or label,
                "cells": [cells.get(column) for column in table["columns"]],
                "shown": [shown.get(column, "-") for column in table["columns"]],
            })  # fmt: skip
        table["rows"] = own + [row for row in table["rows"] if row["published"]]
    kept["confusion"] = {**kept["confusion"], **{k: v for k, v in earlier["confusion"].items() if k not in here}}
    for part in ("failed", "outdated", "other_code"):
        known = here | {item["title"] for item in kept.get(part, ())}
        kept[part] = [*kept.get(part, ()), *(item for item in earlier.get(part, ()) if item["title"] not in known)]
    kept["minutes"] = {**earlier["minutes"], **kept["minutes"]}


def compared(table: dict, row: dict) -> bool:
    """Whether a row of the claims' table rests on any pairs."""
    shown: str = dict(zip(table["columns"], row["shown"], strict=True))["pairs"]
    return shown != "0"


def particles_of(kept: dict) -> float:
    """True particles of the test tomograms, by the first row that has them."""
    table = kept["tables"]["localisation"]
    row = next(row for row in table["rows"] if not row["published"])
    values = dict(zip(table["columns"], row["cells"], strict=True))
    return values["TP"]["mean"] + values["FN"]["mean"]


def minutes_of(results: dict[str, dict]) -> dict[str, float]:
    """Minutes that each entry was trained for, over all its stages: those given, or taken where none were given."""
    return {
        name: round(sum(stage.get("minutes") or stage["seconds"] / 60 for stage in result.get("stages", [])), 2)
        for name, result in results.items()
    }


def made_with(kept: dict, run: str) -> str:
    """One sentence: machine, torch, minutes; and the command that was run, where it is known."""
    found, versions = kept["machine"], kept["machine"]["versions"]
    trained = [value for value in kept["minutes"].values() if value]
    least, most = (f"{pick(trained):.0f}" for pick in (min, max)) if trained else ("0", "0")
    span = least if least == most else f"{least} to {most}"
    training = f"each entry was trained for {span} minutes" if trained else "nothing was trained"
    gpus = f"{found['gpus']}, " if "gpus" in found else ""
    of = f" of {run}" if run else ""
    return (
        f"Made by `python benchmarks/shrec20/page.py` from a run{of} on {found['processor']}, {found['cores']} cores, "
        f"{gpus}torch {versions['torch']}; {training}."
    )


def when(kept: dict) -> str:
    """One sentence: which code made the numbers, and when."""
    days, found = "".join(days_of(kept)), kept["machine"]
    if found.get("of") == "run":
        of = f"were measured at {commit_of(kept)}{f', {days}' if days else ''}"
    else:
        at = f"{days + ' ' if days else ''}at commit {commit_in_words(found['commit'])}"
        of = f"were kept {at}, of that code or a little older"
    return f"**The numbers of 'this run' {of}; what has changed in the package since is not in them.**"


def days_of(kept: dict) -> list[str]:
    """When it was run, in words; empty where that is not known."""
    days = kept.get("dates", [])
    return [f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[1]}"] if days else []


def commit_of(kept: dict) -> str:
    """Of the run; of the page where the run's is not known."""
    found = kept["machine"]
    commit = f"commit {commit_in_words(found['commit'])}"
    return commit if found.get("of") == "run" else f"page written at {commit}"


if __name__ == "__main__":
    main()
