"""docs/calibration.md from calibration.json; for calibration.py."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from voxpick.benchmark.machine import commit_in_words
from voxpick.benchmark.published import CLASS_COLUMNS, SHREC20_TABLE3, SHREC20_TABLE4, TABLE3_COLUMNS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "calibration.md"
NOTES = Path(__file__).with_name("calibration_notes.md")
TABLE9_COLUMNS = ("3qm1", "1s3x", "3h84", "3gl1", "2cg9", "3d2f", "1u6g", "3cf3", "1bxn", "1qvr", "4cr2", "4d8q")
TABLE9 = (0.064, 0.169, 0.364, 0.053, 0.207, 0.492, 0.34, 0.653, 0.696, 0.611, 0.91, 0.945)
TABLE8_F1 = 0.663
"""The same paper's second run of TM-F on SHREC'20 (Gubins et al. 2020, Tables 8 and 9), as printed."""
OFF = 0.1

HEAD = """# Calibration: are our tomograms as hard as the published ones?

Made by `python benchmarks/accuracy/calibration.py --page` from benchmarks/accuracy/calibration.json, which that script
wrote. Template matching learns nothing, so the same method on our replica and on the published SHREC'20 tomogram tells
how the two compare: TM-F as in section 3.7 of Gubins et al. (2020), with the templates and settings of
`voxpick match`. The paper prints two runs of TM-F on SHREC'20, which differ: Tables 3 and 4 (the ranking), and Tables 8
and 9 (the comparison with SHREC'19). Both stand here. F1 of a class is that of the confusion matrix, as the organisers
compute it.
"""


def write_page(source: Path) -> None:
    """Tables of all runs, then the notes."""
    parts = [HEAD]
    for name, run in json.loads(source.read_text())["runs"].items():
        parts += _run(name, run)
    if NOTES.exists():
        parts.append("\n" + NOTES.read_text().strip())
    PAGE.write_text("\n".join(parts) + "\n")


def _run(name: str, run: dict[str, Any]) -> list[str]:
    z, y, x = run["shape_zyx"]
    changed = run.get("changed") or {}
    table3, published = run["table3"], dict(zip(TABLE3_COLUMNS, SHREC20_TABLE3["TM-F"], strict=True))
    lines = [
        f"\n## {name}\n",
        f"Specimen {run['specimen']}, tomogram {z} x {y} x {x} (z, y, x), {run['particles']} particles, "
        f"{run['picks_a_class']} picks and {run['candidates_a_class']} candidates a class, {run['rotations']} "
        f"orientations.{''.join(f' {key}: {value}.' for key, value in changed.items())} "
        f"{sum(one['seconds'] for one in run['candidates'].values()) / 60:.0f} minutes with {run['threads']} "
        f"thread(s) on {run['machine']['processor']}, commit {commit_in_words(run['machine']['commit'])}.\n",
        "| | recall | precision | F1 | AD |\n|---|---:|---:|---:|---:|",
        f"| ours | {table3['recall']:.3f} | {table3['precision']:.3f} | {table3['F1']:.3f} | {table3['AD']:.2f} |",
        f"| published, Table 3 | {published['recall']:.3f} | {published['precision']:.3f} | {published['F1']:.3f} | "
        f"{published['AD']:.2f} |",
        f"| published, Table 8 | 0.642 | 0.686 | {TABLE8_F1} | 2.43 |\n",
        "| class | particles | F1, ours | F1, Table 4 | F1, Table 9 | ours less Table 4 | by chance | ours, TM-T | "
        "best candidates on: own class | other | nothing | own found | own score, deviations | energy kept |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    first = dict(zip(CLASS_COLUMNS, SHREC20_TABLE4["TM-F"], strict=True))
    second, off = dict(zip(TABLE9_COLUMNS, TABLE9, strict=True)), []
    for label in CLASS_COLUMNS:
        if label not in run["candidates"]:
            continue
        ours, what = run["class_f1"][label], run["candidates"][label]
        difference = ours - first[label]
        off += [label] if abs(difference) > OFF else []
        row = run["confusion"]["counts"][run["confusion"]["labels"].index(label)]
        chance = math.sqrt(first[label] * (1 - first[label]) / max(sum(row), 1))
        strength = "-" if what["deviations"] is None else f"{what['deviations']:.1f}"
        lines.append(
            f"| {label} | {sum(row)} | {ours:.3f} | {first[label]:.3f} | {second[label]:.3f} | {difference:+.3f} | "
            f"{chance:.3f} | "
            f"{run['tm_t']['class_f1'][label]:.3f} | {what['own']} | {what['other']} | {what['nothing']} | "
            f"{what['found']:.2f} | {strength} | {what['energy_kept']:.3f} |"
        )
    mean = sum(run["class_f1"][label] - first[label] for label in run["candidates"]) / len(run["candidates"])
    lines.append(f'\nMean difference {mean:+.3f}. "By chance": standard error of a share of so many particles.')
    lines.append(f"\nOff by more than {OFF} from Table 4: {', '.join(off) or 'none'}.")
    return lines + _choices(run, first) + _variants(run)


def _choices(run: dict[str, Any], published: dict[str, float]) -> list[str]:
    """Class F1 of other orders and radii of the choice among the same candidates."""
    labels = [label for label in CLASS_COLUMNS if label in run["candidates"]]
    if not run.get("choices"):
        return []
    lines = [
        f"\nThe same candidates, chosen otherwise (F1; classes in which Table 4 is more than {OFF} away in bold):\n",
        f"| choice | all | {' | '.join(labels)} |",
        "|---|" + "---:|" * (len(labels) + 1),
    ]
    default = {"F1": run["table3"]["F1"], "class_f1": run["class_f1"]}
    for what, one in {"largest template first": default, **run["choices"]}.items():
        values = [(one["class_f1"][label], abs(one["class_f1"][label] - published[label]) > OFF) for label in labels]
        told = " | ".join(f"**{value:.3f}**" if off else f"{value:.3f}" for value, off in values)
        lines.append(f"| {what} | {one['F1']:.3f} | {told} |")
    return [*lines, f"| Table 4 | | {' | '.join(f'{published[label]:.3f}' for label in labels)} |"]


def _variants(run: dict[str, Any]) -> list[str]:
    """The best candidates of some classes with other settings."""
    if not run.get("variants"):
        return []
    lines = [
        f"\nThe best {run['picks_a_class']} candidates of a class with other settings, before any choice:\n",
        "| class | settings | on its own class | other | nothing | own found | own score, deviations |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    classes = [label for label in CLASS_COLUMNS if any(label in v["candidates"] for v in run["variants"].values())]
    for label in classes:
        told = {"as above": run["candidates"]} | {name: one["candidates"] for name, one in run["variants"].items()}
        for name, candidates in told.items():
            if label in candidates:
                one = candidates[label]
                lines.append(
                    f"| {label} | {name} | {one['own']} | {one['other']} | {one['nothing']} | {one['found']:.2f} | "
                    f"{one['deviations']:.1f} |"
                )
    return lines
