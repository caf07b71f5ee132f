"""Pages in docs/ that scripts make of JSON files say what those files say, and nothing was written in by hand."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKERS = [
    ("accuracy/few_labels_page.py", [], "few-labels.md"),
    ("accuracy/centres_page.py", [], "centres.md"),
    ("accuracy/generalisation_page.py", [], "generalisation.md"),
    ("accuracy/averaging_tables.py", [], "averaging.md"),
    ("accuracy/calibration.py", ["--page"], "calibration.md"),
    ("accuracy/side_by_side.py", [], "zoo.md"),
    ("speed/table.py", [], "speed.md"),
    ("shrec20/page.py", [], "benchmark.md"),
    *(
        ("shrec20/page.py", ["--name", name], f"benchmark-{name}.md")
        for name in ("ablations", "augmentation", "claims", "losses", "zoo")
    ),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, their JSON files and the pages, where they may be written."""
    place = tmp_path_factory.mktemp("repository")
    for folder in ("benchmarks", "docs"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.mark.parametrize(("script", "words", "page"), MAKERS, ids=[page for *_, page in MAKERS])
def test_made_again_a_page_is_the_same(
    copy: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: list[str], page: str
) -> None:
    file = copy / "benchmarks" / script
    monkeypatch.setattr(sys, "argv", [str(file), *words])
    monkeypatch.setattr(sys, "path", [str(file.parent), *sys.path])
    for name, module in list(sys.modules.items()):  # of other tests, which would write the pages of the repository
        if "benchmarks" in Path(getattr(module, "__file__", None) or "").parts:
            monkeypatch.delitem(sys.modules, name)
    runpy.run_path(str(file), run_name="__main__")
    made, kept = ((place / "docs" / page).read_text().splitlines() for place in (copy, ROOT))
    assert made == kept
