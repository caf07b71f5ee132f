"""benchmarks/accuracy/side_by_side.py, which says whether voxpick leads the zoo."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "side_by_side.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("side_by_side", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    return module


def rows(**models):
    """Two tomograms a model, with the F1 and mean class F1 that are given."""
    return [
        {
            "model": name, "kind": "own", "tomogram": f"fresh/model_{k}", "table3": {"F1": f1}, "mean_class_f1": named,
            "class_f1": {"1bxn": named, "1s3x": None}, "minutes": 90.0,
            "machine": {"processor": "P", "commit": "c0ffee"},
        }
        for name, numbers in models.items()
        for k, (f1, named) in enumerate(numbers)
    ]  # fmt: skip


def test_a_lead_counts_where_it_passes_both_spreads_together(script):
    # spreads (n - 1): 0.0141 for both; voxpick leads by 0.04 in F1 and by 0.02 in names
    close = rows(voxpick=[(0.95, 0.80), (0.97, 0.82)], umc=[(0.91, 0.78), (0.93, 0.80)])
    assert script.ahead(close) == "voxpick does not lead by more than the two spreads together: umc (mean class F1)."
    far = rows(voxpick=[(0.95, 0.80), (0.97, 0.82)], umc=[(0.91, 0.70), (0.93, 0.72)])
    assert script.ahead(far).startswith("voxpick leads each other model in both columns")
    assert script.ahead(far[:2]).startswith("Fewer than two tomograms")


def test_the_page_has_means_spreads_and_a_dash_for_a_class_without_particles(script):
    text = "\n".join(script.page(rows(umc=[(0.91, 0.70), (0.93, 0.72)], voxpick=[(0.95, 0.80), (0.97, 0.82)])))
    assert "| voxpick | 2 | 0.960 ± 0.014 | 0.810 ± 0.014 | 90 |" in text
    assert text.index("| voxpick |") < text.index("| umc |")
    assert "| voxpick | 0.81 | - |" in text
    assert "P, commit c0ffee" in text


def test_minutes_count_what_the_weights_began_with(script):
    before = {"minutes": 20.5, "started_from": {"minutes": 1}}
    part = SimpleNamespace(provenance={"minutes": 10, "started_from": before})
    assert script.minutes({"a": part, "b": SimpleNamespace(provenance={"minutes": 3})}) == 34.5
