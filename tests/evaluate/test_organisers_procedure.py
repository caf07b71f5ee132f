"""Ten submission files scored by `voxpick evaluate` and by a plain account of the organisers' procedure, line by line.

The account reads the same text files as the command, so that columns, halves, the passage through A and the offset of
a 512-section tomogram are compared too. test_shrec.py compares the function alone.
"""

import json
import math

import numpy as np
import pytest
import typer
from scipy.ndimage import generate_binary_structure, grey_dilation
from typer.testing import CliRunner

from voxpick.cli import evaluate
from voxpick.io.shrec_model import write_model
from voxpick.particles import Particles
from voxpick.shrec_classes import CLASS_IDS, SHREC20_CLASSES

SPECIMEN, THICKNESS = (200, 12, 20), 512
PADDING = 156
STEPS = (0, 0.5, -0.5, 1, -1.5, 2.25, 0.49, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 cubes, 4 voxels wide, in a specimen of 200 sections; 26 sections apart, so a shift by 156 meets others."""
    rng = np.random.default_rng(3)
    corners = np.stack(np.meshgrid(np.arange(1, 196, 26), [2, 7], [1, 8, 15], indexing="ij"), -1).reshape(-1, 3)[::2]
    classes = rng.choice(np.array(SHREC20_CLASSES[:9]), len(corners))
    occupancy, class_mask = np.zeros(SPECIMEN, np.int16), np.zeros(SPECIMEN, np.int8)
    for number, (corner, name) in enumerate(zip(corners, classes, strict=True), start=1):
        box = tuple(slice(c, c + 4) for c in corner)
        occupancy[box], class_mask[box] = number, CLASS_IDS[name]
    path = tmp_path_factory.mktemp("organisers") / "model_9"
    write_model(
        path, grandmodel=class_mask, class_mask=class_mask, occupancy_mask=occupancy, class_bbox=class_mask,
        occupancy_bbox=occupancy, projections=np.zeros((3, *SPECIMEN[1:])),
        reconstruction=np.zeros((THICKNESS, *SPECIMEN[1:])),
        particles=Particles((corners + 2) * 10.0, classes, rotations=np.tile(np.eye(3), (len(corners), 1, 1))),
    )  # fmt: skip
    return path


def submission(truth, seed):
    """Lines `pdb x y z`: right and wrong names, duplicates, halves, picks outside, stray z, both frames."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, x, y, z in (truth[k] for k in rng.integers(0, len(truth), 40)):
        place = np.array([x, y, z]) + rng.choice(STEPS, 3)
        rows.append([name if rng.random() < 0.5 else str(rng.choice(np.array(SHREC20_CLASSES))), *place])
    in_specimen = seed % 3 == 0  # z in 0..199, as many participants counted
    if in_specimen:
        rows = [[name, x, y, z - PADDING] for name, x, y, z in rows]
    rows += [["3cf3", -3, 5, rows[0][3]], ["1u6g", 30, -2.5, rows[1][3]], ["0", *rows[0][1:]]]
    rows = [row for row in rows if in_specimen or PADDING <= round(row[3]) <= 356]
    if seed % 3 == 1:  # rounded they are inside, so nothing moves
        rows += [["1bxn", 4, 5, 155.6], ["1bxn", 4.5, 5, 356.4]]
    if seed % 3 == 2:  # one stray pick moves all
        rows.append(["1s3x", 3, 3, 356.6 if seed % 2 else 11.0])
    rows += rows[:5]
    rng.shuffle(rows)
    return [f"{name} {x} {y} {z}" for name, x, y, z in rows]


def read_truth(folder):
    words = [line.split() for line in (folder / "particle_locations.txt").read_text().splitlines()]
    return [(name, int(x), int(y), int(z) + PADDING) for name, x, y, z, *_ in words]


def organisers(lines, truth, occupancy):
    """Table 3, the F1 of each class and the counts of (true, claimed), with nothing but loops."""
    volume = grey_dilation(occupancy, footprint=generate_binary_structure(3, 1))
    volume = np.pad(volume, ((PADDING, PADDING), (0, 0), (0, 0)))
    picks = []
    for name, *numbers in (line.split() for line in lines):
        picks.append([name, *(round(float(number)) for number in numbers)])
    if any(z < PADDING or z > 356 for *_, z in picks):
        picks = [[name, x, y, z + PADDING] for name, x, y, z in picks]
    hits, missed, outside = {}, 0, 0
    for name, x, y, z in picks:
        near = [min(max(value, 0), side - 1) for value, side in zip((x, y, z), volume.shape[::-1], strict=True)]
        outside += near != [x, y, z]
        number = int(volume[near[2], near[1], near[0]])
        if number == 0:
            missed += 1
        else:
            hits.setdefault(number, []).append((name, math.dist(near, truth[number - 1][1:])))
    claimed = [hits[k][0][0] if k in hits else "0" for k in range(1, len(truth) + 1)]
    pairs = [(row[0], name) for row, name in zip(truth, claimed, strict=True)]
    recall, precision = len(hits) / len(truth), len(hits) / len(picks)
    table = {
        "RR": len(picks), "TP": len(hits), "FP": missed, "FN": len(truth) - len(hits),
        "MH": sum(len(each) > 1 for each in hits.values()), "RO": outside,
        "AD": sum(each[0][1] for each in hits.values()) / len(hits),
        "recall": recall, "precision": precision, "miss_rate": (len(truth) - len(hits)) / len(truth),
        "F1": 2 / (1 / recall + 1 / precision),
    }  # fmt: skip
    class_f1 = {}
    for name in SHREC20_CLASSES:
        right = sum(pair == (name, name) for pair in pairs)
        total = sum((actual == name) + (told == name) for actual, told in pairs)
        class_f1[name] = 2 * right / total if total else None
    return table, class_f1, pairs


@pytest.mark.parametrize("seed", range(10))
def test_the_command_gives_the_organisers_numbers(folder, tmp_path, seed):
    truth = read_truth(folder)
    lines = submission(truth, seed)
    (tmp_path / "picks.txt").write_text("\n".join(lines) + "\n")
    corners = np.array([[z - PADDING - 2, y - 2, x - 2] for _, x, y, z in truth])
    occupancy = np.zeros(SPECIMEN, int)
    for number, (z, y, x) in enumerate(corners, start=1):
        occupancy[z : z + 4, y : y + 4, x : x + 4] = number
    table, class_f1, pairs = organisers(lines, truth, occupancy)

    app = typer.Typer()
    app.callback()(lambda: None)
    evaluate.register(app)
    command = ["evaluate", str(tmp_path / "picks.txt"), str(folder), "--json", str(tmp_path / "score.json")]
    result = CliRunner().invoke(app, command)
    assert result.exception is None, result.output
    score = json.loads((tmp_path / "score.json").read_text())

    assert bool(score["warnings"]) == (seed % 3 != 1)
    assert score["localisation"] == pytest.approx(table, rel=1e-12)
    for name, f1 in class_f1.items():
        assert score["class_f1"][name] == (None if f1 is None else pytest.approx(f1, rel=1e-12))
    labels = score["confusion"]["labels"]
    counts = np.zeros((len(labels), len(labels)), int)
    for actual, told in pairs:
        counts[labels.index(actual), labels.index(told)] += 1
    assert score["confusion"]["counts"] == counts.tolist()
    assert min(table["TP"], table["FP"], table["MH"], table["RO"]) > 0  # the comparison is of something
