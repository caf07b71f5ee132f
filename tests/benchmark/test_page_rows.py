"""benchmarks/shrec20/page.py, which keeps the tables of a run."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voxpick.benchmark import machine as machine_module
from voxpick.benchmark.machine import commit_in_words, gpus, machine, together
from voxpick.cli.benchmark import write_tables

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "shrec20" / "page.py"


@pytest.fixture
def page_module(monkeypatch):
    spec = importlib.util.spec_from_file_location("page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def page(page_module, monkeypatch, tmp_path):
    """Writes the page of an output folder into a folder of its own; the text."""
    module = page_module
    monkeypatch.setattr(module, "FOLDER", tmp_path / "benchmarks" / "shrec20")
    moment = {"processor": "now", "cores": 1, "versions": {"torch": "9"}, "commit": "ffff"}
    monkeypatch.setattr(module, "machine", lambda: moment)
    (tmp_path / "benchmarks" / "shrec20").mkdir(parents=True)
    (tmp_path / "docs").mkdir()

    def write(*words):
        monkeypatch.setattr(sys, "argv", ["page.py", *map(str, words)])
        module.main()
        return (tmp_path / "docs" / "benchmark.md").read_text()

    return write


def test_the_page_tells_what_failed_and_the_code_that_made_the_results(bench, page):
    bench.settings({"vp": {"method": "vp-detector"}, "umc": {"method": "umc"}})
    bench.trouble("exit umc/seed_0")
    bench.run()
    path = bench.root / "out/vp/seed_0/result.json"
    result = json.loads(path.read_text())
    made = {"processor": "P", "cores": 3, "versions": {"torch": "2"}, "commit": "a1b2c3"}
    for file in (path, bench.root / "out/umc/seed_0/result.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "machine": made}))
    write_tables(bench.runner(), outdated=[("vp", 0)])
    text = page(bench.root / "out")
    assert "Failed: umc, seed 0: " in text and "Made under other settings or data: vp, seed 0" in text
    assert "from a run on P, 3 cores, torch 2;" in text
    today = result["date"]
    assert (
        f"The numbers of 'this run' were measured at commit a1b2c3, on {today}; what has changed in the package" in text
    )
    assert text.index("**The numbers") < text.index("## Localisation")
    path.write_text(json.dumps({key: value for key, value in result.items() if key not in ("machine", "date")}))
    os.utime(path, (0, 86400 * 365))
    text = page(bench.root / "out")
    assert "from a run on now, 1 cores, torch 9;" in text
    assert f"were kept from 1971-01-01 to {today} at commit ffff, of that code or a little older" in text


def test_a_page_written_anew_takes_what_is_known_today_and_leaves_the_measured(bench, page, tmp_path):
    claim = {"says": "A claim", "with": "a", "without": "b", "measure": "F1"}
    bench.settings({"a": {"method": "umc"}, "b": {"method": "umc"}}, claims=[claim])
    bench.run()
    write_tables(bench.runner())
    first = page(bench.root / "out")
    kept = tmp_path / "benchmarks" / "shrec20" / "replica.json"
    content = json.loads(kept.read_text())
    table = content["tables"]["class_f1"]
    table["rows"] = [row for row in table["rows"] if "Dilated" not in row["name"]]
    kept.write_text(json.dumps(content))
    before = kept.read_bytes()
    assert page() == first and "| 3D-Dilated-DenseNet | 0.684 |" in first
    published = {"published_with": 0.951, "published_without": 0.931}
    bench.settings({"a": {"method": "umc"}, "b": {"method": "umc"}}, claims=[{**claim, **published}])
    shutil.copytree(bench.root / "settings", tmp_path / "benchmarks" / "shrec20" / "replica")
    assert "| open | 0.951 | 0.931 | F1 | this run |" in page()
    assert kept.read_bytes() == before


def test_rows_of_an_earlier_run_say_when_it_was(bench, page, tmp_path):
    bench.settings({"a": {"method": "umc"}, "b": {"method": "umc"}})
    bench.run()
    write_tables(bench.runner())
    page(bench.root / "out")
    kept = tmp_path / "benchmarks" / "shrec20" / "replica.json"
    earlier = json.loads(kept.read_text())
    kept.write_text(json.dumps({**earlier, "dates": ["2025-01-02"]}))
    bench.settings({"b": {"method": "umc"}})
    write_tables(bench.runner())
    text = page(bench.root / "out", "--join")
    made = re.escape(commit_in_words(earlier["machine"]["commit"]))
    assert re.search(rf"\| a \| .* \| earlier run, commit {made}, on 2025-01-02 \|", text)
    assert re.search(r"\| b \| .* \| this run \|", text)


def test_entries_without_a_budget_have_the_minutes_that_they_took(page_module):
    stages = [{"stage": "a", "minutes": None, "seconds": 90.0}, {"stage": "b", "minutes": 4.0, "seconds": 260.0}]
    assert page_module.minutes_of({"x": {"stages": stages}, "y": {}}) == {"x": 5.5, "y": 0}


def test_machines_that_differ_are_all_named():
    one = {"processor": "P", "cores": 3, "versions": {"torch": "2"}, "commit": "a1"}
    other = {"processor": "P", "cores": 4, "versions": {"torch": "3"}, "commit": None}
    assert together([one]) == together([one, one]) == one
    assert together([one, other]) == {
        "processor": "P", "cores": "3 and 4", "versions": {"torch": "2 and 3"}, "commit": "a1 and none"
    }  # fmt: skip


def test_gpus_are_named_without_torch(tmp_path, monkeypatch):
    for number, name in enumerate(["NVIDIA H200", "NVIDIA H200", "NVIDIA T4"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 99\n")
    assert gpus(tmp_path) == "2 x NVIDIA H200, 1 x NVIDIA T4"
    assert gpus(tmp_path / "nowhere") == ""
    monkeypatch.setattr("voxpick.benchmark.machine.gpus", lambda: "1 x NVIDIA T4")
    assert machine()["gpus"] == "1 x NVIDIA T4"


def test_a_commit_tells_of_changes_that_are_not_in_it(tmp_path, monkeypatch):
    (package := tmp_path / "src" / "voxpick").mkdir(parents=True)
    (scripts := tmp_path / "benchmarks" / "accuracy").mkdir(parents=True)
    files = [package / "__init__.py", scripts / "letter.py", scripts / "letter.json"]
    for file in files:
        file.write_text("1")

    def git(*words):
        who = ["-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    made = git("rev-parse", "--short", "HEAD").strip()
    monkeypatch.setattr(machine_module, "PACKAGE", package)
    found = machine_module.commit.__wrapped__
    assert found() == made
    (package / "new.py").write_text("untracked")
    files[2].write_text("results are no code")
    assert found() == made
    for file in files[:2]:
        file.write_text("2")
        assert found() == f"{made}+"
        file.write_text("1")
    assert commit_in_words(f"{made}+ and a1b2c3") == f"{made} with uncommitted changes and a1b2c3"
    assert commit_in_words(None) == "unknown"


def test_the_page_names_the_command_with_the_minutes_that_were_given(bench, page, tmp_path):
    """It said 60 minutes, as the settings do, of a run that had 8."""
    entries = {"a": {"method": "umc"}, "b": {"method": "vp-detector"}}
    bench.settings(entries, minutes=8)
    bench.run()
    write_tables(bench.runner())
    folder = tmp_path / "benchmarks" / "shrec20" / "replica"
    command = "`voxpick benchmark shrec20 benchmarks/shrec20/replica{} --output OUTPUT`"
    told = {}
    for given, more in ((60, {}), (8, {}), (60, {"c": {"method": "umc"}})):
        bench.settings({**entries, **more}, minutes=given)
        shutil.copytree(bench.root / "settings", folder, dirs_exist_ok=True)
        told[given, len(more)] = page(bench.root / "out")
    assert f"a run of {command.format(' --minutes 8')} on " in told[60, 0]
    assert f"a run of {command.format('')} on " in told[8, 0]
    assert f"a run of {command.format(' --minutes 8')}, without c, on " in told[60, 1]


def test_no_command_is_named_where_none_gives_these_minutes(page_module, bench):
    bench.settings({"a": {"method": "umc"}, "b": {"method": "umc"}}, minutes=60)
    settings = bench.runner().settings
    assert page_module.command("replica", settings, {"a": 8, "b": 60}) == ""
    assert page_module.command("replica", None, {"a": 8}) == ""
