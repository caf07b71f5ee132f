"""Make docs/speed.md from the JSON files of this folder, and from what speed costs in accuracy (benchmarks/accuracy).

python benchmarks/speed/table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ACCURACY = FOLDER.parent / "accuracy"
PAGE = FOLDER.parents[1] / "docs" / "speed.md"
HEAD = """# Speed

Made by `python benchmarks/speed/table.py` from the JSON files in benchmarks/speed, which
`python benchmarks/speed/run_all.py` writes. Each row was measured in one process, alternating with its peer, and the
shortest time counts (medians for MSDNet). "Load" is the number of busy processes just before: above about 0.5 the
machine was not quiet and the figures are too slow.
"""
NUMBERS = {
    "engine_mb": "tensors {:.0f} MiB",
    "reference_mb": "peer {:.0f} MiB",
    "peak_gb": "peak {:.2f} GiB",
    "find": "finding {:.1f} s",
    "name": "naming {:.1f} s",
}
SHARES = {"sampling_share": "sampling {:.1%} of it"}


def main() -> None:
    parts = [HEAD]
    for path in sorted(FOLDER.glob("*.json")):
        result = json.loads(path.read_text())
        machine = result.get("machine", {})
        parts.append(f"\n## {path.stem}\n\n{_machine(machine)}\n")
        parts.append("| what | voxpick, s | peer | peer, s | ratio | |\n|---|---:|---|---:|---:|---|")
        parts += [_line(_as_row(entry)) for entry in result["rows"]]
        if result.get("note"):
            parts.append(f"\n{result['note'].strip()}")
    parts += _halo(ACCURACY / "halo.json") + _precision(ACCURACY / "precision.json")
    PAGE.write_text("\n".join(parts) + "\n")


def _halo(path: Path) -> list[str]:
    """What a smaller halo costs, one line per tomogram, tile and halo."""
    if not path.exists():
        return []
    lines = [
        "\n## What the halo costs\n",
        "VP-Detector's localizer sees 196 voxels to each side, so no halo makes tiles equal to the whole volume; what",
        "is left out hardly counts. By `benchmarks/accuracy/halo.py` on a validation tomogram; the first line is what",
        "the others are compared with, in the probability of voxels above the threshold.\n",
        "| tomogram | tile | halo | F1 | picks | largest difference | mean difference | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row['tomogram']} | {row['tile']} | {row['halo']} | {row['f1']:.4f} | {row['picks']} | "
        f"{row['largest_difference']:.3f} | {row['mean_difference']:.4f} | {row['seconds']:.1f} |"
        for row in json.loads(path.read_text())["rows"]
    ]


def _precision(path: Path) -> list[str]:
    """What number formats and engines change in the picks."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    lines = [
        "\n## What number formats change\n",
        f"By `benchmarks/accuracy/precision.py`, model {found['model']}. A pick is the same when float32 has one of",
        "its class within a voxel.\n",
        "| tomogram | computed by | F1 | difference | mean class F1 | picks | same | s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row['tomogram']} | {row['way']} | {row['f1']:.4f} | {row['difference']:+.4f} | "
        f"{row['mean_class_f1']:.3f} | {row['picks']} | {row['same']:.1%} | {row['seconds']:.1f} |"
        for row in found["rows"]
    ]


def _machine(machine: dict[str, Any]) -> str:
    versions = machine.get("versions") or {key: machine[key] for key in ("python", "torch") if key in machine}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = f", load {machine['load_before']}" if "load_before" in machine else ""
    cores = f", {machine['cores']} cores" if "cores" in machine else ""
    return f"{machine.get('processor') or machine.get('cpu')}{cores}{load}; {named}; commit {machine['commit'][:7]}."


def _as_row(entry: dict[str, Any]) -> dict[str, Any]:
    """msdnet.py has columns of its own; everything else is as `record.row` makes it."""
    if "engine_s" not in entry:
        return entry
    what = f"MSDNet, {str(entry['task']).replace('_', ' ')}, {entry['format']}, {entry.get('engine', 'compiled')}"
    return {
        "what": what, "seconds": entry["engine_s"], "peer": "concatenate and convolve",
        "peer_seconds": entry["reference_s"], "ratio": entry["ratio"],
        **{key: entry[key] for key in ("engine_mb", "reference_mb") if key in entry},
    }  # fmt: skip


def _line(entry: dict[str, Any]) -> str:
    more = [text.format(entry[key]) for key, text in (NUMBERS | SHARES).items() if key in entry]
    peer = "" if entry["peer_seconds"] is None else f"{entry['peer_seconds']:.2f}"
    ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.1f}"
    return f"| {entry['what']} | {entry['seconds']:.3f} | {entry['peer']} | {peer} | {ratio} | {', '.join(more)} |"


if __name__ == "__main__":
    main()
