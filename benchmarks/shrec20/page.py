"""Keep the tables of a benchmark run: benchmarks/shrec20/NAME.json and a page in docs/ from its output folder.

    python benchmarks/shrec20/page.py OUTPUT [--name replica]

The page is docs/benchmark.md for the replica, docs/benchmark-NAME.md for other settings.
OUTPUT is what `voxpick benchmark shrec20 benchmarks/shrec20/NAME --output OUTPUT` wrote. What a reader should make of
the numbers stands in benchmarks/shrec20/NAME.md and is put between the title and the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "speed"))

from record import machine  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--name", default="replica")
    options = parser.parse_args()
    tables = json.loads((options.output / "tables.json").read_text())
    results = {
        path.parent.parent.name: json.loads(path.read_text())
        for path in sorted(options.output.glob("*/seed_*/result.json"))
    }
    kept = {"machine": machine(), "minutes": minutes_of(results), **tables}
    (FOLDER / f"{options.name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    title, _, rest = (options.output / "tables.md").read_text().partition("\n")
    remarks = FOLDER / f"{options.name}.md"
    parts = [title, remarks.read_text().strip() if remarks.is_file() else "", made_with(kept), rest.strip()]
    suffix = "" if options.name == "replica" else f"-{options.name}"
    page = FOLDER.parents[1] / "docs" / f"benchmark{suffix}.md"
    page.write_text("\n\n".join(part for part in parts if part) + "\n")


def minutes_of(results: dict[str, dict]) -> dict[str, float]:
    """Minutes that each entry was trained for, over all its stages."""
    return {
        name: round(sum(stage.get("minutes") or 0.0 for stage in result.get("stages", [])), 2)
        for name, result in results.items()
    }


def made_with(kept: dict) -> str:
    """One sentence: machine, versions, minutes."""
    found, versions = kept["machine"], kept["machine"]["versions"]
    trained = [value for value in kept["minutes"].values() if value]
    least, most = (f"{pick(trained):.0f}" for pick in (min, max)) if trained else ("0", "0")
    span = least if least == most else f"{least} to {most}"
    return (
        f"Made by `python benchmarks/shrec20/page.py` from a run on {found['processor']}, {found['cores']} cores, "
        f"torch {versions['torch']}, commit {found['commit']}; each entry was trained for {span} minutes."
    )


if __name__ == "__main__":
    main()
