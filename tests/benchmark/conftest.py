"""A stand-in for voxpick's commands, and small settings."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from voxpick.benchmark.abilities import Ability
from voxpick.benchmark.runner import Runner
from voxpick.benchmark.settings import load_settings
from voxpick.errors import VoxpickError

KNOWN = ("threshold", "split", "classes", "subtomogram", "tilt_range")


def check_detection(changes, named):
    """Like a method that knows few settings."""
    for key in changes:
        if key not in KNOWN or (key == "subtomogram" and not named):
            raise VoxpickError(f"detection: {key}: unknown")


METHODS = {
    "vp-detector": Ability(("localizer", "classifier"), check_detection=check_detection),
    "umc": Ability(("segmenter",), check_detection=check_detection, paper_detection=False),
    "densenet": Ability(("classifier",), finds=False, check_detection=check_detection),
    "yopo": Ability(("classifier",), check_detection=check_detection),
    "template": Ability((), check_detection=check_detection, paper_detection=False, tilt_range=(-60.0, 60.0)),
    "blobs": Ability((), names=False, check_detection=check_detection, paper_detection=False),
}

FAKE = """
import json, os, signal, sys
from pathlib import Path
command, words = sys.argv[1], sys.argv[2:]
option = lambda name: words[words.index(name) + 1] if name in words else None
def parts_of(file):
    content = file.read_bytes()
    return json.loads(content) if content[:1] == b"{" else {"shipped": file.stem}
with open(Path(__file__).with_name("calls"), "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
trouble = Path(__file__).with_name("trouble")
for line in trouble.read_text().split("\\n") if trouble.exists() else []:
    what, _, where = line.partition(" ")
    if where and any(where in word for word in words):
        print("voxpick: error: no room" if what == "error" else "about to fail", flush=True)
        os.kill(os.getpid(), signal.SIGKILL) if what == "kill" else sys.exit(3)
if command == "simulate":
    for k in range(int(option("--models"))):
        (Path(words[1]) / f"model_{k}").mkdir(parents=True, exist_ok="--resume" in words)
if command == "train":
    output = Path(option("--output"))
    parts = parts_of(output) if output.exists() else {}
    salt = Path(__file__).with_name("salt")
    trained = option("--method") + (salt.read_text() if salt.exists() else "")
    output.write_text(json.dumps({**parts, option("--stage"): trained}))
    run = output.with_name(f"{output.stem}_{option('--stage')}_run")
    run.mkdir(exist_ok=True)
    gpu = Path(__file__).with_name("gpu")
    if gpu.exists():
        Path(os.environ["VOXPICK_DEVICE_MEMORY"]).write_text(gpu.read_text())
if command in ("detect", "match"):
    folder = Path(option("--output"))
    folder.mkdir(parents=True)
    parts = {"match": option("--method")} if command == "match" else {}
    for file in filter(None, (option("--model"), option("--classifier"))):
        parts |= parts_of(Path(file))
    (folder / "reconstruction.csv").write_text(json.dumps(parts))
"""


def score_of(tp: int = 8, classes: float = 0.5) -> dict:
    """A score of 10 particles and 10 picks, every class with the same F1 and accuracy."""
    from voxpick.shrec_classes import SHREC20_BY_WEIGHT

    location = {
        "RR": 10, "TP": tp, "FP": 10 - tp, "FN": 10 - tp, "MH": 0, "RO": 0, "AD": 1.5, "recall": tp / 10,
        "precision": tp / 10, "miss_rate": 1 - tp / 10, "F1": tp / 10,
    }  # fmt: skip
    each = dict.fromkeys(SHREC20_BY_WEIGHT, classes)
    return {
        "localisation": location, "class_f1": each, "mean_class_f1": classes, "class_accuracy": each,
        "size_groups": dict.fromkeys(("small", "medium", "large"), classes),
        "confusion": {"labels": ["0", "1s3x", "4d8q"], "counts": [[0, 0, 0], [1, 3, 1], [0, 1, 4]]},
    }  # fmt: skip


@dataclass
class Bench:
    """A settings folder, an output folder and the stand-in."""

    root: Path
    methods = METHODS

    def settings(self, entries: dict[str, dict], **changes) -> None:
        data = {"training": {"seed": 1, "models": 2}, "validation": {"seed": 2}, "test": {"seed": 3}}
        folder = self.root / "settings"
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.yaml"):
            old.unlink()
        for name, content in {"benchmark": {"data": data, "minutes": 10, **changes}, **entries}.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))

    def trouble(self, *lines: str) -> None:
        (self.root / "trouble").write_text("\n".join(lines))

    def runner(self, methods=METHODS) -> Runner:
        (self.root / "fake.py").write_text(FAKE)
        program = (sys.executable, "-I", "-S", str(self.root / "fake.py"))
        return Runner(
            load_settings(self.root / "settings"), self.root / "settings", self.root / "out", methods,
            lambda picks, truth: {**score_of(), "parts": json.loads(picks.read_text())}, program, lambda text: None,
        )  # fmt: skip

    def copy_settings(self, folder: Path) -> None:
        """Take committed settings."""
        shutil.copytree(folder, self.root / "settings")

    def run(self, methods=METHODS, **options) -> dict[str, dict]:
        """Run; the result of the first seed by entry."""
        runner = self.runner(methods)
        runner.run(**options)
        return {result["entry"]: result for result in reversed(runner.results())}

    def calls(self) -> list[list[str]]:
        """Commands since the last time."""
        path = self.root / "calls"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.write_text("")
        return found


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def scored():
    """Makes the score of a tomogram."""
    return score_of
