"""Make docs/speed.md from the JSON files of this folder, and from what speed costs in accuracy (benchmarks/accuracy).

python benchmarks/speed/table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from record import QUIET

from voxpick.benchmark.machine import DIRTY, commit_in_words

FOLDER = Path(__file__).resolve().parent
ACCURACY = FOLDER.parent / "accuracy"
PAGE = FOLDER.parents[1] / "docs" / "speed.md"
NOT_QUIET = "**Not quiet:** other work kept cores busy; these figures are too slow."
HEAD = """# Speed

Made by `python benchmarks/speed/table.py` from the JSON files in benchmarks/speed, which
the scripts there write (`run_all.py` runs the short ones). NAME_amx: an Intel with AMX; NAME_avx2: an AMD without bf16;
NAME alone: an AMD with AVX512-BF16 (Zen 4). Each row was measured in one process, alternating with its peer, and the
shortest time counts (medians for MSDNet). "Busy" is how many cores were at work just before and just after: above 0.5
the machine was not quiet, the figures are too slow and their section says so. In sections without it "load" is the
average of the last minute, the benchmark itself included. A commit tells which code was timed, and
with which of the package's weights: voxpick's own network was half as large before commit 18b0e94.
"""
NUMBERS = {
    "engine_mb": "tensors {:.0f} MiB",
    "reference_mb": "peer {:.0f} MiB",
    "peak_gb": "peak {:.2f} GiB",
    "largest_score_difference": "scores of the same templates {:.0e} apart at most",
    "find": "finding {:.1f} s",
    "name": "naming {:.1f} s",
    "picks": "{} picks",
    "f1": "F1 {:.3f}",
    "mean_class_f1": "mean class F1 {:.3f}",
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
        if not result.get("quiet", True):
            parts.append(f"\n{NOT_QUIET}")
        if result.get("note"):
            parts.append(f"\n{result['note'].strip()}")
    parts += _paths(ACCURACY / "paths.json") + _halo(ACCURACY / "halo.json") + _slab(ACCURACY / "slab_margin.json")
    parts += _precision(ACCURACY / "precision.json")
    PAGE.write_text("\n".join(parts) + "\n")


def _halo(path: Path) -> list[str]:
    """What a smaller halo costs, one line per tomogram, tile and halo."""
    if not path.exists():
        return []
    lines = [
        "\n## What the halo costs\n",
        "VP-Detector's localizer sees 196 voxels to each side, so no halo makes tiles equal to the whole volume; what",
        "is left out hardly counts. By `benchmarks/accuracy/halo.py` on a validation tomogram; the first line is what",
        "the others are compared with, in the probability of voxels above the threshold. `voxpick methods vp-detector`",
        "says which halo is taken.\n",
        "| tomogram | tile | halo | F1 | picks | largest difference | mean difference | s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    found = json.loads(path.read_text())
    lines[5:5] = [*_made_with(found), ""]
    return lines + [
        f"| {row['tomogram']} | {row['tile']} | {row['halo']} | {row['f1']:.4f} | {row['picks']} | "
        f"{row['largest_difference']:.3f} | {row['mean_difference']:.4f} | {row['seconds']:.1f} |"
        for row in found["rows"]
    ]


def _made_with(found: dict[str, Any]) -> list[str]:
    """Weights and machine of an accuracy script; files of earlier versions do not say them."""
    parts = [_model(found["model"])] if isinstance(found.get("model"), dict) else []
    return ["", " ".join([*(f"{part}." for part in parts), _machine(found["machine"])])] if "machine" in found else []


def _paths(path: Path) -> list[str]:
    """What the fast path finds beside what the plainest one finds."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    size, fast, plain = (" x ".join(str(n) for n in found["size"]), found["fast"], found["reference"])
    lines = [
        "\n## The fast path and the plain one\n",
        f"By `benchmarks/accuracy/paths.py` on {size} voxels of a held-out tomogram, {found['particles']} particles,",
        f"{_model(found['model'])}. A pick is the same when the other path has one within a voxel, of its class where",
        "classes count.\n",
        f"- Fast: {fast['way']}.",
        f"- Plain: {plain['way']}.\n",
        f"{_machine(found['machine'])}\n",
        "| path | picks | same place | same place and class | F1 | mean class F1 | s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {way['picks']} | {way['same_place']:.1%} | {way['same']:.1%} | {way['f1']:.4f} | "
        f"{way['mean_class_f1']:.3f} | {way['seconds']:.1f} |"
        for name, way in (("fast", fast), ("plain", plain))
    ]
    if max(found["machine"].get("busy_before", 0), found["machine"].get("busy_after", 0)) > QUIET:
        lines.append(f"\n{NOT_QUIET}")
    return [
        *lines,
        f"\nLargest distance between two picks of the same particle: {found['largest_distance']:.2f} A, on average "
        f"{found['mean_distance']:.2f} A; largest difference of their scores: {found['largest_score_difference']:.3f}.",
    ]


def _model(model: dict[str, str] | str) -> str:
    """Method and fingerprint of a model; older files have its name only."""
    if isinstance(model, str):
        return f"model {model}"
    return f"{model['method']}, weights {model['sha256'][:12]} (sha256)"


def _slab(path: Path) -> list[str]:
    """How far short of the particles the ice that is found ends."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    short = [max(row["short"]) for row in found["rows"] if row["short"]]
    return [
        "\n## Where the ice ends\n",
        "Only sections with ice are searched, and a margin beyond them. By `benchmarks/accuracy/slab_margin.py` the",
        f"ice was found in {found['found']} of {found['tomograms']} tomograms of {found['voxel_size']:g} A voxels; its "
        f"edges fell at most {max(short):.0f} sections short of",
        f"the outermost particle's centre, on average {sum(short) / len(short):.1f}. They are found to within 8",
        "sections; the margin is 8 sections and 120 A.",
        *_made_with(found),
    ]


def _precision(path: Path) -> list[str]:
    """What number formats and engines change in the picks."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    lines = [
        "\n## What number formats change\n",
        f"By `benchmarks/accuracy/precision.py`, {_model(found['model'])}. A pick is the same when float32",
        "has one of its class within a voxel.",
        *_made_with(found),
        "",
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
    load = ""
    if "busy_before" in machine:
        load = f", busy {machine['busy_before']} before and {machine['busy_after']} after"
    elif "load_before" in machine:
        load = f", load {machine['load_before']}"
    cores = f", {machine['cores']} cores" if "cores" in machine else ""
    sets = f" ({machine['instructions']})" if "instructions" in machine else ""
    commit = machine["commit"].removesuffix(DIRTY)
    told = commit_in_words(machine["commit"].replace(commit, commit[:7]))
    return f"{machine.get('processor') or machine.get('cpu')}{sets}{cores}{load}; {named}; commit {told}."


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
